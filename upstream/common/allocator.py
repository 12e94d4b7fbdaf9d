"""How the C library hands out memory."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# Of glibc's malloc.h, with what its own adaption to large blocks ends at (malloc.c).
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
ADAPTED = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}


@contextlib.contextmanager
def kept_memory(wanted: bool = True) -> Iterator[None]:
    """Inside, this process keeps the memory that it frees for what it asks for next.

    glibc maps large tensors anew each time, and the kernel clears every page of them: of a program
    that takes and frees the same gigabyte at each step, a quarter of the time. What is kept is the
    most that was in use at once, and some 15 % for gaps; it is given back at the end. Other C
    libraries are left alone.
    """
    if not wanted or platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(TRIM_THRESHOLD, -1)  # give nothing back
    library.mallopt(MMAP_MAX, 0)  # map nothing apart
    try:
        yield
    finally:
        for option, value in ADAPTED.items():
            library.mallopt(option, value)
        library.malloc_trim(0)
