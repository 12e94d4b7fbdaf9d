"""How fast pretraining is: the whole step, its parts, and a baseline beside it in the same run.

Usage: python tests/speed/pretraining.py [--quick] [--device cuda] [--json FILE]

**Ours** is `Pretraining.step()` as `barlow-speech pretrain` calls it, logging of the effective rank
included; TensorBoard and checkpoints are not. Speed is in audio-seconds per second: the seconds of
the crops a step takes in, each counted once although two views of it go through the encoder.

**The baseline** feeds the same encoder, projector and objective, with the same batch, crop length
and AdamW, the way public audio Barlow Twins trainers do. It is modelled on Audio Barlow Twins
(github.com/jonahanton/SSL_audio: `datasets.py`, `utils/transforms.py`, `main.py`) and on BYOL-A
(github.com/nttcslab/byol-a: `byol_a/dataset.py`, `byol_a/augmentations.py`, `train.py`), whose data
path the former took over; read in November 2026 and written anew here. As there: an item decodes
its whole file, cuts a random crop, makes one log-mel by torchaudio and normalises it by known
statistics; each view of the item then runs through mixup with a list of past spectrograms, bicubic
random resized crop and fader, on the CPU in `DataLoader` workers, one per core; the two views go
through the network in two passes, in plain float32, default memory format, without compilation;
the loss is read with `.item()` every step.

Where those codes differ or would be slower, the baseline has the faster choice: soundfile for
decoding (they have librosa or torchaudio); mixup's list is overwritten in place (theirs is copied
for every item); no batch is normalised again; an epoch never ends, so that no worker is started
anew; one pipeline of four batches lives through all rounds. Views they do not have (`mel_equaliser`
and everything on waveforms) are ours, on a batch of one. Both sides read from a warm page cache.

**The baseline as we compute** has the baseline's data path and our precision, memory format and
single pass for both views. Ours over it is what the data path alone gains; the rest of the ratio
is precision and memory format.

The three take turns in every round, so that load from elsewhere hits all of them; whoever is not
at work is stopped, workers too. `ratio` is the median over rounds of ours / baseline.
The parts come from extra steps with a clock around the trainer's calls (on CUDA: events in the
stream, so that the time for which the GPU waits belongs to the part that the CPU is in). Time
outside all parts is `rest`: copies to the device, reading the loss, health figures. A part of the
baseline is what its main process spends; the work of its workers shows as waiting for `data` (so
does that of the thread which cuts our crops), and on few cores also as slower other parts. With
`compile: true` the projector counts as `encoder`, since one graph holds both; `accumulate` is
followed by ours alone.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.metadata
import itertools
import json
import math
import multiprocessing
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch
import torchaudio.transforms
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler

from barlow_speech import configs
from barlow_speech.upstream.common.errors import BarlowSpeechError, run_command
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.data.manifest import Recording
from barlow_speech.upstream.data.packed import PackedCorpus, pack
from barlow_speech.upstream.model.frontend import (
    FLOOR,
    HIGH_HZ,
    HOP,
    LOW_HZ,
    N_FFT,
    FrontEndSettings,
)
from barlow_speech.upstream.model.speech_encoder import parameter_count, random_model, seeded
from barlow_speech.upstream.pretraining import trainer as trainer_module
from barlow_speech.upstream.pretraining.barlow_twins import BarlowTwins
from barlow_speech.upstream.pretraining.objective import objective
from barlow_speech.upstream.pretraining.recipe import Recipe, ViewFamily, read_recipe
from barlow_speech.upstream.pretraining.trainer import Pretraining
from barlow_speech.upstream.pretraining.views.pipeline import Views
from barlow_speech.upstream.pretraining.views.settings import Mixup, ResizedCrop
from barlow_speech.upstream.pretraining.views.spectrogram import equalise_mels

DATA, VIEWS, FRONTEND, ENCODER = "data", "views", "front-end", "encoder"
LOSS, BACKWARD, OPTIMISER, REST = "projector + objective", "backward", "optimiser", "rest"
PARTS = (DATA, VIEWS, FRONTEND, ENCODER, LOSS, BACKWARD, OPTIMISER, REST)
OURS, BASELINE, MATCHED = "ours", "baseline", "baseline as we compute"

QUICK_S = 36.0  # seconds that --quick measures for; the rest of its 50 goes to start and corpus
LEAST_ROUNDS = 4  # that a measurement on a budget makes room for, if need be with shorter rounds
CROP_S = 2.0  # seconds; a recipe's own crop_s is for its corpus, this one is for comparing
EPOCH_S = 100 * 3600.0  # seconds of audio in the epoch that the time is given for
ADAMW_LR = 1e-3  # the baseline's where the recipe has LARS, whose rates are of another size
LONG = 1 << 40  # steps of the recipe and items of the loader: more than anyone measures


# --- the corpus -------------------------------------------------------------------------------


def write_corpus(folder: Path, files: int, seconds: tuple[float, float], seed: int = 0) -> None:
    """FLAC files of buzzes and hisses that come and go like syllables, of random lengths.

    What matters for the speed is that they compress about as speech does.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with progress(files, "corpus", "file") as bar:
        for number in range(files):
            n = round(rng.uniform(*seconds) * SAMPLE_RATE)
            time_N = np.arange(n, dtype=np.float32) / SAMPLE_RATE
            pitch = rng.uniform(90, 250) * (
                1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 3) * time_N)
            )
            buzz = (np.cumsum(pitch) / SAMPLE_RATE) % 1 - 0.5
            hiss = rng.standard_normal(n, dtype=np.float32)
            voiced = np.sin(2 * np.pi * rng.uniform(1.5, 3) * time_N) > -0.3
            syllable = np.square(np.sin(np.pi * rng.uniform(3, 5) * time_N))
            wave = syllable * np.where(voiced, buzz, 0.1 * hiss) + 0.002 * hiss
            soundfile.write(folder / f"{number:04d}.flac", 0.3 * wave, SAMPLE_RATE)
            bar.update()


