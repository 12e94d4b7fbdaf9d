"""Results of other programs on our leaderboard: what pairs, what is said, what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from barlow_speech.benchmark import entry, result_formats
from barlow_speech.benchmark.evaluation.records import Record, Store
from barlow_speech.benchmark.statistics.predictions import pack
from barlow_speech.benchmark.statistics.results import Cost
from barlow_speech.upstream.common.errors import run_command

TIME = "2026-01-02T03-04-05.678901"
RANKS = ("rank", "rank_worst", "separable_from_best", "mean", "ci95_low", "ci95_high")


def leaderboard(*arguments: object) -> int:
    return run_command(entry.run, ["leaderboard", *map(str, arguments)])


def board(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (out / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return {(row["task"], row["upstream"]): row for row in csv.DictReader(file)}


def page(out: Path) -> str:
    return " ".join((out / "leaderboard.md").read_text(encoding="utf-8").replace("\\", "").split())


def mteb(
    folder: Path, model: str, task: str, draws: Sequence[Sequence[float]], **more: Any
) -> Path:
    """A file as MTEB writes it, with a subset for each sequence of draws."""
    entries = []
    for place, scores in enumerate(draws):
        each = [{"accuracy": score, "f1": score / 2, "ap": None} for score in scores]
        mean = round(float(np.mean(scores)), 6)
        one = {"accuracy": mean, "f1": mean / 2, "ap": None, "main_score": mean,
               "hf_subset": f"s{place}", "languages": ["eng-Latn"]}  # fmt: skip
        entries.append(one | ({"scores_per_experiment": each} if len(scores) > 1 else {}))
    content = {"task_name": task, "mteb_version": "2.1.0", "dataset_revision": "abcdef012345",
               "scores": {more.pop("split", "test"): entries}, **more}  # fmt: skip
    path = folder / model.replace("/", "__") / more.get("revision", "r1") / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def sample(item: int, **metrics: Any) -> dict[str, Any]:
    return {"doc_id": item, "doc_hash": f"d{item}", "prompt_hash": f"p{item}", "filter": "none",
            "target": "x", "resps": [], "metrics": list(metrics), **metrics}  # fmt: skip


def lm_eval(folder: Path, model: str, samples: Sequence[dict[str, Any]], time: str = TIME) -> Path:
    path = folder / model.replace("/", "__") / f"samples_a_task_{time}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in samples), encoding="utf-8")
    return path


def table(path: Path, header: str, *rows: Sequence[object]) -> Path:
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def written(kind: str, folder: Path, scores: dict[str, np.ndarray]) -> Path:
    """The scores of some systems on one task, in a format."""
    if kind == "mteb":
        for name, values in scores.items():
            mteb(folder, name, "t", [values.tolist()])
    elif kind == "lm-eval":
        for name, values in scores.items():
            lm_eval(folder, name, [sample(i, acc=float(x)) for i, x in enumerate(values)])
    else:
        rows = [(name, "t", i, x) for name, values in scores.items() for i, x in enumerate(values)]
        return table(folder / "t.csv", f"model,task,{kind},score", *rows)
    return folder


KINDS = ("mteb", "lm-eval", "seed", "item")


def test_there_is_a_test_for_every_format() -> None:
    assert {"csv" if kind in ("seed", "item") else kind for kind in KINDS} == {
        *result_formats.names()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_equal_systems_are_never_separated_and_pairs_find_what_unpaired_tests_do_not(
    kind: str, seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    hard = rng.uniform(0.3, 0.7, 12)  # what a draw, seed or item gives every system
    better = hard + 0.01 + rng.uniform(-0.002, 0.002, 12)
    source = written(kind, tmp_path, {"a": hard, "b": hard.copy(), "c": better})
    form = "csv" if kind in ("seed", "item") else kind
    assert leaderboard(source, "--from", form, "-o", tmp_path / "out") == 0
    assert stats.ttest_ind(better, hard).pvalue > 0.5
    found = board(tmp_path / "out")
    span = {name: (row["rank"], row["rank_worst"]) for (_, name), row in found.items()}
    assert span == {"a": ("2", "3"), "b": ("2", "3"), "c": ("1", "1")}
    over = {"mteb": "draws", "seed": "runs"}.get(kind, "items")
    assert {row["over"] for row in found.values()} == {over}
    assert f"paired test over {over}, 5 %" in page(tmp_path / "out")


def store(folder: Path, upstream: str, level: float, speakers: int = 8) -> None:
    """Runs on 80 recordings; the harder speakers and recordings are the same for all."""
    rng = np.random.default_rng(0)
    hard_N = rng.uniform(0, 0.5, 80)
    truth_N = rng.integers(0, 2, 80)
    runs = {}
    for seed in range(7, 17):
        right_N = np.random.default_rng([seed, round(100 * level)]).random(80) < level - hard_N
        runs[seed] = {
            "seed": seed, "sources": {"init": seed},
            "folds": [{"predicted": pack(np.where(right_N, truth_N, 1 - truth_N)),
                       "curve": [[10, 0.5]]}],
        }  # fmt: skip
    protocol = {"learning_rates": [0.01], "steps": 10, "batch": 4, "accumulate": 1,
                "varies": ["init"], "head": {"name": "linear"}}  # fmt: skip
    identity: dict[str, Any] = {"features": [upstream], "examples": "e", "protocol": protocol,
                                "selection": "hidden_states"}  # fmt: skip
    facts: dict[str, Any] = {
        "protocol": "quick", "head": "linear", "classes": ["x", "y"], "truth": [pack(truth_N)],
        "speakers": [pack(1 + np.arange(80) % speakers)], "most_frequent": [0],
        "recordings": {"train": 8, "dev": 4, "test": 80}, "learning_rate": {"chosen": 0.01},
        "layers": 2, "width": 4, "seconds": {}, "notes": [], "corpus": {"licence": "CC0"},
        "cost": asdict(Cost(1, 1.0, 0.1, "cpu", 1)),
    }  # fmt: skip
    for task in ("emotion", "gender"):
        Store(folder).save(Record(upstream, task, "toy", identity, facts, runs))


@pytest.mark.parametrize(
    ("flags", "metric", "over"), [((), "top1", "runs"), (("--predictions",), "correct", "")]
)
def test_the_tables_of_our_own_runs_give_the_ranks_of_our_own_leaderboard(
    flags: tuple[str, ...], metric: str, over: str, tmp_path: Path
) -> None:
    for upstream, level in (("a", 1.0), ("b", 0.97), ("c", 0.75), ("d", 0.7)):
        store(tmp_path / "results", upstream, level)
    runs = ["runs", str(tmp_path / "results"), "-o", str(tmp_path / "runs.csv"), *flags]
    assert run_command(entry.run, runs) == 0
    asked = ("--over", over) if over else ()
    assert leaderboard(tmp_path / "results", "-o", tmp_path / "ours", *asked) == 0
    theirs = ("--from", "csv", "--metric", metric, "-o", tmp_path / "theirs")
    assert leaderboard(tmp_path / "runs.csv", *theirs) == 0
    ours, read = board(tmp_path / "ours"), board(tmp_path / "theirs")
    assert ours.keys() == read.keys() and len(ours) == 8
    assert {row["over"] for row in ours.values()} == {over or "runs × speakers"}
    assert {row["over"] for row in read.values()} == {over or "runs × speakers"}
    assert len({row["rank"] for row in ours.values()}) > 1  # something is separated
    for key, row in ours.items():
        for name in RANKS:
            if name.startswith(("mean", "ci95")):
                assert float(read[key][name]) == pytest.approx(float(row[name]), abs=1e-6), name
            else:
                assert read[key][name] == row[name], name


def test_mteb_subsets_are_averaged_draw_by_draw(tmp_path: Path) -> None:
    mteb(tmp_path, "org/m", "t", [[0.2, 0.4, 0.3], [0.6, 0.4, 0.5]])
    mteb(tmp_path, "org/n", "t", [[0.3, 0.5, 0.4], [0.7, 0.5, 0.6]])
    assert leaderboard(tmp_path, "--from", "mteb", "-o", tmp_path / "all") == 0
    row = board(tmp_path / "all")["t", "org/m"]
    assert (float(row["mean"]), float(row["std"])) == pytest.approx((0.4, 0.0), abs=1e-9)
    assert row["metric"] == "accuracy"
    for flags, mean in ((("--subset", "s1"), 0.5), (("--metric", "f1"), 0.2)):
        assert leaderboard(tmp_path, "--from", "mteb", "-o", tmp_path / "one", *flags) == 0
        assert float(board(tmp_path / "one")["t", "org/m"]["mean"]) == pytest.approx(mean)


def test_mteb_keeps_apart_what_was_not_measured_alike_and_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        for task in ("t", "u"):
            mteb(tmp_path, f"org/{name}", task, [rng.uniform(0.4, 0.6, 10).tolist()])
    mteb(tmp_path, "org/few", "t", [[0.1, 0.2, 0.1, 0.2, 0.1]])
    mteb(tmp_path, "org/one", "t", [[0.99]])
    mteb(tmp_path, "org/old", "t", [[0.5, 0.6]]).write_text('{"mteb_dataset_name": "t"}')
    mteb(tmp_path, "org/a", "t", [rng.uniform(0.4, 0.6, 10).tolist()], revision="r2")
    mteb(tmp_path, "org/a", "folds", [rng.uniform(0.4, 0.6, 5).tolist()], split="train")
    assert leaderboard(tmp_path, "--from", "mteb", "-o", tmp_path / "out") == 0
    found, said = board(tmp_path / "out"), page(tmp_path / "out")
    assert not found["t", "org/one"]["rank"] and not found["t", "org/one"]["ci95_low"]
    assert not found["t", "org/few"]["rank"]  # alone among its likes
    assert "which are not ranked together" in said and "5 draws" in said and "one score" in said
    assert "a single run, which says nothing about others" in said
    assert {"org/a@r1", "org/a@r2"} <= {name for _, name in found}
    assert "files of several revisions" in said and "Left out: 1 file of the form" in said
    assert "folds: scored on the split train, by cross-validation" in said
    assert "neither for other test items nor for another training of the encoder" in said


def test_too_few_runs_for_any_p_and_seeds_that_do_not_pair_are_said(tmp_path: Path) -> None:
    rows = [(name, "t", seed, 0.1 * place + 0.01 * seed)
            for place, name in enumerate("abcd", 1) for seed in range(5)]  # fmt: skip
    rows += [("a", "u", 1, 0.5), ("a", "u", 2, 0.4), ("b", "u", 3, 0.9), ("b", "u", 4, 0.8)]
    rows += [("a", "v", 1, 0.5), ("b", "v", 1, 0.6)]
    path = table(tmp_path / "t.csv", "system,task,seed,score", *rows)
    assert leaderboard(path, "--from", "csv") == 0
    found, said = board(tmp_path), page(tmp_path)
    assert {found["t", name]["rank"] for name in "abcd"} == {"1"}
    assert "t: with 5 runs of 4 systems no p can be under 5 %" in said
    assert "(0.38 at the least)" in said  # 2 of 2^5 signs, times 6 pairs
    assert "u: a and b have no seed in common" in said and not found["u", "a"]["rank"]
    assert "On v: there is a single run, which says nothing about others" in said
    assert not found["v", "b"]["rank"] and not found["v", "b"]["ci95_low"]
    assert "nothing here is said about other test items" in said


def test_items_that_one_system_lacks_are_named_and_nothing_is_ranked_over_them(
    tmp_path: Path,
) -> None:
    rows = [(name, "t", item, 0.5) for name in "ab" for item in range(9)]
    path = table(tmp_path / "t.csv", "system,task,item,score,why", *((*r, "x") for r in rows[:-1]))
    assert leaderboard(path, "--from", "csv") == 0
    said = page(tmp_path)
    assert "b has no score of item '8', which a has" in said and "9 items" in said
    assert "Columns of t.csv that were not read: why" in said
    assert not any(row["rank"] for row in board(tmp_path).values())


def test_lm_eval_takes_the_last_run_and_says_where_prompts_differ(tmp_path: Path) -> None:
    items = [sample(i, acc=float(i % 2), acc_norm=1.0) for i in range(20)]
    lm_eval(tmp_path, "org/m", [one | {"acc": 0.0} for one in items], TIME.replace("2026", "2025"))
    lm_eval(tmp_path, "org/m", items)
    lm_eval(tmp_path, "org/n", [one | {"prompt_hash": "q"} for one in items])
    assert leaderboard(tmp_path, "--from", "lm-eval", "--metric", "acc") == 0
    said = page(tmp_path)
    assert float(board(tmp_path)["a_task", "org/m"]["mean"]) == 0.5
    assert "org/n was asked otherwise than org/m on 20 of 20 items (the first is doc_id 0)" in said
    assert "Left out: 1 file" in said and "Test items: a_task 20" in said


def test_lm_eval_leaves_out_a_task_that_is_no_mean_over_items(tmp_path: Path) -> None:
    for name in "ab":
        path = lm_eval(tmp_path, name, [sample(i, acc=float(i % 2)) for i in range(20)])
        other = path.with_name(f"samples_perplexity_{TIME}.jsonl")
        other.write_text(json.dumps(sample(1, word_perplexity=[-3.5, 7])))
    assert leaderboard(tmp_path, "--from", "lm-eval") == 0
    assert {task for task, _ in board(tmp_path)} == {"a_task"}
    assert "Left out: perplexity, whose samples have no score that is one number" in page(tmp_path)


def test_a_board_of_one_task_goes_by_means_and_its_remarks_are_paragraphs(tmp_path: Path) -> None:
    rows = [
        (name, "t", i, i % 2 * share) for i in range(9) for name, share in (("a", 0.4), ("b", 0.5))
    ]
    file = table(tmp_path / "t.csv", "system,task,seed,score", *rows)
    assert leaderboard(file, "--from", "csv") == 0
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert text.index("| b |") < text.index("| a |")
    assert "\n\nScores are of whole runs" in text


def test_lm_eval_keeps_filters_apart_and_knows_what_is_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [sample(i, em=float(i % 2)) | {"filter": kind}
             for kind in ("strict", "loose") for i in range(4)]  # fmt: skip
    path = lm_eval(tmp_path, "m", items)
    assert leaderboard(tmp_path, "--from", "lm-eval") == 2
    assert (
        "has the metrics em,strict and em,loose; choose one by --metric" in capsys.readouterr().err
    )
    path.with_name(f"results_{TIME}.json").write_text(
        '{"higher_is_better": {"a_task": {"em": false}}}'
    )
    asked = ("--from", "lm-eval", "--metric", "em,strict")
    assert leaderboard(tmp_path, *asked) == 2
    assert "is better the lower; add --lower-is-better" in capsys.readouterr().err
    assert leaderboard(tmp_path, *asked, "--lower-is-better") == 0
    assert "Scores are 1 − what was given" in page(tmp_path)


def test_the_order_of_rows_changes_no_digit(tmp_path: Path) -> None:
    """Intervals and tests draw runs by their place, which must be that of their seeds."""
    generator = np.random.default_rng(0)
    rows = [
        f"{system},{task},{seed},{generator.normal(mean, 0.03):.4f}"
        for task in ("emotion", "words")
        for system, mean in (("ours", 0.71), ("theirs", 0.7))
        for seed in range(20)
    ]
    boards = []
    for name, lines in (("given", rows), ("otherwise", generator.permutation(rows).tolist())):
        table = tmp_path / f"{name}.csv"
        table.write_text("\n".join(["system,task,seed,score", *lines]), encoding="utf-8")
        assert leaderboard("--from", "csv", table, "-o", tmp_path / name) == 0
        boards.append((tmp_path / name / "leaderboard.csv").read_text(encoding="utf-8"))
    assert boards[0] == boards[1]


def test_a_table_that_is_read_is_not_replaced_by_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("a", "t", 1, 0.5), ("a", "t", 2, 0.6), ("b", "t", 1, 0.3), ("b", "t", 2, 0.2)]
    path = table(tmp_path / "leaderboard.csv", "system,task,seed,score", *rows)
    before = path.read_text()
    assert leaderboard("--from", "csv", path) == 2
    assert (
        "is read, and what is written would replace it; give another -o" in capsys.readouterr().err
    )
    assert path.read_text() == before and list(tmp_path.iterdir()) == [path]
    assert leaderboard("--from", "csv", path, "-o", tmp_path / "board") == 0


def test_percent_and_errors_are_turned_into_scores(tmp_path: Path) -> None:
    rows = [("a", "t", 1, 10), ("a", "t", 2, 20), ("b", "t", 1, 30), ("b", "t", 2, 35)]
    path = table(tmp_path / "t.csv", "system,task,seed,wer", *rows)
    flags = ("--metric", "wer", "--percent", "--lower-is-better")
    assert leaderboard(path, "--from", "csv", *flags) == 0
    assert float(board(tmp_path)["t", "a"]["mean"]) == pytest.approx(0.85)
    assert board(tmp_path)["t", "a"]["metric"] == "1 − wer"


@pytest.mark.parametrize("kind", ["seed", "item"])
@pytest.mark.parametrize("lower", [False, True])
def test_without_bounds_a_unit_changes_no_statement(kind: str, lower: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    shares = {name: random.uniform(0.3, 0.5, 12) + 0.06 * i for i, name in enumerate("abcd")}
    flags = ["--lower-is-better"] if lower else []
    boards = []
    for place, (scale, more) in enumerate([(1.0, []), (400.0, ["--unbounded"])]):
        folder = tmp_path / str(place)
        folder.mkdir()
        path = written(kind, folder, {name: scale * one for name, one in shares.items()})
        assert leaderboard(path, "--from", "csv", *flags, *more) == 0
        boards.append(board(folder))
    within, without = boards
    text = (tmp_path / "1" / "leaderboard.md").read_text(encoding="utf-8")
    assert "%)" not in text and "in percent" not in text
    for name, one in shares.items():
        own, other = within["t", name], without["t", name]
        assert (own["rank"], own["rank_worst"]) == (other["rank"], other["rank_worst"])
        for end in ("mean", "ci95_low", "ci95_high"):
            expected = 400.0 * (float(own[end]) - lower)
            assert float(other[end]) == pytest.approx(expected, abs=1e-6)
        sign = "−" if lower else ""
        assert f"{sign}{400.0 * one.mean():.2f}" in text


def test_the_error_rate_of_an_item_may_be_above_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an utterance with more words inserted than it has; not that of all."""
    rng = np.random.default_rng(0)
    errors = {"a": 0.1 + 0.2 * rng.random(40), "b": 0.3 + 0.2 * rng.random(40)}
    errors["a"][3] = 2.5
    rows = [(who, "t", f"u{i}", one) for who in errors for i, one in enumerate(errors[who])]
    path = table(tmp_path / "t.csv", "system,task,item,wer", *rows)
    flags = ("--from", "csv", "--metric", "wer", "--lower-is-better")
    assert leaderboard(path, *flags) == 0
    for who in errors:
        expected = 1 - errors[who].mean()
        assert float(board(tmp_path)["t", who]["mean"]) == pytest.approx(expected)
    assert leaderboard(path, *flags[:-1]) == 2
    assert "wer 2.5, which is not between 0 and 1" in capsys.readouterr().err
    rows = [(*row[:3], row[3] + 1) for row in rows]
    path = table(tmp_path / "t.csv", "system,task,item,wer", *rows)
    assert leaderboard(path, *flags) == 2
    assert "has a mean wer of 1.2" in capsys.readouterr().err


