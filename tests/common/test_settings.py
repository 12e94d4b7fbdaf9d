"""Settings from YAML: inheritance, overrides, and a message that names key, file and remedy."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.settings import OLD_KEYS, build, merge, override, read_yaml


@dataclass(frozen=True)
class Inner:
    lr: float = 1e-3
    name: Literal["adam", "sgd"] = "adam"


@dataclass(frozen=True)
class Outer:
    steps: int
    inner: Inner = field(default_factory=Inner)
    many: dict[str, Inner] = field(default_factory=dict)
    span: tuple[float, float] = (0.0, 1.0)
    words: tuple[str, ...] = ()
    limit: float | None = None
    noise: Inner | None = None
    flag: bool = False
    title: str = ""
    free: Any = None


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_extends_lays_a_file_over_another(tmp_path: Path) -> None:
    written(tmp_path / "base" / "root.yaml", "steps: 1\ninner: {lr: 0.5, name: sgd}\nwords: [a, b]")
    written(tmp_path / "base" / "middle.yaml", "extends: root.yaml\ninner: {lr: 0.25}\ntitle: x")
    top = written(tmp_path / "top.yaml", "extends: base/middle.yaml\nwords: [c]\nsteps: 2")
    assert read_yaml(top) == {
        "steps": 2,
        "inner": {"lr": 0.25, "name": "sgd"},  # mappings key by key
        "words": ["c"],  # anything else as a whole
        "title": "x",
    }


def test_merge_changes_neither() -> None:
    base, over = {"a": {"b": 1, "c": {"d": 1}}, "e": 1}, {"a": {"c": {"f": 2}}, "e": {"g": 1}}
    kept = copy.deepcopy((base, over))
    assert merge(base, over) == {"a": {"b": 1, "c": {"d": 1, "f": 2}}, "e": {"g": 1}}
    assert (base, over) == kept


@pytest.mark.parametrize(
    ("files", "start"),
    [
        ({"a.yaml": "extends: a.yaml"}, "a.yaml"),
        ({"a.yaml": "extends: ../d/a.yaml"}, "a.yaml"),
        ({"a.yaml": "extends: a.yaml"}, "../d/a.yaml"),
        ({"a.yaml": "extends: b.yaml", "b.yaml": "extends: ./a.yaml"}, "a.yaml"),
        ({"a.yaml": "extends: b.yaml", "b.yaml": "extends: ../d/b.yaml"}, "a.yaml"),
    ],
)
def test_a_ring_of_extends_is_named(tmp_path: Path, files: dict[str, str], start: str) -> None:
    for name, text in files.items():
        written(tmp_path / "d" / name, text)
    with pytest.raises(BarlowSpeechError, match="extends itself") as caught:
        read_yaml(tmp_path / "d" / start)
    assert len(str(caught.value)) < 300


def test_extending_twice_the_same_file_is_no_ring(tmp_path: Path) -> None:
    written(tmp_path / "root.yaml", "steps: 1")
    for name in ("a", "b"):
        path = written(tmp_path / f"{name}.yaml", "extends: root.yaml\ntitle: x")
        assert read_yaml(path)["steps"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only a comment\n",
        b"- 1\n- 2\n",
        b"word",
        b"1: 2",
        b"null: 2",
        b"a: [1",
        b"a: b: c",
        b"\tsteps: 1",
        b"steps: 2023-13-45",  # looks like a date and is none
        b"steps: " + b"1" * 5000,
        b"steps: " + b"[" * 5000,
        b"? [1]\n: 2",
        b"a: !!python/object/apply:os.system [true]",
        b"a: *nobody",
        bytes(range(256)),
        b"\x00\x01\x02",
        b"PK\x03\x04\x14\x00\x08\x08",
        "steps: 1".encode("utf-16"),
        b"extends: nobody.yaml",
        b"extends: .",
        b"extends: [1, 2]",
        b'extends: "a\\0b"',
    ],
)
def test_what_is_no_mapping_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(BarlowSpeechError, match=str(tmp_path)) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "nobody.yaml", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(BarlowSpeechError, match=str(path)):
            read_yaml(path)


def test_what_extends_a_missing_file_says_where_it_is_looked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "extends: quick.yaml")
    with pytest.raises(BarlowSpeechError, match=r"mine\.yaml extends: .*; `extends` is a path"):
        read_yaml(path)


def test_extends_takes_a_name_where_there_are_some(tmp_path: Path) -> None:
    named = {"base": written(tmp_path / "far" / "base.yaml", "steps: 1\nlr: 0.5")}
    path = written(tmp_path / "mine.yaml", "extends: base\nsteps: 2")
    assert read_yaml(path, named) == {"steps": 2, "lr": 0.5}
    path.write_text("extends: bass")
    with pytest.raises(BarlowSpeechError, match="the file that says it, or one of base"):
        read_yaml(path, named)


def test_windows_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbfsteps: 3\r\ntitle: \xc3\xa4\r\n")
    assert read_yaml(path) == {"steps": 3, "title": "ä"}


def test_override() -> None:
    tree = {"steps": 1, "inner": {"lr": 0.1, "name": "sgd"}}
    kept = copy.deepcopy(tree)
    changed = override(
        tree, ["inner.lr=1e-4", "words=[a, b]", "many.main.lr=2", "title=a=b", "limit=null"]
    )
    assert tree == kept
    built = build(Outer, changed, "x.yaml")
    assert built.inner == Inner(1e-4, "sgd")
    assert built.words == ("a", "b")
    assert built.many == {"main": Inner(2.0)}
    assert built.title == "a=b"
    assert built.limit is None
    assert override(tree, []) == tree
    assert override(tree, ["steps=2", "steps=3"])["steps"] == 3  # the last one counts


@pytest.mark.parametrize(
    "assignment", ["steps", "", "=1", "steps=[", "steps=2023-13-45", "steps=" + "[" * 5000]
)
def test_a_wrong_override_is_named(assignment: str) -> None:
    with pytest.raises(BarlowSpeechError, match="--set"):
        override({"steps": 1}, [assignment])


@pytest.mark.parametrize(
    ("tree", "key", "nearest", "place"),
    [
        ({"steps": 1, "innner": {}}, "innner", "inner", "x.yaml"),
        ({"steps": 1, "inner": {"lrr": 1}}, "lrr", "lr", "x.yaml: inner"),
        ({"steps": 1, "many": {"main": {"nam": "sgd"}}}, "nam", "name", "x.yaml: many.main"),
        ({"steps": 1, "inner": {"name": "adm"}}, "adm", "adam", "x.yaml: inner.name"),
    ],
)
def test_an_unknown_name_is_named_with_its_file_and_the_nearest_valid_one(
    tree: dict[str, Any], key: str, nearest: str, place: str
) -> None:
    with pytest.raises(BarlowSpeechError) as caught:
        build(Outer, tree, "x.yaml")
    for part in (f"'{key}'", f"'{nearest}'", place):
        assert part in str(caught.value)


def test_an_unknown_name_like_no_other_lists_them_all() -> None:
    with pytest.raises(BarlowSpeechError, match="choose one of: lr, name"):
        build(Inner, {"zzzzzz": 1}, "x.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", "many"),
        ("steps", 1.0),
        ("steps", "1"),
        ("steps", True),
        ("steps", None),
        ("flag", 1),
        ("flag", "yes"),
        ("title", 3),
        ("limit", "much"),
        ("limit", False),
        ("limit", [1.0]),
        ("limit", "nan"),
        ("limit", float("nan")),
        ("limit", float("inf")),
        ("limit", 10**400),
        ("inner", 3),
        ("inner", [1]),
        ("inner", None),
        ("noise", "loud"),
        ("many", [1]),
        ("many", {"main": 3}),
        ("many", {1: {}}),
        ("span", 3.0),
        ("span", [1.0]),
        ("span", [1.0, 2.0, 3.0]),
        ("span", ["a", 1.0]),
        ("words", "abc"),
        ("words", [1]),
    ],
)
def test_a_wrong_type_names_the_key_and_the_file(key: str, value: Any) -> None:
    with pytest.raises(BarlowSpeechError, match=rf"x\.yaml: {key}"):
        build(Outer, {"steps": 1, key: value}, "x.yaml")


@pytest.mark.parametrize("tree", [None, [], "steps", 3])
def test_a_tree_that_is_no_mapping_names_the_file(tree: Any) -> None:
    with pytest.raises(BarlowSpeechError, match=r"x\.yaml"):
        build(Outer, tree, "x.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(BarlowSpeechError, match=r"x\.yaml lacks the key 'steps'"):
        build(Outer, {"title": "x"}, "x.yaml")


def test_every_kind_of_value(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.yaml",
        "steps: 7\ninner: {lr: 1e-4, name: sgd}\nmany: {main: {lr: 3}, other: {}}\n"
        "span: [1, 2.5e-1]\nwords: [a, b, c]\nlimit: 2\nnoise: {lr: -1E+2}\nflag: true\n"
        "title: word\nfree: [1, {a: b}]\n",
    )
    assert build(Outer, read_yaml(path), str(path)) == Outer(
        steps=7,
        inner=Inner(1e-4, "sgd"),
        many={"main": Inner(3.0), "other": Inner()},
        span=(1.0, 0.25),
        words=("a", "b", "c"),
        limit=2.0,
        noise=Inner(-100.0),
        flag=True,
        title="word",
        free=[1, {"a": "b"}],
    )
    assert type(build(Outer, {"steps": 1, "limit": 2}, "").limit) is float


def test_what_is_not_given_has_its_default() -> None:
    assert build(Outer, {"steps": 1}, "") == Outer(1)


@dataclass(frozen=True)
class Bounded:
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = (1,)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"share": 0}, "x.yaml: share must be greater than 0, not 0"),
        ({"share": 1.5}, "x.yaml: share must be less than or equal to 1, not 1.5"),
        ({"sizes": [2, 0]}, "x.yaml: sizes.1 must be greater than or equal to 1, not 0"),
    ],
)
def test_what_is_out_of_its_bounds_is_named_with_them(tree: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BarlowSpeechError, match=sentence):
        build(Bounded, tree, "x.yaml")
    assert build(Bounded, {"share": 1, "sizes": [1, 9]}, "") == Bounded(1.0, (1, 9))


def test_every_error_is_one_sentence_and_the_misspelt_key_comes_first() -> None:
    with pytest.raises(BarlowSpeechError, match="did you mean 'steps'"):
        build(Outer, {"stpes": 1, "limit": "much"}, "x.yaml")


@dataclass(frozen=True)
class Renamed:
    overrides: tuple[str, ...] = ()
    many: dict[str, Renamed] = field(default_factory=dict)


def test_old_names_of_keys_are_read_and_what_stands_later_counts() -> None:
    assert OLD_KEYS["deltas"] == "overrides"
    tree = {"many": {"deltas": {"deltas": ["a"]}}}  # a name that users give is left alone
    assert build(Renamed, tree, "") == Renamed(many={"deltas": Renamed(("a",))})
    assert build(Renamed, {"overrides": ["a"], "deltas": ["b"]}, "") == Renamed(("b",))
    assert build(Renamed, {"deltas": ["b"], "overrides": ["a"]}, "") == Renamed(("a",))
    with pytest.raises(BarlowSpeechError, match="unknown key 'deltas'"):
        build(Inner, {"deltas": []}, "x.yaml")


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-4", ".1e-3", "1.0e-4"])
def test_numbers_with_an_exponent_are_numbers(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "x.yaml", f"lr: {text}\n")
    assert build(Inner, read_yaml(path), "") == Inner(1e-4)
    assert build(Inner, override({}, [f"lr={text}"]), "") == Inner(1e-4)


def test_what_is_nested_too_deeply_or_no_text_is_refused_by_name() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for value in (deep, "\ud800", b"bytes"):
        with pytest.raises(BarlowSpeechError, match=r"x\.yaml"):
            build(Outer, {"steps": 1, "free": value}, "x.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\n".encode("utf-16"), "it is UTF-16, not UTF-8; save it as UTF-8"),
        ("# ä\na: ö\n".encode("latin-1"), "not UTF-8 text in line 1; save it as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    ],
)
def test_a_file_that_is_no_text_of_ours_says_what_it_is(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(BarlowSpeechError, match=words):
        read_yaml(tmp_path / "mine.yaml")
