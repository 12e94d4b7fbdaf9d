"""One progress bar for everything that one waits for."""

from __future__ import annotations

import os
import sys
from typing import Any

from tqdm import tqdm


def progress(total: float, what: str, unit: str, **options: Any) -> Any:
    """A tqdm bar with the time left on stderr; nothing at all when stderr is no terminal.

    `total` is in `unit`s; `options` go to tqdm. The bar waits a second before it shows, so that
    quick work prints nothing.
    """
    # Some terminals (a container's, `script`'s) say that they are 0 columns wide; tqdm believes it.
    narrow = sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns == 0
    width: dict[str, Any] = {"ncols": 80, "nrows": 24} if narrow else {"dynamic_ncols": True}
    return tqdm(total=total, desc=what, unit=unit, disable=None, delay=1, **width, **options)
