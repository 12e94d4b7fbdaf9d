"""embeddings of recordings, into one safetensors file

The file holds `embeddings` [N, E] in float32, and in its header, as JSON, `names`: the N paths in
the same order. To read it:

  file = safetensors.safe_open("out.safetensors", framework="np")
  embeddings, names = file.get_tensor("embeddings"), json.loads(file.metadata()["names"])
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import check_output, checkpoint_file, file_digest
from barlow_speech.upstream.names import DEFAULT_CHECKPOINT

# Of the files of a folder, those with these names are audio; a file that is named may have any.
ENDINGS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf",
    ".w64", ".rf64", ".sph",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's command line."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE",
        help="audio files, or folders, of which all audio files are taken, sorted",
    )  # fmt: skip
    parser.add_argument(
        "--list", type=Path, metavar="FILE",
        help="a text file that names further recordings, a line each, relative to itself",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.safetensors",
                        help="file that the embeddings are written to")  # fmt: skip
    parser.add_argument(
        "-k", "--checkpoint", type=Path, metavar="FILE",
        help="the encoder (default: the one that comes with the package)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, …")


def run(given: argparse.Namespace) -> None:
    """Embed the recordings and write the file, whole or not at all."""
    from barlow_speech.upstream.embedder import load
    from barlow_speech.upstream.model.checkpoint import save_tensors

    recordings = audio_files(given.files)
    if given.list is not None:
        recordings += listed(given.list)
    checkpoint = given.checkpoint or DEFAULT_CHECKPOINT
    lists = [given.list] if given.list is not None else []
    check_output(given.out, [*recordings, *lists, checkpoint_file(checkpoint)])
    if given.out.suffix.lower() in ENDINGS:  # as by `-o a.wav b.wav`, where both are recordings
        raise BarlowSpeechError(
            f"-o {given.out} has the name of a recording; name a file such as "
            f"{given.out.stem}.safetensors."
        )
    if not recordings:
        raise BarlowSpeechError("there is no recording to embed; name files, folders or --list.")
    started = time.monotonic()
    encoder = load(given.checkpoint, given.device)
    embeddings_NE = encoder.embed(recordings)
    save_tensors(
        given.out,
        {"embeddings": embeddings_NE},
        {
            "names": [str(path) for path in recordings],
            "checkpoint": {
                "name": checkpoint.name,
                "sha256": file_digest(checkpoint_file(checkpoint)),
            },
        },
    )
    count, size = embeddings_NE.shape
    print(
        f"{given.out}: {count} embedding{'s' * (count != 1)} of {size} numbers, "
        f"in {time.monotonic() - started:.1f} s"
    )


def audio_files(files: Sequence[Path]) -> list[Path]:
    """Files as they are, and of folders every audio file in them and below, sorted.

    Raises:
        BarlowSpeechError: a folder holds no audio file.
    """
    result: list[Path] = []
    for path in files:
        if not path.is_dir():
            result.append(path)
            continue
        inside = [
            Path(folder) / name
            for folder, _, names in os.walk(path)
            for name in names
            if Path(name).suffix.lower() in ENDINGS and not name.startswith(".")
        ]
        if not inside:
            raise BarlowSpeechError(f"folder {path} holds no audio file; check the path.")
        result += sorted(inside)
    return result


def listed(path: Path) -> list[Path]:
    """The recordings that a text file names, a line each; relative paths are relative to it.

    Raises:
        BarlowSpeechError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BarlowSpeechError(
            f"list {path} cannot be read ({error}); give a text file with a path on each line."
        ) from error
    return [path.parent / line.strip() for line in lines if line.strip()]
