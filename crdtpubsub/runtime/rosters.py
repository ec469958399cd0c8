"""Lists of members that were read: kept until something changes, then mended and not made anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

from crdtpubsub.crdt.delta import Row
from crdtpubsub.engine.effects import Changed
from crdtpubsub.names import NodeId

__all__ = ["ROSTERS_MAX", "TOUCHED_MAX", "AllRosters", "Roster", "Rosters"]

ROSTERS_MAX: Final = 65_536
"""Channels of one scope whose lists are kept; one more, and all begin anew."""

TOUCHED_MAX: Final = 1024
"""Members of one channel that may differ since its list was made; of more it is made anew."""

T = TypeVar("T")


class Roster(Generic[T]):
    """One channel: its members as they were last read, and who may be another since."""

    __slots__ = ("members", "touched")

    def __init__(self) -> None:
        self.members: tuple[T, ...] | None = None  # None: who made this is about to say
        self.touched: set[tuple[NodeId, str]] = set()


class Rosters(Generic[T]):
    """The lists of one scope. Under the lock, but for reads of `listed`."""

    __slots__ = ("listed", "rosters", "scope")

    def __init__(self, scope: str) -> None:
        """Of that scope, nothing read so far."""
        self.scope = scope
        self.listed: dict[str, tuple[T, ...]] = {}
        """Lists that are as they are now. Read without the lock."""
        self.rosters: dict[str, Roster[T]] = {}
        """All that are kept, by channel."""

    def begin(self, channel: str) -> Roster[T]:
        """Note from now on who changes in `channel`: its list is being made."""
        roster = self.rosters.get(channel)
        if roster is None:
            if len(self.rosters) >= ROSTERS_MAX:
                self.lost()
            roster = self.rosters[channel] = Roster()
        return roster

    def renewed(self, channel: str, roster: Roster[T], members: tuple[T, ...]) -> None:
        """These are its members now; in this order, an interrupt leaves more to do and not less."""
        roster.members = members
        roster.touched = set()
        if self.rosters.get(channel) is roster:
            self.listed[channel] = members

    def touch(self, channel: str, owner: NodeId, client: str) -> None:
        """That member has come, gone or changed."""
        roster = self.rosters.get(channel)
        if roster is None:  # nearly always: nobody reads what is written
            return
        roster.touched.add((owner, client))
        self.listed.pop(channel, None)
        if len(roster.touched) > TOUCHED_MAX:
            del self.rosters[channel]

    def changed(self, effect: Changed) -> None:
        """The same of all whom it names."""
        if effect.scope != self.scope or not self.rosters:
            return
        if effect.whole:
            self.lost()
            return
        rows: Iterable[Row]
        for rows in (effect.joined, effect.left, effect.updated):
            for channel, client, _, _ in rows:
                self.touch(channel, effect.owner, client)
        for channel in effect.channels:
            self.rosters.pop(channel, None)
            self.listed.pop(channel, None)

    def lost(self) -> None:
        """Nothing is known of anybody any more."""
        self.rosters.clear()
        self.listed.clear()


class AllRosters:
    """Those of all scopes of a node. It holds the channels that somebody has read, of any scope."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: list[Rosters[Any]] = []

    def __contains__(self, channel: object) -> bool:
        return any(channel in rosters.rosters for rosters in self._of)

    def keep(self, rosters: Rosters[Any]) -> None:
        """Tell these of every change from now on."""
        self._of.append(rosters)

    def touch(self, scope: str, channel: str, owner: NodeId, client: str) -> None:
        """That member has come, gone or changed. Under the lock."""
        for rosters in self._of:
            if rosters.scope == scope:
                rosters.touch(channel, owner, client)

    def changed(self, effect: Changed) -> None:
        """The same of all whom it names. Under the lock."""
        for rosters in self._of:
            rosters.changed(effect)

    def lost(self) -> None:
        """Nothing is known any more: of what was broken into, of a node that ended, in a fork."""
        for rosters in self._of:
            rosters.lost()
