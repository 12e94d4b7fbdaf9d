"""How a representation of utterances is organised: which dimension holds which factor.

Each metric from its paper, on scikit-learn: DCI (Eastwood & Williams 2018), MIG (Chen et al. 2018),
SAP (Kumar et al. 2018), modularity and explicitness (Ridgeway & Mozer 2018). All were made for
factors that are independent of each other. Those of speech are not: who speaks determines the
gender, and then no representation can be perfect (the number of the speaker tells as much about the
gender as a dimension of its own would, so that the gap between the two is nothing).
`factors.associations` says how far factors determine each other; `scores(within=...)` holds one of
them fixed.

Labels are class names, "" where unknown; each factor is measured on the recordings that have it.
What is predicted is learnt on the recordings whose split is train, and evaluated on dev and test:
no setting is picked on dev. `weights_N` says how often a recording counts, as if its row were there
that often; it is what the bootstrap (benchmark/statistics/speaker_bootstrap.py) draws.

Shapes: N recordings, E dimensions, F factors, C classes of a factor, B bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import entr
from sklearn import config_context
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown

BINS = 20  # of equal width between a dimension's extremes, as in Locatello et al. (2019)
TREES = 20  # of the ensemble whose importances DCI is made of
HEADLINES = {
    "disentanglement": "DCI D",
    "completeness": "DCI C",
    "informativeness": "DCI I",
    "mig": "MIG",
    "sap": "SAP",
    "modularity": "modularity",
    "explicitness": "explicitness",
}
# These have a value for each factor, and the mean over factors as their headline.
BY_FACTOR = ("completeness", "informativeness", "mig", "sap", "explicitness")

Columns = Mapping[str, np.ndarray]  # of each factor a column [N] of strings


def scores(
    x_NE: np.ndarray,
    labels: Columns,
    splits: Columns,
    weights_N: np.ndarray | None = None,
    *,
    within: str = "",
    seed: int = 0,
) -> dict[str, float]:
    """Every metric: the keys of `HEADLINES`, and for each of `BY_FACTOR` also `metric/factor`.

    With `within`, a factor, all is measured separately among the recordings of each of its classes,
    and averaged by their numbers: what is left of the others when this one does not vary. It is
    then none of the factors itself.

    Raises:
        BarlowSpeechError: there are fewer than two factors to measure, or one has fewer than two
            classes to learn.
    """
    weights_N = _weights(len(x_NE), weights_N)
    if not within:
        return _scores(x_NE, labels, splits, weights_N, seed)
    sums: dict[str, float] = {}
    shares: dict[str, float] = {}
    for rows, names in _classes_of(labels, splits, weights_N, within):
        own_labels, own_splits = (
            {name: columns[name][rows] for name in names} for columns in (labels, splits)
        )
        share = float(weights_N[rows].sum())
        own = _scores(x_NE[rows], own_labels, own_splits, weights_N[rows], seed)
        for key, value in own.items():
            sums[key] = sums.get(key, 0.0) + share * value
            shares[key] = shares.get(key, 0.0) + share
    if not sums:
        raise BarlowSpeechError(
            f"within one class of '{within}' there are not two factors left to tell apart; "
            "choose another factor for --within, or none."
        )
    return {key: total / shares[key] for key, total in sums.items()}


def _scores(
    x_NE: np.ndarray, labels: Columns, splits: Columns, weights_N: np.ndarray, seed: int
) -> dict[str, float]:
    # Checking every argument takes longer than fitting a threshold.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        information_EF = mutual_information(x_NE, labels, weights_N)
        parts = learnt_and_evaluated(x_NE, labels, splits, weights_N)
        trees = dci(parts, seed)
        by_factor = {
            "completeness": trees.completeness,
            "informativeness": trees.informativeness,
            "mig": mig(information_EF, labels, weights_N),
            "sap": sap(parts),
            "explicitness": explicitness(parts),
        }
    result = {
        "disentanglement": trees.disentanglement,
        "modularity": float(modularity(information_EF).mean()),
    }
    for metric, values in by_factor.items():
        result[metric] = float(np.mean(list(values.values())))
        result |= {f"{metric}/{name}": value for name, value in values.items()}
    return result


# --- what a factor is learnt from and evaluated on ------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Recordings with the class numbers of one factor, and how often each counts."""

    x_NE: np.ndarray
    labels_N: np.ndarray
    weights_N: np.ndarray


Parts = Mapping[str, tuple[Part, Part]]  # of each factor: learnt from, evaluated on


