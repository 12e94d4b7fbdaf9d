"""Fifty runs of keyword spotting by this harness against s3prl's own run_downstream.

Usage: python tests/speed/harness.py [--quick] [--upstream ours|base] [--growth]

Both sides get the same recordings (generated, in the layout of Speech Commands), upstream, steps
and batch size, in one run on one machine. Ours is timed whole and from cold: every feature, 50
heads, every look at dev, the test. s3prl's is one training by its unmodified program, of which
only the median time of a step counts (its start, its evaluations and its checkpoints are left
out), times the steps, times 50: nobody waits for the 50 runs themselves. `base` is an encoder of
the size of wav2vec 2.0 base with random weights. `--growth` adds time against runs, recordings and
layers, and how near the optimiser comes to the memory's bandwidth. The last line is the ratio.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from barlow_speech.benchmark.evaluation.evaluator import Evaluator
from barlow_speech.benchmark.evaluation.job import Job, Settings
from barlow_speech.benchmark.evaluation.protocol import Protocol, RunPlan, Training
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Means
from barlow_speech.upstream.common.machine import PACKAGES, environment
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.third_party.compatibility import s3prl_hub

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_unknown_")
SILENCE = "_silence_"
BATCH = 32
RUNS = 50
WARM_UP = 3  # steps of s3prl that are not counted
SIZES: dict[str, dict[str, int]] = {
    # recordings of training, steps of each run, steps of s3prl that are measured
    "quick": {"recordings": 480, "steps": 500, "measured": 10},
    "ours": {"recordings": 4000, "steps": 10_000, "measured": 60},
    "base": {"recordings": 1200, "steps": 10_000, "measured": 6},
}


def generate(folder: Path, recordings: int) -> Path:
    """Tones in noise, 1 s each, as Speech Commands lays them out; the manifest of the same.

    s3prl decides by the name of a file whether it is of train or dev; the manifest follows it.
    """
    s3prl_hub()
    from s3prl.downstream.speech_commands.expert import split_dataset

    rng = np.random.default_rng(0)
    time_N = np.arange(SAMPLE_RATE) / SAMPLE_RATE

    def speak(path: Path, pitch: float, seconds: int = 1) -> None:
        wave = rng.standard_normal(seconds * SAMPLE_RATE)
        if pitch:
            wave += 3 * np.tile(np.sin(2 * np.pi * pitch * time_N), seconds)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.05 * wave, SAMPLE_RATE)

    train, test = folder / "train", folder / "test"
    for i in range(recordings):
        word = WORDS[i % len(WORDS)]
        name = "bed" if word == "_unknown_" else word
        speak(train / name / f"{i:08x}_nohash_0.wav", 200 + 150 * (i % len(WORDS)))
    for i in range(4):
        speak(train / "_background_noise_" / f"noise{i}.wav", 0, seconds=10)
    for i in range(recordings // 5):
        number = i % (len(WORDS) + 1)
        word = (*WORDS, SILENCE)[number]
        speak(test / word / f"{i:08x}_nohash_0.wav", 0 if word == SILENCE else 200 + 150 * number)
    lines = ["path\tstart_s\tend_s\tkeyword\tsplit"]
    for split, found in zip(("train", "dev"), split_dataset(train)):
        for word, path in sorted(found):
            label = word if word in WORDS else "_unknown_"
            lines.append(f"{path.relative_to(folder)}\t\t\t{label}\t{split}")
        for i in range(4):
            for second in range(0, 10, 2):
                start = second + (split == "dev")
                where = f"train/_background_noise_/noise{i}.wav\t{start}\t{start + 1}"
                lines.append(f"{where}\t{SILENCE}\t{split}")
    for path in sorted(test.glob("*/*.wav")):
        lines.append(f"{path.relative_to(folder)}\t\t\t{path.parent.name}\ttest")
    manifest = folder / "manifest.tsv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def base_sized(folder: Path) -> Path:
    """A wav2vec 2.0 base with random weights, as transformers stores it."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def s3prl_step_seconds(folder: Path, upstream: list[str], steps: int, device: str) -> float:
    """The median time of a step of s3prl's own program, in a process of its own."""
    config = {
        "runner": {
            "total_steps": steps + WARM_UP,
            "gradient_clipping": 1,
            "gradient_accumulate_steps": 1,
            "log_step": 10**9,
            "eval_step": 10**9,
            "save_step": 10**9,
            "max_keep": 1,
            "eval_dataloaders": ["dev"],
        },
        "optimizer": {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1e-4},
        "downstream_expert": {
            "datarc": {
                "speech_commands_root": str(folder / "train"),
                "speech_commands_test_root": str(folder / "test"),
                "num_workers": 0,
                "batch_size": BATCH,
            },
            "modelrc": {
                "projector_dim": 256,
                "select": "UtteranceLevel",
                "UtteranceLevel": {"pooling": "MeanPooling"},
            },
        },
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    arguments = ["-m", "train", *upstream, "-d", "speech_commands", "-c", str(path)]
    arguments += ["-p", str(folder / "s3prl"), "--device", device]
    command = [sys.executable, __file__, "--s3prl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"s3prl's run_downstream failed:\n{done.stderr[-3000:]}")
    return float(done.stdout.splitlines()[-1])


def run_s3prl(arguments: Sequence[str]) -> None:
    """s3prl's program with a clock behind every optimiser step; prints their median distance."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from barlow_speech.downstream.s3prl import program as s3prl_program

    ticks: list[float] = []

    def tick(*arguments: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ticks.append(time.perf_counter())

    register_optimizer_step_post_hook(tick)
    s3prl_program.run(arguments)
    steps = np.diff(ticks)[WARM_UP - 1 :]
    print(float(np.median(steps)))


def our_seconds(
    manifest: Path, upstream: str, steps: int, folder: Path, device: str, runs: int = RUNS
) -> dict[str, float]:
    """Seconds of the whole, from an empty cache, and of its two parts as the record has them."""
    protocol = Protocol(
        name="bench", runs=runs, steps=steps, batch=BATCH, eval_step=min(4000, steps),
        learning_rates=(1e-4,), sampling="balanced",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        settings = Settings(Path(empty) / "results", Path(empty) / "cache", device)
        started = time.perf_counter()
        job = Job(upstream, "keyword_spotting", str(manifest), protocol)
        cell = Evaluator(settings).run(job)
        whole = time.perf_counter() - started
    parts = cell.seconds
    return {"whole": whole, "features": parts["features"], "heads": parts["heads"]}


def train_seconds(
    runs: int, recordings: int, layers: int, width: int, steps: int, device: str
) -> float:
    """Seconds per step of the stacked training alone, on synthetic features."""
    generator = torch.Generator().manual_seed(0)
    x_NLD = torch.randn(recordings, layers, width, generator=generator).to(device)
    labels_N = torch.randint(0, 12, (recordings,), generator=generator).to(device)
    split = Split(Means(x_NLD), labels_N)
    plans = [RunPlan(i, i, i) for i in range(runs)]
    times = []
    for count in (2, 2 + steps):
        started = time.perf_counter()
        train_runs({"name": "linear"}, split, split, None, 12, Training(count, BATCH, count), plans)
        times.append(time.perf_counter() - started)
    return (times[1] - times[0]) / steps


def adam_bandwidth(width: int, device: str) -> tuple[float, float]:
    """GB/s of the fused Adam step over 50 heads, and of a plain addition of large arrays."""

    def best(function: Any, count: int = 10) -> float:
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            function()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    weights = torch.randn(RUNS, 256, width, device=device)
    weights.grad = torch.randn_like(weights)
    adam = torch.optim.Adam([weights], lr=1e-4, fused=True)
    adam.step()
    # Reads weight, gradient and two moments, writes weight and moments.
    moved = 7 * weights.numel() * 4
    a, b = (torch.randn(1 << 26, device=device) for _ in range(2))
    c = torch.empty_like(a)
    added = 3 * a.numel() * 4
    return (
        moved / best(adam.step) / 1e9,
        added / best(lambda: torch.add(a, b, out=c), 5) / 1e9,
    )


def growth(device: str) -> None:
    """Print how the time of the stacked training grows, and the bandwidth of its optimiser."""
    print("\nstacked training, synthetic features, batch 32, ms per step (all runs together)")
    base = {"runs": 50, "recordings": 4000, "layers": 5}
    axes = {
        "runs": (1, 10, 50, 200),
        "recordings": (500, 4000, 32_000),
        "layers": (1, 5, 13),
    }
    for axis, values in axes.items():
        row = []
        for value in values:
            sizes = base | {axis: value}
            steps = max(5, 1500 // sizes["runs"])
            seconds = train_seconds(**sizes, width=512, steps=steps, device=device)
            row.append(f"{value}: {1e3 * seconds:.1f}")
        print(f"  {axis:11s}" + "   ".join(row))
    moved, possible = adam_bandwidth(512, device)
    print(
        f"fused Adam over 50 heads: {moved:.1f} GB/s of {possible:.1f} GB/s that adding two large "
        f"arrays reaches ({100 * moved / possible:.0f} %)"
    )


def main(arguments: Sequence[str]) -> None:
    """Measure and print; the last line is the ratio."""
    if arguments[:1] == ["--s3prl"]:
        run_s3prl(arguments[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 50 s, our upstream only")
    parser.add_argument("--upstream", choices=("ours", "base"), default="ours")
    parser.add_argument("--steps", type=int, help="optimiser steps of each run")
    parser.add_argument("--recordings", type=int, help="recordings in train and dev together")
    parser.add_argument("--measured", type=int, help="steps of s3prl that are measured")
    parser.add_argument("--growth", action="store_true", help="also time against runs, …")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    size = dict(SIZES["quick" if given.quick else given.upstream])
    size |= {key: getattr(given, key) for key in size if getattr(given, key) is not None}
    facts = environment(given.device)
    hardware = facts["hardware"]
    print(
        f"machine   {hardware['processor']}, {hardware['cores']} cores, {hardware['threads']} "
        f"threads, device {hardware['device']}\n"
        f"versions  python {facts['versions']['python']}, "
        + ", ".join(f"{name} {facts['versions'][name]}" for name in PACKAGES[1:])
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = generate(folder, size["recordings"])
        rows = len(manifest.read_text().splitlines()) - 1
        if given.upstream == "base":
            model = base_sized(folder / "base")
            names = f"hf:{model}", ["-u", "hf_wav2vec2_custom", "-k", str(model)]
        else:
            names = "barlow_speech", ["-u", "barlow_speech"]
        print(
            f"setting   {rows} recordings of 1 s, 12 classes, batch {BATCH}, "
            f"{size['steps']} steps, {RUNS} runs; upstream {given.upstream}",
            flush=True,
        )
        step = s3prl_step_seconds(folder, names[1], size["measured"], given.device)
        theirs = step * size["steps"] * RUNS
        print(
            f"s3prl     {1e3 * step:.0f} ms a step (median of {size['measured']}), times "
            f"{size['steps']} steps, times {RUNS} runs: {theirs:.0f} s",
            flush=True,
        )
        ours = our_seconds(manifest, names[0], size["steps"], folder, given.device)
        rest = ours["whole"] - ours["features"] - ours["heads"]
        print(
            f"ours      {ours['whole']:.1f} s from cold: features {ours['features']:.1f} s, "
            f"{RUNS} heads {ours['heads']:.1f} s "
            f"({1e3 * ours['heads'] / size['steps']:.1f} ms a step), rest {rest:.1f} s"
        )
        again = s3prl_step_seconds(folder, names[1], size["measured"], given.device)
        print(
            f"s3prl again, after ours: {1e3 * again:.0f} ms a step; the smaller of the two counts"
        )
    if given.growth:
        growth(given.device)
    print(f"ratio: {min(step, again) * size['steps'] * RUNS / ours['whole']:.0f}")


if __name__ == "__main__":
    main(sys.argv[1:])