def audio_files(folder: Path) -> list[Path]:
    """The FLAC and WAV files of a folder and the folders in it.

    Raises:
        BarlowSpeechError: there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".flac", ".wav"))
    if not files:
        raise BarlowSpeechError(
            f"--files {folder} holds no .flac and no .wav file; check the path."
        )
    return files


# --- the baseline -----------------------------------------------------------------------------


class PastMixup:
    """Mixup of one item with a past one (BYOL-A), out of a list that lives in the worker."""

    def __init__(self, settings: Mixup, capacity: int) -> None:
        self.settings, self.capacity = settings, capacity
        self.past: list[Tensor] = []
        self.pushed = 0

    def __call__(self, x_FT: Tensor) -> Tensor:
        """The mixture; the item itself is kept for those to come."""
        mixed_FT, scale = x_FT, self.settings.scale
        if self.past and random.random() < self.settings.p:
            weight = self.settings.ratio * random.random()
            past_FT = random.choice(self.past)
            power_FT = (1 - weight) * (scale * x_FT).exp() + weight * (scale * past_FT).exp()
            mixed_FT = (power_FT + torch.finfo(power_FT.dtype).eps).log() / scale
        if len(self.past) < self.capacity:
            self.past.append(x_FT)
        else:
            self.past[self.pushed % self.capacity] = x_FT
        self.pushed += 1
        return mixed_FT


def random_resized_crop(x_FT: Tensor, settings: ResizedCrop) -> Tensor:
    """A random box of the item on a canvas of zeros, resized to the item's size (BYOL-A)."""
    if random.random() >= settings.p:
        return x_FT
    n_mels, frames = x_FT.shape
    high, wide = int(n_mels * settings.freq_canvas), int(frames * settings.time_canvas)
    canvas = x_FT.new_zeros(1, 1, high, wide)
    top, left = (high - n_mels) // 2, (wide - frames) // 2
    canvas[0, 0, top : top + n_mels, left : left + frames] = x_FT
    h = min(max(int(random.uniform(*settings.freq_scale) * n_mels), 1), high)
    w = min(max(int(random.uniform(*settings.time_scale) * frames), 1), wide)
    i, j = random.randint(0, high - h), random.randint(0, wide - w)
    box = canvas[:, :, i : i + h, j : j + w]
    return functional.interpolate(box, size=(n_mels, frames), mode="bicubic", align_corners=True)[
        0, 0
    ]


