"""How the C library hands out memory."""

from __future__ import annotations

import ctypes
import platform

# Of glibc's malloc.h.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed() -> None:
    """Let this process keep the memory that it frees for what it asks for next.

    glibc maps large tensors anew each time, and the kernel clears every page of them: of a program
    that takes and frees the same gigabyte at each step, a quarter of the time. What is kept is the
    most that was ever in use at once, and some 15 % for gaps. Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, -1)  # give nothing back
        mallopt(MMAP_MAX, 0)  # map nothing apart
