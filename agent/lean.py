"""Keeps a long-running agent small: has the C library give back what a reading or a report no longer needs.

Left alone, glibc takes the first large buffer that is freed for a sign that such buffers are better kept, and
gives every thread a heap of its own: with ten thousand users that is 8 MB more, for nothing.
"""

import ctypes

#: mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_SPARE_BYTES = 128 << 10
#: A buffer of this size gets pages of its own; among small ones it would keep pages from being given back.
_LARGE_BYTES = 32 << 10


def stay() -> None:
    """From now on; before any thread is started. Success where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _SPARE_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_ARENA_MAX, 1)
