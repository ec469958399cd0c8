"""What a set holds of one life, and what can be said about that life alone.

Only `memberset` writes here: it also keeps the index over all owners, and the two must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from crdtpubsub.crdt.births import Births
from crdtpubsub.crdt.delta import PLAIN, Delta, Extra, Row
from crdtpubsub.crdt.intervals import EMPTY, Runs, contains, count, intersection
from crdtpubsub.names import DECLARATION, NodeId

__all__ = ["NO_CLIENTS", "NO_GROUPS", "Clients", "Groups", "Owner", "Roll"]

Clients = dict[str, int]
"""client id -> birth. A dict of str and int is invisible to the garbage collector."""

NO_CLIENTS: Final[Clients] = {}
"""Read it where a channel is not there; never write to it."""

Groups = dict[str, str]
"""client id -> queue group, of those clients that are in one."""

NO_GROUPS: Final[Groups] = {}
"""The same."""


class Roll:
    """Every live membership of one owner at a moment, or those in some channels.

    Made under the lock by copying tables at the speed of C (50,000 of them in a millisecond or
    two); its rows, which cost ten times as much, are built by who reads them, where nobody waits.
    """

    __slots__ = ("_channels", "_extras")

    def __init__(self, channels: Mapping[str, Clients], extras: Mapping[int, Extra]) -> None:
        """Of these tables, which must not change any more."""
        self._channels = channels
        self._extras = extras

    def __len__(self) -> int:
        return sum([len(c) - (DECLARATION in c) for c in self._channels.values()])

    def __iter__(self) -> Iterator[Row]:
        """Its rows, by channel and client id; declarations are left out."""
        extras = self._extras
        for channel in sorted(self._channels):
            clients = self._channels[channel]
            for client in sorted(clients):
                if client != DECLARATION:
                    birth = clients[client]
                    yield channel, client, birth, extras.get(birth, PLAIN)

    @property
    def channels(self) -> Mapping[str, Clients]:
        """The tables themselves."""
        return self._channels

    def of(self, channel: str) -> Roll:
        """The same for one channel. O(1)."""
        clients = self._channels.get(channel)
        return Roll({} if clients is None else {channel: clients}, self._extras)


class Owner:
    """What is known of one life: what it joined (live), and which of its births were seen."""

    __slots__ = ("births", "channels", "extras", "grouped", "node", "seen")

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.seen: Runs = EMPTY
        self.channels: dict[str, Clients] = {}
        self.extras: dict[int, Extra] = {}
        # Derived from the three above; MemberSet._rebuild can make them anew.
        self.births = Births()
        self.grouped: dict[str, Groups] = {}  # by channel; nothing for one without queue groups

    def put_extra(self, channel: str, client: str, birth: int, extra: Extra) -> None:
        """That membership has this extra from now on."""
        self.extras[birth] = extra
        self._group(channel, client, extra[1])

    def drop_extra(self, channel: str, client: str, birth: int) -> None:
        """It is gone; unless a newer one of that client is there, so is its place in a group."""
        extra = self.extras.pop(birth, PLAIN)
        if extra[1] and client not in self.channels.get(channel, NO_CLIENTS):
            self._group(channel, client, "")

    def _group(self, channel: str, client: str, group: str) -> None:
        if group:
            self.grouped.setdefault(channel, {})[client] = group
        elif (groups := self.grouped.get(channel)) is not None:
            groups.pop(client, None)
            if not groups:
                del self.grouped[channel]

    def derive(self, births: Births) -> None:
        """`births` is made anew; the groups are to be."""
        self.births, self.grouped = births, {}
        for birth, extra in self.extras.items():
            if extra[1] and (key := births.get(birth)) is not None:
                self._group(*key, extra[1])

    def roll(self, channel: str | None = None, prefix: str = "") -> Roll:
        """Its memberships at this moment: all, or those of one channel or of a prefix."""
        if channel is not None:
            clients = self.channels.get(channel, NO_CLIENTS).copy()
            few = {b: self.extras[b] for b in clients.values() if b in self.extras}
            return Roll({channel: clients} if clients else {}, few)
        held = self.channels.items()
        channels = {name: c.copy() for name, c in held if name.startswith(prefix)}
        return Roll(channels, self.extras.copy())

    def delta(self, runs: Runs) -> Delta:
        """What is known here about those of `runs` that were seen."""
        said = intersection(runs, self.seen)
        entries = self.births.entries(said)
        extras: dict[int, Extra] = {}
        if held := self.extras:
            for clients in entries.values():
                extras.update([(b, held[b]) for b in clients.values() if b in held])
        return Delta(self.node, said, entries, extras)

    def live(self, runs: Runs) -> tuple[Runs, dict[int, int]]:
        """The same without bodies: the runs seen, and birth -> version of what is live in them."""
        said = intersection(runs, self.seen)
        extras = self.extras
        return said, {b: extras.get(b, PLAIN)[0] for b in self.births.within(said)}

    def prefix(self, runs: Runs, live_max: int) -> Runs:
        """As much of `runs`, from the lowest on, as holds at most `live_max` live births."""
        if count(runs) <= live_max:
            return runs
        for number, birth in enumerate(self.births.within(runs)):
            if number == live_max:
                return intersection(runs, (1, birth))
        return runs

    def check(self) -> None:
        """Assert that the derived fields are what their recomputation gives."""
        fresh = Births()
        for channel, clients in self.channels.items():
            assert clients, f"empty channel {channel!r} kept for {self.node}"
            for client, birth in clients.items():
                assert contains(self.seen, birth), f"live but unseen: {self.node}:{birth}"
                assert self.births.get(birth) == (channel, client), "reverse index differs"
                fresh.put(birth, (channel, client), self.extras.get(birth, PLAIN)[0])
        assert fresh.sum == self.births.sum, f"sum of {self.node} differs from its recomputation"
        assert len(fresh) == len(self.births), f"count of {self.node} differs"
        assert all(self.births.get(b) for b in self.extras), "extra of something removed"
        grouped: dict[str, Groups] = {}
        for birth, (_, group, _) in self.extras.items():
            if group and (key := self.births.get(birth)) is not None:
                grouped.setdefault(key[0], {})[key[1]] = group
        assert grouped == self.grouped, f"queue groups of {self.node} differ"
