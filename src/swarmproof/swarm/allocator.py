"""How the C library hands memory to tensors. Imports no torch."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the tensors of its next step.

    By default glibc returns large blocks to the system at once, and gets every page of the next
    tensor of the same size anew and zeroed. Does nothing where the C library has no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc allows
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
