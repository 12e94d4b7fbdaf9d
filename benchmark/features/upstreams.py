"""Upstreams by name: ours, s3prl's and Hugging Face's, with a fingerprint of their weights."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.benchmark.features.families import family_of
from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.common.files import digest
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.speech_encoder import seeded
from barlow_speech.upstream.third_party.permissions import NONE, Permissions

HIDDEN, EMBEDDING = "hidden_states", "embedding"
# Relative, between a recording's features alone and in a batch. Rounding in single precision leaves
# 1e-6 of a deep model; what is heard of the others or of the padding is 1e-3 and more.
TOLERANCE = 1e-4
# Samples of the short recordings that are tried: one, 10, 24, 25, 30, 40 and 50 ms. s3prl pads
# what is shorter than the last (nn/upstream.py, MIN_SECOND).
SHORT = (1, 160, 384, 400, 480, 640, 800)
# What s3prl's `mel` and `linear` take for the end of a recording is its last sample that is not 0:
# padding ends with one that nobody hears, 200 dB below full scale.
LAST = 1e-10
PROBE_S = (0.4, 0.5, 0.7)  # seconds of the recordings that are run alone and together


@dataclass(frozen=True)
class Upstream:
    """An upstream that is ready to run.

    `fingerprint` changes with its weights, its code and its checkpoint. `batched`: its output for
    a recording does not depend on the batch, so recordings may be run together; where it is false,
    those of one length may. `alone`: not even those, so each recording gets a forward of its own.
    `least`: samples to which shorter recordings are padded with zeros and, at the end, `LAST`.
    """

    name: str
    module: nn.Module
    rate: int
    fingerprint: str
    batched: bool
    alone: bool = False
    least: int = 1

    @property
    def device(self) -> torch.device:
        """Where its weights are, and its waveforms have to be; the CPU where it has none."""
        parameter = next(self.module.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def outputs(self, waves: Sequence[Tensor]) -> dict[str, Any]:
        """What it makes of 1-D waveforms on its device, without gradients.

        `hidden_states`, a list of [B, T, D], and, where the upstream has one, `embedding` [B, E];
        what else s3prl upstreams give is left out.
        """
        if self.alone and len(waves) > 1:
            return _joined([self.outputs([wave]) for wave in waves])
        waves = [_padded(one, self.least) for one in waves]
        with torch.no_grad():
            given = self.module(waves)
        hidden = given[HIDDEN]
        result: dict[str, Any] = {
            HIDDEN: list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
        }
        if given.get(EMBEDDING) is not None:
            result[EMBEDDING] = given[EMBEDDING]
        return result

    def layers(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """Hidden states, a list of [B, T, D], of 1-D waveforms on its device."""
        return self.outputs(waves)[HIDDEN]

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Places of recordings of these lengths that may run together: all, or those of one."""
        if self.batched:
            return [list(range(len(lengths)))]
        alike: dict[int, list[int]] = {}
        for place, length in enumerate(lengths):
            alike.setdefault(length, []).append(place)
        return list(alike.values())

    def frames(self, layer_BTD: Tensor, row: int, samples: int) -> Tensor:
        """[T, D]: the frames of one recording of a batch, as s3prl's Featurizer cuts them.

        The first round(samples / rate) (`upstream/interfaces.py`, `tolist`), but at least one.
        """
        return layer_BTD[row, : max(1, round(samples / self.rate))]


def _padded(wave: Tensor, least: int) -> Tensor:
    if len(wave) >= least:
        return wave
    padded = nn.functional.pad(wave, (0, least - len(wave)))
    padded[-1] = LAST
    return padded