class FileViews(Dataset[list[Tensor]]):
    """A file per item: decoded, cropped, and turned into two views for each view family.

    An item is a list of log-mels [T, F], first and second view of each family in turn. `gate` is
    shut while another contender is measured; `made` counts the items that all workers made, and
    once `closed` is set and the gate open they end.
    """

    def __init__(self, files: Sequence[Path], recipe: Recipe, frontend: FrontEndSettings) -> None:
        self.files, self.recipe, self.frontend = files, recipe, frontend
        self.crop = round(recipe.crop_s * SAMPLE_RATE)  # samples
        self.log_power = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, N_FFT, N_FFT, HOP, LOW_HZ, HIGH_HZ, n_mels=frontend.n_mels, power=2.0
        )
        self.frames = -(-self.crop // HOP)
        families = recipe.families.values()
        self.waveform = [Views(family.views) for family in families]
        self.mixup = [
            None if family.views.mixup is None else PastMixup(family.views.mixup, recipe.memory)
            for family in families
        ]
        self.gate, self.closed = multiprocessing.Event(), multiprocessing.Event()
        self.made = multiprocessing.Value("q", 0)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list[Tensor]:
        self._wait()
        wave, rate = soundfile.read(self.files[index], dtype="float32")
        if rate != SAMPLE_RATE:
            raise BarlowSpeechError(f"{self.files[index]} has {rate} Hz, not {SAMPLE_RATE}.")
        wave_N = torch.from_numpy(wave if wave.ndim == 1 else wave.mean(axis=1))
        if len(wave_N) < self.crop:
            wave_N = functional.pad(wave_N, (0, self.crop - len(wave_N)))
        result = []
        crops: list[tuple[Tensor, Tensor]] = []
        for place, family in enumerate(self.recipe.families.values()):
            for view in (0, 1):
                segment = view if family.segments == "different" else 0
                while len(crops) <= segment:
                    start = random.randint(0, len(wave_N) - self.crop)
                    crop_N = wave_N[start : start + self.crop]
                    crops.append((crop_N, self._log_mel(crop_N)))
                result.append(self._view(place, family, *crops[segment]))
        with self.made.get_lock():
            self.made.value += 1
        return result

    def _wait(self) -> None:
        """Until the gate is open; a worker ends if closed, or if its main process was killed."""
        parent = multiprocessing.parent_process()
        while not self.gate.wait(timeout=2):
            if parent is not None and not parent.is_alive():
                sys.exit()
        if self.closed.is_set():
            sys.exit()

    def _log_mel(self, wave_N: Tensor) -> Tensor:
        """Normalised log-mel [F, T]."""
        power_FT = self.log_power(wave_N)[:, : self.frames]
        return ((power_FT + FLOOR).log() - self.frontend.mean) / self.frontend.std

    def _view(self, place: int, family: ViewFamily, wave_N: Tensor, plain_FT: Tensor) -> Tensor:
        """One view [T, F] of a crop whose plain log-mel is `plain_FT`."""
        views, mixup = family.views, self.mixup[place]
        key_1 = torch.tensor([random.getrandbits(62)])
        changed_1N = self.waveform[place].waveform(wave_N[None], key_1) if _on(family) else None
        x_FT = plain_FT if changed_1N is None else self._log_mel(changed_1N[0])
        if mixup is not None:
            x_FT = mixup(x_FT)
        if views.resized_crop is not None:
            x_FT = random_resized_crop(x_FT, views.resized_crop)
        if views.fader is not None and random.random() < views.fader.p:
            head, tail = (views.fader.gain * random.uniform(-1, 1) for _ in range(2))
            x_FT = x_FT + torch.linspace(head, tail, x_FT.shape[1])
        equaliser = views.mel_equaliser
        if equaliser is not None and random.random() < equaliser.p:
            offsets_1K = equaliser.gain * (2 * torch.rand(1, equaliser.points) - 1)
            x_FT = equalise_mels(x_FT[None], offsets_1K)[0]
        return x_FT.T.contiguous()


WAVEFORM_VIEWS = (
    "speed", "reverb", "noise", "lowpass", "highpass", "bandpass", "equaliser", "gain", "polarity",
    "time_mask",
)  # fmt: skip


def _on(family: ViewFamily) -> bool:
    """Whether a family has views of waveforms."""
    return any(getattr(family.views, name) is not None for name in WAVEFORM_VIEWS)


class FileTrainer:
    """The baseline: `step()` takes a batch from the workers and makes one optimiser step.

    `matched` computes as `Pretraining` does: both views in one pass, channels last, bfloat16 if
    `half`, and compiled if the recipe says so. Otherwise each view has its pass, in float32 and the
    default memory format.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: FileViews,
        model: Any,
        device: torch.device,
        *,
        workers: int,
        matched: bool,
        half: bool,
    ) -> None:
        self.recipe, self.dataset, self.device, self.matched = recipe, dataset, device, matched
        self.half = matched and half
        with seeded(recipe.seed + 1):
            self.twins = BarlowTwins(model, recipe.families)
        form = torch.channels_last if matched else torch.preserve_format
        cast(Any, self.twins).to(device, memory_format=form).train()
        self.forward = (
            torch.compile(self.twins, dynamic=False) if matched and recipe.compile else self.twins
        )
        rate = recipe.optimiser.lr if recipe.optimiser.name == "adamw" else ADAMW_LR
        self.optimiser = torch.optim.AdamW(
            self.twins.parameters(), lr=rate, weight_decay=recipe.optimiser.weight_decay
        )
        loader = DataLoader(
            dataset,
            recipe.batch,
            sampler=RandomSampler(dataset, replacement=True, num_samples=LONG),
            num_workers=workers,
            pin_memory=device.type == "cuda",
            drop_last=True,
        )
        self.batches = iter(loader)  # the workers start, and wait at the gate
        self.used = 0

    def close(self) -> None:
        """End the workers."""
        self.dataset.closed.set()
        self.dataset.gate.set()
        del self.batches

    def batch(self) -> list[Tensor]:
        """The next batch on the device: log-mels [B, T, F] of each view of each family."""
        views = [view.to(self.device, non_blocking=True) for view in next(self.batches)]
        self.used += len(views[0])
        return views

    def terms(self, first_BD: Tensor, second_BD: Tensor, family: ViewFamily) -> Tensor:
        """The weighted loss of one family."""
        return family.weight * objective(first_BD, second_BD, family.objective)["loss"]

    def step(self) -> float:
        """One optimiser step; the loss."""
        views = self.batch()
        loss = torch.zeros((), device=self.device)
        for place, (name, family) in enumerate(self.recipe.families.items()):
            pair = views[2 * place : 2 * place + 2]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                if self.matched:
                    first_BD, second_BD = self.forward(torch.cat(pair), name)[1].chunk(2)
                else:
                    first_BD, second_BD = (self.forward(view, name)[1] for view in pair)
            loss = loss + self.terms(first_BD, second_BD, family)
        figure = loss.item()
        if not math.isfinite(figure):
            raise BarlowSpeechError("the baseline's loss is not finite; lower optimiser.lr.")
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return figure


# --- the clock --------------------------------------------------------------------------------


class Stopwatch:
    """Divides time among parts: at every moment exactly one part runs, `rest` where none is named.

    On CUDA the marks are events in the stream. Calls from other threads are not counted.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.thread = threading.get_ident()
        self.marks: list[tuple[str, Any]] = []
        self.active = REST
        self.switch(REST)

    def switch(self, part: str) -> None:
        """From now on time belongs to `part`."""
        if threading.get_ident() != self.thread:
            return
        mark: Any = time.perf_counter()
        if self.cuda:
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        self.marks.append((part, mark))
        self.active = part

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its time counted to `part`."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            before = self.active
            self.switch(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch(before)

        return timed

    def seconds(self) -> dict[str, float]:
        """The seconds of each part until the last mark."""
        if self.cuda:
            torch.cuda.synchronize()
        result = dict.fromkeys(PARTS, 0.0)
        for (part, start), (_, end) in itertools.pairwise(self.marks):
            result[part] += start.elapsed_time(end) / 1000 if self.cuda else end - start
        return result


Place = tuple[Any, str, str]  # an object, the name of its callable, the part that it belongs to


@contextlib.contextmanager
def _replaced(places: Sequence[Place], watch: Stopwatch) -> Iterator[None]:
    """The callables at `places` under the clock, and as they were afterwards."""
    with contextlib.ExitStack() as stack:
        for owner, name, part in places:
            function = getattr(owner, name)
            if name in vars(owner):
                stack.callback(setattr, owner, name, function)
            else:  # it is the class's, and shows again once ours is gone
                stack.callback(delattr, owner, name)
            setattr(owner, name, watch.around(part, function))
        yield


def _network(trainer: Pretraining | FileTrainer) -> list[Place]:
    twins = trainer.twins
    if trainer.forward is not twins:  # a clock inside would cut the compiled graph to pieces
        network: list[Place] = [(trainer, "forward", ENCODER)]
    else:
        network = [(twins.model.encoder, "forward", ENCODER)]
        network += [(projector, "forward", LOSS) for projector in twins.projectors.values()]
    return [
        *network,
        (torch.autograd, "backward", BACKWARD),
        (trainer.optimiser, "zero_grad", OPTIMISER),
        (trainer.optimiser, "step", OPTIMISER),
    ]


def our_places(run: Pretraining) -> list[Place]:
    """Where the parts of `Pretraining.step` are called."""
    views = [
        (one, name, VIEWS) for one in run.views.values() for name in ("waveform", "spectrogram")
    ]
    return [
        (run, "crops", DATA),
        *views,
        *([(run.memory, "push", VIEWS)] if run.memory is not None else []),
        (run.twins.model.frontend, "forward", FRONTEND),
        (trainer_module, "objective", LOSS),
        (nn.utils, "clip_grad_norm_", OPTIMISER),
        *_network(run),
    ]


def piecewise(run: Pretraining) -> None:
    """A step that no recording makes, so that its parts can be told."""
    record, run.record = run.record, None
    try:
        run.step()
    finally:
        run.record = record


def baseline_places(trainer: FileTrainer) -> list[Place]:
    """Where the parts of the baseline's step are called."""
    return [
        (trainer, "batch", DATA),
        (trainer, "terms", LOSS),
        *_network(trainer),
    ]


@dataclasses.dataclass
class Contender:
    """One of those that are compared, and what was measured of it."""

    step: Callable[[], Any]
    places: list[Place]
    clocked: Callable[[], Any] | None = None  # as `step`, and none of the places is passed by
    dataset: FileViews | None = None
    rates: list[float] = dataclasses.field(default_factory=list)  # audio-seconds per second
    steps: list[int] = dataclasses.field(default_factory=list)  # of each round
    parts: list[dict[str, float]] = dataclasses.field(default_factory=list)  # seconds per step

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The time in which its workers may work."""
        if self.dataset is None:
            yield
            return
        self.dataset.gate.set()
        try:
            yield
        finally:
            self.dataset.gate.clear()

    def warm_up(self, steps: int, limit_s: float, device: torch.device) -> float:
        """Up to `steps` steps that are not counted, at least two; the seconds of the last.

        The first takes as long as it takes, since it compiles where the recipe says so; none is
        begun `limit_s` seconds after it.
        """
        with self.at_work():
            self.step()
            _finish(device)
            began = time.perf_counter()
            for _ in range(max(1, steps - 1)):
                started = time.perf_counter()
                self.step()
                if time.perf_counter() - began > limit_s:
                    break
            _finish(device)
        return time.perf_counter() - started

    def round(self, turn_s: float, audio_s: float, device: torch.device) -> None:
        """Steps of `audio_s` seconds each until `turn_s` are over, then one under the clock."""
        with self.at_work():
            _finish(device)
            started = time.perf_counter()
            self.step()
            steps = 1
            while time.perf_counter() - started < turn_s:
                self.step()
                steps += 1
            _finish(device)
            self.rates.append(steps * audio_s / (time.perf_counter() - started))
            self.steps.append(steps)
            watch = Stopwatch(device)
            with _replaced(self.places, watch):
                (self.clocked or self.step)()
            watch.switch(REST)
        self.parts.append(watch.seconds())


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def item_s(dataset: FileViews, items: int = 24) -> float:
    """The seconds that one item of the baseline takes in one process on one thread: the median."""
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    dataset.gate.set()
    for index in range(items):
        started = time.perf_counter()
        dataset[index % len(dataset)]
        times.append(time.perf_counter() - started)
    dataset.gate.clear()
    torch.set_num_threads(threads)
    return statistics.median(times)


def idle_share(step: Callable[[], Any], step_s: float, steps: int = 5) -> float:
    """The share of a step of `step_s` seconds for which no kernel and no copy runs on the GPU.

    The profiler slows the CPU, not the kernels: so their time comes from it and `step_s` does not.
    """
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
    )
    busy, reached = 0.0, -math.inf  # microseconds
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return max(0.0, 1 - busy / 1e6 / (steps * step_s))


# --- the measurement --------------------------------------------------------------------------


def measure(
    recipe: Recipe,
    files: Sequence[Path],
    packed: Path,
    *,
    device: str = "cpu",
    steps: int = 4,
    rounds: int = 6,
    warm_up: int = 3,
    workers: int | None = None,
    budget_s: float = math.inf,
) -> dict[str, Any]:
    """Measure ours on the `packed` folder against the baseline on `files`: figures, JSON-able.

    In a round all are at work for as long, about `steps` steps of the slowest: the time of as many
    steps of a fast one would be too short. Then each makes one under the clock. Under a `budget_s`
    of seconds a round may be shorter, and none but the first begins that would not end in time.
    `workers` is the baseline's number of processes (None: one a core, at least two).
    """
    began = time.monotonic()
    load = os.getloadavg()[0]
    where = torch.device(device)
    recipe = dataclasses.replace(recipe, steps=LONG)
    workers = workers or max(2, cores())
    corpus = PackedCorpus(packed, recipe.crop_s, recipe.seed)
    run = Pretraining(recipe, corpus, where)
    settings = run.twins.model.settings
    contenders = {OURS: Contender(run.step, our_places(run), functools.partial(piecewise, run))}
    trainers = {}
    audio_s = recipe.batch * recipe.crop_s
    with contextlib.ExitStack() as stack:
        for name, matched in ((BASELINE, False), (MATCHED, True)):
            trainer = FileTrainer(
                recipe,
                FileViews(files, recipe, settings.frontend),
                random_model(settings, recipe.seed),
                where,
                workers=workers,
                matched=matched,
                half=run.half,
            )
            stack.callback(trainer.close)
            trainers[name] = trainer
            contenders[name] = Contender(
                trainer.step, baseline_places(trainer), dataset=trainer.dataset
            )
        bar = stack.enter_context(progress(rounds, "measure", "round"))
        turn_s = steps * max(
            one.warm_up(warm_up, budget_s / 10, where) for one in contenders.values()
        )
        left = began + budget_s - time.monotonic()
        turn_s = min(turn_s, max(0.0, left / (LEAST_ROUNDS * len(contenders))))
        made = {name: trainer.dataset.made.value for name, trainer in trainers.items()}
        used = {name: trainer.used for name, trainer in trainers.items()}
        round_s = -math.inf  # the first round is made in any case
        for _ in range(rounds):
            started = time.monotonic()
            if started + round_s > began + budget_s:
                break
            for one in contenders.values():
                one.round(turn_s, audio_s, where)
            round_s = time.monotonic() - started
            bar.update()
    idle = None
    if where.type == "cuda":
        idle = idle_share(run.step, audio_s / statistics.median(contenders[OURS].rates))
    facts = {
        "recipe": recipe.as_dict(),
        "parameters": parameter_count(run.twins.model),
        "computes": "bfloat16" if run.half else "float32",
        "machine": machine(where),
        "load_before": round(load, 2),
        "workers": workers,
        "files": len(files),
        "hours": round(corpus.hours, 4),
        "steps_per_round": {n: statistics.median(one.steps) for n, one in contenders.items()},
        "rates": {name: one.rates for name, one in contenders.items()},
        "parts_s": {
            name: {part: statistics.median(row[part] for row in one.parts) for part in PARTS}
            for name, one in contenders.items()
        },
        # 1: the workers neither ran ahead nor lived on what was queued before.
        "made_over_used": {
            name: (trainer.dataset.made.value - made[name]) / (trainer.used - used[name])
            for name, trainer in trainers.items()
        },
        "item_s": item_s(FileViews(files, recipe, settings.frontend)),
        "gpu_idle": idle,
    }
    return facts | {
        "ratio": spread(contenders[OURS].rates, contenders[BASELINE].rates),
        "ratio_data_path": spread(contenders[OURS].rates, contenders[MATCHED].rates),
    }


def spread(ours: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of the ratios of the rounds."""
    ratios = [a / b for a, b in zip(ours, others)]
    return {"median": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine(device: torch.device) -> dict[str, Any]:
    """What it was measured on, and with."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    versions = {
        one: importlib.metadata.version(one) for one in ("torch", "torchaudio", "soundfile")
    }
    return {
        "processor": name,
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": {"python": platform.python_version(), **versions, "numpy": np.__version__},
    }


# --- the report -------------------------------------------------------------------------------


def report(facts: dict[str, Any]) -> str:
    """The figures as text; the last line is `ratio: X`."""
    recipe, computer = facts["recipe"], facts["machine"]
    audio_s = recipe["batch"] * recipe["crop_s"]
    versions = ", ".join(f"{name} {version}" for name, version in computer["versions"].items())
    rounds = len(facts["rates"][OURS])
    counts = ", ".join(f"{one:g}" for one in facts["steps_per_round"].values())
    lines = [
        f"machine   {computer['processor']}, {computer['cores']} cores, {computer['threads']} "
        f"threads, device {computer['device']}; load before {facts['load_before']}",
        f"versions  {versions}",
        f"model     {recipe['model']['encoder']['name']}, {facts['parameters']:,} parameters, "
        f"batch {recipe['batch']} x {recipe['crop_s']:g} s; ours in {facts['computes']}, "
        "channels last",
        f"corpus    {facts['files']} files, {facts['hours']:.2f} h; baseline with "
        f"{facts['workers']} worker processes",
        f"measured  {rounds} rounds, as long for each, of {counts} steps in turn; medians",
        "",
        f"{'whole step':24}{'audio-s/s':>11}{'ms/step':>10}{'100 h epoch':>14}",
    ]
    for name, rates in facts["rates"].items():
        rate = statistics.median(rates)
        lines.append(f"{name:24}{rate:11.1f}{1000 * audio_s / rate:10.0f}{EPOCH_S / rate:12.0f} s")
    lines += ["", f"{'part':24}" + "".join(f"{name:>24}" for name in facts["parts_s"])]
    lines.append(" " * 24 + f"{'ms/step':>14}{'audio-s/s':>10}" * len(facts["parts_s"]))
    for part in PARTS:
        cells = []
        for parts in facts["parts_s"].values():
            seconds = parts[part]
            rate = f"{audio_s / seconds:10.0f}" if seconds > 0 else f"{'-':>10}"
            cells.append(f"{1000 * seconds:14.1f}{rate}")
        lines.append(f"{part:24}" + "".join(cells))
    sums = [f"{1000 * sum(parts.values()):14.1f}{'':10}" for parts in facts["parts_s"].values()]
    lines += [f"{'sum':24}" + "".join(sums).rstrip(), ""]
    if facts["gpu_idle"] is not None:
        lines.append(f"GPU idle: {100 * facts['gpu_idle']:.1f} % of our step")
    ahead = " and ".join(f"{value:.2f}" for value in facts["made_over_used"].values())
    lines.append(
        f"the baseline's workers: {1000 * facts['item_s']:.2f} ms an item on one core; "
        f"{ahead} items made per item used"
    )
    lines.append(_ratio(f"{OURS} / {MATCHED} (the data path alone)", facts["ratio_data_path"]))
    lines.append(_ratio(f"{OURS} / {BASELINE}", facts["ratio"]))
    lines.append(f"ratio: {facts['ratio']['median']:.2f}")
    return "\n".join(lines)


def _ratio(what: str, ratio: dict[str, float]) -> str:
    return f"{what}: {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['greatest']:.2f})"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python tests/speed/pretraining.py",
        description="How fast pretraining is, beside a baseline in the same run.",
    )
    result.add_argument("--quick", action="store_true", help="end within 50 s on 2 cores")
    result.add_argument("--device", help="cpu, cuda (default: cuda where there is one)")
    result.add_argument(
        "--recipe", default="coarse_states", metavar="NAME", help="default: coarse_states"
    )
    result.add_argument(
        "--set", nargs="+", default=[], action="extend", metavar="KEY=VALUE",
        help=f"change a key of the recipe, such as batch=64 (crop_s is {CROP_S:g} unless set here)",
    )  # fmt: skip
    result.add_argument("--files", type=Path, metavar="DIR", help="16 kHz FLAC or WAV files")
    result.add_argument("--packed", type=Path, metavar="DIR", help="the same, packed by `prepare`")
    result.add_argument("--steps", type=int, default=None, metavar="N", help="steps of a round")
    result.add_argument("--rounds", type=int, default=None, metavar="N", help="rounds")
    result.add_argument("--workers", type=int, metavar="N", help="the baseline's processes")
    result.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    result.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return result


def bench(arguments: Sequence[str]) -> None:
    """Measure as the command line says, and print the report.

    Raises:
        BarlowSpeechError: an argument or the recipe is wrong, the recipe is none that the baseline
            follows, or --packed is there without --files.
    """
    given = parser().parse_args(arguments)
    if given.packed is not None and given.files is None:
        raise BarlowSpeechError("--packed needs --files, the same speech for the baseline.")
    quick = ["batch=32"] if given.quick else []
    recipe = read_recipe(
        configs.find("recipe", given.recipe), [f"crop_s={CROP_S}", *quick, *given.set]
    )
    own = [name for name, family in recipe.families.items() if family.crop_s is not None]
    if recipe.rotate or own:
        remedy = ["rotate=false"] if recipe.rotate else []
        remedy += [f"families.{name}.crop_s=null" for name in own]
        raise BarlowSpeechError(
            "the baseline trains every view family at each step, on crops of one length; add --set "
            f"{' '.join(remedy)}."
        )
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        source = given.files
        if source is None:
            source = Path(folder) / "files"
            write_corpus(source, *((96, (4.0, 8.0)) if given.quick else (400, (4.0, 12.0))))
        files = audio_files(source)
        packed = given.packed or pack([Recording(one) for one in files], Path(folder) / "packed")
        facts = measure(
            recipe,
            files,
            packed,
            device=device,
            steps=given.steps or (3 if given.quick else 4),
            rounds=given.rounds or (12 if given.quick else 6),
            warm_up=2 if given.quick else 3,
            workers=given.workers,
            budget_s=QUICK_S if given.quick else math.inf,
        )
    if given.json is not None:
        given.json.write_text(json.dumps(facts, indent=1) + "\n")
    print(report(facts))


def main() -> None:
    """The command."""
    sys.exit(run_command(bench, sys.argv[1:]))


if __name__ == "__main__":
    main()
