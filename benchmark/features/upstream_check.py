"""Whether an upstream keeps the contract that s3prl and this harness rely on.

Stronger than s3prl's own `test/test_upstream.py`, whose comparison with the expected features is
only reached where the lengths differ, and which accepts a wrong rate. A check is a function here
with `@check`; its name is what is printed, its docstring what it asks.

Shapes: B recordings, T frames, D width.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from barlow_speech.benchmark.features.upstreams import (
    EMBEDDING,
    HIDDEN,
    TOLERANCE,
    Upstream,
    batch_difference,
    build,
    least_samples,
    rate_of,
)
from barlow_speech.upstream.common.errors import one_line
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import MAX_SAMPLES, SAMPLE_RATE
from barlow_speech.upstream.model.speech_encoder import seeded
from barlow_speech.upstream.third_party.permissions import NONE, Permissions

SHORTEST = 800  # samples, 0.05 s: s3prl pads anything shorter (nn/upstream.py, MIN_SECOND)
MAX_FRAMES_OFF = 4  # s3prl's Featurizer refuses 5 (upstream/interfaces.py, TOLERABLE_SEQLEN_DIFF)
REPEATABLE = 1e-6  # relative, between two forwards of the same recording


@dataclass(frozen=True)
class Subject:
    """An upstream under test, and how another one like it is built from scratch."""

    upstream: Upstream
    build: Callable[[], Any]

    def noise(self, *samples: int) -> list[Tensor]:
        """Quiet noise of these lengths on the upstream's device, the same in every call."""
        generator = torch.Generator().manual_seed(0)
        device = self.upstream.device
        return [(0.1 * torch.randn(n, generator=generator)).to(device) for n in samples]


@dataclass(frozen=True)
class Finding:
    """The outcome of a check. `needed`: the harness cannot do without it."""

    name: str
    needed: bool
    passed: bool
    detail: str


Check = Callable[[Subject], tuple[bool, str]]
CHECKS: list[tuple[Check, bool]] = []


def check(needed: bool) -> Callable[[Check], Check]:
    """Put a function among the checks; `needed` as in `Finding`."""

    def add(function: Check) -> Check:
        CHECKS.append((function, needed))
        return function

    return add


def subject(
    name: str, checkpoint: Path | None, device: str, permissions: Permissions = NONE
) -> Subject:
    """An upstream by its name, as `load_upstream` takes it, but not tried out yet.

    Raises:
        BarlowSpeechError: as `load_upstream`.
    """

    again = partial(build, name, checkpoint, permissions=permissions)
    with seeded(0):
        module = again().eval().to(device)
    return Subject(Upstream(name, module, rate_of(name, module), "", batched=False), again)


def check_upstream(subject: Subject) -> list[Finding]:
    """The findings of all checks, in their order; a check that raises has failed."""
    # A forward of its own for each recording would hide what the batch does.
    subject = replace(subject, upstream=replace(subject.upstream, alone=False))
    findings = []
    with progress(len(CHECKS), f"checks of {subject.upstream.name}", "check") as bar:
        for function, needed in CHECKS:
            name = function.__name__.replace("_", " ")
            try:
                # TensorFloat32 rounds batches of different shapes differently by 1e-3.
                with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                    passed, detail = function(subject)
            except Exception as error:  # whatever an upstream raises is the finding
                passed, detail = False, f"raises {one_line(error, 200, named=True)}"
            findings.append(Finding(name, needed, passed, detail))
            bar.update()
    return findings


@check(needed=True)
def shapes(subject: Subject) -> tuple[bool, str]:
    """`hidden_states`: at least one layer, all [B, T, D] of one size; `embedding`: [B, E]."""
    outputs = subject.upstream.outputs(subject.noise(16_000, 12_000, 9_000))
    sizes = {tuple(layer.shape) for layer in outputs[HIDDEN]}
    if len(sizes) != 1:
        return False, f"layers of different shapes: {sorted(sizes)}"
    size = sizes.pop()
    if len(size) != 3 or size[0] != 3 or 0 in size:
        return False, f"3 recordings give {list(size)}, which is not [3, frames, width]"
    detail = f"layers: {len(outputs[HIDDEN])}, width: {size[2]}"
    if EMBEDDING in outputs:
        if outputs[EMBEDDING].ndim != 2 or len(outputs[EMBEDDING]) != 3:
            return False, f"3 recordings give embeddings {list(outputs[EMBEDDING].shape)}"
        detail += f", embedding: {outputs[EMBEDDING].shape[1]}"
    return True, detail


