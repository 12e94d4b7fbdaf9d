"""A manifest names recordings in its own folder, and elsewhere only where its reader allows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from barlow_speech.downstream.preparation.from_table import TableOptions, prepare_table
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data import allowed_folders as audio_folders
from barlow_speech.upstream.data.manifest import parse_manifest, read_manifest


def names(folder: Path, path: str) -> Path:
    """Read a manifest in `folder` with one recording; where that is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "m.tsv").write_text(f"path\n{path}\n")
    return read_manifest(folder / "m.tsv").recordings[0].path


@pytest.mark.parametrize("path", ["a.wav", "b/a.wav", "..a.wav", "b../a.wav", "b/../a.wav", "./a"])
def test_what_stays_in_the_folder_is_read(path: str, tmp_path: Path) -> None:
    assert names(tmp_path / "corpus", path) == tmp_path / "corpus" / path


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/a.wav", "../a.wav", "b/../../a.wav", "..", "b/..", "../corpus2/a.wav"],
)
def test_what_leaves_the_folder_is_refused_by_line(path: str, tmp_path: Path) -> None:
    file = tmp_path / "corpus" / "m.tsv"
    with pytest.raises(BarlowSpeechError, match=f"{file}, line 3: .*BARLOW_SPEECH_AUDIO"):
        parse_manifest(f"path\nfine.wav\n{path}\n", file)


def test_two_dots_after_a_link_lead_where_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "far" / "deep")
    assert names(tmp_path / "corpus", "link/a.wav")  # someone laid the link there
    with pytest.raises(BarlowSpeechError, match="outside"):
        names(tmp_path / "corpus", "link/../a.wav")  # by its letters it is inside


def test_the_absolute_path_of_the_folder_itself_is_inside_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "corpus")
    assert names(tmp_path / "other", str(tmp_path / "corpus" / "a.wav"))
    assert names(tmp_path / "corpus", str(tmp_path / "other" / "a.wav"))


def test_a_variable_allows_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio, other = tmp_path / "audio", tmp_path / "other"
    monkeypatch.setenv(audio_folders.VARIABLE, os.pathsep.join(["", str(other), str(audio)]))
    assert names(tmp_path / "corpus", str(audio / "a.wav")) == audio / "a.wav"
    assert names(tmp_path / "corpus", "../other/b/a.wav")
    with pytest.raises(BarlowSpeechError, match="outside"):
        names(tmp_path / "corpus", str(tmp_path / "audio2" / "a.wav"))
    monkeypatch.setenv(audio_folders.VARIABLE, "/")
    assert names(tmp_path / "corpus", "/a.wav")
    monkeypatch.setenv(audio_folders.VARIABLE, "")  # allows nothing, not the working folder
    with pytest.raises(BarlowSpeechError, match="outside"):
        names(tmp_path / "corpus", str(Path.cwd() / "a.wav"))


def test_what_was_allowed_stays_so_and_stands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    audio_folders.allow(tmp_path / "audio")
    audio_folders.allow(tmp_path / "audio" / "within")
    audio_folders.allow(tmp_path / "more")
    kept = audio_folders.list_file().read_text().splitlines()
    assert kept == [str((tmp_path / one).resolve()) for one in ("audio", "more")]
    assert names(tmp_path / "corpus", "../audio/a.wav")


def test_a_list_that_cannot_be_kept_is_said_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    audio_folders.allow(tmp_path / "audio")
    assert f"set {audio_folders.VARIABLE}={(tmp_path / 'audio').resolve()}" in caplog.text


def test_a_table_may_name_what_is_in_its_audio_root_and_no_more(tmp_path: Path) -> None:
    for place in ("audio/a.wav", "audio/b.wav", "private/c.wav"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    table = tmp_path / "tables" / "t.csv"
    table.parent.mkdir()
    table.write_text(f"path,speaker\na.wav,x\n{tmp_path}/audio/b.wav,y\n")
    prepared = prepare_table(table, tmp_path / "out", TableOptions(root=tmp_path / "audio"))
    assert len(read_manifest(prepared.manifests[0]).recordings) == 2
    table.write_text("path,speaker\na.wav,x\n../private/c.wav,y\n")
    with pytest.raises(BarlowSpeechError, match=r"private/c\.wav is outside"):
        prepare_table(table, tmp_path / "out2", TableOptions(root=tmp_path / "audio"))
    assert not (tmp_path / "out2").exists()
