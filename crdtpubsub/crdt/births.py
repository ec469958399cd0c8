"""What one owner's births stand for: birth -> (channel, client), and sums over them.

The live births of a node are nearly dense while it is young and a few among many when it
is old. Pages of 256 births serve both: a crowded page is one flat list (16 bytes a birth),
a sparse one a small dict, an empty one is gone. Each page keeps its own sum, so that the sum
of any long run costs a few additions and not a walk.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, compress, count, repeat
from typing import Any, Final

from crdtpubsub.crdt.intervals import Runs, pairs

__all__ = ["PAGE_BIRTHS", "Births", "mix"]

PAGE_BIRTHS: Final = 256
_SHIFT: Final = 8
_LOW: Final = PAGE_BIRTHS - 1
_CROWDED: Final = 24  # a dict of tuples this long weighs about as much as a full list
_SPARSE: Final = 12  # hysteresis: a page at the edge does not change shape at each turn
_MASK: Final = (1 << 64) - 1

Key = tuple[str, str]
"""`(channel, client id)`."""

Versions = Mapping[int, tuple[int, str, bytes]]
"""Birth -> an extra, which begins with a version."""

_ZERO: Final = (0, "", b"")


def mix(birth: int, version: int) -> int:
    """A 64-bit hash of one live birth at one version, to be *added* into a sum.

    The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). It must not be linear:
    with a linear mix {1, 4} and {2, 3} would have one sum.
    """
    z = (birth * 0x9E3779B97F4A7C15 + version * 0xD1B54A32D192ED03) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class _Page:
    """Up to 256 births: a flat list of channel, client when crowded, else a dict."""

    __slots__ = ("count", "crowded", "sparse", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0
        self.sparse: dict[int, Key] | None = {}
        self.crowded: list[str | None] | None = None

    def get(self, low: int) -> Key | None:
        if self.crowded is not None:
            channel = self.crowded[2 * low]
            return None if channel is None else (channel, self.crowded[2 * low + 1] or "")
        assert self.sparse is not None
        return self.sparse.get(low)

    def put(self, low: int, key: Key) -> None:
        self.count += 1
        if self.crowded is not None:
            self.crowded[2 * low], self.crowded[2 * low + 1] = key
            return
        assert self.sparse is not None
        self.sparse[low] = key
        if self.count > _CROWDED:
            self._crowd()

    def remove(self, low: int) -> None:
        self.count -= 1
        if self.sparse is not None:
            del self.sparse[low]
            return
        assert self.crowded is not None
        self.crowded[2 * low] = self.crowded[2 * low + 1] = None
        if self.count < _SPARSE:
            sparse: dict[int, Key] = {}
            for at in range(PAGE_BIRTHS):
                if (channel := self.crowded[2 * at]) is not None:
                    sparse[at] = (channel, self.crowded[2 * at + 1] or "")
            self.sparse, self.crowded = sparse, None

    def put_run(self, lo: int, run: list[str | None]) -> int:
        """Fill the free places from `lo` on with channel, client, channel ...; how many births."""
        births = len(run) // 2 - run[0::2].count(None)
        if self.sparse is not None and self.count + births <= _CROWDED:
            for at, (channel, client) in enumerate(zip(run[0::2], run[1::2], strict=True), lo):
                if channel is not None:
                    self.sparse[at] = (channel, client or "")
        else:
            crowded = self._crowd()
            crowded[2 * lo : 2 * lo + len(run)] = run
        self.count += births
        return births

    def rows(self, lo: int, hi: int) -> tuple[Sequence[int], Sequence[str | None], list[str]]:
        """From `lo` to `hi`, rising: places, their channels (None: nothing there), clients."""
        if self.crowded is not None:
            crowded: list[Any] = self.crowded
            return range(lo, hi), crowded[2 * lo : 2 * hi : 2], crowded[2 * lo + 1 : 2 * hi : 2]
        assert self.sparse is not None
        places = sorted([low for low in self.sparse if lo <= low < hi])
        keys = [self.sparse[low] for low in places]
        return places, [key[0] for key in keys], [key[1] for key in keys]

    def _crowd(self) -> list[str | None]:
        if self.crowded is None:
            assert self.sparse is not None
            crowded: list[str | None] = [None] * (2 * PAGE_BIRTHS)
            for at, (channel, client) in self.sparse.items():
                crowded[2 * at], crowded[2 * at + 1] = channel, client
            self.sparse, self.crowded = None, crowded
        return self.crowded

    def births(self, base: int, lo: int, hi: int) -> list[int]:
        """What is here from `lo` to `hi`, rising, each as `base` + its place."""
        if self.crowded is not None:
            crowded = self.crowded
            return [base + low for low in range(lo, hi) if crowded[2 * low] is not None]
        assert self.sparse is not None
        return sorted([base + low for low in self.sparse if lo <= low < hi])


class Births:
    """The live births of one owner."""

    __slots__ = ("_count", "_pages", "sum")

    def __init__(self) -> None:
        self._pages: dict[int, _Page] = {}
        self._count = 0
        self.sum = 0  # of `mix(birth, version)` over everything live, modulo 2**64

    def __len__(self) -> int:
        return self._count

    def get(self, birth: int) -> Key | None:
        """Whose membership `birth` is, or None if it is not live."""
        page = self._pages.get(birth >> _SHIFT)
        return None if page is None else page.get(birth & _LOW)

    def some(self, share: float) -> int:
        """A birth of the page at that share (below 1) of all pages; 0 if nothing is live."""
        pages = list(self._pages)
        return (pages[int(share * len(pages))] << _SHIFT) + 1 if pages else 0

    def put(self, birth: int, key: Key, version: int) -> None:
        """Note a live birth, which must not be live yet."""
        number = birth >> _SHIFT
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = _Page()
        page.put(birth & _LOW, key)
        mixed = mix(birth, version)
        page.sum = (page.sum + mixed) & _MASK
        self.sum = (self.sum + mixed) & _MASK
        self._count += 1

    def put_run(self, first: int, run: list[str | None], versions: Versions) -> None:
        """Note live births, none of which is live yet: channel, client of `first`, of the next ...

        None twice stands for a birth that is not live. `versions` names those not at 0.
        """
        for at in range(first & ~_LOW, first + len(run) // 2, PAGE_BIRTHS):
            lo = max(first, at)
            part = run[2 * (lo - first) : 2 * (at + PAGE_BIRTHS - first)]
            live = compress(count(lo), part[0::2])  # a channel has a name: it is not ''
            if versions:
                mixed = sum([mix(x, versions.get(x, _ZERO)[0]) for x in live])
            else:
                mixed = sum(map(mix, live, repeat(0)))
            page = self._pages.get(at >> _SHIFT) or _Page()
            births = page.put_run(lo & _LOW, part)
            if births:
                self._pages[at >> _SHIFT] = page
                page.sum = (page.sum + mixed) & _MASK
                self.sum = (self.sum + mixed) & _MASK
                self._count += births

    def entries(self, runs: Runs) -> dict[str, dict[str, int]]:
        """Channel -> client -> birth of what is live inside `runs`, rising."""
        found: dict[str, dict[str, int]] = {}
        for number, lo, hi in self._touched(runs):
            places, channels, clients = self._pages[number].rows(lo, hi)
            base = number << _SHIFT
            births = range(base + lo, base + hi) if len(places) == hi - lo else None
            channel = channels[0] if channels else None
            if births and channel is not None and channels.count(channel) == len(births):
                found.setdefault(channel, {}).update(zip(clients, births, strict=True))
                continue
            before, into = None, dict[str, int]()
            for low, channel, client in zip(places, channels, clients, strict=True):
                if channel is None:
                    continue
                if channel is not before:
                    before, into = channel, found.setdefault(channel, {})
                into[client] = base + low
        return found

    def remove(self, birth: int, version: int) -> None:
        """Forget a live birth, which has `version`."""
        number = birth >> _SHIFT
        page = self._pages[number]
        page.remove(birth & _LOW)
        mixed = mix(birth, version)
        page.sum = (page.sum - mixed) & _MASK
        self.sum = (self.sum - mixed) & _MASK
        self._count -= 1
        if not page.count:
            del self._pages[number]

    def reversion(self, birth: int, old: int, new: int) -> None:
        """Move a live birth from version `old` to `new`."""
        moved = mix(birth, new) - mix(birth, old)
        page = self._pages[birth >> _SHIFT]
        page.sum = (page.sum + moved) & _MASK
        self.sum = (self.sum + moved) & _MASK

    def within(self, runs: Runs) -> Iterator[int]:
        """The live births inside `runs`, rising. O(pages touched), never O(width of a run)."""
        if len(runs) == 2 and runs[1] - runs[0] == 1:  # a join, a removal
            return iter(runs[:1] if self.get(runs[0]) else ())
        return chain.from_iterable(
            self._pages[number].births(number << _SHIFT, lo, hi)
            for number, lo, hi in self._touched(runs)
        )

    def sum_within(self, runs: Runs, versions: Versions) -> int:
        """The sum over the live births inside `runs`; `versions` names those not at 0."""
        total = 0
        for number, lo, hi in self._touched(runs):
            page = self._pages[number]
            if lo == 0 and hi == PAGE_BIRTHS:
                total += page.sum
                continue
            base = number << _SHIFT
            for birth in page.births(base, lo, hi):
                extra = versions.get(birth)
                total += mix(birth, extra[0] if extra else 0)
        return total & _MASK

    def _touched(self, runs: Runs) -> Iterator[tuple[int, int, int]]:
        """`(page number, first, beyond last)` for every existing page that `runs` touch."""
        order: list[int] = []  # all pages, once: a peer may say many runs that are each very wide
        for lo, hi in pairs(runs):
            first, last = lo >> _SHIFT, (hi - 1) >> _SHIFT
            numbers: Sequence[int] = range(first, last + 1)
            if last - first >= len(self._pages):
                order = order or sorted(self._pages)
                numbers = order[bisect_left(order, first) : bisect_right(order, last)]
            for number in numbers:
                if number in self._pages:
                    base = number << _SHIFT
                    yield number, max(lo - base, 0), min(hi - base, PAGE_BIRTHS)
