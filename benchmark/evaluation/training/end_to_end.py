"""The supervised baselines: the encoder is trained together with the head, run after run.

From random weights (`barlow_speech_random`: from scratch) or from a checkpoint (fine-tuned), with
what `runs.train_runs` has for heads alone: the same training rows, batches, initial heads, steps of
evaluation and choice there. Nothing is frozen, so that there is nothing to share between runs.

Shapes: N utterances, B batch, T frames of log-mel, F mel bands, S states, L layers, D width,
E embedding size, C classes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from barlow_speech.benchmark.evaluation.partial_runs import PartialRuns
from barlow_speech.benchmark.evaluation.protocol import EncoderTraining, Run, RunPlan, Training
from barlow_speech.benchmark.evaluation.training.batches import row_batches
from barlow_speech.benchmark.evaluation.training.head_training import fused_optimiser
from barlow_speech.benchmark.evaluation.training.log_mels import Batch, Speech
from barlow_speech.benchmark.features.kinds import Selection
from barlow_speech.benchmark.statistics.metrics import score
from barlow_speech.downstream.heads import head_module, head_settings
from barlow_speech.downstream.heads._head import Head
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.encoders import shorter, valid
from barlow_speech.upstream.model.frontend import HOP
from barlow_speech.upstream.model.readout import SMALLEST_VARIANCE, read_out
from barlow_speech.upstream.model.speech_encoder import SpeechEncoder, random_model, seeded

FRAMES_PER_S = SAMPLE_RATE // HOP
EVALUATION_FRAMES = (
    60 * FRAMES_PER_S
)  # of a batch while dev and test are evaluated, padding included


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    `model` itself is never changed. With `redraw` its weights are drawn anew by the run's `init`,
    as those of the head always are. `selection` and `layer` say what the head sees of the encoder.
    """

    model: SpeechEncoder
    head: dict[str, Any]
    redraw: bool = False
    selection: Selection = "hidden_states"
    layer: int | None = None

    def network(self, classes: int, init: int) -> Network:
        """Encoder and head with their initial weights, on the CPU.

        The head is the one that `batched_heads` makes of the same seed.
        """
        model = copy.deepcopy(self.model).cpu()
        if self.redraw:
            # Not the seed itself: the head's weights would be the same numbers as the encoder's.
            model = random_model(model.settings, init + (4 << 32))
        return Network(model, self, classes, init)


class Network(nn.Module):
    """Log-mel → encoder → what the head sees → logits [B, C]."""

    def __init__(self, model: SpeechEncoder, start: Start, classes: int, init: int) -> None:
        super().__init__()
        module = head_module(start.head["name"])
        self.frontend = model.frontend.settings
        self.rate, self.encoder = model.rate, model.encoder
        self.readout = model.settings.readout
        self.kind, self.selection, self.layer = module.INPUT, start.selection, start.layer
        with torch.no_grad():
            probe_BTF = torch.zeros(1, self.encoder.stride, self.frontend.n_mels)
            seen = self.eval()._seen(Batch(probe_BTF, torch.tensor([self.encoder.stride]), (HOP,)))
        with seeded(init):
            self.head = Head(
                module, head_settings(start.head), seen[0].shape[-2], seen[0].shape[-1], classes
            )

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, C] of a batch on the network's device."""
        return self.head(*self._seen(batch))

    def _seen(self, batch: Batch) -> tuple[Tensor, ...]:
        """What the head takes (downstream/heads), as the features of a frozen encoder have it."""
        hidden, _ = self.encoder(batch.frames_BTF, batch.lengths_B)
        if self.selection == "embedding":
            states_B = shorter(batch.lengths_B, self.encoder.stride)
            return (read_out(self.readout, hidden, states_B).unsqueeze(1),)
        if self.layer is not None:
            hidden = [hidden[self.layer]]
        x_BSLD = torch.stack(hidden, dim=2)
        # As many states as s3prl's Featurizer cuts, but at least one: see `Upstream.frames`.
        counts = [max(1, round(samples / self.rate)) for samples in batch.samples]
        counts_B = torch.tensor(counts, device=x_BSLD.device)
        x_BSLD = x_BSLD[:, : max(counts)]
        mask_BS11 = valid(counts_B, x_BSLD.shape[1])[:, :, None, None]
        x_BSLD = x_BSLD * mask_BS11
        if self.kind == "frames":
            return x_BSLD, counts_B
        mean_BLD = x_BSLD.sum(dim=1) / counts_B[:, None, None]
        if self.kind == "mean":
            return (mean_BLD,)
        square_BSLD = (x_BSLD - mean_BLD.unsqueeze(1)).square() * mask_BS11
        variance_BLD = square_BSLD.sum(dim=1) / counts_B[:, None, None]
        # A state that is zero all the time would have a gradient that is not finite.
        std_BLD = variance_BLD.clamp(min=SMALLEST_VARIANCE).sqrt()
        return (torch.cat([mean_BLD, std_BLD], dim=2),)


