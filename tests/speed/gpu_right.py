"""A phase of gpu.py: whether a device computes what a CPU does, on fresh random numbers.

An error is ‖found − reference‖ / ‖reference‖ of all numbers of a kind together. The reference is
computed on the CPU, in float64 wherever the code can: only then does a run on the CPU itself say
what rounding alone does, which is what the tolerances are taken from. TF32 is off.

Run as a program, this file is one of two processes: RANK FOLDER DEVICE BACKEND.
"""

from __future__ import annotations

import contextlib
import copy
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed
from gpu_record import Record, short_of_memory, unexpected
from torch import Tensor, nn

from barlow_speech.benchmark.evaluation.protocol import RunPlan, Training
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Means
from barlow_speech.benchmark.features.extraction import pooled
from barlow_speech.benchmark.features.upstreams import load_upstream
from barlow_speech.upstream import encoders
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.settings import build
from barlow_speech.upstream.data.packed import PackedCorpus
from barlow_speech.upstream.model.checkpoint import load_model, save_model
from barlow_speech.upstream.model.frontend import FrontEnd, FrontEndSettings
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT
from barlow_speech.upstream.pretraining.distributed import join_batch_norms
from barlow_speech.upstream.pretraining.objective import ObjectiveSettings, objective
from barlow_speech.upstream.pretraining.recipe import Recipe
from barlow_speech.upstream.pretraining.trainer import Pretraining
from barlow_speech.upstream.pretraining.views.memory import MixupBank
from barlow_speech.upstream.pretraining.views.pipeline import Views
from barlow_speech.upstream.pretraining.views.random import item_keys
from barlow_speech.upstream.pretraining.views.settings import ViewSettings

FLOAT32 = 1e-4  # of values and gradients, without TF32
BFLOAT16 = 5e-2  # of values; it has 8 digits of 2, and errors add up over the layers
TRAINED = 1e-3  # of losses after steps, over which rounding adds up
WEIGHTS = 1e-4  # after steps: a step that is left out makes 3e-3 of it, rounding 1e-6
CPU = torch.device("cpu")
VIEWS = {
    "waveform": ("speed", "reverb", "noise", "lowpass", "highpass", "bandpass", "equaliser",
                 "gain", "polarity", "time_mask"),
    "spectrogram": ("mixup", "resized_crop", "fader", "mel_equaliser"),
}  # fmt: skip


def relative(found: Any, reference: Any) -> float:
    """The error of tensors, or lists of them; infinite where a number is none."""
    pairs = [(found, reference)] if torch.is_tensor(found) else list(zip(found, reference))
    above = below = 0.0
    for one, other in pairs:
        one, other = one.detach().double().cpu(), other.detach().double().cpu()
        above += float((one - other).square().sum())
        below += float(other.square().sum())
    error = math.sqrt(above / below) if below else math.inf
    return error if math.isfinite(error) else math.inf


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Without TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before


def right(record: Record, given: Any) -> None:
    """All checks, each written as it ends; those that fail are named at the end."""
    device = torch.device(given.device)
    wrong: list[str] = []

    def check(what: str, error: float, tolerance: float, note: str = "") -> None:
        good = error <= tolerance
        if not good:
            wrong.append(what)
        said = f"{error:.1e}{'' if good else ' WRONG'}"
        record.row("right", what, said, f"at most {tolerance:.0e}", note)
        record.figures("right", **{what: error})

    with full_float32():
        for one in (views, log_mel, objectives, base_encoders, features, heads, several, training):
            try:
                one(device, given, check)
            except Exception as error:  # the other checks say more of what is wrong
                if short_of_memory(error):
                    raise
                wrong.append(one.__name__)
                record.row("right", one.__name__, "did not end", note=unexpected(error))
    if wrong:
        raise BarlowSpeechError(
            f"{', '.join(wrong)}: farther from the CPU than the tolerance, or not computed."
        )


Check = Callable[..., None]


def speech_like(items: int, samples: int) -> Tensor:
    """Noise that swells, [B, N]."""
    swell = 0.05 * (1 + torch.sin(torch.arange(samples) / 900))
    return swell * torch.randn(items, samples)