@check(needed=True)
def lengths(subject: Subject) -> tuple[bool, str]:
    """As many frames as s3prl's Featurizer accepts for samples / rate, and at least one."""
    rate, worst, exact = subject.upstream.rate, 0, True
    for samples, frames in _frame_counts(subject):
        off = abs(frames - round(samples / rate))
        if off > MAX_FRAMES_OFF or frames == 0:
            return False, f"{samples} samples give {frames} frames, not {round(samples / rate)}"
        worst, exact = max(worst, off), exact and frames == -(-samples // rate)
    if exact:
        return True, "exactly ceil(samples / rate)"
    return True, f"at most {worst} off round(samples / rate)"


@check(needed=False)
def lengths_for_s3prl_nn(subject: Subject) -> tuple[bool, str]:
    """As `S3PRLUpstream` (nn/upstream.py) wants it: cut or repeated to ceil(samples / rate).

    It does so only where the longer is less than the double of the shorter.
    """
    for samples, frames in _frame_counts(subject):
        few, many = sorted((frames, -(-samples // subject.upstream.rate)))
        if few == 0 or many // few != 1:
            return False, f"{samples} samples give {few} frames, which cannot stand for {many}"
    return True, "accepted"


def _frame_counts(subject: Subject) -> Iterator[tuple[int, int]]:
    """(samples, frames) of recordings from 0.05 s on, alone and beside a shorter one."""
    for samples in (SHORTEST, SHORTEST + 1, 4_001, 16_000, 24_319):
        for others in ((), (samples // 2,)) if samples > 2 * SHORTEST else ((),):
            layer_BTD = subject.upstream.layers(subject.noise(samples, *others))[-1]
            yield samples, layer_BTD.shape[1]


@check(needed=True)
def declared_rate(subject: Subject) -> tuple[bool, str]:
    """The number of frames grows as `get_downsample_rates` says: 8 s more give 8 s / rate more.

    An upstream of embeddings alone, whose rate is the longest recording, has one frame of each.
    """
    short, long = SAMPLE_RATE, 9 * SAMPLE_RATE
    frames = [
        subject.upstream.layers(subject.noise(samples))[-1].shape[1] for samples in (short, long)
    ]
    more = frames[1] - frames[0]
    detail = f"declared {subject.upstream.rate} samples a frame"
    if subject.upstream.rate == MAX_SAMPLES:
        return frames == [1, 1], f"one state a recording, {frames[1]} found of 9 s"
    if more <= 0:
        return False, f"{detail}, but 9 s give no more frames than 1 s"
    detail += f", found {(long - short) / more:.1f}"
    return abs(more - (long - short) / subject.upstream.rate) <= 1.5, detail


@check(needed=False)
def batch_independence(subject: Subject) -> tuple[bool, str]:
    """A recording's features do not depend on longer and shorter ones in its batch.

    Without it only recordings of one length run together, which changes nothing but the speed.
    """
    return _independent(subject, equal=False)


@check(needed=False)
def batch_of_equal_lengths(subject: Subject) -> tuple[bool, str]:
    """A recording's features do not depend on others of its length in its batch.

    Without it recordings run one by one, which changes nothing but the speed.
    """
    return _independent(subject, equal=True)


def _independent(subject: Subject, equal: bool) -> tuple[bool, str]:
    difference = batch_difference(subject.upstream, equal)
    others = "others of its length" if equal else "a longer and a shorter one"
    return difference <= TOLERANCE, f"{difference:.2g} relative difference beside {others}"


@check(needed=True)
def determinism(subject: Subject) -> tuple[bool, str]:
    """The same recording gives the same features again."""
    first, second = (_all(subject.upstream.outputs(subject.noise(16_000))) for _ in range(2))
    difference = max(
        float((one - other).norm() / one.norm().clamp(min=1e-30))
        for one, other in zip(first, second)
    )
    return difference <= REPEATABLE, f"{difference:.2g} relative difference when run twice"


@check(needed=False)
def gradients(subject: Subject) -> tuple[bool, str]:
    """Fine-tuning on 0.05 s: finite gradients of the parameters, not all of them zero."""
    module = subject.upstream.module
    parameters = list(module.parameters())
    if not parameters:
        return True, "no parameters, so nothing to train"
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    module.train()
    try:
        with seeded(0):
            given = module(subject.noise(SHORTEST, SHORTEST))[HIDDEN]
            hidden = list(given) if isinstance(given, (list, tuple)) else [given]
            if not any(layer.requires_grad for layer in hidden):
                return False, "hidden states carry no gradient (no_grad, or frozen parameters)"
            sum(layer.float().square().mean() for layer in hidden).backward()
        grads = [one.grad for one in parameters if one.grad is not None]
    finally:
        module.eval()
        module.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    if not all(torch.isfinite(grad).all() for grad in grads):
        return False, "gradients at 0.05 s are not finite"
    moved = sum(bool(grad.any()) for grad in grads)
    return moved > 0, f"finite at 0.05 s, and not zero for {moved} of {len(parameters)} parameters"


@check(needed=False)
def dtype(subject: Subject) -> tuple[bool, str]:
    """Features of float32 waveforms are float32; half precision loses digits in the means."""
    outputs = subject.upstream.outputs(subject.noise(8_000))
    kinds = sorted({str(one.dtype).removeprefix("torch.") for one in _tensors(outputs)})
    return kinds == ["float32"], ", ".join(kinds)


@check(needed=False)
def random_state_in_forward(subject: Subject) -> tuple[bool, str]:
    """A forward leaves the global generators of torch, NumPy and Python as they were."""
    return _leaves_random_state(lambda: subject.upstream.outputs(subject.noise(8_000)))


@check(needed=False)
def random_state_in_constructor(subject: Subject) -> tuple[bool, str]:
    """Building the upstream leaves them as they were, too.

    The harness puts torch's back by itself; others who build it lose their seed.
    """
    return _leaves_random_state(subject.build)


def _leaves_random_state(call: Callable[[], Any]) -> tuple[bool, str]:
    torchs, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()
    # Away from where a seed would put them, or seeding would not show.
    torch.rand(7), np.random.rand(7), random.random()
    before = _random_states()
    call()
    changed = [name for name, state in _random_states().items() if state != before[name]]
    torch.set_rng_state(torchs)
    np.random.set_state(numpys)
    random.setstate(pythons)
    return not changed, f"changes that of {' and '.join(changed)}" if changed else "untouched"


def _random_states() -> dict[str, Any]:
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "NumPy": (name, np.asarray(keys).tolist(), rest),
        "Python": random.getstate(),
        "CUDA": [torch.cuda.get_rng_state(device).tolist() for device in devices],
    }


@check(needed=True)
def input_untouched(subject: Subject) -> tuple[bool, str]:
    """The waveforms are not changed in place: the next upstream gets the same ones."""
    waves = subject.noise(16_000, 9_000)
    copies = [wave.clone() for wave in waves]
    subject.upstream.outputs(waves)
    same = all(torch.equal(wave, copy) for wave, copy in zip(waves, copies))
    return same, "untouched" if same else "the waveforms were changed in place"


@check(needed=True)
def short_recording(subject: Subject) -> tuple[bool, str]:
    """Finite features of 0.05 s, and of one sample, 10 and 24 ms, if need be padded with zeros."""
    passed, detail = _finite(subject, subject.noise(SHORTEST))
    if not passed:
        return passed, detail
    least = least_samples(subject.upstream)
    padded = f"; what is shorter than {least} samples is padded with zeros" if least > 1 else ""
    upstream = replace(subject.upstream, least=least)
    lengths = (1, SAMPLE_RATE // 100, 24 * SAMPLE_RATE // 1000)
    passed, detail = _finite(replace(subject, upstream=upstream), *map(subject.noise, lengths))
    return passed, detail + padded


@check(needed=True)
def silence(subject: Subject) -> tuple[bool, str]:
    """Finite features of digital silence, alone and beside noise."""
    zeros = torch.zeros(16_000, device=subject.upstream.device)
    return _finite(subject, [zeros], [zeros, *subject.noise(16_000)])


@check(needed=True)
def clipping(subject: Subject) -> tuple[bool, str]:
    """Finite features of noise clipped at full scale, and of a constant at full scale."""
    (noise,) = subject.noise(16_000)
    return _finite(subject, [(100 * noise).clamp(-1, 1)], [torch.ones_like(noise)])


def _finite(subject: Subject, *batches: list[Tensor]) -> tuple[bool, str]:
    tensors = itertools.chain.from_iterable(_all(subject.upstream.outputs(one)) for one in batches)
    bad = sum(int((~torch.isfinite(one)).sum()) for one in tensors)
    return bad == 0, "finite" if bad == 0 else f"{bad} values are not finite"


def _tensors(outputs: dict[str, Any]) -> list[Tensor]:
    return [*outputs[HIDDEN], *([outputs[EMBEDDING]] if EMBEDDING in outputs else [])]


def _all(outputs: dict[str, Any]) -> list[Tensor]:
    return [one.double() for one in _tensors(outputs)]
