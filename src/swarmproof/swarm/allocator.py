"""Settings of the C library's memory allocator for tensors. Imports no torch."""

from __future__ import annotations

import ctypes

# Constants of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def give_back_freed_memory() -> None:
    """Return the free memory of this process to the system, gaps between used blocks included.

    Called between the draws and the passes of a large model: what a pass asks for rarely fits into
    the gaps that the draws left. Does nothing if the C library has no such function.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, TypeError, AttributeError):
        return


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the tensors of its next step.

    By default glibc returns large blocks to the system at once. The next tensor of the same size
    then needs new, zeroed pages. Does nothing if the C library has no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the maximum that glibc allows
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