def learnt_and_evaluated(
    x_NE: np.ndarray, labels: Columns, splits: Columns, weights_N: np.ndarray | None = None
) -> Parts:
    """The recordings that predictors of each factor learn from, and those they are evaluated on.

    Raises:
        BarlowSpeechError: a factor has fewer than two classes to learn.
    """
    weights_N = _weights(len(x_NE), weights_N)
    few = sorted(set(labels) - set(_learnable(labels, splits, weights_N)))
    if few:
        raise BarlowSpeechError(
            f"factor '{few[0]}' has fewer than two classes among the recordings to learn from, or "
            "among those to evaluate on; give it more recordings, or leave it out."
        )
    result = {}
    for name, column in labels.items():
        number_N = np.unique(column, return_inverse=True)[1]
        fit, evaluated = (
            Part(x_NE[rows], number_N[rows], weights_N[rows])
            for rows in _rows(column, splits[name], weights_N)
        )
        result[name] = (fit, evaluated)
    return result


def measurable(
    labels: Columns, splits: Columns, weights_N: np.ndarray | None = None, within: str = ""
) -> frozenset[tuple[str, str]]:
    """(class of `within`, or "", and factor) of what has two classes to learn and to evaluate."""
    if not labels:
        return frozenset()
    weights_N = _weights(len(next(iter(labels.values()))), weights_N)
    if not within:
        return frozenset(("", name) for name in _learnable(labels, splits, weights_N))
    return frozenset(
        (str(labels[within][rows][0]), name)
        for rows, names in _classes_of(labels, splits, weights_N, within)
        for name in names
    )


def _weights(count: int, weights_N: np.ndarray | None) -> np.ndarray:
    return np.ones(count) if weights_N is None else np.asarray(weights_N, dtype=np.float64)


