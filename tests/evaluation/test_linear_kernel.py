"""The compiled step of the linear heads against the plain one, which is tested against s3prl's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from programs import program

from barlow_speech.benchmark.evaluation.protocol import Run, RunPlan, Training
from barlow_speech.benchmark.evaluation.training import head_training, linear_kernel
from barlow_speech.benchmark.evaluation.training.head_training import Split, train_runs
from barlow_speech.benchmark.evaluation.training.inputs import Means
from barlow_speech.upstream.common.errors import BarlowSpeechError

STEPS = 60


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    program("cc", "gcc", "clang")
    linear_kernel._library.cache_clear()
    monkeypatch.setattr(linear_kernel, "LEAST_WORK", 0)
    yield
    linear_kernel._library.cache_clear()


def blobs(layers: int, width: int, classes: int, count: int = 60) -> Split:
    generator = torch.Generator().manual_seed(width)
    labels_N = torch.arange(count) % classes
    x_NLD = torch.randn(count, layers, width, generator=generator)
    x_NLD[:, 0, :classes] += 2 * torch.nn.functional.one_hot(labels_N, classes)
    return Split(Means(x_NLD), labels_N)


def trained(
    split: Split, projector: int, training: Training, plans: list[RunPlan]
) -> tuple[torch.Tensor, list[Run]]:
    """The losses [S, R] of all steps, in the order of the plans' rates, and the runs."""
    losses: list[torch.Tensor] = []
    classes = int(split.labels_N.max()) + 1
    head = {"name": "linear", "projector_dim": projector}
    runs = train_runs(
        head, split, split, split, classes, training, plans, on_loss=lambda one: losses.append(one)
    )
    return torch.stack(losses), runs


def by_torch(monkeypatch: pytest.MonkeyPatch, *given: object) -> tuple[torch.Tensor, list[Run]]:
    with monkeypatch.context() as patch:
        patch.setattr(head_training, "linear_kernel", lambda *_: None)
        return trained(*given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "width", "projector", "classes"),
    [(5, 64, 32, 12), (1, 16, 7, 3), (2, 48, 9, 13), (3, 1040, 5, 22)],
    ids=["even", "single_layer", "odd", "wide"],
)
@pytest.mark.parametrize(
    "training",
    [
        Training(STEPS, 8, STEPS),
        Training(STEPS, 7, 20, clip=0.05, accumulate=2),
        Training(STEPS, 1, STEPS, clip=0.0, weight_decay=0.1),
        Training(STEPS, 8, STEPS, weight_decay=0.1, optimiser="adamw", sampling="balanced"),
    ],
    ids=["plain", "clipped_accumulated", "unclipped_l2", "adamw"],
)
def test_it_has_the_losses_and_predictions_of_the_plain_path(
    layers: int, width: int, projector: int, classes: int, training: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All steps of all runs to 2e-4, at two rates; rows, classes and widths that fill no block."""
    split = blobs(layers, width, classes)
    plans = [RunPlan(i, i, i, None, rate) for i, rate in enumerate([1e-3, 5e-3, 1e-3])]
    given = (split, projector, training, plans)
    plain_SR, plain = by_torch(monkeypatch, *given)
    ours_SR, ours = trained(*given)
    assert not torch.equal(ours_SR, plain_SR), "the kernel was not used"
    torch.testing.assert_close(ours_SR, plain_SR, rtol=2e-4, atol=2e-4)
    for one, other in zip(ours, plain):
        assert (one.predicted == other.predicted).mean() >= 0.98
        assert one.seed == other.seed


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_it_is_near_to_double_precision_where_numbers_are_large(
    rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps on what log-mel without normalisation is like: means of 10, losses up to 100.

    Later steps tell nothing, since a training that is far from its end is chaotic.
    """
    generator = torch.Generator().manual_seed(0)
    labels_N = torch.randint(0, 2, (400,), generator=generator)
    x_NLD = 10 + 3 * torch.randn(400, 1, 1, generator=generator)
    x_NLD = x_NLD + torch.randn(400, 1, 240, generator=generator)
    plans = [RunPlan(i, i, i, None, rate) for i in range(8)]
    losses = []
    for dtype in (torch.float32, torch.float64):
        split = Split(Means(x_NLD.to(dtype)), labels_N)
        losses.append(trained(split, 64, Training(10, 32, 10), plans)[0].double())
    error = ((losses[0] - losses[1]).abs() / losses[1]).median(dim=1).values
    assert error.max() < 3e-6


def test_a_run_gives_the_same_bits_alone_and_on_any_number_of_threads() -> None:
    split, training = blobs(3, 64, 5), Training(STEPS, 8, 20)
    plans = [RunPlan(i, i, i, None, 1e-2) for i in range(5)]
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(trained(split, 16, training, plans)[0])
    finally:
        torch.set_num_threads(threads)
    alone_S1, _ = trained(split, 16, training, plans[3:4])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[0][:, 3], alone_S1[:, 0])


