"""What a set holds, and how it is read; `MemberSet` is what changes it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Final

from crdtpubsub.crdt.delta import PLAIN, Delta, Extra
from crdtpubsub.crdt.intervals import EMPTY, Runs
from crdtpubsub.crdt.owner import NO_CLIENTS, NO_GROUPS, Clients, Owner, Roll
from crdtpubsub.names import NodeId

__all__ = ["Holding"]

_NOBODY: Final[Mapping[NodeId, Clients]] = {}


class Holding:
    """The lives held, what each of them is in, and which of its births were seen."""

    def __init__(self, me: NodeId, *, first_birth: int = 1) -> None:
        """An empty set of node `me`, whose next join gets a birth of at least `first_birth`."""
        self.me = me
        self._owners: dict[NodeId, Owner] = {}
        # channel -> owner -> that owner's own `channels[channel]`, the same object.
        self._by_channel: dict[str, dict[NodeId, Clients]] = {}
        self._next = first_birth
        self.told: Container[str] | None = None
        """Of who joined other channels than these in a row, `Change.channels` tells; None: all."""
        # What a closed scope of the same life had minted is over.
        self._mine = self.hold(me)
        self._mine.seen = (1, first_birth) if first_birth > 1 else EMPTY

    # ---------------------------------------------------------------- what it holds

    @property
    def next_birth(self) -> int:
        """The birth my next join will get."""
        return self._next

    def owners(self) -> Iterable[NodeId]:
        """Every life held, mine included, in the order of admission."""
        return self._owners.keys()

    def holds(self, owner: NodeId) -> bool:
        """Whether `owner` was admitted and not purged."""
        return owner in self._owners

    def hold(self, owner: NodeId) -> Owner:
        """Admit a life: only what is held is ever stored. Idempotent."""
        return self._owners.get(owner) or self._owners.setdefault(owner, Owner(owner))

    def seen(self, owner: NodeId) -> Runs:
        """The births of `owner` seen here; empty if it is not held."""
        held = self._owners.get(owner)
        return EMPTY if held is None else held.seen

    def size(self, owner: NodeId) -> int:
        """How many entries of `owner` are live here, declarations included."""
        return self.tally(owner)[1]

    def sum(self, owner: NodeId) -> int:
        """The order-free 64-bit sum over the live `(birth, version)` of `owner`."""
        return self.tally(owner)[2]

    def tallies(self) -> Iterator[tuple[NodeId, Runs, int]]:
        """`(owner, seen, sum)` of every life held: who changed says another one."""
        for owner, held in self._owners.items():
            yield owner, held.seen, held.births.sum

    def tally(self, owner: NodeId) -> tuple[Runs, int, int]:
        """`(seen, size, sum)` of one owner."""
        held = self._owners.get(owner)
        return (EMPTY, 0, 0) if held is None else (held.seen, len(held.births), held.births.sum)

    def sum_within(self, owner: NodeId, runs: Runs) -> int:
        """The same over the live births inside `runs`."""
        held = self._owners.get(owner)
        return 0 if held is None else held.births.sum_within(runs, held.extras)

    def channel_names(self) -> Iterable[str]:
        """Every channel that somebody held is in or has declared."""
        return self._by_channel.keys()

    def by_owner(self, channel: str) -> dict[NodeId, Mapping[str, int]]:
        """Owner -> client id -> birth in `channel`. Declarations are the client id `''`.

        The inner mappings are live views: read them under the lock.
        """
        return {
            owner: clients
            for owner, clients in self._by_channel.get(channel, _NOBODY).items()
            # By identity: what a detached owner left behind is not shown when it returns.
            if (held := self._owners.get(owner)) and held.channels.get(channel) is clients
        }

    def clients(self, owner: NodeId, channel: str) -> Mapping[str, int]:
        """Client id -> birth of one owner in one channel. A live view."""
        held = self._owners.get(owner)
        return NO_CLIENTS if held is None else held.channels.get(channel, NO_CLIENTS)

    def grouped(self, owner: NodeId, channel: str) -> Mapping[str, str]:
        """Client id -> queue group, of the clients in one. A live view."""
        held = self._owners.get(owner)
        return NO_GROUPS if held is None else held.grouped.get(channel, NO_GROUPS)

    def channels_of(self, owner: NodeId) -> Iterable[str]:
        """The channels `owner` is in or has declared. A live view."""
        held = self._owners.get(owner)
        return () if held is None else held.channels.keys()

    def extra(self, owner: NodeId, birth: int) -> Extra:
        """Version, group and metadata of a live birth."""
        held = self._owners.get(owner)
        return PLAIN if held is None else held.extras.get(birth, PLAIN)

    def roll(self, owner: NodeId, channel: str | None = None, prefix: str = "") -> Roll:
        """Every membership of `owner`, or of one channel or a prefix; declarations left out."""
        held = self._owners.get(owner)
        return Roll({}, {}) if held is None else held.roll(channel, prefix)

    # ---------------------------------------------------------------- telling others

    def delta(self, owner: NodeId, runs: Runs) -> Delta:
        """What is known here about those of `runs` that were seen."""
        held = self._owners.get(owner)
        return Delta(owner, EMPTY, {}) if held is None else held.delta(runs)

    def live(self, owner: NodeId, runs: Runs) -> tuple[Runs, dict[int, int]]:
        """The same without bodies: the runs seen, and birth -> version of what is live in them."""
        held = self._owners.get(owner)
        return (EMPTY, {}) if held is None else held.live(runs)

    def prefix(self, owner: NodeId, runs: Runs, live_max: int) -> Runs:
        """As much of `runs`, from the lowest on, as holds at most `live_max` live births here."""
        held = self._owners.get(owner)
        return runs if held is None else held.prefix(runs, live_max)
