"""A module of HEAR (Turian et al. 2022) as an s3prl upstream: `hear:MODULE[@CHECKPOINT]`.

A module has `load_model`, `get_timestamp_embeddings` and `get_scene_embeddings`; its timestamp
embeddings become the one hidden state, its scene embedding the embedding. Waveforms are resampled
to the rate that its model names. A frame is every `rate` samples at 16 kHz, the whole number
nearest to the distance of its timestamps: the embedding whose timestamp is nearest, from the first
one on.
Only recordings of one length run together, since HEAR's functions take no lengths.

Shapes: B recordings, N samples, T frames, D width, E embedding size.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.third_party.compatibility import import_torchaudio
from barlow_speech.upstream.third_party.permissions import (
    NONE,
    NetworkRefusedError,
    Permissions,
    network,
)
from barlow_speech.upstream.third_party.safe_load import safe_load

FUNCTIONS = ("load_model", "get_timestamp_embeddings", "get_scene_embeddings")
SIZES = ("sample_rate", "timestamp_embedding_size", "scene_embedding_size")
PROBE = 2, SAMPLE_RATE  # recordings and samples that a module is tried on


class HearUpstream(nn.Module):
    """A HEAR module behind s3prl's interface; frozen where it runs without gradients.

    Raises:
        BarlowSpeechError: the module is missing or breaks HEAR's contract, or its checkpoint is
            refused.
    """

    def __init__(
        self, module: str, checkpoint: Path | None = None, permissions: Permissions = NONE
    ) -> None:
        super().__init__()
        self.name = module
        import_torchaudio()
        self.api = find_module(module)
        self.model = self._load(checkpoint, permissions)
        for size in SIZES:
            value = getattr(self.model, size, None)
            if not isinstance(value, int) or value < 1:
                raise self._broken(f"a whole number as its model's {size}", repr(value))
        count, samples = PROBE
        generator = torch.Generator().manual_seed(0)
        waves_BN = 0.1 * torch.randn(count, samples, generator=generator)
        frames_BTD, times_T, scenes_BE = self._run(waves_BN)
        width, size = self.model.timestamp_embedding_size, self.model.scene_embedding_size
        for what, given, shape in (
            ("timestamp embeddings", frames_BTD, [count, len(times_T), width]),
            ("scene embeddings", scenes_BE, [count, size]),
        ):
            if list(given.shape) != shape:
                raise self._broken(f"{what} of shape {shape}", str(list(given.shape)))
        steps = times_T.diff()
        if len(steps) < 1 or not 500 < float(times_T[-1] - times_T[0]) + float(steps[0]) < 1500:
            raise self._broken(
                "timestamps of one second in milliseconds, two at least",
                f"{[round(float(one), 3) for one in times_T[:3]]} … {float(times_T[-1]):.3f}",
            )
        self.rate = max(1, round(float(steps.median()) * SAMPLE_RATE / 1000))

    def _load(self, checkpoint: Path | None, permissions: Permissions) -> Any:
        for function in FUNCTIONS:
            if not callable(getattr(self.api, function, None)):
                raise self._broken(f"a function {function}", "none")
        try:
            with (
                safe_load(permissions.trust_checkpoint),
                network(permissions.download),
                contextlib.redirect_stdout(sys.stderr),
            ):
                model = self.api.load_model(*([str(checkpoint)] if checkpoint else []))
        except BarlowSpeechError:
            raise
        except Exception as error:  # of any module
            hint = "; add --download to let it fetch its weights" if _refused(error) else ""
            raise BarlowSpeechError(
                f"hear:{self.name} cannot load its model ({one_line(error, 300, named=True)})"
                f"{hint}; look at what it needs, or give a checkpoint of it: hear:MODULE@FILE."
            ) from error
        if not isinstance(model, nn.Module):
            raise self._broken("a torch.nn.Module of load_model", f"a {type(model).__name__}")
        return model.eval()

    def _run(self, waves_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Timestamp embeddings [B, T, D], their times [T] in ms, and scene embeddings [B, E]."""
        from torchaudio.functional import resample

        audio_BN = resample(waves_BN, SAMPLE_RATE, self.model.sample_rate)
        try:
            frames_BTD, times_BT = self.api.get_timestamp_embeddings(audio_BN, self.model)
            scenes_BE = self.api.get_scene_embeddings(audio_BN, self.model)
            return frames_BTD, times_BT[0].float(), scenes_BE
        except Exception as error:  # of any module
            raise BarlowSpeechError(
                f"hear:{self.name} fails on {waves_BN.shape[0]} recordings of "
                f"{waves_BN.shape[1] / SAMPLE_RATE:.4g} s ({one_line(error, 300, named=True)}); "
                "give HEAR's validator the module to see why."
            ) from error

    def _broken(self, expected: str, found: str) -> BarlowSpeechError:
        return BarlowSpeechError(
            f"hear:{self.name} breaks HEAR's contract: expected {expected}, found {found}; run "
            f"hear-validator {self.name} (pip install hearvalidator), or choose another module."
        )

    def get_downsample_rates(self, key: str) -> int:
        """Samples at 16 kHz per frame."""
        return self.rate

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """1-D waveforms at 16 kHz → `hidden_states`, one of [B, T, D], and `embedding` [B, E].

        T = ceil(longest / rate); behind a recording's own ceil(samples / rate) frames are zeros.
        """
        rows: list[Any] = [None] * len(wavs)
        scenes: list[Any] = [None] * len(wavs)
        for length in dict.fromkeys(len(wave) for wave in wavs):
            group = [row for row, wave in enumerate(wavs) if len(wave) == length]
            frames_BTD, times_T, scenes_BE = self._run(torch.stack([wavs[row] for row in group]))
            step_ms = 1000 * self.rate / SAMPLE_RATE
            wanted_T = step_ms * torch.arange(-(-length // self.rate), device=times_T.device)
            distances_TT = (times_T[0] + wanted_T).unsqueeze(1) - times_T.unsqueeze(0)
            nearest_T = distances_TT.abs().argmin(dim=1)
            for place, row in enumerate(group):
                rows[row], scenes[row] = frames_BTD[place, nearest_T], scenes_BE[place]
        frames_BTD = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {
            "hidden_states": [frames_BTD],
            "last_hidden_state": frames_BTD,
            "embedding": torch.stack(scenes),
        }


def find_module(name: str, load: bool = True) -> Any:
    """The module of a name, or, without `load`, where its package lies.

    Raises:
        BarlowSpeechError: there is none, or it cannot be imported.
    """
    top = name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top) if top else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise BarlowSpeechError(
            f"hear:{name} expects an installed module of HEAR's interface, and there is no module "
            f"'{top}'; pip install the package that has it, or put its folder on PYTHONPATH."
        )
    if not load:
        return spec
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except Exception as error:  # what its code raises on import
        missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
        remedy = f"pip install {missing}" if missing and missing != name else "look at its own page"
        raise BarlowSpeechError(
            f"hear:{name} cannot be imported ({one_line(error, 300, named=True)}); {remedy}."
        ) from error


def _refused(error: BaseException | None) -> bool:
    """Whether the network was asked for on the way to an error, which some wrap."""
    while error is not None:
        if isinstance(error, NetworkRefusedError) or "network is not to be used" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
