"""The corpora of s3prl's `ctc` task, which its archive on PyPI has left out.

s3prl's `downstream/ctc/data.py` imports `corpus/libriphone.py`, `corpus/librispeech.py` and
`corpus/snips.py`; the archive has no folder `corpus`. These classes stand in for them. An example
is (path, token numbers); the item of a bucketed dataset is a list of neighbours in length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from barlow_speech.upstream.common.errors import BarlowSpeechError

Example = tuple[Path, list[int]]

MAX_LISTED = 20  # words that a message names


class TranscribedDataset(Dataset):
    """Examples from the longest transcript to the shortest, one or `bucket_size` at a time."""

    def __init__(self, examples: Iterable[Example], bucket_size: int) -> None:
        self.examples = sorted(examples, key=lambda one: (-len(one[1]), one[0]))
        self.bucket_size = bucket_size

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example | list[Example]:
        if self.bucket_size == 1:
            return self.examples[index]
        first = max(0, min(index, len(self) - self.bucket_size))
        return self.examples[first : first + self.bucket_size]


class LibriDataset(TranscribedDataset):
    """LibriSpeech as the tokenizer spells it; `split` names folders under `path`.

    Raises:
        BarlowSpeechError: a folder is missing or has no transcribed recording.
    """

    def __init__(
        self, split: Sequence[str], tokenizer: Any, bucket_size: int, path: str, **kwargs: Any
    ) -> None:
        texts = _librispeech(Path(path), split)
        super().__init__(((file, tokenizer.encode(text)) for file, text in texts), bucket_size)


class LibriPhoneDataset(TranscribedDataset):
    """LibriSpeech as phones: of each word the first spelling in the files `lexicon`.

    Raises:
        BarlowSpeechError: a folder is missing or has no transcribed recording; a word or a phone is
            unknown.
    """

    def __init__(
        self,
        split: Sequence[str],
        tokenizer: Any,
        bucket_size: int,
        path: str,
        lexicon: Sequence[str],
        **kwargs: Any,
    ) -> None:
        phones: dict[str, str] = {}
        for file in map(Path, lexicon):
            for line in file.read_text(encoding="utf-8").splitlines():
                word, *spelling = line.split() or [""]
                phones.setdefault(word, " ".join(spelling))
        known: dict[str, list[int]] = {}
        examples = []
        texts = _librispeech(Path(path), split)
        _check_words(texts, phones, lexicon)
        for recording, text in texts:
            words = text.split()
            for word in words:
                if word not in known:
                    known[word] = tokenizer.encode(phones[word])[:-1]  # the last is the end
                    if tokenizer.unk_idx in known[word]:
                        raise BarlowSpeechError(
                            f"the lexicon spells {word} as '{phones[word]}', which has a phone "
                            "that config.downstream_expert.text.vocab_file lacks; add it there."
                        )
            tokens = [one for word in words for one in known[word]] + [tokenizer.eos_idx]
            examples.append((recording, tokens))
        super().__init__(examples, bucket_size)


class SnipsDataset(TranscribedDataset):
    """Audio SNIPS: `<path>/<split>/*.wav`, named after their speakers, with words and slots.

    `all.iob.snips.txt` (`all-trans.txt` for words alone) has a line "name text" for each recording.

    Raises:
        BarlowSpeechError: a folder has no transcribed recording of the split's speakers.
    """

    def __init__(
        self, split: Sequence[str], tokenizer: Any, bucket_size: int, path: str, **kwargs: Any
    ) -> None:
        with_slots = "-slot" in tokenizer.token_type
        list_file = Path(path) / ("all.iob.snips.txt" if with_slots else "all-trans.txt")
        lines = list_file.read_text(encoding="utf-8").splitlines()
        texts = dict(line.strip().split(" ", 1) for line in lines if " " in line.strip())
        speakers = tuple(kwargs[f"{split[0]}_speakers"])
        files = [file for one in split for file in (Path(path) / one).rglob("*.wav")]
        files = [one for one in files if one.stem in texts and one.stem.startswith(speakers)]
        _check_some(files, [Path(path) / one for one in split], f"{list_file}")
        super().__init__(((one, tokenizer.encode(texts[one.stem])) for one in files), bucket_size)


def _librispeech(root: Path, folders: Sequence[str]) -> list[tuple[Path, str]]:
    """(recording, transcript) of every recording in some of LibriSpeech's folders."""
    transcribed = []
    for folder in folders:
        for list_file in sorted((root / folder).rglob("*.trans.txt")):
            for line in list_file.read_text(encoding="utf-8").splitlines():
                name, _, text = line.strip().partition(" ")
                recording = list_file.parent / f"{name}.flac"
                if text and recording.is_file():
                    transcribed.append((recording, text))
    _check_some(transcribed, [root / one for one in folders], "*.trans.txt")
    return transcribed


def _check_words(
    texts: Sequence[tuple[Path, str]], phones: Mapping[str, str], lexicon: Sequence[str]
) -> None:
    missing: dict[str, Path] = {}
    for recording, text in texts:
        for word in text.split():
            if word not in phones:
                missing.setdefault(word, recording)
    if missing:
        shown = ", ".join(f"{word} ({file.name})" for word, file in [*missing.items()][:MAX_LISTED])
        raise BarlowSpeechError(
            f"{len(missing)} words of the transcripts are not in {', '.join(map(str, lexicon))}: "
            f"{shown}{', …' if len(missing) > MAX_LISTED else ''}; SUPERB has s3prl's "
            "librispeech-lexicon-200k-g2p.txt and librispeech-lexicon-allothers-g2p.txt. Add the "
            "words there, or a lexicon to config.downstream_expert.corpus.lexicon."
        )


def _check_some(recordings: Sequence[Any], folders: Sequence[Path], transcripts: str) -> None:
    if not recordings:
        raise BarlowSpeechError(
            f"{', '.join(map(str, folders))}: no recording there has a transcript in "
            f"{transcripts}; complete the corpus, or set config.downstream_expert.corpus.path."
        )
