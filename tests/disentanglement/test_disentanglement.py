"""Disentanglement: known codes with known answers, each metric against a reference, the verb."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from barlow_speech.benchmark import entry
from barlow_speech.benchmark.commands.disentangle import with_random
from barlow_speech.benchmark.disentanglement import metrics
from barlow_speech.benchmark.disentanglement.bases import (
    BASES,
    INDEPENDENT,
    OWN,
    PRINCIPAL,
    in_every_basis,
    label_numbers,
    noise,
)
from barlow_speech.benchmark.disentanglement.factors import Factors, associations, read_factors
from barlow_speech.benchmark.disentanglement.measure import Representations, study
from barlow_speech.benchmark.disentanglement.metrics import (
    BINS,
    HEADLINES,
    Columns,
    Dci,
    Parts,
    balanced_accuracy,
    discretised,
    entropy,
    learnt_and_evaluated,
    measurable,
    mutual_information,
)
from barlow_speech.benchmark.disentanglement.record import json_study
from barlow_speech.benchmark.figures.disentanglement import draw_study
from barlow_speech.benchmark.reporting.disentanglement import document
from barlow_speech.benchmark.reporting.tables import text_document
from barlow_speech.benchmark.statistics.speaker_bootstrap import estimate, group_weights
from barlow_speech.downstream.corpus import read_corpus
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.model.checkpoint import save_model
from barlow_speech.upstream.model.frontend import FrontEndSettings
from barlow_speech.upstream.model.speech_encoder import ModelSettings, random_model

SIZES = {"speaker": 5, "emotion": 3, "channel": 2}  # classes of factors that are independent
REPETITIONS = 16


def factorial() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Labels of every combination equally often, so that factors are exactly independent."""
    numbers_NF = np.array(
        list(itertools.product(*(range(size) for size in SIZES.values()), range(REPETITIONS)))
    )[:, :-1]
    # Names whose order is not that of the numbers.
    labels = {
        name: np.array([f"{name}{(7 * one) % size}" for one in column])
        for (name, size), column in zip(SIZES.items(), numbers_NF.T)
    }
    return labels, numbers_NF.astype(float)


LABELS, NUMBERS = factorial()
COUNT = len(NUMBERS)


def jittered(code: np.ndarray, seed: int = 0) -> np.ndarray:
    return code + np.random.default_rng(seed).normal(0, 0.01, code.shape)


def one_hot() -> np.ndarray:
    return np.hstack([column[:, None] == np.unique(column) for column in LABELS.values()]).astype(
        float
    )


