"""Other people's upstreams reach the network only when that is allowed."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from barlow_speech.benchmark import run_downstream
from barlow_speech.downstream.s3prl import program as s3prl_program
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.third_party import permissions
from barlow_speech.upstream.third_party.permissions import NetworkRefusedError, network


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """A port of this machine where something listens."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    yield server.getsockname()
    server.close()


def test_nothing_is_looked_up_or_connected_to_unless_allowed(address: tuple[str, int]) -> None:
    with network(allowed=False):
        with pytest.raises(NetworkRefusedError):
            socket.getaddrinfo("localhost", 80)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(type=kind) as one, pytest.raises(NetworkRefusedError):
                one.connect(address)
        with pytest.raises(OSError, match="not to be used"):
            urlopen(f"http://127.0.0.1:{address[1]}/")
    with socket.socket() as one:  # as it was before
        one.connect(address)
    with network(allowed=True), socket.socket() as one:
        one.connect(address)


def test_pipes_and_local_sockets_stay(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, network(allowed=False):
        server.bind(str(tmp_path / "s"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(tmp_path / "s"))
        subprocess.run(["true"], check=True)


def test_the_restriction_ends_with_an_error() -> None:
    before = socket.getaddrinfo, socket.socket.connect, socket.getdefaulttimeout()
    with pytest.raises(KeyError), network(allowed=False):
        raise KeyError
    assert (socket.getaddrinfo, socket.socket.connect, socket.getdefaulttimeout()) == before
    assert permissions.Permissions(False, False) == permissions.NONE


def test_the_commands_say_which_flag(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness, and s3prl's own program."""
    from s3prl.util import download

    monkeypatch.setattr(download, "_download_dir", tmp_path / "downloads")
    given = ["-u", "hubert_base", "-d", "emotion", "--corpus", str(tones), "--device", "cpu"]
    with pytest.raises(BarlowSpeechError, match="--download"):
        run_downstream.run([*given, "-p", str(tmp_path / "results")])
    assert not (tmp_path / "results").exists()
    given = ["-m", "train", "-u", "hubert_base", "-d", "barlow_emotion", "--device", "cpu"]
    given += ["-o", f"config.downstream_expert.datarc.corpus={tones}"]
    with pytest.raises(BarlowSpeechError, match="--download"):
        s3prl_program.run([*given, "-p", str(tmp_path / "expdir")])
