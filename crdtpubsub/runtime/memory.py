"""Memory that was freed is kept for what comes next."""

from __future__ import annotations

from typing import Final

__all__ = ["keep_freed_memory"]

KEPT_BYTES: Final = 4 * 1024 * 1024


def keep_freed_memory() -> None:
    """Have glibc keep `KEPT_BYTES` of what is freed, instead of 128 KiB, in each of its arenas.

    A stream of long messages takes and frees a megabyte in turn. What glibc gives back to the
    kernel comes again page by page, each of them zeroed: more than half of what a message of 4 KiB
    cost its publisher. It keeps twice the longest block that it has mapped and unmapped
    (mallopt(3), M_MMAP_THRESHOLD: it is dynamic), so one is; none of its pages is ever touched.
    Elsewhere it changes nothing. Who has set `MALLOC_TRIM_THRESHOLD_` is obeyed.
    """
    bytearray(KEPT_BYTES // 2)
