"""What this life wrote in one scope, as far as somebody may not have it yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from crdtpubsub.crdt.intervals import EMPTY, Runs, difference, from_births, union
from crdtpubsub.crdt.token import TOKEN_NUMBERS_MAX, Writes
from crdtpubsub.names import NodeId

__all__ = ["Ledger"]

_LOOSE_MAX: Final = 256
_PAGE_NUMBERS_MAX: Final = TOKEN_NUMBERS_MAX // 2 - 2 * _LOOSE_MAX
"""So that with what is not counted yet two pages fit into a token."""


class _Births:
    """Births one after the other, as runs: gathered, since one by one is quadratic."""

    __slots__ = ("_loose", "_runs")

    def __init__(self) -> None:
        self._runs: Runs = EMPTY
        self._loose: list[int] = []

    def add(self, runs: Runs) -> None:
        if len(runs) == 2 and runs[1] == runs[0] + 1 and self._runs[1:] != runs[:1]:
            self._loose.append(runs[0])
            if len(self._loose) >= _LOOSE_MAX:
                self.runs()
        else:
            self._runs = union(self._runs, runs)

    def runs(self) -> Runs:
        if self._loose:
            self._runs = union(self._runs, from_births(self._loose))
            self._loose.clear()
        return self._runs


class _Page:
    """Writes between two moments."""

    __slots__ = ("full", "removed", "updates", "written")

    def __init__(self) -> None:
        self.written: dict[NodeId, _Births] = {}
        self.removed: dict[NodeId, _Births] = {}
        self.updates: dict[NodeId, dict[int, int]] = {}
        self.full = False

    def __bool__(self) -> bool:
        return bool(self.written or self.removed or self.updates or self.full)

    def owners(self) -> set[NodeId]:
        return {*self.written, *self.removed, *self.updates}

    def check_size(self) -> None:
        tables = [*self.written.values(), *self.removed.values()]
        size = sum([len(births.runs()) for births in tables]) + 2 * sum(
            map(len, self.updates.values())
        )
        if size > _PAGE_NUMBERS_MAX:
            self.full = True
            self.written, self.removed, self.updates = {}, {}, {}


class Ledger:
    """Two pages: what is written now, and what all peers held are still to confirm.

    A peer whose root equals mine has all I wrote before: nobody is asked for that. Bounded: a page
    that would be too large for a token is `full`, until it was confirmed as a whole.
    """

    __slots__ = ("_fresh", "_sealed", "_waiting", "_writes")

    def __init__(self) -> None:
        self._fresh = _Page()
        self._sealed = _Page()
        self._waiting: set[NodeId] = set()
        self._writes = 0

    def __bool__(self) -> bool:
        """Whether somebody may not have something."""
        return bool(self._fresh) or bool(self._sealed)

    def owners(self) -> set[NodeId]:
        """Of whom something was written."""
        return self._fresh.owners() | self._sealed.owners()

    @property
    def full(self) -> bool:
        """Whether there was more than a token can say."""
        return self._fresh.full or self._sealed.full

    def wrote(self, owner: NodeId, births: Runs, *, removed: bool, version: int) -> None:
        """Something was joined, updated to that version, or removed."""
        page = self._fresh
        if page.full:
            return
        if removed:
            page.removed.setdefault(owner, _Births()).add(births)
        elif version:
            page.updates.setdefault(owner, {})[births[0]] = version
        else:
            page.written.setdefault(owner, _Births()).add(births)
        self._writes += 1
        if self._writes % _LOOSE_MAX == 0 or len(births) > 2:
            page.check_size()

    def equal(self, peer: NodeId, held: Collection[NodeId], compared: Sequence[NodeId]) -> None:
        """That peer holds exactly what I hold of the lives `compared`."""
        if not self._sealed:
            if not self._fresh:
                return
            self._sealed, self._fresh = self._fresh, _Page()
            self._waiting = set(held)
        if self._sealed.owners().difference(compared):
            return  # of one that is down: nothing was said about it
        self._waiting.intersection_update(held)
        self._waiting.discard(peer)
        if not self._waiting:
            self._sealed = _Page()

    def token(self, me: NodeId, next_birth: int) -> tuple[Writes, ...]:
        """All that somebody may not have, and the top of my own births."""
        pages = (self._sealed, self._fresh)
        writes: list[Writes] = []
        for owner in sorted({me}.union(*[page.owners() for page in pages])):
            written = removed = EMPTY
            updates: dict[int, int] = {}
            for page in pages:
                if owner in page.written:
                    written = union(written, page.written[owner].runs())
                if owner in page.removed:
                    removed = union(removed, page.removed[owner].runs())
                updates.update(page.updates.get(owner, {}))
            top = next_birth if owner == me else 1
            rising = [(b, v) for b, v in sorted(updates.items()) if difference((b, b + 1), removed)]
            writes.append(Writes(owner, top, written, removed, tuple(rising)))
        return tuple(writes)
