"""Which factor can be read from which layer, and from how few dimensions.

A probe is the logistic regression of downstream/heads/logistic_regression.py: fitted to train, its
regularisation picked on dev, evaluated once on test by balanced accuracy (the mean recall of the
classes; chance is 1 / C).

Shapes: N recordings, D width of a layer, C classes of a factor, R draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.feature_selection import f_classif
from sklearn.utils.parallel import Parallel, delayed

from barlow_speech.benchmark.disentanglement.metrics import Columns, balanced_accuracy
from barlow_speech.benchmark.disentanglement.spectrum import Spectrum, spectrum
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate, estimate, group_weights
from barlow_speech.downstream.heads.logistic_regression import Settings, fit
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.progress import progress

SIZES = (1, 2, 4, 8, 16, 32, 64)  # numbers of dimensions that are tried
DRAWS = 1000  # of the test recordings; the probe itself is not fitted again
ENOUGH = 0.9  # of what all dimensions gain over chance, that a few have to reach
NOTHING = 0.05  # a gain over chance that is no more than this is not looked for in fewer
COMPONENTS, DIMENSIONS = "components", "dimensions"


@dataclass(frozen=True)
class Probe:
    """What is read of one factor from one layer: with all of its dimensions, and with few.

    `curves` has, for `components` and `dimensions`, the balanced accuracy by the number of them:
    the leading principal components of the train recordings; and the layer's own dimensions, in the
    order of their F statistic on train. `enough` is the smallest number of these that reaches 90 %
    of the gain over chance of all dimensions; None where there is no gain, or none reaches it.
    """

    layer: str
    factor: str
    accuracy: Estimate
    chance: float
    recordings: int
    curves: dict[str, dict[int, float]]
    enough: dict[str, int | None]


@dataclass(frozen=True)
class ProbeMatrix:
    """A probe for each layer and factor, and the spectrum of each layer."""

    probes: tuple[Probe, ...]
    spectra: dict[str, Spectrum]

    def at(self, layer: str, factor: str) -> Probe:
        """The probe of one layer and factor."""
        return next(one for one in self.probes if (one.layer, one.factor) == (layer, factor))


def probe_matrix(
    layers: Mapping[str, np.ndarray],
    labels: Columns,
    splits: Columns,
    groups_N: Sequence[str] | np.ndarray,
    sizes: Sequence[int] = SIZES,
    workers: int = 1,
) -> ProbeMatrix:
    """Probe every layer, [N, D] by its name, for every factor.

    The interval of an accuracy draws the test recordings by `groups_N` (their speakers) and
    keeps the probe; there is none where they are of fewer than five. The result does not depend on
    `workers`, the number of processes.

    Raises:
        BarlowSpeechError: a factor has no train, dev or test recording, or one class only.
    """
    for name in labels:
        check_probed(name, labels[name], splits[name])
    jobs = [(layer, factor) for layer in layers for factor in labels]
    # The longest first: what is left at the end is short.
    order = sorted(jobs, key=lambda job: -layers[job[0]].shape[1])
    tasks = (
        delayed(probe)(
            layer, factor, layers[layer], labels[factor], splits[factor], groups_N, sizes
        )
        for layer, factor in order
    )
    probes = {}
    with progress(len(jobs), "probes", "probe") as bar:
        for one in Parallel(workers, return_as="generator")(tasks):
            probes[one.layer, one.factor] = one
            bar.update()
    return ProbeMatrix(
        probes=tuple(probes[job] for job in jobs),
        spectra={name: spectrum(x_ND) for name, x_ND in layers.items()},
    )


def probe(
    layer: str,
    factor: str,
    x_ND: np.ndarray,
    labels_N: np.ndarray,
    splits_N: np.ndarray,
    groups_N: Sequence[str] | np.ndarray,
    sizes: Sequence[int] = SIZES,
) -> Probe:
    """One probe of `probe_matrix`."""
    rows = {split: (splits_N == split) & (labels_N != "") for split in ("train", "dev", "test")}
    x = {split: np.asarray(x_ND[chosen], dtype=np.float64) for split, chosen in rows.items()}
    number_N = np.unique(labels_N, return_inverse=True)[1]
    y = {split: number_N[chosen] for split, chosen in rows.items()}
    chance = 1.0 / len(np.unique(y["train"]))

    def predicted(seen: Mapping[str, np.ndarray]) -> np.ndarray:
        # Half of the time of a small fit is checking its arguments.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            model = fit(Settings(), seen["train"], y["train"], seen["dev"], y["dev"], 0)
            return model(seen["test"])

    def accuracy_of(predicted_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
        return float(balanced_accuracy(y["test"], predicted_N, weights_N))

    everything = predicted(x)
    value = accuracy_of(everything)
    weights_RN = group_weights(np.asarray(groups_N)[rows["test"]], DRAWS)
    accuracy = estimate(value, [accuracy_of(everything, weights_N) for weights_N in weights_RN])

    pca = PCA(min(max(sizes), *x["train"].shape), svd_solver="covariance_eigh").fit(x["train"])
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s)Features .* are constant")  # they come last
        order = np.argsort(-np.nan_to_num(f_classif(x["train"], y["train"])[0]), kind="stable")
    ordered = {
        COMPONENTS: {split: pca.transform(part) for split, part in x.items()},
        DIMENSIONS: {split: part[:, order] for split, part in x.items()},
    }
    curves = {
        kind: {
            size: accuracy_of(predicted({split: part[:, :size] for split, part in parts.items()}))
            for size in sizes
            if size <= parts["train"].shape[1]
        }
        for kind, parts in ordered.items()
    }
    return Probe(
        layer, factor, accuracy, chance, int(rows["test"].sum()), curves,
        {kind: enough(curve, value, chance) for kind, curve in curves.items()},
    )  # fmt: skip


def enough(curve: Mapping[int, float], value: float, chance: float) -> int | None:
    """The smallest number of dimensions that reaches 90 % of the gain of `value` over chance."""
    if value - chance <= NOTHING:
        return None
    wanted = chance + ENOUGH * (value - chance)
    return next((size for size in sorted(curve) if curve[size] >= wanted), None)


def check_probed(name: str, labels_N: np.ndarray, splits_N: np.ndarray) -> None:
    for split in ("train", "dev", "test"):
        known = (splits_N == split) & (labels_N != "")
        if not known.any():
            raise BarlowSpeechError(
                f"factor '{name}' has no recording in {split}, which a probe needs; leave the "
                "factor out, or take more recordings."
            )
    if len(np.unique(labels_N[(splits_N == "train") & (labels_N != "")])) < 2:
        raise BarlowSpeechError(f"factor '{name}' has one class only in train; leave it out.")
