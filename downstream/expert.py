"""Our tasks as s3prl downstream experts: s3prl's own Runner trains, saves and evaluates them.

The contract is that of s3prl's `downstream/example/expert.py`. A task's folder holds a subclass
that names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed import is_initialized
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from barlow_speech.downstream.corpus import Corpus, read_corpus
from barlow_speech.downstream.task import read_task
from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.common.files import write_text
from barlow_speech.upstream.data.audio import read_audio


class UtteranceDataset(Dataset):
    """(waveform [N], class number, name) of the recordings of one split."""

    def __init__(self, corpus: Corpus, rows: np.ndarray, labels: np.ndarray) -> None:
        self.corpus, self.rows, self.labels = corpus, rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, str]:
        recording = self.corpus.recordings[self.rows[index]]
        wave = read_audio(recording.path, recording.start_s, recording.end_s, recording.gain_db)
        return wave, int(self.labels[index]), str(recording)


def _collate(batch: list[tuple[np.ndarray, int, str]]) -> tuple[list, list, list]:
    waves, labels, recordings = zip(*batch)
    return list(waves), list(labels), list(recordings)


class UtteranceExpert(nn.Module):
    """An utterance classifier on any corpus card.

    `datarc.corpus` is the name of a card, or the path of a card or of a manifest;
    `datarc.data_root` the folder that built-in cards are relative to. Unlike s3prl's own emotion
    task it leaves the global random state alone, so that `--seed` decides the initial head.
    """

    task_name: str
    best_score: Tensor

    def __init__(
        self, upstream_dim: int, downstream_expert: dict[str, Any], expdir: str, **kwargs: Any
    ) -> None:
        super().__init__()
        self.task = read_task(self.task_name)
        self.datarc, modelrc = downstream_expert["datarc"], downstream_expert["modelrc"]
        root = self.datarc.get("data_root")
        self.corpus = read_corpus(self.datarc["corpus"], Path(root) if root else None)
        # One fold of a cross-validation: a split column, by s3prl's -v or in the configuration.
        split = self.datarc.get("split") or kwargs.get("downstream_variant")
        self.examples = self.corpus.examples(self.task, split)
        leaks = self.corpus.leaks(self.task, self.examples)
        if leaks and not self.datarc.get("allow_leakage"):
            raise BarlowSpeechError(
                f"corpus '{self.corpus.name}', task '{self.task_name}': {leaks[0]}; fix its "
                "splits, or add -o config.downstream_expert.datarc.allow_leakage=True"
            )
        self.head = UtteranceHead(
            upstream_dim, len(self.examples.classes), modelrc["projector_dim"]
        )
        self.expdir = Path(expdir)
        # Below any accuracy: the first evaluation on dev always saves a checkpoint.
        self.register_buffer("best_score", -torch.ones(1))

    def get_downstream_name(self) -> str:
        """The name s3prl gives the model card."""
        return self.task_name

    def get_dataloader(self, split: str) -> DataLoader:
        """Batches of (waveforms, labels, names) of a split; shuffled for training.

        Among several processes each gets its own part of the training set; s3prl evaluates in one.

        Raises:
            BarlowSpeechError: the split is none of train, dev and test.
        """
        if split not in self.examples.rows:
            raise unknown("split", split, self.examples.rows)
        training = split == "train"
        dataset = UtteranceDataset(
            self.corpus, self.examples.rows[split], self.examples.labels[split]
        )
        sampler: DistributedSampler | None = (
            DistributedSampler(dataset) if training and is_initialized() else None
        )
        return DataLoader(
            dataset,
            batch_size=self.datarc["train_batch_size" if training else "eval_batch_size"],
            shuffle=training and sampler is None,
            sampler=sampler,
            num_workers=self.datarc.get("num_workers", 0),
            collate_fn=_collate,
        )

    def forward(
        self,
        split: str,
        features: list[Tensor],
        labels: list[int],
        recordings: list[str],
        records: dict[str, list],
        **kwargs: Any,
    ) -> Tensor:
        """Cross-entropy of a batch of weighted features [T_i, D]; accuracy goes into `records`."""
        logits_BC = self.head(features)
        labels_B = torch.tensor(labels, device=logits_BC.device)
        loss = nn.functional.cross_entropy(logits_BC, labels_B)
        predicted_B = logits_BC.argmax(dim=1)
        records["acc"] += (predicted_B == labels_B).float().tolist()
        records["loss"].append(loss.item())
        records["recording"] += recordings
        records["predicted"] += [self.examples.classes[i] for i in predicted_B.tolist()]
        records["truth"] += [self.examples.classes[i] for i in labels]
        return loss

    def log_records(
        self, split: str, records: dict[str, list], logger: Any, global_step: int, **kwargs: Any
    ) -> list[str]:
        """Write the averages to TensorBoard; on a new best of dev, name the checkpoint to save."""
        accuracy = float(np.mean(records["acc"]))
        logger.add_scalar(f"{self.task_name}/{split}-acc", accuracy, global_step=global_step)
        logger.add_scalar(
            f"{self.task_name}/{split}-loss",
            float(np.mean(records["loss"])),
            global_step=global_step,
        )
        print(f"{split} acc: {accuracy}")
        # The best is kept in single precision, in which an equal accuracy is not above it.
        new_best = split == "dev" and float(np.float32(accuracy)) > self.best_score.item()
        with (self.expdir / "log.log").open("a", encoding="utf-8") as log:
            log.write(f"{split} at step {global_step}: {accuracy}\n")
            if new_best:
                log.write(f"New best on {split} at step {global_step}: {accuracy}\n")
        if split != "train":
            lines = zip(records["recording"], records["predicted"], records["truth"])
            text = "".join("\t".join(line) + "\n" for line in lines)
            write_text(self.expdir / f"{split}_predictions.tsv", text)
        if new_best:
            self.best_score.fill_(accuracy)
            return ["dev-best.ckpt"]
        return []

    def load_audio(self, path: Path) -> Tensor:
        """The waveform [N] of a file, for s3prl's `-m inference`: mono, 16 kHz, as in training."""
        return torch.from_numpy(read_audio(path))

    def inference(self, features: list[Tensor], names: list[str]) -> list[str]:
        """The classes of some recordings, also printed and added to `inference.tsv`."""
        predicted_B = self.head(features).argmax(dim=1)
        classes = [self.examples.classes[i] for i in predicted_B.tolist()]
        with (self.expdir / "inference.tsv").open("a", encoding="utf-8") as file:
            for name, one in zip(names, classes):
                file.write(f"{name}\t{one}\n")
                print(f"{name}: {one}")
        return classes


class UtteranceHead(nn.Module):
    """Linear(D, P) → mean over valid frames → Linear(P, C), for features already weighted.

    Inside s3prl the Featurizer holds the layer weights.
    """

    def __init__(self, width: int, classes: int, projector_dim: int) -> None:
        super().__init__()
        self.projector = nn.Linear(width, projector_dim)
        self.classifier = nn.Linear(projector_dim, classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features [T_i, D] of each utterance → logits [B, C]."""
        means = torch.stack([self.projector(one).mean(dim=0) for one in features])
        return self.classifier(means)
