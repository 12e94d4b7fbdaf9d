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

import importlib
import importlib.util
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.third_party.compatibility import import_torchaudio
from barlow_speech.upstream.third_party.permissions import NONE, Permissions, guest, refused
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
        self.name, self.permissions = module, permissions
        import_torchaudio()
        self.api = find_module(module, permissions)
        self.model = self._load(checkpoint)
        for size in SIZES:
            value = getattr(self.model, size, None)
            if not isinstance(value, numbers.Integral) or value < 1:
                raise self._broken(f"a whole number as its model's {size}", repr(value))
        count, samples = PROBE
        generator = torch.Generator().manual_seed(0)
        frames_BTD, times_T, scenes_BE = self._run(
            0.1 * torch.randn(count, samples, generator=generator)
        )
        if not all(bool(one.isfinite().all()) for one in (frames_BTD, scenes_BE)):
            raise self._broken("finite embeddings of a second of noise", "NaN or infinity")
        self.rate = max(1, round(float(times_T.diff().median()) * SAMPLE_RATE / 1000))

    def _load(self, checkpoint: Path | None) -> Any:
        for function in FUNCTIONS:
            if not callable(getattr(self.api, function, None)):
                raise self._broken(f"a function {function}", "none")
        try:
            with safe_load(self.permissions.trust_checkpoint), guest(self.permissions):
                model = self.api.load_model(*([str(checkpoint)] if checkpoint else []))
        except BarlowSpeechError:
            raise
        except Exception as error:  # of any module
            raise BarlowSpeechError(
                f"hear:{self.name} cannot load its model ({one_line(error, 300, named=True)}); "
                f"{_hint(error)}look at what it needs, or give a checkpoint of it: "
                "hear:MODULE@FILE."
            ) from error
        if not isinstance(model, nn.Module):
            raise self._broken("a torch.nn.Module of load_model", f"one of {type(model).__name__}")
        return model.eval()

    def _run(self, waves_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Timestamp embeddings [B, T, D], their times [T] in ms, and scene embeddings [B, E].

        Raises:
            BarlowSpeechError: the module fails, or what it gives breaks the contract.
        """
        from torchaudio.functional import resample

        audio_BN = resample(waves_BN, SAMPLE_RATE, int(self.model.sample_rate))
        try:
            with guest(self.permissions):
                # A copy, of which the module may do what it likes.
                frames_BTD, times_BT = self.api.get_timestamp_embeddings(
                    audio_BN.clone(), self.model
                )
                scenes_BE = self.api.get_scene_embeddings(audio_BN, self.model)
        except Exception as error:  # of any module
            raise BarlowSpeechError(
                f"hear:{self.name} fails on {waves_BN.shape[0]} recordings of "
                f"{waves_BN.shape[1] / SAMPLE_RATE:.4g} s ({one_line(error, 300, named=True)}); "
                f"{_hint(error)}give HEAR's validator the module to see why."
            ) from error
        self._check(waves_BN, frames_BTD, times_BT, scenes_BE)
        return frames_BTD.float(), times_BT[0].float(), scenes_BE.float()

    def _check(self, waves_BN: Tensor, frames_BTD: Any, times_BT: Any, scenes_BE: Any) -> None:
        """Refuse outputs of another kind or shape, and times that are none of the recording's."""
        count, samples = waves_BN.shape
        width, size = self.model.timestamp_embedding_size, self.model.scene_embedding_size
        steps = times_BT.shape[1] if getattr(times_BT, "ndim", 0) == 2 else "T"
        for what, given, shape in (
            ("timestamps", times_BT, (count, steps)),
            ("timestamp embeddings", frames_BTD, (count, steps, width)),
            ("scene embeddings", scenes_BE, (count, size)),
        ):
            if not isinstance(given, Tensor) or given.is_complex():
                found = given.dtype if isinstance(given, Tensor) else type(given).__name__
                raise self._broken(f"{what} as a tensor of real numbers", str(found))
            if given.shape != shape or 0 in shape:
                expected = ", ".join(map(str, shape))
                raise self._broken(f"{what} of shape [{expected}]", str(list(given.shape)))
        if bool((times_BT != times_BT[:1]).logical_and(times_BT == times_BT).any()):
            raise self._broken("the same timestamps for all recordings of a length", "others")
        times_T, duration_ms = times_BT[0].double(), 1000 * samples / SAMPLE_RATE
        steps_T = times_T.diff()
        covered = float(times_T[-1] - times_T[0] + (steps_T[0] if len(steps_T) else 0))
        # In a recording that is short not even one frame need fit.
        fits = duration_ms < 1000 or 0.5 < covered / duration_ms < 1.5
        if not fits or not bool((steps_T > 0).all()):
            few = ", ".join(f"{float(one):.5g}" for one in times_T[:3])
            raise self._broken(
                f"timestamps that increase over {duration_ms / 1000:.4g} s, in milliseconds",
                f"[{few} … {float(times_T[-1]):.5g}]",
            )

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


def find_module(name: str, permissions: Permissions = NONE, load: bool = True) -> Any:
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
        with guest(permissions):
            return importlib.import_module(name)
    except Exception as error:  # what its code raises on import
        missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
        remedy = f"pip install {missing}" if missing and missing != name else "look at its own page"
        raise BarlowSpeechError(
            f"hear:{name} cannot be imported ({one_line(error, 300, named=True)}); "
            f"{_hint(error)}{remedy}."
        ) from error


def _hint(error: Exception) -> str:
    return "add --download to let it use the network, or " if refused(error) else ""
