"""What travels between sets, and what a merge says it changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from crdtpubsub.crdt.intervals import EMPTY, Runs, intersection, pairs
from crdtpubsub.light import light
from crdtpubsub.names import NodeId

__all__ = ["PLAIN", "Change", "Delta", "Extra", "Row"]

Extra = tuple[int, str, bytes]
"""`(version, queue group, packed metadata)` of a membership."""

PLAIN: Final[Extra] = (0, "", b"")
"""The extra of nearly every membership; it is not stored."""

Row = tuple[str, str, int, Extra]
"""`(channel, client id, birth, extra)`: one membership of an owner that is known from context."""


@light
class Delta:
    """Owner `owner`, some births, and *every* one of them that is live.

    A birth inside `runs` and not in `entries` was removed: that is the only way to say so.
    Whoever sends a delta has seen all births of its runs. A cut of a delta is a delta.
    """

    owner: NodeId
    runs: Runs
    entries: dict[str, dict[str, int]]  # channel -> client id -> birth, all inside `runs`
    extras: dict[int, Extra] = field(default_factory=dict)  # only what is not PLAIN

    def births(self) -> Iterator[int]:
        """The live births named here, in no particular order."""
        for clients in self.entries.values():
            yield from clients.values()

    def cut(self, runs: Runs) -> Delta:
        """The same statement about fewer births."""
        kept = intersection(self.runs, runs)
        entries: dict[str, dict[str, int]] = {}
        extras: dict[int, Extra] = {}
        for channel, clients in self.entries.items():
            for client, birth in clients.items():
                if any(lo <= birth < hi for lo, hi in pairs(kept)):
                    entries.setdefault(channel, {})[client] = birth
                    if birth in self.extras:
                        extras[birth] = self.extras[birth]
        return Delta(self.owner, kept, entries, extras)

    def slices(self, births_max: int) -> Iterator[Delta]:
        """The same statement in parts of at most `births_max` live births, lowest first.

        Merged one after the other they change what the whole would; between two of them a
        caller who waits for the lock may go first.
        """
        rows = sorted(
            (birth, channel, client)
            for channel, clients in self.entries.items()
            for client, birth in clients.items()
        )
        if len(rows) <= births_max:
            yield self
            return
        lower = 0
        for start in range(0, len(rows), births_max):
            part = rows[start : start + births_max]
            last = start + births_max >= len(rows)
            upper = self.runs[-1] if last else part[-1][0] + 1
            entries: dict[str, dict[str, int]] = {}
            for birth, channel, client in part:
                entries.setdefault(channel, {})[client] = birth
            extras = {b: self.extras[b] for b, _, _ in part if b in self.extras}
            runs = intersection(self.runs, (lower, upper)) if lower < upper else EMPTY
            yield Delta(self.owner, runs, entries, extras)
            lower = upper


@dataclass(slots=True)
class Change:
    """What a write or a merge did to the memberships of one owner. Declarations are not here."""

    owner: NodeId
    joined: list[Row] = field(default_factory=list)
    removed: list[Row] = field(default_factory=list)
    updated: list[Row] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    """Where others joined, who are not in `joined` since nobody is told: see `MemberSet.told`."""
    births_met: int = 0
    """How often a newer birth took the place of an older one of the same client."""
    touched: bool = False
    """Whether anything at all is different now: memberships, declarations or births seen."""

    def __bool__(self) -> bool:
        return bool(self.joined or self.removed or self.updated or self.channels)
