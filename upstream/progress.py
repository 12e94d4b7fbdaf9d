"""One progress bar for everything that one waits for."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress(total: float, what: str, unit: str, **options: Any) -> Any:
    """A tqdm bar with the time left on stderr; nothing at all when stderr is no terminal.

    `total` is in `unit`s; `options` go to tqdm. The bar waits a second before it shows, so that
    quick work prints nothing.
    """
    return tqdm(
        total=total, desc=what, unit=unit, disable=None, delay=1, dynamic_ncols=True, **options
    )