@dataclass(frozen=True)
class EndToEndTrainer:
    """Trains encoder and head together, run after run: a `Trainer` (trainers.py).

    `speech` is by split. A run is kept in `partial_runs` as soon as it is done, under its plan and
    `key` (JSON-able, what tells these runs from others there), and is not made where it is found
    there.
    """

    start: Start
    speech: Mapping[str, Speech]
    classes: int
    training: Training
    encoder: EncoderTraining
    device: torch.device
    partial_runs: PartialRuns
    key: Any

    def train(
        self, plans: Sequence[RunPlan], on_step: Callable[[float], Any], with_test: bool
    ) -> list[Run]:
        """See `Trainer`."""
        return [self._run(plan, partial(on_step, 1 / len(plans)), with_test) for plan in plans]

    def _run(self, plan: RunPlan, on_step: Callable[[], Any], with_test: bool) -> Run:
        key = {"key": self.key, "plan": dataclasses.asdict(plan), "judged": with_test}
        count = len(self.speech["test"].labels_N) if with_test else 0
        run = self.partial_runs.find(key, count, self.classes)
        if run is not None:
            for _ in range(self.training.steps):
                on_step()
            return run
        started = time.monotonic()
        run = self.train_run(plan, with_test, on_step)
        self.partial_runs.keep(key, run, time.monotonic() - started)
        return run

    def train_run(
        self,
        plan: RunPlan,
        with_test: bool,
        on_step: Callable[[], Any] = lambda: None,
        on_loss: Callable[[float], Any] = lambda loss: None,
    ) -> Run:
        """One run: on a CPU with as many threads the same to the bit, whatever ran before.

        Dev is looked at every `eval_step` steps and after the last; test once, with the weights and
        the batch statistics that were best on dev, the earliest of equals, and only `with_test`.
        The gradient is clipped over the parameters of encoder and head together. Nothing is in half
        precision. `on_loss` gets each step's loss. The global random state is left as it was.

        Raises:
            BarlowSpeechError: the loss is not finite, in a training whose test is asked for.
        """
        training, train, dev = self.training, self.speech["train"], self.speech["dev"]
        network = self.start.network(self.classes, plan.init)
        # Convolutions over four axes are two to three times as fast with channels last.
        network = convert_conv2d_weight_memory_format(network, torch.channels_last).to(self.device)
        optimiser = self._optimiser(network, plan.lr)
        trained = [one for group in optimiser.param_groups for one in group["params"]]
        batches = row_batches(train.labels_N, training, plan)
        crops = torch.Generator().manual_seed(plan.order + (3 << 32))
        dev_labels_N = dev.labels_N.to(self.device)
        best_score, best_step, best_state = -1.0, 0, network.state_dict()
        curve = []
        for step in range(1, training.steps + 1):
            self._train_mode(network)
            optimiser.zero_grad(set_to_none=True)
            loss = 0.0
            dropout_seed = np.random.SeedSequence((plan.order, step)).generate_state(1)[0]
            with seeded(int(dropout_seed)):
                for _ in range(training.accumulate):
                    rows = next(batches)
                    batch = self._batch(train, rows.tolist(), network, crops)
                    labels_B = train.labels_N[rows].to(self.device)
                    part = nn.functional.cross_entropy(network(batch), labels_B)
                    (part / training.accumulate).backward()
                    loss += part.item() / training.accumulate
            on_loss(loss)
            if training.clip > 0:
                nn.utils.clip_grad_norm_(trained, training.clip)
            optimiser.step()
            if step % training.eval_step == 0 or step == training.steps:
                predicted_1N = predict(network, dev, self.device)[None]
                now = float(score(predicted_1N, dev_labels_N, self.classes, training.selection)[0])
                curve.append((step, now))
                if now > best_score:
                    best_score, best_step = now, step
                    best_state = copy.deepcopy(network.state_dict())
            on_step()
        predicted_N = np.zeros(0, dtype=np.int64)
        if with_test:
            if not math.isfinite(loss):
                raise BarlowSpeechError(
                    f"the loss of the run with seed {plan.seed} is not finite at a learning rate "
                    f"of {plan.lr:g}; lower the rate."
                )
            network.load_state_dict(best_state)
            predicted_N = predict(network, self.speech["test"], self.device).cpu().numpy()
        return Run(plan.seed, best_score, best_step, tuple(curve), predicted_N)

    def _batch(
        self, speech: Speech, rows: Sequence[int], network: Network, generator: torch.Generator
    ) -> Batch:
        """The batch of these rows that the network is trained on."""
        if self.encoder.crop_s == 0:
            return speech.whole(rows, network.frontend).to(self.device)
        length = round(self.encoder.crop_s * FRAMES_PER_S)
        return speech.crops(rows, network.frontend, length, generator).to(self.device)

    def _train_mode(self, network: Network) -> None:
        network.train()
        if self.encoder.batch_norm == "kept":
            for module in network.modules():
                if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                    module.eval()

    def _optimiser(self, network: Network, lr: float) -> torch.optim.Optimizer:
        """torch's fused optimiser with a learning rate for each of the two."""
        groups: list[dict[str, Any]] = [{"params": list(network.head.parameters()), "lr": lr}]
        if self.encoder.rate > 0:
            encoder_lr = lr * self.encoder.rate
            groups.append({"params": list(network.encoder.parameters()), "lr": encoder_lr})
        else:  # neither updated nor part of the gradient that is clipped
            network.encoder.requires_grad_(False)
        return fused_optimiser(groups, lr, self.training)


@torch.no_grad()
def predict(network: Network, speech: Speech, device: torch.device) -> Tensor:
    """The class [N] that the network gives to each whole utterance, in evaluation mode."""
    network.eval()
    lengths = [len(one) for one in speech.frames]
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    predicted_N = torch.zeros(len(rows), dtype=torch.long, device=device)
    while rows:
        count = max(1, EVALUATION_FRAMES // lengths[rows[0]])
        part, rows = rows[:count], rows[count:]
        batch = speech.whole(part, network.frontend).to(device)
        predicted_N[torch.tensor(part, device=device)] = network(batch).argmax(dim=1)
    return predicted_N
