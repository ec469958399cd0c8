"""Sets of births as runs: sorted, disjoint, half-open intervals that do not touch.

`Runs` is one flat tuple `(lo, hi, lo, hi, ...)`, so that the usual case, one interval, is
two ints, and equal sets are equal tuples. Births start at 1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = [
    "EMPTY",
    "Runs",
    "contains",
    "count",
    "difference",
    "from_births",
    "intersection",
    "is_runs",
    "pairs",
    "top",
    "union",
]

Runs = tuple[int, ...]

EMPTY: Final[Runs] = ()


def pairs(runs: Runs) -> Iterator[tuple[int, int]]:
    """The intervals one by one: `(lo, hi)` stands for births lo .. hi - 1."""
    flat = iter(runs)
    return zip(flat, flat, strict=True)


def is_runs(flat: tuple[int, ...]) -> bool:
    """Whether `flat` is well formed: even length, strictly rising, from 1 on."""
    if len(flat) % 2:
        return False
    last = 0
    for bound in flat:
        if bound <= last:
            return False
        last = bound
    return True


def contains(runs: Runs, birth: int) -> bool:
    """Whether `birth` lies in one of the runs. O(log runs)."""
    if len(runs) == 2:  # the usual case
        return runs[0] <= birth < runs[1]
    return bisect_right(runs, birth) % 2 == 1


def count(runs: Runs) -> int:
    """How many births the runs hold."""
    return sum(runs[1::2]) - sum(runs[0::2])


def top(runs: Runs) -> int:
    """The first birth beyond all runs; 1 if there are none."""
    return runs[-1] if runs else 1


def from_births(births: Iterable[int]) -> Runs:
    """The runs that hold exactly `births`, given in any order, repeats allowed."""
    flat: list[int] = []
    for birth in sorted(births):
        if flat and birth <= flat[-1]:
            if birth == flat[-1]:
                flat[-1] = birth + 1
        else:
            flat += (birth, birth + 1)
    return tuple(flat)


def union(a: Runs, b: Runs) -> Runs:
    """Births in either. O(a + b); O(1) when one extends or holds the other's single run."""
    if not b:
        return a
    if not a:
        return b
    if len(a) == 2 and len(b) == 2 and a[0] <= b[0] <= a[1]:
        return a if b[1] <= a[1] else (a[0], b[1])
    flat: list[int] = []
    for lo, hi in sorted((*pairs(a), *pairs(b))):
        if flat and lo <= flat[-1]:
            if hi > flat[-1]:
                flat[-1] = hi
        else:
            flat += (lo, hi)
    return tuple(flat)


def intersection(a: Runs, b: Runs) -> Runs:
    """Births in both. O(a + b)."""
    if len(a) == 2 and len(b) == 2:  # the usual case
        lo, hi = max(a[0], b[0]), min(a[1], b[1])
        return (lo, hi) if lo < hi else EMPTY
    flat: list[int] = []
    i = j = 0
    while i < len(a) and j < len(b):
        lo, hi = max(a[i], b[j]), min(a[i + 1], b[j + 1])
        if lo < hi:
            flat += (lo, hi)
        if a[i + 1] < b[j + 1]:
            i += 2
        else:
            j += 2
    return tuple(flat)


def difference(a: Runs, b: Runs) -> Runs:
    """Births in `a` and not in `b`. O(a + b)."""
    if len(b) == 2 and a and b[0] <= a[0] and a[-1] <= b[1]:
        return EMPTY  # the usual case
    flat: list[int] = []
    j = 0
    for lo, hi in pairs(a):
        while j < len(b) and b[j + 1] <= lo:
            j += 2
        k = j
        while k < len(b) and b[k] < hi:
            if lo < b[k]:
                flat += (lo, b[k])
            lo = max(lo, b[k + 1])
            k += 2
        if lo < hi:
            flat += (lo, hi)
    return tuple(flat)