def _rows(
    column_N: np.ndarray, split_N: np.ndarray, weights_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which recordings are learnt from, and which evaluated on: of classes that were learnt."""
    there = (column_N != "") & (weights_N > 0)
    fit = there & (split_N == "train")
    evaluated = there & np.isin(split_N, ("dev", "test"))
    return fit, evaluated & np.isin(column_N, np.unique(column_N[fit]))


def _learnable(labels: Columns, splits: Columns, weights_N: np.ndarray) -> list[str]:
    """The factors of which two classes are learnt, and two are evaluated."""
    return [
        name
        for name, column in labels.items()
        if all(len(np.unique(column[rows])) >= 2 for rows in _rows(column, splits[name], weights_N))
    ]


def _classes_of(
    labels: Columns, splits: Columns, weights_N: np.ndarray, within: str
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Of each class of `within` its rows, and the other factors, if two or more can be measured."""
    if within not in labels:
        raise unknown("factor", within, labels, "--within")
    column = labels[within]
    for one in sorted(set(column[weights_N > 0].tolist()) - {""}):
        rows = np.flatnonzero(column == one)
        others = {name: labels[name][rows] for name in labels if name != within}
        names = _learnable(others, {name: splits[name][rows] for name in others}, weights_N[rows])
        if len(names) >= 2:
            yield rows, names


def balanced_accuracy(
    truth_N: np.ndarray, predicted_XN: np.ndarray, weights_N: np.ndarray | None = None
) -> np.ndarray:
    """The mean recall [X] of the classes that the truth has; X is any leading shape."""
    weights_N = _weights(len(truth_N), weights_N)
    classes, number_N = np.unique(truth_N, return_inverse=True)
    of_class_NC = np.zeros((len(truth_N), len(classes)))
    of_class_NC[np.arange(len(truth_N)), number_N] = weights_N
    there_C = of_class_NC.sum(axis=0)
    right_XC = (predicted_XN == truth_N) @ of_class_NC[:, there_C > 0]
    return (right_XC / there_C[there_C > 0]).mean(axis=-1)


# --- from predictors ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dci:
    """The three scores of Eastwood & Williams, and the importances that two of them are made of."""

    disentanglement: float
    completeness: dict[str, float]
    informativeness: dict[str, float]
    importance_EF: np.ndarray


def dci(parts: Parts, seed: int = 0) -> Dci:
    """Disentanglement, completeness, informativeness (Eastwood & Williams, ICLR 2018, section 2).

    R_ij is the importance of dimension i of the latent code for predicting factor j. With
    P_ij = R_ij / Σ_k R_ik the disentanglement of a dimension is D_i = 1 + Σ_j P_ij log_F P_ij, and
    of the code Σ_i ρ_i D_i with ρ_i = Σ_j R_ij / Σ_ij R_ij. With P~_ij = R_ij / Σ_k R_kj the
    completeness of a factor is C_j = 1 + Σ_i P~_ij log_E P~_ij. Informativeness, an error in the
    paper, is here the balanced accuracy (mean recall of the classes) on recordings that were not
    learnt from; chance is 1 / C.

    R_ij is the mean decrease in Gini impurity of extremely randomised trees (Geurts et al. 2006)
    that try every dimension at every node. Trees are one of the paper's two choices (the other is
    the lasso, which sees only what is linear); with the usual square root of E at a node, a tree
    often has to split by dimensions that know nothing, and a perfect code scores 0.2 to 0.6.

    Raises:
        BarlowSpeechError: there is one factor only.
    """
    _check_several(len(parts))
    columns = []
    informativeness = {}
    for name, (fit, evaluated) in parts.items():
        trees = ExtraTreesClassifier(TREES, max_features=None, random_state=seed)
        trees.fit(fit.x_NE, fit.labels_N, sample_weight=fit.weights_N)
        columns.append(trees.feature_importances_)
        informativeness[name] = float(
            balanced_accuracy(
                evaluated.labels_N, trees.predict(evaluated.x_NE), evaluated.weights_N
            )
        )
    importance_EF = np.stack(columns, axis=1)
    total = importance_EF.sum()
    of_dimension_E = importance_EF.sum(axis=1) / (total if total > 0 else 1.0)
    return Dci(
        disentanglement=float(of_dimension_E @ _concentration(importance_EF)),
        completeness=dict(zip(parts, _concentration(importance_EF.T).tolist())),
        informativeness=informativeness,
        importance_EF=importance_EF,
    )


def _concentration(importance_XY: np.ndarray) -> np.ndarray:
    """[X]: 1 minus the entropy of each row's shares to the base of their number; 0 for no share."""
    total_X1 = importance_XY.sum(axis=1, keepdims=True)
    share_XY = importance_XY / np.where(total_X1 > 0, total_X1, 1.0)
    if share_XY.shape[1] == 1:
        return np.ones(len(share_XY))
    spread_X = entr(share_XY).sum(axis=1) / np.log(share_XY.shape[1])
    return np.where(total_X1[:, 0] > 0, 1.0 - spread_X, 0.0)


def sap(parts: Parts) -> dict[str, float]:
    """The separated attribute predictability of each factor (Kumar et al., ICLR 2018, section 3).

    S_ij is the balanced accuracy with which factor j is read from dimension i alone, by one or more
    thresholds; the score of a factor is the difference between its two best dimensions, and their
    mean the paper's. Thresholds are those of a decision tree with at most C leaves on balanced
    classes; the paper takes the best ones for the very examples it evaluates on, here they are
    evaluated on others.
    """
    result = {}
    for name, (fit, evaluated) in parts.items():
        classes, number_N = np.unique(fit.labels_N, return_inverse=True)
        total_C = np.bincount(number_N, weights=fit.weights_N)
        weights_N = fit.weights_N / total_C[number_N]
        predictions = []
        for column_N1, evaluated_N1 in zip(fit.x_NE.T[..., None], evaluated.x_NE.T[..., None]):
            thresholds = DecisionTreeClassifier(max_leaf_nodes=len(classes), random_state=0)
            thresholds.fit(column_N1, fit.labels_N, sample_weight=weights_N)
            predictions.append(thresholds.predict(evaluated_N1))
        predicted_EN = np.stack(predictions)
        result[name] = _gap(
            balanced_accuracy(evaluated.labels_N, predicted_EN, evaluated.weights_N)
        )
    return result


def _gap(values_E: np.ndarray) -> float:
    """The largest value less the second largest, which is nothing where there is one only."""
    ordered = np.sort(values_E)[::-1]
    return float(ordered[0] - (ordered[1] if len(ordered) > 1 else 0.0))


def explicitness(parts: Parts) -> dict[str, float]:
    """How well each factor is read linearly (Ridgeway & Mozer, NeurIPS 2018, section 3.2).

    The mean over the factor's classes of the area under the ROC curve of a logistic regression of
    that class against the rest, on all dimensions, evaluated on recordings that were not learnt
    from: 1 is perfect, 0.5 chance. The regressions have scikit-learn's L2 penalty (C = 1) on
    standardised dimensions.
    """
    result = {}
    for name, (fit, evaluated) in parts.items():
        scale = StandardScaler().fit(fit.x_NE, sample_weight=fit.weights_N)
        fit_NE, evaluated_NE = scale.transform(fit.x_NE), scale.transform(evaluated.x_NE)
        areas = []
        for one in np.unique(evaluated.labels_N).tolist():
            model = LogisticRegression(max_iter=1000)
            model.fit(fit_NE, fit.labels_N == one, sample_weight=fit.weights_N)
            areas.append(
                roc_auc_score(
                    evaluated.labels_N == one,
                    model.decision_function(evaluated_NE),
                    sample_weight=evaluated.weights_N,
                )
            )
        result[name] = float(np.mean(areas))
    return result


# --- from information -----------------------------------------------------------------------------


def mutual_information(
    x_NE: np.ndarray, labels: Columns, weights_N: np.ndarray | None = None, bins: int = BINS
) -> np.ndarray:
    """I(z_i; v_j) [E, F] in nats, of the dimensions in `bins` bins of equal width.

    The plug-in value: that of `sklearn.metrics.mutual_info_score` on the numbers of the bins.
    """
    weights_N = _weights(len(x_NE), weights_N)
    there = weights_N > 0
    weights_N = weights_N[there]
    bins_NE = discretised(x_NE[there], bins)
    dimensions = x_NE.shape[1]
    columns = []
    for column in labels.values():
        names_N = column[there]
        known = names_N != ""
        classes, number_N = np.unique(names_N[known], return_inverse=True)
        cells_NE = bins_NE[known] * len(classes) + number_N[:, None]
        offset_E = np.arange(dimensions) * bins * len(classes)
        counts = np.bincount(
            (cells_NE + offset_E).ravel(),
            weights=np.repeat(weights_N[known], dimensions),
            minlength=dimensions * bins * len(classes),
        )
        share_EBC = counts.reshape(-1, bins, len(classes)) / weights_N[known].sum()
        columns.append(
            entr(share_EBC.sum(axis=2)).sum(axis=1)
            + entr(share_EBC.sum(axis=1)).sum(axis=1)
            - entr(share_EBC).sum(axis=(1, 2))
        )
    # Rounding may leave a little less than nothing.
    return np.maximum(np.stack(columns, axis=1), 0.0)


def discretised(x_NE: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The number [N, E] of the bin of each value, of `bins` between its dimension's extremes."""
    low_E, high_E = x_NE.min(axis=0), x_NE.max(axis=0)
    width_E = np.where(high_E > low_E, high_E - low_E, 1.0)
    return np.minimum((x_NE - low_E) / width_E * bins, bins - 1).astype(np.int64)


def entropy(column_N: np.ndarray, weights_N: np.ndarray | None = None) -> float:
    """H(v) in nats of a factor, over the recordings whose label is known."""
    weights_N = _weights(len(column_N), weights_N)
    known = (column_N != "") & (weights_N > 0)
    _, number_N = np.unique(column_N[known], return_inverse=True)
    counts_C = np.bincount(number_N, weights=weights_N[known])
    return float(entr(counts_C / counts_C.sum()).sum())


def mig(
    information_EF: np.ndarray, labels: Columns, weights_N: np.ndarray | None = None
) -> dict[str, float]:
    """The mutual information gap of each factor (Chen et al., NeurIPS 2018, equation 6).

    (I(z_a; v) - I(z_b; v)) / H(v), where z_a and z_b are the dimensions that know most about the
    factor v. Their mean over the factors is the paper's score. The paper integrates over q(z | x);
    our representations are single points, and binned as in `mutual_information`.
    """
    return {
        name: _gap(information_E) / max(entropy(column, weights_N), 1e-12)
        for (name, column), information_E in zip(labels.items(), information_EF.T)
    }


def modularity(information_EF: np.ndarray) -> np.ndarray:
    """The modularity [E] of each dimension (Ridgeway & Mozer, NeurIPS 2018, section 3.1).

    1 - δ_i with δ_i = Σ_f (m_if - t_if)² / (θ_i² (F - 1)), where m_if is the mutual information of
    dimension i and factor f, θ_i the largest of a dimension, and t_if is θ_i for that factor and 0
    for the others. The mean over the dimensions is the paper's score. A dimension that knows of no
    factor has 0. Estimated from few recordings, information is overestimated, and more so for a
    factor of many classes: noise may score well, which is why it has a row in our tables.

    Raises:
        BarlowSpeechError: there is one factor only.
    """
    _check_several(information_EF.shape[1])
    squared_EF = information_EF**2
    largest_E = squared_EF.max(axis=1)
    off_E = squared_EF.sum(axis=1) - largest_E
    known_E = largest_E > 0
    scale_E = np.where(known_E, largest_E, 1.0) * (information_EF.shape[1] - 1)
    return np.where(known_E, 1.0 - off_E / scale_E, 0.0)


def _check_several(factors: int) -> None:
    if factors < 2:
        raise BarlowSpeechError(
            "one factor alone cannot be told apart from others; disentanglement and modularity "
            "need two or more."
        )