def rotation(size: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def gaussian(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((COUNT, size))


def halves(labels: Columns) -> dict[str, np.ndarray]:
    """Of every class half of the recordings train, half test."""
    result = {}
    for place, (name, column) in enumerate(labels.items()):
        generator = np.random.default_rng([0, place])
        split = np.full(len(column), "", dtype="<U5")
        for one in sorted(set(column.tolist()) - {""}):
            rows = generator.permutation(np.flatnonzero(column == one))
            split[rows[::2]], split[rows[1::2]] = "train", "test"
        result[name] = split
    return result


def parts(codes: np.ndarray, labels: Columns, splits: Columns | None) -> Parts:
    return learnt_and_evaluated(codes, labels, splits or halves(labels))


def dci(codes: np.ndarray, labels: Columns) -> Dci:
    return metrics.dci(parts(codes, labels, None))


def mig(codes: np.ndarray, labels: Columns) -> dict[str, float]:
    return metrics.mig(mutual_information(codes, labels), labels)


def sap(codes: np.ndarray, labels: Columns, splits: Columns | None = None) -> dict[str, float]:
    return metrics.sap(parts(codes, labels, splits))


def modularity(codes: np.ndarray, labels: Columns) -> np.ndarray:
    return metrics.modularity(mutual_information(codes, labels))


def explicitness(
    codes: np.ndarray, labels: Columns, splits: Columns | None = None
) -> dict[str, float]:
    return metrics.explicitness(parts(codes, labels, splits))


def scores(
    codes: np.ndarray, labels: Columns, splits: Columns | None = None, *given: np.ndarray,
    within: str = "",
) -> dict[str, float]:  # fmt: skip
    return metrics.scores(codes, labels, splits or halves(labels), *given, within=within)


# --- codes with known answers ---------------------------------------------------------------------


def test_perfect_code_has_a_dimension_for_each_factor() -> None:
    """Exactly independent factors, a dimension for each: every score is what its formula gives."""
    found = dci(jittered(NUMBERS), LABELS)
    assert found.disentanglement > 0.98
    assert min(found.completeness.values()) > 0.98
    assert set(found.informativeness.values()) == {1.0}
    assert found.importance_EF.argmax(axis=0).tolist() == [0, 1, 2]
    for value in mig(NUMBERS, LABELS).values():
        assert value == pytest.approx(1, abs=1e-9)
    # The second best dimension knows nothing, and reads one class in C right.
    for name, value in sap(NUMBERS, LABELS).items():
        assert value == pytest.approx(1 - 1 / SIZES[name], abs=0.12)
    assert modularity(NUMBERS, LABELS) == pytest.approx(1, abs=1e-9)
    assert min(explicitness(jittered(one_hot()), LABELS).values()) == 1.0


def test_rotated_code_is_as_informative_and_not_disentangled() -> None:
    plain = jittered(one_hot())
    turned = plain @ rotation(plain.shape[1])
    before, after = scores(plain, LABELS), scores(turned, LABELS)
    assert before["disentanglement"] > 0.98 and after["disentanglement"] < 0.6
    assert before["modularity"] > 0.98 and after["modularity"] < 0.9
    assert mig(jittered(NUMBERS) @ rotation(3), LABELS)["speaker"] < 0.5
    # A linear reader undoes a rotation.
    assert after["explicitness"] == pytest.approx(before["explicitness"], abs=0.002)


def test_redundant_code_is_modular_and_not_compact() -> None:
    """A copy of every dimension closes the gap between the two best, and halves what one holds."""
    twice = np.hstack([NUMBERS, NUMBERS])
    assert set(mig(twice, LABELS).values()) == {0.0}
    assert set(sap(twice, LABELS).values()) == {0.0}
    assert modularity(twice, LABELS) == pytest.approx(1, abs=1e-9)
    found = dci(jittered(twice), LABELS)
    assert found.disentanglement > 0.98
    # Shares of one half each; trees do not share evenly to the digit.
    for value in found.completeness.values():
        assert value == pytest.approx(1 - np.log(2) / np.log(6), abs=0.12)
    assert set(found.informativeness.values()) == {1.0}


def test_noise_scores_nothing() -> None:
    found = scores(gaussian(16), LABELS)
    assert found["disentanglement"] < 0.1
    assert found["completeness"] < 0.1
    assert found["mig"] < 0.03 and found["sap"] < 0.1
    assert found["explicitness"] == pytest.approx(0.5, abs=0.05)
    for name, size in SIZES.items():
        assert found[f"informativeness/{name}"] == pytest.approx(1 / size, abs=0.1)


def test_noise_looks_modular_where_one_factor_has_many_classes() -> None:
    """What the docstring warns of: the plug-in information of noise grows with the classes."""
    labels = {
        "speaker": np.array([f"s{one}" for one in np.arange(COUNT) % 48]),
        "channel": LABELS["channel"],
    }
    assert modularity(gaussian(16), labels).mean() > 0.9


def test_what_was_learnt_by_heart_is_not_judged() -> None:
    """More dimensions than recordings, and labels at random: train is perfect, the rest chance."""
    generator = np.random.default_rng(0)
    labels = {name: generator.permutation(LABELS[name][::4]) for name in ("emotion", "channel")}
    codes = generator.standard_normal((len(labels["emotion"]), 300))
    for value in explicitness(codes, labels).values():
        assert value == pytest.approx(0.5, abs=0.12)


# --- against references and by invariances --------------------------------------------------------


def test_information_is_scikit_learns_on_a_histogram() -> None:
    codes = gaussian(4) + NUMBERS[:, :1]
    binned = np.stack(
        [np.digitize(one, np.histogram(one, BINS)[1][:-1]) - 1 for one in codes.T], axis=1
    )
    assert np.array_equal(discretised(codes), binned)
    found = mutual_information(codes, LABELS)
    for i, j in np.ndindex(found.shape):
        truth = mutual_info_score(list(LABELS.values())[j], binned[:, i])
        assert found[i, j] == pytest.approx(truth, abs=1e-12)
    assert entropy(LABELS["speaker"]) == pytest.approx(np.log(5))


def test_scores_are_the_papers_formulas() -> None:
    """Written out, dimension by dimension and factor by factor."""
    codes = gaussian(6) + NUMBERS @ np.random.default_rng(1).standard_normal((3, 6))
    trees = dci(codes, LABELS)
    importance = trees.importance_EF
    concentration = [1 - stats.entropy(row, base=3) for row in importance]
    weights = importance.sum(axis=1) / importance.sum()
    assert trees.disentanglement == pytest.approx(np.dot(weights, concentration))
    for j, value in enumerate(trees.completeness.values()):
        assert value == pytest.approx(1 - stats.entropy(importance[:, j], base=6))

    information = mutual_information(codes, LABELS)
    for j, (name, value) in enumerate(mig(codes, LABELS).items()):
        best, second = sorted(information[:, j], reverse=True)[:2]
        assert value == pytest.approx((best - second) / np.log(SIZES[name]))
    for i, value in enumerate(modularity(codes, LABELS)):
        template = np.where(information[i] == information[i].max(), information[i].max(), 0)
        deviation = ((information[i] - template) ** 2).sum() / (information[i].max() ** 2 * 2)
        assert value == pytest.approx(1 - deviation)


def test_threshold_of_sap_is_the_best_one() -> None:
    """Two classes that overlap: as good on the judged as the best of all thresholds on train."""
    generator = np.random.default_rng(0)
    number = np.arange(400) % 2
    labels = {"channel": np.array(["a", "b"])[number]}
    codes = np.stack([number + generator.normal(0, 0.5, 400), generator.normal(size=400)], axis=1)
    splits = halves(labels)["channel"]
    train, test = splits == "train", splits == "test"

    def accuracy(threshold: float, rows: np.ndarray) -> float:
        return float(balanced_accuracy(number[rows], (codes[rows, 0] > threshold).astype(int)))

    best = max(codes[train, 0], key=lambda one: accuracy(one, train))
    of_noise = 0.5
    found = sap(codes, labels, {"channel": splits})["channel"]
    assert found == pytest.approx(accuracy(best, test) - of_noise, abs=0.08)


def test_order_scale_and_names_do_not_matter() -> None:
    codes = gaussian(5) + NUMBERS @ np.random.default_rng(1).standard_normal((3, 5))
    moved = (7 * codes - 3)[:, [3, 0, 4, 1, 2]]
    renamed = {name: np.char.add("x", column)[::1] for name, column in LABELS.items()}
    splits = halves(LABELS)
    for before, after in (
        (mig(codes, LABELS), mig(moved, renamed)),
        (sap(codes, LABELS, splits), sap(moved, renamed, splits)),
        (explicitness(codes, LABELS, splits), explicitness(moved, renamed, splits)),
    ):
        assert after == pytest.approx(before, abs=1e-6)
    found = modularity(moved, renamed)
    assert found == pytest.approx(modularity(codes, LABELS)[[3, 0, 4, 1, 2]])


def test_weight_is_as_often_a_row() -> None:
    generator = np.random.default_rng(0)
    weights = generator.integers(0, 3, COUNT)
    rows = np.repeat(np.arange(COUNT), weights)
    codes, splits = gaussian(4) + NUMBERS[:, :1], halves(LABELS)
    labels_often = {name: column[rows] for name, column in LABELS.items()}
    splits_often = {name: column[rows] for name, column in splits.items()}
    weighted = scores(codes, LABELS, splits, weights)
    repeated = scores(codes[rows], labels_often, splits_often)
    for key, value in weighted.items():
        # Trees draw their thresholds in another order, and a solver stops a little elsewhere.
        loose = key.startswith(("disent", "compl", "inform", "explicit"))
        assert value == pytest.approx(repeated[key], abs=0.03 if loose else 1e-9), key


def test_unknown_label_leaves_a_recording_out_of_that_factor_alone() -> None:
    codes, splits = gaussian(4) + NUMBERS[:, :1], halves(LABELS)
    # Bins span all recordings; the ends are kept.
    hidden = np.random.default_rng(0).random(COUNT) < 0.3
    hidden[np.concatenate([codes.argmin(axis=0), codes.argmax(axis=0)])] = False
    labels = {**LABELS, "emotion": np.where(hidden, "", LABELS["emotion"])}
    found, whole = scores(codes, labels, splits), scores(codes, LABELS, splits)
    part = scores(
        codes[~hidden],
        {name: column[~hidden] for name, column in LABELS.items()},
        {name: column[~hidden] for name, column in splits.items()},
    )
    for metric in ("mig", "sap", "explicitness", "informativeness", "completeness"):
        assert found[f"{metric}/speaker"] == whole[f"{metric}/speaker"]
        assert found[f"{metric}/emotion"] == pytest.approx(part[f"{metric}/emotion"], abs=1e-9)


# --- factors that hang together -------------------------------------------------------------------


def voices() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Speakers of two genders, and a channel of its own; (labels, speaker numbers)."""
    speaker = np.arange(COUNT) % 8
    labels = {
        "speaker": np.array([f"s{one}" for one in speaker]),
        "gender": np.array(["female", "male"])[speaker % 2],
        "channel": np.array(["a", "b"])[np.arange(COUNT) // 8 % 2],
    }
    return labels, speaker


def test_a_determined_factor_has_no_gap() -> None:
    """Even of the perfect code: the speaker's dimension knows the gender as well as gender's."""
    labels, _ = voices()
    assert associations(labels)["gender", "speaker"] == pytest.approx(1)
    assert associations(labels)["speaker", "gender"] == pytest.approx(1 / 3)
    assert associations(labels)["channel", "speaker"] == pytest.approx(0, abs=1e-12)
    found = mig(label_numbers(labels).x_NE, labels)
    assert found["gender"] == pytest.approx(0, abs=1e-12)
    assert found["channel"] == pytest.approx(1)


def test_within_a_factor_what_it_told_is_gone() -> None:
    """A code of gender alone reads speakers well above chance; within a gender it cannot."""
    labels, _ = voices()
    code = jittered(np.stack([labels["gender"] == "male", labels["channel"] == "a"], axis=1) * 1.0)
    freely, within = scores(code, labels), scores(code, labels, within="gender")
    assert freely["informativeness/speaker"] > 0.2
    assert freely["explicitness/speaker"] > 0.65
    assert within["explicitness/speaker"] == pytest.approx(0.5, abs=0.06)
    assert within["informativeness/channel"] == 1.0
    assert not any(key.endswith("/gender") for key in within)
    assert measurable(labels, halves(labels), within="gender") == {
        (gender, name) for gender in ("female", "male") for name in ("speaker", "channel")
    }


@pytest.mark.parametrize(
    ("labels", "within", "says"),
    [
        ({"speaker": LABELS["speaker"]}, "", "two or more"),
        ({**LABELS, "speaker": np.full(COUNT, "anna")}, "", "'speaker'"),
        (LABELS, "emotoin", "did you mean 'emotion'"),
        ({name: LABELS[name] for name in ("speaker", "emotion")}, "emotion", "two factors left"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels: dict, within: str, says: str) -> None:
    with pytest.raises(BarlowSpeechError, match=says):
        scores(gaussian(3), labels, within=within)


# --- draws of speakers ----------------------------------------------------------------------------


def test_draws_take_whole_speakers() -> None:
    speakers = np.array([f"s{one}" for one in np.arange(60) % 7])
    draws = group_weights(speakers, 40)
    for one in sorted(set(speakers)):
        assert (draws[:, speakers == one] == draws[:, speakers == one][:, :1]).all()
    first = [int(np.flatnonzero(speakers == one)[0]) for one in sorted(set(speakers))]
    assert (draws[:, first].sum(axis=1) == 7).all()
    assert len(np.unique(draws, axis=0)) > 30
    assert np.array_equal(group_weights(speakers, 10), draws[:10])
    assert len(group_weights(speakers[speakers < "s4"], 10)) == 0


def test_draw_that_cannot_be_used_is_drawn_again() -> None:
    speakers = np.array([f"s{one}" for one in range(6)])
    draws = group_weights(speakers, 30, usable=lambda weights: weights[0] > 0)
    assert (draws[:, 0] > 0).all()
    with pytest.raises(BarlowSpeechError, match="--resamples 0"):
        group_weights(speakers, 1, usable=lambda weights: False)


def test_error_is_that_of_speakers_not_of_recordings() -> None:
    """Recordings of a speaker are equal: the mean varies as that of 25 values, not of 500."""
    generator = np.random.default_rng(0)
    of_speaker = generator.standard_normal(25)
    speakers = np.repeat(np.arange(25), 20).astype(str)
    values = np.repeat(of_speaker, 20)
    draws = group_weights(speakers, 400)
    found = estimate(values.mean(), draws @ values / draws.sum(axis=1))
    assert found.error == pytest.approx(of_speaker.std() / 5, rel=0.12)
    assert found.interval() == pytest.approx(
        [found.value - 1.96 * found.error, found.value + 1.96 * found.error], abs=1e-3
    )
    assert estimate(0.01, [0.0, 0.1]).interval(0.0, 1.0)[0] == 0.0
    assert estimate(0.3, []).interval() is None


# --- bases ----------------------------------------------------------------------------------------


def test_every_basis_keeps_as_many_dimensions() -> None:
    """Constants and copies are none; own dimensions are the largest, in their order."""
    sources = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    mixed = sources @ rotation(3) * 5
    codes = np.hstack([mixed[:, :1], np.full((400, 1), 2.0), mixed, mixed[:, 1:2]])
    own, principal, independent = in_every_basis("u", codes)
    assert [one.basis for one in (own, principal, independent)] == list(BASES)
    for one in (own, principal, independent):
        assert one.x_NE.shape == (400, 3)
        assert one.x_NE.mean(axis=0) == pytest.approx(0, abs=1e-9)
        assert one.x_NE.std(axis=0) == pytest.approx(1)
        assert one.facts["of"] == 6
    assert principal.facts["variance"] == pytest.approx(1)
    assert np.corrcoef(principal.x_NE.T) == pytest.approx(np.eye(3), abs=1e-9)
    # Independent components are the sources, in any order and with any sign.
    matched = np.abs(np.corrcoef(independent.x_NE.T, sources.T)[:3, 3:])
    assert matched.max(axis=0).min() > 0.95 and independent.facts["converged"]
    scaled = gaussian(4) * [1, 9, 2, 5]
    kept = in_every_basis("u", scaled, most=2)[0].x_NE
    assert np.abs(np.corrcoef(kept.T, scaled.T)[[0, 1], [3, 5]]) == pytest.approx(1)


def test_codes_of_too_little_are_refused() -> None:
    with pytest.raises(BarlowSpeechError, match="upstream 'u'"):
        in_every_basis("u", np.ones((40, 5)))
    with pytest.raises(BarlowSpeechError, match="eight recordings"):
        in_every_basis("u", gaussian(5)[:7])


def test_ica_undoes_what_a_rotation_did() -> None:
    """The study's question in small: independent sources, mixed; ICA finds the factored code."""
    mixed = jittered((NUMBERS - NUMBERS.mean(axis=0)) / NUMBERS.std(axis=0)) @ rotation(3, seed=2)
    gaps = {
        code.basis: np.mean(list(mig(code.x_NE, LABELS).values()))
        for code in in_every_basis("u", mixed)
    }
    assert gaps[INDEPENDENT] > 0.9
    assert gaps[OWN] < 0.6 and gaps[PRINCIPAL] < 0.9


# --- a corpus and the verb ------------------------------------------------------------------------


def test_factors_have_the_splits_of_their_tasks(tones: Path, tmp_path: Path) -> None:
    corpus = read_corpus(str(tones))
    found = read_factors(corpus)
    assert set(found.labels) == {"speaker", "gender", "emotion", "keyword"}
    for name, column in (("speaker", "split_speaker_id"), ("emotion", "split_speaker_disjoint")):
        assert found.splits[name].tolist() == corpus.manifest.column(column)
        assert found.labels[name].tolist() == corpus.manifest.column(name)
    assert found.groups_N.tolist() == corpus.manifest.column("speaker")
    few = read_factors(corpus, ["gender", "keyword"], most=30)
    assert list(few.labels) == ["gender", "keyword"] and len(few.rows_N) == 30
    assert any("30 of 72" in note for note in few.notes)
    with pytest.raises(BarlowSpeechError, match="did you mean 'gender'"):
        read_factors(corpus, ["gendre"])

    text = tones.read_text().replace("\tdev\tdev\n", "\ttest\ttest\n", 1)
    leaking = tones.with_name("leaking.tsv")
    leaking.write_text(text.replace("\ttrain\ttrain\n", "\ttest\ttest\n", 1))
    try:
        with pytest.raises(BarlowSpeechError, match="--allow-leakage"):
            read_factors(read_corpus(str(leaking)))
        allowed = read_factors(read_corpus(str(leaking)), allow_leakage=True)
        assert any("train and test" in note for note in allowed.notes)
    finally:
        leaking.unlink()


def test_random_weights_join_each_of_ours() -> None:
    names, baselines = with_random(
        ["barlow_speech@a.safetensors", "fbank_no_cmvn", "barlow_speech"]
    )
    assert names[3:] == ["barlow_speech_random@a.safetensors", "barlow_speech_random"]
    assert baselines["barlow_speech@a.safetensors"] == "barlow_speech_random@a.safetensors"
    assert with_random(["fbank", "fbank"]) == (["fbank"], {})


def test_reference_codes() -> None:
    numbers = label_numbers(
        {"a": np.array(["x", "y", "x", "z"]), "b": np.array(["", "p", "q", ""])}
    )
    for column, labels in zip(numbers.x_NE.T, (["x", "y", "x", "z"], ["", "p", "q", ""])):
        assert len(set(zip(column.tolist(), labels))) == len(set(column.tolist()))
    assert np.array_equal(noise(20, 3).x_NE, noise(20, 3).x_NE)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder whose embedding varies over tones (that of `checkpoint` is a constant)."""
    settings = ModelSettings(FrontEndSettings(16, -6.0, 4.0), {"name": "cnn2d", "channels": 4})
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_model(path, random_model(settings, seed=5), {})
    return path


def disentangle(*arguments: object) -> None:
    entry.run(["disentangle", *map(str, arguments)])


def test_the_verb(
    tones: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row, number and file is there; what is printed as JSON is what is written."""
    given = ("-u", "barlow_speech", "-k", encoder, "--corpus", tones, "--factors", "speaker",
             "gender", "--resamples", 3, "--dimensions", 6)  # fmt: skip
    disentangle(*given, "-o", tmp_path, "--workers", 1, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "disentanglement.json").read_text())
    written = (tmp_path / "disentanglement.md").read_text()
    assert "speaker determines gender" in written and "less random weights" in written
    assert [(row["upstream"], row["basis"]) for row in found["rows"]] == [
        *((name, basis) for name in ("barlow_speech", "barlow_speech_random") for basis in BASES),
        ("", "noise"),
        ("", "labels"),
    ]
    assert {row["dimensions"] for row in found["rows"][:7]} == {6}
    for row in found["rows"][:6]:
        assert set(HEADLINES) < set(row["metrics"])
        for one in row["metrics"].values():
            low, high = one["ci95"]
            assert 0 <= low <= one["value"] <= high <= 1
    layers = found["probes"]["barlow_speech"]["layers"]
    assert found["codes"]["barlow_speech"]["source"] == "embedding" == list(layers)[-1]
    assert len(found["probes"]["barlow_speech"]["probes"]) == 2 * len(layers)
    assert all(1 <= one["effective_rank"] <= 71 for one in layers.values())
    pictures = ("metrics", "layers", "few_dimensions", "spectrum")
    for name, kind in itertools.product(pictures, (".png", ".pdf")):
        assert (tmp_path / (name + kind)).stat().st_size > 1000


def test_same_numbers_and_pictures_whatever_the_processes(tmp_path: Path) -> None:
    labels = {name: LABELS[name][::4] for name in ("speaker", "channel")}
    splits = {
        name: np.tile(["train", "train", "dev", "test"], len(column) // 4)
        for name, column in labels.items()
    }
    rows = np.arange(len(labels["speaker"]))
    factors = Factors(labels, splits, rows, (rows % 10).astype(str), ())
    codes = (gaussian(4) + NUMBERS[:, :1])[::4]
    represent = [Representations(name, "embedding", one, {"layer 1": one}) for name, one in
             (("mine", codes), ("random", codes[::-1]))]  # fmt: skip
    studies = [
        study("made", factors, represent, baselines={"mine": "random"}, resamples=3, sizes=(1, 2),
              workers=workers)
        for workers in (1, 2)
    ]  # fmt: skip
    assert json_study(studies[0]) == json_study(studies[1])
    assert text_document(document(studies[0])) == text_document(document(studies[1]))
    drawn = [draw_study(one, tmp_path / str(place), ("png",)) for place, one in enumerate(studies)]
    for one, other in zip(*drawn):
        assert one.read_bytes() == other.read_bytes()

    # A difference is taken draw by draw, on the same speakers.
    found = studies[0].rows
    less = next(one for one in studies[0].differences if one.less_upstream == "random")
    for key, one in less.estimates.items():
        drawn_R = found[0].draws[key] - found[3].draws[key]
        assert one == estimate(
            found[0].estimates[key].value - found[3].estimates[key].value, drawn_R
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--factors", "gendre"), "did you mean 'gender'"),
        (("--within", "age"), "unknown factor 'age'"),
        (("--factors", "speaker", "gender", "--within", "gender"), "no class of 'gender'"),
        (("--factors", "gender"), "one factor only"),
        (("--dimensions", 1), "--dimensions must be 2 or more"),
        (("--resamples", -1), "--resamples must be 0 or more"),
        ((), "'barlow_speech' vary in fewer than two dimensions"),
    ],
)
def test_the_verb_refuses(
    tones: Path, checkpoint: Path, tmp_path: Path, arguments: tuple[object, ...], says: str
) -> None:
    with pytest.raises(BarlowSpeechError, match=says):
        disentangle(
            "-u", "barlow_speech", "-k", checkpoint, "--corpus", tones, "-o", tmp_path / "out",
            *arguments,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
