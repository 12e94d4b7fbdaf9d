"""The Barlow Twins objective and its family, exact over the batch of all processes together.

Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230, equations 1 and 2): with z standardised over
the batch, C = ẑ_Aᵀ ẑ_B / N and
L = scale · (α · Σᵢ (1 − Cᵢᵢ)² + λ · Σᵢ Σⱼ≠ᵢ Cᵢⱼ²); α is `invariance`, λ is `redundancy`.
HSIC form (Tsai et al. 2021, arXiv 2104.13712): off the diagonal (1 + Cᵢⱼ)².
VICReg (Bardes et al. 2022, arXiv 2105.04906): invariance, variance and covariance of z itself.

Shapes: N items of this process, D dimensions of the projector's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from barlow_speech.upstream.pretraining.distributed import all_reduce_sum

EPSILON = 1e-5  # under the square root of a variance, as in batch norm


@dataclass(frozen=True)
class ObjectiveSettings:
    """Which objective, and the weights of its terms.

    `invariance` and `redundancy` weigh the two terms of Barlow Twins and HSIC; for VICReg
    `redundancy` weighs the covariance and `variance` the variance term. `normalise_latents`
    scales each z to unit length first ("Modified BT"; times √D, which C does not see, so that
    `EPSILON` stays small beside the variance). The variance term of VICReg is the mean over the
    two views, as in its authors' code; the paper's equation 6 has their sum.
    """

    name: Literal["barlow_twins", "hsic", "vicreg"] = "barlow_twins"
    invariance: float = 1.0
    redundancy: float = 0.005
    variance: float = 1.0
    scale: float = 1.0
    normalise_latents: bool = False


def item_count(z_ND: Tensor) -> Tensor:
    """How many items this process has; filled in on the device, which a copy would wait for."""
    return z_ND.new_full((), len(z_ND))


def moments(z_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(count, mean [D], variance [D]) over the items of all processes, in two passes."""
    count = all_reduce_sum(item_count(z_ND))
    mean_D = all_reduce_sum(z_ND.sum(dim=0)) / count
    variance_D = all_reduce_sum((z_ND - mean_D).square().sum(dim=0)) / count
    return count, mean_D, variance_D


def standardise(z_ND: Tensor) -> Tensor:
    """z with mean 0 and variance 1 in each dimension, over the items of all processes."""
    _, mean_D, variance_D = moments(z_ND)
    return (z_ND - mean_D) / (variance_D + EPSILON).sqrt()


def cross_correlation(a_ND: Tensor, b_ND: Tensor) -> Tensor:
    """C [D, D] of the standardised z of both views, over the items of all processes."""
    count = all_reduce_sum(item_count(a_ND))
    return all_reduce_sum(standardise(a_ND).T @ standardise(b_ND)) / count


def off_diagonal(square_DD: Tensor) -> Tensor:
    """A square matrix with zeros on its diagonal."""
    diagonal_DD = torch.eye(len(square_DD), dtype=torch.bool, device=square_DD.device)
    return square_DD.masked_fill(diagonal_DD, 0)


def latents(z_ND: Tensor, settings: ObjectiveSettings) -> Tensor:
    """z as the objective sees it: at least float32, and scaled to one length if so set."""
    if z_ND.dtype != torch.float64:
        z_ND = z_ND.float()
    if settings.normalise_latents:
        # √D times unit length: the variance of a dimension must stay far above EPSILON.
        z_ND = z_ND.shape[1] ** 0.5 * torch.nn.functional.normalize(z_ND, dim=1)
    return z_ND


def objective(a_ND: Tensor, b_ND: Tensor, settings: ObjectiveSettings) -> dict[str, Tensor]:
    """The terms by name, unweighted, and their weighted sum `loss`; scalars in float32.

    For the correlation objectives also `diagonal` (mean of Cᵢᵢ) and `off_diagonal` (root mean
    square of the rest), detached, to tell whether training is healthy. float64 stays float64.
    """
    a_ND, b_ND = latents(a_ND, settings), latents(b_ND, settings)
    # Sums over D² squares lose digits in half precision.
    with torch.autocast(a_ND.device.type, enabled=False):
        terms = _vicreg(a_ND, b_ND) if settings.name == "vicreg" else _twins(a_ND, b_ND, settings)
        loss = settings.invariance * terms["invariance"] + settings.redundancy * terms["redundancy"]
        if settings.name == "vicreg":
            loss = loss + settings.variance * terms["variance"]
        return {**terms, "loss": settings.scale * loss}


def _twins(a_ND: Tensor, b_ND: Tensor, settings: ObjectiveSettings) -> dict[str, Tensor]:
    correlation_DD = cross_correlation(a_ND, b_ND)
    diagonal_D = correlation_DD.diagonal()
    size = len(diagonal_D)
    others_DD = off_diagonal(correlation_DD)
    # Σ over i ≠ j of (1 + Cᵢⱼ)² for HSIC: 1 + 2 C + C² summed, with the diagonal left out.
    redundancy = others_DD.square().sum()
    if settings.name == "hsic":
        redundancy = redundancy + 2 * others_DD.sum() + size * (size - 1)
    return {
        "invariance": (1 - diagonal_D).square().sum(),
        "redundancy": redundancy,
        "diagonal": diagonal_D.detach().mean(),
        "off_diagonal": (others_DD.detach().square().sum() / max(size * (size - 1), 1)).sqrt(),
    }


def _vicreg(a_ND: Tensor, b_ND: Tensor) -> dict[str, Tensor]:
    count = all_reduce_sum(item_count(a_ND))
    size = a_ND.shape[1]
    variance, covariance = a_ND.new_zeros(()), a_ND.new_zeros(())
    for z_ND in (a_ND, b_ND):
        _, mean_D, variance_D = moments(z_ND)
        unbiased_D = variance_D * count / (count - 1).clamp(min=1)
        variance = variance + (1 - (unbiased_D + 1e-4).sqrt()).relu().mean() / 2
        centred_ND = z_ND - mean_D
        covariance_DD = all_reduce_sum(centred_ND.T @ centred_ND) / (count - 1).clamp(min=1)
        covariance = covariance + off_diagonal(covariance_DD).square().sum() / size
    return {
        "invariance": all_reduce_sum((a_ND - b_ND).square().sum()) / (count * size),
        "redundancy": covariance,
        "variance": variance,
    }


def effective_rank(embeddings_NE: Tensor) -> float:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 1): exp of the entropy of the
    normalised singular values; between 1 (collapsed) and min(N, E)."""
    values = torch.linalg.svdvals(embeddings_NE.detach().float())
    share = values / values.sum().clamp(min=1e-12) + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))