def _joined(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The outputs of one recording each as those of a batch."""
    layers = zip(*(one[HIDDEN] for one in outputs))
    result: dict[str, Any] = {
        HIDDEN: [
            nn.utils.rnn.pad_sequence([state_1TD[0] for state_1TD in layer], batch_first=True)
            for layer in layers
        ]
    }
    if EMBEDDING in outputs[0]:
        result[EMBEDDING] = torch.cat([one[EMBEDDING] for one in outputs])
    return result


def load_upstream(
    name: str,
    checkpoint: Path | None,
    device: str,
    seed: int = 0,
    permissions: Permissions = NONE,
) -> Upstream:
    """An upstream by its name, as one of the families (benchmark/features/families) has it.

    `checkpoint` is used for our own upstreams without an `@`; `seed` draws the weights of
    `barlow_speech_random`. `permissions` are for upstreams of others. Whether recordings may run
    together is tried out, on the CPU, where a batch of another shape does not
    round differently enough to matter. The global random state is left as it was.

    Raises:
        BarlowSpeechError: there is no such upstream, its checkpoint is wrong or refused, it fails,
            or it has no single rate.
    """
    with seeded(seed):  # what a checkpoint lacks is drawn, and must not differ from call to call
        module = build(name, checkpoint, seed, permissions).eval()
        _check_weights(name, module)
        loaded = Upstream(
            name, module, rate_of(name, module), fingerprint(name, module), batched=False
        )
        try:
            alone = depends_on_batch(loaded, equal=True)
            batched = not alone and not depends_on_batch(loaded)
        except Exception as error:  # of any upstream's forward
            raise BarlowSpeechError(
                f"upstream '{name}' fails on half a second of noise ({one_line(error, 300)}); "
                f"see: barlow-speech check-upstream {name}"
            ) from error
        least = least_samples(loaded)
    module.to(device)
    return dataclasses.replace(loaded, batched=batched, alone=alone, least=least)


def _check_weights(name: str, module: nn.Module) -> None:
    """Refuse weights that would make every feature NaN, before a recording is blamed for it."""
    for key, tensor in module.state_dict().items():
        if isinstance(tensor, Tensor) and bool(tensor.isnan().any()):
            raise BarlowSpeechError(
                f"upstream '{name}' has weights that are no numbers (NaN, in '{key}'); load or "
                "train it again."
            )


def least_samples(upstream: Upstream) -> int:
    """How short a recording an upstream makes finite features of, tried on noise of `SHORT`."""
    generator = torch.Generator().manual_seed(0)
    noise = (0.1 * torch.randn(SHORT[-1], generator=generator)).to(upstream.device)
    least = SHORT[-1]
    for samples in reversed(SHORT):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a recording that is nobody's
                layers = upstream.layers([noise[:samples].clone()])
        except Exception:  # of any upstream's forward
            break
        if not all(one.shape[1] > 0 and bool(one.isfinite().all()) for one in layers):
            break
        least = samples
    return least


def build(
    name: str, checkpoint: Path | None = None, seed: int = 0, permissions: Permissions = NONE
) -> Any:
    """The bare s3prl-like module of a name, as `load_upstream` gets it.

    Raises:
        BarlowSpeechError: as `load_upstream`.
    """
    return family_of(name).load(name, checkpoint, seed, permissions)


def fingerprint(name: str, module: nn.Module) -> str:
    """A digest of what decides an upstream's features: its weights, and its family's identity."""
    weights = hashlib.sha256()
    settings: Any = getattr(getattr(module, "model", None), "settings", None)
    if settings is not None and hasattr(settings, "as_dict"):
        weights.update(digest(settings.as_dict()).encode())
    for key, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        weights.update(f"{key} {tuple(values.shape)} {values.dtype}".encode())
        weights.update(values.view(-1).view(torch.uint8).numpy().tobytes())
    return digest(family_of(name).identity(name, module, weights.hexdigest()))


def depends_on_batch(upstream: Upstream, equal: bool = False) -> bool:
    """Whether what an upstream makes of a recording depends on what else is in the batch.

    Tried on noise of half a second, alone and together: with a longer and a shorter recording, or,
    if `equal`, with another of its length. The tolerance is `TOLERANCE`.
    """
    return batch_difference(upstream, equal) > TOLERANCE


def batch_difference(upstream: Upstream, equal: bool = False) -> float:
    """The largest relative difference between a recording's features alone and in a batch.

    Of every layer the frames that s3prl takes and their number (a loader that pads gives a
    recording frames of nothing where another is longer), and the embedding if there is one.
    Differences and values are root mean squares over a recording.
    """
    generator = torch.Generator().manual_seed(0)
    seconds = (PROBE_S[1],) * 3 if equal else PROBE_S
    waves = [
        (0.1 * torch.randn(round(length * SAMPLE_RATE), generator=generator)).to(upstream.device)
        for length in seconds
    ]
    together = upstream.outputs([wave.clone() for wave in waves])
    worst = 0.0
    for row, wave in enumerate(waves):
        single = upstream.outputs([wave.clone()])
        for one, other in zip(single[HIDDEN], together[HIDDEN]):
            one_TD = upstream.frames(one, 0, len(wave)).double()
            other_TD = upstream.frames(other, row, len(wave)).double()
            shared = min(len(one_TD), len(other_TD))
            worst = max(
                worst,
                abs(len(one_TD) - len(other_TD)) / len(one_TD),
                _relative(one_TD[:shared] - other_TD[:shared], one_TD),
            )
        if EMBEDDING in single:
            one_E, other_E = single[EMBEDDING][0].double(), together[EMBEDDING][row].double()
            worst = max(worst, _relative(one_E - other_E, one_E))
    return worst


def _relative(difference: Tensor, values: Tensor) -> float:
    part, whole = (float(x.square().mean().sqrt()) for x in (difference, values))
    return part / whole if whole > 0 else part


def rate_of(name: str, module: Any) -> int:
    """Samples per frame that an upstream declares for all its layers.

    Raises:
        BarlowSpeechError: they have several rates.
    """
    rates = module.get_downsample_rates(HIDDEN)
    several = set(rates) if isinstance(rates, (list, tuple)) else {rates}
    if len(several) != 1:
        raise BarlowSpeechError(
            f"upstream '{name}' has layers of several rates ({sorted(several)}), which the heads "
            "cannot add up; choose another upstream."
        )
    return int(several.pop())
