"""The sources over which a statement is asked for, by name: one of runs, one of recordings."""

from __future__ import annotations

from dataclasses import dataclass

from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown

# Of what varies between runs: the source whose level a row of a result's array stands for.
LEVELS = {
    "runs": None,
    "draws": "train_resample",
    "splits": "split",
    "pretrainings": "pretrain_seed",
}
COLUMNS = ("recordings", "speakers")
HELP = (
    "over what intervals, tests, stars and ranks are: one of runs, draws (of the training "
    "set), splits and pretrainings, one of recordings and speakers, or one of each, crossed "
    "(default: runs,speakers, or the strongest that the results allow)"
)


@dataclass(frozen=True)
class Over:
    """What is drawn anew: rows (of `LEVELS`), columns (of `COLUMNS`); "" is as it was."""

    rows: str = "runs"
    columns: str = "speakers"


DEFAULT = Over()


def read_over(text: str) -> Over:
    """The sources of a text such as "runs,speakers"; an empty one is the default.

    Raises:
        BarlowSpeechError: a name is unknown, or two are of one kind.
    """
    if not text:
        return DEFAULT
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in (*LEVELS, *COLUMNS):
            raise unknown("source", name, [*LEVELS, *COLUMNS], "--over")
    rows, columns = ([one for one in names if one in kind] for kind in (LEVELS, COLUMNS))
    if len(rows) > 1 or len(columns) > 1:
        raise BarlowSpeechError(
            f"--over {text}: give one of {', '.join(LEVELS)}, one of {', '.join(COLUMNS)}, or one "
            "of each with a comma between."
        )
    return Over("".join(rows), "".join(columns))
