"""How much of what a delta says a set takes in at once: what one owner can make it remember."""

from __future__ import annotations

from typing import Final

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.intervals import Runs, difference, intersection, pairs, top, union

__all__ = ["BIRTHS_END", "JUMP_MAX", "RUNS_MAX", "admissible", "in_a_row"]

RUNS_MAX: Final = 64
"""Most runs of births remembered per owner. What would open one more is dropped: it only delays."""

JUMP_MAX: Final = 2**32
"""A merge takes an owner's births no further than this beyond those known.

So a lie about its counter takes 2**30 deltas to use up the numbers there are, and the owner can
skip what was claimed (`MemberSet.skip`). Honest sets come to more in several merges.
"""

BIRTHS_END: Final = 2**62
"""Births are below this (and the wire carries no more): nobody mints so many honestly."""

ROW_MIN: Final = 8
"""Fewer joins are merged as quickly one by one."""

_RUNS_TRIED: Final = 1024
"""How many runs that do not fit are tried one by one; the rest of such a delta comes again."""


def admissible(seen: Runs, runs: Runs) -> Runs:
    """As much of `runs` as `seen` can take without growing beyond `RUNS_MAX`, lowest first.

    One place is kept for the run that starts at birth 1: a repair in parts begins there,
    and with no place for its first part it would begin again for ever.
    """
    if runs and runs[-1] > top(seen) + JUMP_MAX:
        runs = intersection(runs, (1, top(seen) + JUMP_MAX))
    if len(seen) + len(runs) < 2 * RUNS_MAX or len(union(seen, runs)) < 2 * RUNS_MAX:
        return runs
    # What was seen can always be said again: to say that it was removed opens no run.
    kept = list(intersection(runs, seen))
    for lo, hi in pairs(difference(runs, seen)[: 2 * _RUNS_TRIED]):
        grown = union(seen, (lo, hi))
        if len(grown) <= 2 * (RUNS_MAX if grown[0] == 1 else RUNS_MAX - 1):
            seen = grown
            kept += (lo, hi)
    return _joined(kept)


def in_a_row(seen: Runs, delta: Delta) -> list[str | None] | None:
    """Channel, client of the first birth, of the next ..., None twice where nothing is live.

    For births in one run beyond all those seen, many of them and most of them live: joins in a
    row, and what a late joiner is told. Of another delta: None.
    """
    runs = delta.runs
    if len(runs) != 2 or runs[0] < top(seen) or len(seen) >= 2 * RUNS_MAX - 4:
        return None
    births = sum(map(len, delta.entries.values()))
    width = runs[1] - runs[0]
    if births < ROW_MIN or width > 2 * births or runs[1] > top(seen) + JUMP_MAX:
        return None
    run: list[str | None] = [None] * (2 * width)
    for channel, clients in delta.entries.items():
        if len(clients) == width and tuple(clients.values()) == tuple(range(*runs)):
            run[0::2], run[1::2] = [channel] * width, list(clients)
            break
        for client, birth in clients.items():
            at = 2 * (birth - runs[0])
            run[at], run[at + 1] = channel, client
    return run


def _joined(flat: list[int]) -> Runs:
    """The runs whose bounds are in `flat`, in any order."""
    bounds: list[int] = []
    for lo, hi in sorted(pairs(tuple(flat))):
        if bounds and lo == bounds[-1]:
            bounds[-1] = hi
        else:
            bounds += (lo, hi)
    return tuple(bounds)