def views(device: torch.device, given: Any, check: Check) -> None:
    """Each view for itself, always drawn; and what an item draws, which is equal to the bit."""
    waves_BN = speech_like(8, 4000 if given.small else 32_000)
    frames_BFT = torch.randn(8, 64, 50 if given.small else 200)
    keys_B = item_keys(int(torch.randint(1 << 30, ())), 0, torch.arange(8), 0)
    off = dict.fromkeys((*VIEWS["waveform"], *VIEWS["spectrogram"]))
    for kind, names in VIEWS.items():
        for name in names:
            settings = build(ViewSettings, {**off, name: {"p": 1.0}}, "views")
            found = []
            for where in (CPU, device):
                memory = MixupBank(16)
                memory.push(frames_BFT.flip(0).to(where))
                one = Views(settings).to(where)
                keys = keys_B.to(where)
                if kind == "waveform":
                    found.append(one.waveform(waves_BN.to(where), keys))
                else:
                    found.append(one.spectrogram(frames_BFT.to(where), keys, memory))
            check(f"view {name}", relative(found[1], found[0]), FLOAT32)


def log_mel(device: torch.device, given: Any, check: Check) -> None:
    """The front-end."""
    waves_BN = speech_like(4, 8000 if given.small else 32_000)
    frontend = FrontEnd(FrontEndSettings(64, -6.0, 4.0))
    expected = frontend(waves_BN)
    check("log-mel", relative(frontend.to(device)(waves_BN.to(device)), expected), FLOAT32)


def objectives(device: torch.device, given: Any, check: Check) -> None:
    """Loss and gradients of each, against float64."""
    a_ND, b_ND = pairs(64, 32 if given.small else 512)
    for name in ("barlow_twins", "hsic", "vicreg"):
        settings = ObjectiveSettings(name=name)  # type: ignore[arg-type]
        loss, gradients = loss_of(a_ND.to(device), b_ND.to(device), settings)
        expected, others = loss_of(a_ND.double(), b_ND.double(), settings)
        check(f"objective {name}", relative(loss, expected), FLOAT32)
        check(f"objective {name}, gradients", relative(gradients, others), FLOAT32)


def pairs(items: int, size: int) -> tuple[Tensor, Tensor]:
    """Two views' z, which have something in common."""
    common = torch.randn(items, size)
    return common + torch.randn(items, size), common + torch.randn(items, size)


def loss_of(a: Tensor, b: Tensor, settings: ObjectiveSettings) -> tuple[Tensor, list[Tensor]]:
    """The loss, and its gradients to both."""
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    loss = objective(a, b, settings)["loss"]
    return loss, list(torch.autograd.grad(loss, (a, b)))


def base_encoders(device: torch.device, given: Any, check: Check) -> None:
    """Each: states and embeddings in float32 and bfloat16, and gradients as in a training."""
    items, frames = (3, 48) if given.small else (8, 200)
    frames_BTF = torch.randn(items, frames, 64)
    lengths_B = torch.full((items,), frames)
    lengths_B[0] = frames // 2
    for name in encoders.names():
        torch.manual_seed(0)
        encoder = encoders.build_encoder({"name": name}, 64)
        exact = copy.deepcopy(encoder).double()
        near = copy.deepcopy(encoder).to(device)
        inputs = frames_BTF.to(device), lengths_B.to(device)
        for one in (exact, near):
            one.eval()
        with torch.no_grad():
            expected = outputs(exact, frames_BTF.double(), lengths_B)
            check(f"encoder {name}", relative(outputs(near, *inputs), expected), FLOAT32)
            with torch.autocast(device.type, torch.bfloat16):
                rounded = outputs(near, *inputs)
            check(f"encoder {name}, bfloat16", relative(rounded, expected), BFLOAT16)
        errors = [gradient_error(exact, near, items, device) for _ in range(3)]
        check(f"encoder {name}, gradients", median(errors), FLOAT32, "the median of three draws")