HEADER = "system,task,seed,score"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        (HEADER, "has no rows"),
        (f"{HEADER}\na,t,1,0.5\na,t,1,0.6", "line 3: a on t, seed 1 has two scores, 0.5 and 0.6"),
        (f"{HEADER}\na,t,1,nan", "seed 1 has the score nan, which is not between 0 and 1"),
        (f"{HEADER}\na,t,1,83.2", "say --percent"),
        (f"{HEADER}\na,t,1,-0.2", "not between 0 and 1"),
        (f"{HEADER}\na,t,1,none", "line 2: the score 'none' is no number"),
        (f"{HEADER}\na,t,,0.5", "line 2 has no seed"),
        (f"{HEADER}\na,t,1,0.5,9", "line 2 has 5 values, and the header 4 columns"),
        (f"{HEADER},score\na,t,1,0.5,9", "has the column 'score' twice"),
        ("system,model,task,seed,score\na,b,t,1,0.5", "columns system and model"),
        ("name,task,seed,score\na,t,1,0.5", "no column 'system'"),
        (",task,seed,score\na,t,1,0.5", "no column 'system'"),
        ("system,task,seed,acc\na,t,1,0.5", "name that of the scores by --metric"),
        ("system,task,metric,score\na,t,x,0.5\na,t,y,0.5", "of the metrics x and y"),
        ("system,task,item,seed,score\na,t,i,1,0.5\na,t,j,1,0.5\na,t,i,2,0.5",
         "seed 2 has no score of item 'j', which seed 1 has"),
        ("system,task,item,speaker,score\na,t,i,p,0.5\nb,t,i,q,0.5\na,t,i,q,0.5", "two scores"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_in_one_sentence(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    assert leaderboard(path, "--from", "csv") == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["t.csv"]


def _first(content: dict[str, Any]) -> dict[str, Any]:
    entry_of: dict[str, Any] = content["scores"]["test"][0]
    return entry_of


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("scores"), "is no result file of MTEB"),
        (lambda c: c.update(scores={}), "holds no splits"),
        (lambda c: c.update(scores={"dev": [], "train": []}), "choose one by --split"),
        (lambda c: _first(c).pop("main_score"), "no main_score that is a number"),
        (lambda c: _first(c).update(main_score=float("nan")), "which is no score"),
        (lambda c: _first(c).update(main_score=0.123), "is none of its metrics"),
        (lambda c: _first(c).update(main_score=_first(c)["f1"]), "a metric that both have"),
        (lambda c: _first(c).update(scores_per_experiment=[1, 2, 3]), "no experiment"),
        (lambda c: _first(c)["scores_per_experiment"][2].update(accuracy=float("nan")),
         "the accuracy of experiment 3 is nan"),
        (lambda c: _first(c)["scores_per_experiment"][0].update(accuracy=0.99), "it is damaged"),
        (lambda c: c["scores"]["test"].append(
            _first(c) | {"hf_subset": "z", "scores_per_experiment": [{"accuracy": 0.5}] * 2}
         ), "the subset s0 has 3 draws and z has 2"),
    ],
)  # fmt: skip
def test_a_half_recognised_file_of_mteb_is_named(
    change: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mteb(tmp_path / "in", "a", "t", [[0.4, 0.5, 0.6]])
    path = mteb(tmp_path / "in", "b", "t", [[0.4, 0.5, 0.6]])
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    assert leaderboard(tmp_path / "in", "--from", "mteb", "-o", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert words in said and str(path) in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "holds no sample with a score"),
        ('{"doc_id": 1, "acc"', "line 1 is no JSON"),
        ('{"acc": 1}', "has no doc_id"),
        ('{"doc_id": 1, "acc": 1.0}\n{"doc_id": 1, "acc": 0.0}', "doc_id 1 has its acc twice"),
        ('{"doc_id": 1, "doc_hash": "other", "acc": 1.0}', "is another document in"),
        ('{"doc_id": 1, "f1": 1.0}', "have no metric in common"),
        ('{"doc_id": 1, "acc": NaN}', "item '1' has the acc nan"),
        ('{"doc_id": 1, "ppl": [1, 2]}', "holds no sample with a score"),
    ],
)
def test_bad_samples_are_refused_in_one_sentence(
    lines: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm_eval(tmp_path, "a", [sample(1, acc=1.0), sample(2, acc=0.0)])
    lm_eval(tmp_path, "b", []).write_text(lines, encoding="utf-8")
    assert leaderboard(tmp_path, "--from", "lm-eval") == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "mtb"), "did you mean 'mteb'?"),
        (("--from", "mteb"), "holds no *.json of result files of MTEB"),
        (("--from", "csv"), "holds no *.csv"),
        (("--from", "lm-eval"), "holds no samples_*.jsonl"),
        (("--from", "csv", "--subset", "en"), "--subset is for --from mteb"),
        (("--from", "csv", "--published", "superb"), "--published is for"),
        (("--percent",), "--percent is for results of other programs"),
        (("--metric", "top2"), "did you mean 'top1'?"),
    ],
)
def test_a_command_line_that_does_not_fit_is_refused(
    arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leaderboard(tmp_path, *arguments) == 2
    assert words in capsys.readouterr().err
