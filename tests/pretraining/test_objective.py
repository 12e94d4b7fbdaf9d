"""The objective against the papers' equations, another implementation, and itself on one process.

Run as a program, this file is four processes that meet by gloo: `test_objective.py FOLDER`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from barlow_speech.upstream.pretraining.objective import (
    EPSILON,
    ObjectiveSettings,
    effective_rank,
    objective,
)

SETTINGS = {
    "barlow_twins": ObjectiveSettings(scale=0.1),
    "invariance_only": ObjectiveSettings(redundancy=0.0),
    "redundancy_only": ObjectiveSettings(invariance=0.0, redundancy=0.3),
    "normalised": ObjectiveSettings(normalise_latents=True),
    "hsic": ObjectiveSettings(name="hsic", redundancy=0.02),
    "vicreg": ObjectiveSettings(name="vicreg", invariance=25, variance=25, redundancy=1),
}
each_objective = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
FEATURES, WIDTH = 6, 7  # of the small network's input, and of z
# Batches of different sizes, one of them of a single item.
BATCHES = {2: (5, 12), 4: (3, 8, 1, 14)}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def views(count: int = 24, width: int = WIDTH, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two related views in float64, their dimensions correlated, neither centred nor unit."""
    generator = torch.Generator().manual_seed(seed)
    random = [torch.randn(count, width, generator=generator).double() for _ in range(3)]
    mixing = torch.randn(width, width, generator=generator).double() / width**0.5
    shared = random[0] @ mixing + 0.3
    return shared + 0.4 * random[1], 1.2 * shared + 0.4 * random[2] - 0.1