def gradient_error(exact: Any, near: Any, items: int, device: torch.device) -> float:
    """That of the gradients of one model in two precisions, as in a training.

    The input is short: of many maxima one is all but a tie, and if it turns over by rounding, as it
    may on any machine, that alone moves the gradients by 1e-3.
    """
    frames_BTF, lengths_B = torch.randn(items, 16, 64), torch.full((items,), 16)
    gradients = []
    for one, where, dtype in ((exact, CPU, torch.float64), (near, device, torch.float32)):
        one.train()
        one.zero_grad()
        states = outputs(one, frames_BTF.to(where, dtype), lengths_B.to(where))
        torch.stack([x.square().mean() for x in states]).sum().backward()
        gradients.append([p.grad for p in one.parameters() if p.grad is not None])
    return relative(gradients[1], gradients[0])


def outputs(encoder: Any, frames_BTF: Tensor, lengths_B: Tensor) -> list[Tensor]:
    """The states of all layers, and the embeddings."""
    hidden, embedding_BE = encoder(frames_BTF, lengths_B)
    return [*hidden, embedding_BE]


def features(device: torch.device, given: Any, check: Check) -> None:
    """Pooled features of recordings of several lengths."""
    waves = [
        speech_like(1, size)[0] for size in ((4000, 6000) if given.small else (16_000, 40_000))
    ]
    found = []
    for where in (CPU, device):
        upstream = load_upstream("barlow_speech", DEFAULT_CHECKPOINT, str(where))
        made = [pooled(upstream, [wave.to(where)]) for wave in waves]
        found.append(
            [one[name] for one in made for name in sorted(one) if torch.is_tensor(one[name])]
        )
    check("pooled features", relative(found[1], found[0]), FLOAT32)


def heads(device: torch.device, given: Any, check: Check) -> None:
    """Heads over 200 steps, as they are trained on the device, against float64."""
    runs, steps, layers, width = (5, 40, 2, 16) if given.small else (50, 200, 5, 512)
    labels_N = torch.randint(12, (400,))
    x_NLD = torch.randn(400, layers, width) + 0.5 * torch.randn(12, layers, width)[labels_N]
    plans = [RunPlan(seed, seed, seed, lr=1e-3) for seed in range(runs)]
    training = Training(steps, 32, steps, clip=1.0, sampling="balanced")
    losses, predicted = [], []
    for x, where in ((x_NLD.double(), CPU), (x_NLD.to(device), device)):
        split = Split(Means(x), labels_N.to(where))
        mine: list[Tensor] = []
        done = train_runs({"name": "linear"}, split, split, split, 12, training, plans,
                          on_loss=mine.append)  # fmt: skip
        losses.append(torch.stack(mine))
        predicted.append(torch.stack([torch.from_numpy(one.predicted.astype(int)) for one in done]))
    check(f"losses of {runs} heads, {steps} steps", relative(losses[1], losses[0]), TRAINED)
    other = float((predicted[0] != predicted[1]).double().mean())
    check("predictions that are others", other, TRAINED)


# --- two processes ----------------------------------------------------------------------------