def test_a_loss_that_is_not_finite_is_said() -> None:
    split = blobs(2, 16, 3)
    split.inputs.x_NLD[5, 0, 3] = float("nan")  # type: ignore[attr-defined]
    with pytest.raises(BarlowSpeechError, match="not finite"):
        trained(split, 8, Training(STEPS, 60, STEPS), [RunPlan(0, 0, 0)])


def test_without_a_compiler_or_for_other_heads_the_plain_path_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No compiler, one that fails, float64, a width that is no multiple of 16: the same losses."""
    split, training, plans = blobs(2, 16, 3), Training(20, 8, 20), [RunPlan(0, 0, 0)]
    plain_SR, _ = by_torch(monkeypatch, split, 8, training, plans)
    other = Split(Means(split.inputs.x_NLD.double()), split.labels_N)  # type: ignore[attr-defined]
    assert trained(other, 8, training, plans)[0].dtype == torch.float64
    narrow = blobs(2, 15, 3)
    assert torch.equal(
        trained(narrow, 8, training, plans)[0], by_torch(monkeypatch, narrow, 8, training, plans)[0]
    )
    for found in (None, shutil.which("false")):
        with monkeypatch.context() as patch:
            linear_kernel._library.cache_clear()
            patch.setattr(linear_kernel, "FLAGS", [*linear_kernel.FLAGS, f"-D{found is None}"])
            patch.setattr(linear_kernel.shutil, "which", lambda name, found=found: found)
            assert torch.equal(trained(split, 8, training, plans)[0], plain_SR)


def test_it_is_compiled_once_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert linear_kernel._library() is not None
    linear_kernel._library.cache_clear()
    monkeypatch.setattr(linear_kernel.shutil, "which", lambda name: None)
    assert linear_kernel._library() is not None


@pytest.mark.parametrize("change", ["cut", "changed", "empty"])
def test_a_kernel_that_a_disk_has_changed_is_not_loaded_but_compiled_again(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded, it would end the process, or train something else."""
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path))
    stem = f"linear-{linear_kernel._identity()}-"
    built = linear_kernel._compiled(tmp_path / "kernels", stem)
    assert built is not None
    whole = built.read_bytes()
    middle = len(whole) // 2
    other = bytearray(whole)
    other[middle] ^= 1
    built.write_bytes({"cut": whole[:middle], "changed": bytes(other), "empty": b""}[change])
    with monkeypatch.context() as patch:
        patch.setattr(linear_kernel.shutil, "which", lambda name: None)
        assert linear_kernel._library() is None
    linear_kernel._library.cache_clear()
    assert linear_kernel._library() is not None
    assert built.read_bytes() == whole


def test_a_cache_that_cannot_be_written_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BARLOW_SPEECH_CACHE", str(tmp_path / "file"))
    assert linear_kernel._library() is None