def gradients(
    a: Tensor, b: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """A loss and its gradients for both views."""
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    value = loss(a, b)
    value.backward()
    assert a.grad is not None
    assert b.grad is not None
    return value.detach(), a.grad, b.grad


def ours(settings: ObjectiveSettings) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: objective(a, b, settings)["loss"]


def agree(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Equal to `tolerance` of the largest expected value."""
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


def reference(a: np.ndarray, b: np.ndarray, settings: ObjectiveSettings) -> float:
    """The papers' equations, element by element."""
    count, width = a.shape
    if settings.normalise_latents:
        a, b = ([width**0.5 * row / np.sqrt((row**2).sum()) for row in z] for z in (a, b))
        a, b = np.array(a), np.array(b)
    if settings.name == "vicreg":
        invariance = sum(((a[n] - b[n]) ** 2).sum() for n in range(count)) / count / width
        variance = covariance = 0.0
        for z in (a, b):
            matrix = np.cov(z, rowvar=False)
            for i in range(width):
                variance += max(0.0, 1 - np.sqrt(matrix[i, i] + 1e-4)) / width / 2
                covariance += sum(matrix[i, j] ** 2 for j in range(width) if j != i) / width
        return settings.scale * (
            settings.invariance * invariance
            + settings.variance * variance
            + settings.redundancy * covariance
        )
    invariance = redundancy = 0.0
    wanted = -1 if settings.name == "hsic" else 0
    for i in range(width):
        for j in range(width):
            x, y = a[:, i] - a[:, i].mean(), b[:, j] - b[:, j].mean()
            size = np.sqrt((x**2).mean() + EPSILON) * np.sqrt((y**2).mean() + EPSILON)
            correlation = (x * y).mean() / size
            if i == j:
                invariance += (1 - correlation) ** 2
            else:
                redundancy += (correlation - wanted) ** 2
    return settings.scale * (settings.invariance * invariance + settings.redundancy * redundancy)


@each_objective
def test_loss_and_gradient_are_those_of_the_equations(settings: ObjectiveSettings) -> None:
    a, b = views(count=9, width=5)
    loss, *found = gradients(a, b, ours(settings))
    assert loss.item() == pytest.approx(reference(a.numpy(), b.numpy(), settings), rel=1e-10)
    step = 1e-5
    for which, gradient in enumerate(found):
        differences = np.empty((9, 5))
        for index in np.ndindex(9, 5):
            values = []
            for sign in (1, -1):
                moved = [a.numpy().copy(), b.numpy().copy()]
                moved[which][index] += sign * step
                values.append(reference(*moved, settings))
            differences[index] = (values[0] - values[1]) / (2 * step)
        agree(gradient, torch.from_numpy(differences), 1e-6)


@each_objective
def test_float32_agrees_with_float64(settings: ObjectiveSettings) -> None:
    a, b = views()
    for found, expected in zip(
        gradients(a.float(), b.float(), ours(settings)), gradients(a, b, ours(settings))
    ):
        assert found.dtype == torch.float32
        agree(found.double(), expected)


@pytest.mark.parametrize("redundancy", [0.005, 0.5])
def test_barlow_twins_is_lightlys(redundancy: float) -> None:
    loss = pytest.importorskip("lightly.loss").BarlowTwinsLoss(lambda_param=redundancy)
    a, b = views(width=33)
    settings = ObjectiveSettings(redundancy=redundancy)
    for found, expected in zip(gradients(a, b, ours(settings)), gradients(a, b, loss)):
        agree(found, expected)


def test_vicreg_is_lightlys() -> None:
    loss = pytest.importorskip("lightly.loss").VICRegLoss()
    a, b = views(width=33)
    for found, expected in zip(gradients(a, b, ours(SETTINGS["vicreg"])), gradients(a, b, loss)):
        agree(found, expected)


def test_terms_are_unweighted_and_add_up() -> None:
    a, b = views()
    terms = objective(a, b, ObjectiveSettings(invariance=2, redundancy=3, scale=0.5))
    plain = objective(a, b, ObjectiveSettings())
    assert terms["invariance"] == plain["invariance"]
    assert terms["redundancy"] == plain["redundancy"]
    torch.testing.assert_close(
        terms["loss"], 0.5 * (2 * terms["invariance"] + 3 * terms["redundancy"])
    )
    size = WIDTH * (WIDTH - 1)
    torch.testing.assert_close(terms["off_diagonal"], (terms["redundancy"] / size).sqrt())
    assert not terms["diagonal"].requires_grad


@pytest.mark.parametrize("name", ["barlow_twins", "hsic"])
def test_affine_rescaling_of_a_dimension_changes_nothing(name: str) -> None:
    a, b = 100 * views()[0], 100 * views()[1]  # far above EPSILON
    settings = ObjectiveSettings(name=name)  # type: ignore[arg-type]
    factor, shift = torch.rand(2, WIDTH, dtype=torch.float64) + 0.5
    moved = objective(factor * a + shift, b * (1 + shift) - factor, settings)
    torch.testing.assert_close(
        moved["loss"], objective(a, b, settings)["loss"], rtol=1e-7, atol=0.0
    )


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_normalised_latents_ignore_the_scale_of_each_item(scale: float) -> None:
    a, b = views()
    settings = ObjectiveSettings(normalise_latents=True)
    each = torch.rand(len(a), 1, dtype=torch.float64) + 0.5
    moved = objective(scale * each * a, b / scale, settings)
    torch.testing.assert_close(moved["loss"], objective(a, b, settings)["loss"])


@pytest.mark.parametrize("normalise", [False, True])
def test_identical_decorrelated_views_have_no_loss(normalise: bool) -> None:
    z = torch.from_numpy(scipy.linalg.hadamard(256)[:, 1:]).float()
    terms = objective(z, z, ObjectiveSettings(redundancy=1, normalise_latents=normalise))
    assert terms["loss"] < 1e-6
    expected = torch.tensor(1 / (1 + EPSILON))
    torch.testing.assert_close(terms["diagonal"], expected, atol=1e-5, rtol=0)


def test_exchanging_the_views_exchanges_nothing() -> None:
    a, b = views()
    for settings in SETTINGS.values():
        torch.testing.assert_close(
            objective(a, b, settings)["loss"], objective(b, a, settings)["loss"]
        )


@each_objective
@pytest.mark.parametrize(
    "z",
    [
        torch.full((8, WIDTH), 0.1),
        torch.full((8, WIDTH), -1e4),
        torch.zeros(8, WIDTH),
        views(1)[0].float(),
        views(2)[0].float(),
        1e4 * views()[0].float(),
        1e4 * views()[0].half(),
        1e-6 * views()[0].float(),
        views(width=1)[0].float(),
    ],
    ids=["constant", "far", "zero", "one", "two", "huge", "half", "tiny", "one_dimension"],
)
def test_loss_and_gradient_are_finite(settings: ObjectiveSettings, z: Tensor) -> None:
    for other in (z, z.flip(0), torch.ones_like(z)):
        loss, *both = gradients(z, other, ours(settings))
        assert torch.isfinite(loss)
        if settings.name == "vicreg" and z.dtype == torch.float16:
            continue  # the covariance's gradient there is beyond what float16 can hold
        assert all(torch.isfinite(gradient).all() for gradient in both)


@each_objective
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(
    settings: ObjectiveSettings, dtype: torch.dtype
) -> None:
    a, b = (z.to(dtype) for z in views())
    expected = objective(a.float(), b.float(), settings)
    with torch.autocast("cpu", torch.bfloat16):
        inside = objective(a, b, settings)
        wide = objective(a.float(), b.float(), settings)
    for found in (objective(a, b, settings), inside, wide):
        assert found["loss"].dtype == torch.float32
        assert found == expected


def test_effective_rank_of_known_matrices() -> None:
    torch.manual_seed(0)
    assert effective_rank(torch.randn(64, 1) @ torch.randn(1, 32)) == pytest.approx(1, abs=0.01)
    for size in (2, 16):
        columns = torch.linalg.qr(torch.randn(64, size))[0]
        assert effective_rank(columns) == pytest.approx(size, rel=1e-3)
        wide = columns @ torch.linalg.qr(torch.randn(32, size))[0].T  # rank `size` of 32
        assert effective_rank(1e3 * wide) == pytest.approx(size, rel=1e-2)
    two = torch.diag(torch.tensor([3.0, 1.0]))  # entropy of (3/4, 1/4)
    assert effective_rank(two) == pytest.approx(4 / 3**0.75, rel=1e-4)
    assert effective_rank(torch.zeros(4, 4).half()) == pytest.approx(1, abs=0.01)


# Across processes: each rank's gradient for its own items is `world` times the exact one, which
# the mean that DistributedDataParallel takes brings back.


def network(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, WIDTH)).to(dtype)


def parts(world: int, width: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Both views of the items of each rank, drawn from a distribution of its own."""
    return [
        tuple((1 + rank) * z.to(dtype) - 0.5 * rank for z in views(count, width, seed=rank))
        for rank, count in enumerate(BATCHES[world])
    ]  # type: ignore[misc]


def through_network(module: nn.Module, a: Tensor, b: Tensor, settings: ObjectiveSettings) -> Tensor:
    first, second = module(torch.cat([a, b])).chunk(2)
    loss = objective(first, second, settings)["loss"]
    loss.backward()
    return loss.detach()


def one_of_several(rank: int, folder: Path) -> None:
    """One process: the losses and gradients that it sees, saved as `folder/rank.pt`."""
    results: dict[tuple[int, str, str], Any] = {}
    for world in sorted(BATCHES, reverse=True):
        if rank >= world:
            continue
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meet{world}",
            rank=rank,
            world_size=world,
            timeout=timedelta(minutes=15),
        )
        for precision, dtype in DTYPES.items():
            for name, settings in SETTINGS.items():
                raw = gradients(*parts(world, WIDTH, dtype)[rank], ours(settings))
                module = nn.parallel.DistributedDataParallel(network(dtype))
                items = parts(world, FEATURES, dtype)[rank]
                loss = through_network(module, *items, settings)
                results[world, precision, name] = (
                    raw,
                    (loss, *(parameter.grad for parameter in module.parameters())),
                )
        torch.distributed.destroy_process_group()
    torch.save(results, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[int, str, str], Any]]:
    """What each of four processes saw; the first two also met as two."""
    folder = tmp_path_factory.mktemp("processes")
    subprocess.run(
        [sys.executable, __file__, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        timeout=900,
        check=True,
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(max(BATCHES))]


@each_objective
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("world", BATCHES)
def test_processes_compute_the_objective_of_the_joined_batch(
    seen: list[dict[tuple[int, str, str], Any]],
    world: int,
    precision: str,
    settings: ObjectiveSettings,
) -> None:
    tolerance = {"float32": 1e-5, "float64": 1e-10}[precision]
    dtype = DTYPES[precision]
    name = next(key for key, value in SETTINGS.items() if value is settings)
    found = [seen[rank][world, precision, name] for rank in range(world)]

    joined = [torch.cat(view) for view in zip(*parts(world, WIDTH, dtype))]
    loss, *exact = gradients(*joined, ours(settings))
    for raw, _ in found:
        agree(raw[0], loss, tolerance)
    for view in (0, 1):
        agree(torch.cat([raw[1 + view] for raw, _ in found]), world * exact[view], tolerance)

    module = network(dtype)
    items = [torch.cat(view) for view in zip(*parts(world, FEATURES, dtype))]
    loss = through_network(module, items[0], items[1], settings)
    for _, (its_loss, *its_gradients) in found:
        agree(its_loss, loss, tolerance)
        for gradient, parameter in zip(its_gradients, module.parameters()):
            assert parameter.grad is not None
            # A bias that standardising cancels has no gradient but rounding: hence the floor.
            size = max(
                float(parameter.grad.abs().max()),
                max(float(one.grad.abs().max()) for one in module.parameters()) * 0.1,  # type: ignore[union-attr]
            )
            assert float((gradient - parameter.grad).abs().max()) <= tolerance * size


if __name__ == "__main__":
    import torch._dynamo  # what DistributedDataParallel takes seconds to import, once for all

    torch.multiprocessing.start_processes(
        one_of_several, (Path(sys.argv[1]),), nprocs=max(BATCHES), start_method="fork"
    )