class Joined(nn.Module):
    """What is computed over the joined batch: batch norm and the objective."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(size)
        join_batch_norms(self)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        normed = self.norm(torch.cat([a, b]))
        return objective(*normed.chunk(2), ObjectiveSettings())["loss"]


def several(device: torch.device, given: Any, check: Check) -> None:
    """The objective and batch norm of two processes on one device, and of one on the CPU."""
    folder = given.work / "two"
    folder.mkdir()
    a_ND, b_ND = pairs(24, 16 if given.small else 256)
    torch.save((a_ND, b_ND), folder / "inputs.pt")
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    note = "NCCL, which wants a GPU a process, was not tried" if gpus == 1 else ""
    for backend in ("gloo", "nccl") if gpus > 1 else ("gloo",):
        (folder / "meeting").unlink(missing_ok=True)
        command = [sys.executable, __file__]
        running = [
            subprocess.Popen([*command, str(rank), str(folder), str(device), backend])
            for rank in range(2)
        ]
        if any(one.wait() for one in running):
            raise BarlowSpeechError(f"two processes with {backend} did not end well.")
        parts = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
        module = Joined(a_ND.shape[1]).double()
        a, b = (x.double().requires_grad_() for x in (a_ND, b_ND))
        loss = module(a, b)
        loss.backward()
        assert a.grad is not None
        found = torch.cat([one["gradient"] for one in parts]) / 2  # each has twice its own
        what = f"two processes, {backend}"
        error = relative([p["loss"] for p in parts], [loss, loss])
        check(f"{what}: loss", error, FLOAT32, note)
        check(f"{what}: gradients", relative(found, a.grad), FLOAT32)
        statistics = [module.norm.running_mean, module.norm.running_var]
        check(f"{what}: batch norm", relative(parts[0]["statistics"], statistics), FLOAT32)


def process(rank: int, folder: Path, where: str, backend: str) -> None:
    """One of the two: half of the batch each."""
    if backend == "nccl":
        where = f"cuda:{rank}"
    torch.distributed.init_process_group(
        backend, init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2
    )
    a, b = (x.chunk(2)[rank].to(where).requires_grad_() for x in torch.load(folder / "inputs.pt"))
    module = Joined(a.shape[1]).to(where)
    with full_float32():
        loss = module(a, b)
        loss.backward()
    statistics = [module.norm.running_mean, module.norm.running_var]
    assert a.grad is not None
    found = {
        "loss": loss.detach().cpu(),
        "gradient": a.grad.cpu(),
        "statistics": [one.cpu() for one in statistics if one is not None],
    }
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


# --- training ---------------------------------------------------------------------------------


def training(device: torch.device, given: Any, check: Check) -> None:
    """Steps on the device and on the CPU; stopped, loaded and gone on; recorded and not."""
    steps = 8
    tree = {
        "steps": steps, "batch": 8, "crop_s": 0.5, "memory": 8, "precision": "float32",
        "model": {"frontend": {"n_mels": 16}, "encoder": {"name": "cnn2d", "channels": 8}},
        "families": {"main": {"views": {"gain": {}, "noise": {}}, "projector": {"width": 32}}},
        "optimiser": {"lr": 1e-3, "warmup": 1},
    }  # fmt: skip
    recipe = build(Recipe, tree, "the check's recipe")
    corpus = PackedCorpus(given.work / "packed", recipe.crop_s, recipe.seed)

    def run(where: torch.device, stop: int = 0, record: bool = True) -> tuple[Pretraining, Tensor]:
        one = Pretraining(recipe, corpus, where)
        losses = []
        while not one.done:
            if not record:
                one.record = None
            losses.append(one.step().get("loss", math.nan))
            if one.steps_done == stop:
                state = given.work / "state"
                state.mkdir(exist_ok=True)
                one.save(state)
                one = Pretraining(recipe, corpus, where)
                one.load(state)
        return one, torch.tensor([losses[0], losses[-1]])

    there, losses = run(device, record=False)
    _, expected = run(CPU)
    check("first and last loss of a training", relative(losses, expected), TRAINED)
    resumed, _ = run(device, stop=steps // 2, record=False)
    weights = [matrices(one) for one in (there, resumed)]
    check("weights after stopping and going on", relative(weights[1], weights[0]), WEIGHTS)
    recorded, _ = run(device)
    graphs = list(recorded._recorded.values())
    note = "a CPU records nothing"
    if graphs:
        note = f"{graphs[0].recorded} graph" + (
            f"; refused: {graphs[0].refused}" if graphs[0].refused else ""
        )
    found = relative(matrices(recorded), weights[0])
    check("weights of steps recorded as graphs", found, WEIGHTS, note)
    path = given.work / "encoder.safetensors"
    save_model(path, there.twins.model, {"note": "check"})
    waves = [speech_like(1, 8000)[0]]
    there.twins.eval()
    with torch.no_grad():
        expected_BE = load_model(path).eval()(waves)[2]
        found_BE = there.twins.model([wave.to(device) for wave in waves])[2]
    check("a checkpoint of the device, on the CPU", relative(found_BE, expected_BE), FLOAT32)


def matrices(run: Pretraining) -> list[Tensor]:
    """The weights but for biases: one before a batch norm has no gradient but rounding, of which
    Adam makes whole steps."""
    return [one for one in run.twins.parameters() if one.ndim > 1]


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
