"""An audio encoder of MTEB's list as an s3prl upstream: `mteb:NAME`, its embedding alone.

It has one state for a whole recording, which is the embedding: the rate is that of the longest.
Each recording runs by itself, as far as the encoder lets it.

Shapes: B recordings, E embedding size.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.data.audio import MAX_SAMPLES, SAMPLE_RATE
from barlow_speech.upstream.third_party.permissions import NONE, Permissions, guest
from barlow_speech.upstream.third_party.safe_load import safe_load

TASK = "CREMA_D"  # whose metadata encoders may look at, for prompts that audio has none of


class Recordings(Dataset):
    """Waveforms as MTEB's encoders look at a data set."""

    features = {"audio": None}  # noqa: RUF012  (of a column they ask for the name alone)

    def __init__(self, wavs: Sequence[Tensor]) -> None:
        self.arrays = [wave.detach().cpu().numpy() for wave in wavs]

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"audio": {"array": self.arrays[row], "sampling_rate": SAMPLE_RATE}}


class MtebUpstream(nn.Module):
    """An encoder of MTEB behind s3prl's interface.

    Raises:
        BarlowSpeechError: MTEB is not installed or lists no such encoder of audio, or its weights
            cannot or may not be downloaded.
    """

    def __init__(self, name: str, permissions: Permissions = NONE) -> None:
        super().__init__()
        self.name, self.permissions = name, permissions
        self.meta = find_encoder(name)
        try:
            with safe_load(permissions.trust_checkpoint), guest(permissions):
                self.encoder = self.meta.load_model(device="cpu")
        except BarlowSpeechError:
            raise
        except Exception as error:  # of any encoder
            remedy = "" if permissions.download else "; add --download if it needs its weights"
            raise BarlowSpeechError(
                f"mteb:{name} cannot be loaded ({one_line(error, 300, named=True)})"
                f"{remedy}, or install what it needs."
            ) from error
        if not callable(getattr(self.encoder, "encode", None)):
            raise BarlowSpeechError(
                f"mteb:{name} expects an encoder, with one embedding a recording, and MTEB lists a "
                f"{' and '.join(self.meta.model_type)} model, which has none; choose another."
            )
        weights = getattr(self.encoder, "model", None)
        self.weights = weights if isinstance(weights, nn.Module) else nn.Module()

    def get_downsample_rates(self, key: str) -> int:
        """One state a recording, however long."""
        return MAX_SAMPLES

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """1-D waveforms at 16 kHz → `embedding` [B, E], and as `hidden_states` one of [B, 1, E]."""
        mteb: Any = importlib.import_module("mteb")
        rows = []
        with contextlib.suppress(AttributeError):  # where it sends what it hears, by itself
            self.encoder.device = str(wavs[0].device)
        for wave in wavs:
            inputs: Any = DataLoader(Recordings([wave]), batch_size=1, collate_fn=_collate)
            with guest(self.permissions):
                given = self.encoder.encode(
                    inputs, task_metadata=mteb.get_task(TASK).metadata, hf_split="test",
                    hf_subset="default", prompt_type=None, batch_size=1, show_progress_bar=False,
                )  # fmt: skip
            rows.append(torch.as_tensor(given).detach().float().cpu())
            if rows[-1].ndim != 2 or len(rows[-1]) != 1:
                raise BarlowSpeechError(
                    f"mteb:{self.name} expects an encoder that gives [1, E] of one recording, and "
                    f"it gives {list(rows[-1].shape)}; choose another."
                )
        embedding_BE = torch.cat(rows).to(wavs[0].device)
        states_B1E = embedding_BE.unsqueeze(1)
        return {
            "hidden_states": [states_B1E],
            "last_hidden_state": states_B1E,
            "embedding": embedding_BE,
        }


def _collate(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}


def find_encoder(name: str) -> Any:
    """What MTEB knows of an encoder.

    Raises:
        BarlowSpeechError: MTEB is not installed, or lists no such encoder of audio.
    """
    try:
        with guest():
            mteb: Any = importlib.import_module("mteb")
    except Exception as error:
        raise BarlowSpeechError(
            f"mteb:{name} needs MTEB, which cannot be imported "
            f"({one_line(error, 300, named=True)}); run: pip install 'barlow-speech[mteb]'"
        ) from error
    try:
        meta = mteb.get_model_meta(name)
    except KeyError as error:
        raise BarlowSpeechError(
            f"mteb:{name} expects a name on MTEB's list of models, and there is none such "
            f"({one_line(error, 300, named=True)}); see: mteb available-models."
        ) from error
    except Exception as error:  # of another version, or of a folder of its name
        raise BarlowSpeechError(
            f"mteb:{name} needs MTEB 2.26 or newer, and what is imported as mteb is another "
            f"({one_line(error, 300, named=True)}); run: pip install 'barlow-speech[mteb]'"
        ) from error
    if "audio" not in meta.modalities:
        raise BarlowSpeechError(
            f"mteb:{name} expects an encoder of audio, and MTEB lists it for "
            f"{', '.join(meta.modalities)}; choose one of audio."
        )
    return meta
