"""Who is in which channel, on every node: one observed-remove set per scope.

Only the owner adds, so a birth is the owner's counter and a dot is `(owner, birth)`.
Anyone removes. There are no tombstones and no log: per owner the set keeps the births it
has *seen*, as runs, and the entries that are *live*; seen and not live means removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from crdtpubsub.crdt.admission import BIRTHS_END, JUMP_MAX, RUNS_MAX, admissible
from crdtpubsub.crdt.births import Births
from crdtpubsub.crdt.delta import PLAIN, Change, Delta, Extra
from crdtpubsub.crdt.intervals import (
    EMPTY,
    Runs,
    contains,
    count,
    difference,
    from_births,
    intersection,
    top,
    union,
)
from crdtpubsub.crdt.owner import NO_CLIENTS, NO_GROUPS, Clients, Owner, Roll
from crdtpubsub.names import DECLARATION, NodeId

__all__ = ["RUNS_MAX", "Claimed", "MemberSet", "Owner"]


class Claimed(Exception):
    """A peer asserted births of mine, below `beyond`, that I never minted; state unchanged."""

    def __init__(self, beyond: int, minted: int) -> None:
        super().__init__(f"births up to {beyond - 1}; the last minted is {minted}")
        self.beyond = beyond


class MemberSet:
    """Mergeable in any order; of a concurrent join and removal, the join wins.

    Laws, for all states a, b, c reached by histories (tests/crdt/test_memberset_laws.py):

        a | b = b | a              in any order
        (a | b) | c = a | (b | c)  in any grouping
        a | a = a                  any number of times
        a <= a | b                 nothing seen is ever unseen
        m(a) = a | delta(m, a)     a write and its delta say the same

    Precondition: a `NodeId` names one life of one process, and it adds only through its own
    set. Two lives that mint births under one id lose members when they merge.

    Sources: Bieniusa et al., arXiv:1210.3368 (the optimised OR-set);
    Almeida, Shoker, Baquero, arXiv:1603.01529 (delta-state CRDTs and causal deltas).
    """

    def __init__(self, me: NodeId, *, first_birth: int = 1) -> None:
        """An empty set of node `me`, whose next join gets a birth of at least `first_birth`."""
        self.me = me
        self._owners: dict[NodeId, Owner] = {}
        # channel -> owner -> that owner's own `channels[channel]`, the same object.
        self._by_channel: dict[str, dict[NodeId, Clients]] = {}
        self._next = first_birth
        # What a closed scope of the same life had minted is over.
        self.hold(me).seen = (1, first_birth) if first_birth > 1 else EMPTY

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

    def detach(self, owner: NodeId) -> Owner | None:
        """Forget a life at once, as if never met; `sweep` what is returned, in slices.

        `seen` and the entries go together: entries without what was seen would be taken for
        news, what was seen without entries for removals.
        """
        assert owner != self.me, "a node does not forget itself"
        return self._owners.pop(owner, None)

    def sweep(self, gone: Owner, channels_max: int) -> bool:
        """Drop up to `channels_max` channels of a detached owner; True when nothing is left."""
        for _ in range(min(channels_max, len(gone.channels))):
            channel, clients = gone.channels.popitem()
            by_owner = self._by_channel.get(channel)
            # By identity: the life may have been admitted again in the meantime.
            if by_owner is not None and by_owner.get(gone.node) is clients:
                del by_owner[gone.node]
                if not by_owner:
                    del self._by_channel[channel]
        return not gone.channels

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

    # ---------------------------------------------------------------- writing

    def join(
        self, channel: str, client: str, *, group: str = "", meta: bytes | None = None
    ) -> tuple[Change, Runs]:
        """Make my `client` a member of `channel`; the births to push are returned beside it.

        If it is one already this is an update: same birth, next version, so that it loses to
        a concurrent removal. `meta` None leaves the metadata as they are; if then nothing
        would differ, nothing is done.
        """
        held = self._owners[self.me]
        birth = held.channels.get(channel, NO_CLIENTS).get(client)
        if birth is not None:
            return self._update(held, channel, client, birth, group, meta)
        birth = self._next
        extra: Extra = (0, group, meta or b"")
        change = Change(self.me, touched=True)
        try:
            self._next = birth + 1
            held.seen = union(held.seen, (birth, birth + 1))
            self._insert(held, channel, client, birth, extra, change)
        except BaseException:
            self._rebuild(held)
            raise
        return change, (birth, birth + 1)

    def _update(
        self, held: Owner, channel: str, client: str, birth: int, group: str, meta: bytes | None
    ) -> tuple[Change, Runs]:
        version, old_group, old_meta = held.extras.get(birth, PLAIN)
        extra = (version + 1, group or old_group, old_meta if meta is None else meta)
        change = Change(self.me, touched=True)
        if extra[1:] == (old_group, old_meta):
            return Change(self.me), EMPTY
        try:
            self._reversion(held, channel, client, birth, extra, change)
        except BaseException:
            self._rebuild(held)
            raise
        return change, (birth, birth + 1)

    def remove(self, owner: NodeId, runs: Runs) -> tuple[Change, Runs]:
        """End every membership of `owner` among `runs` that is live here.

        Anyone may. Only dots observed here end: runs are cut to what was seen. Returned
        beside the change: the births that did end, to push.
        """
        held = self._owners.get(owner)
        if held is None:
            return Change(owner), EMPTY
        ended = from_births(held.births.within(intersection(runs, held.seen)))
        if not ended:
            return Change(owner), EMPTY
        return self.merge(Delta(owner, ended, {})), ended

    def skip(self, beyond: int) -> Runs:
        """Mint no birth below `beyond`: others were told lies about them. Returned: what to push.

        At most `JUMP_MAX` are skipped at a time, which others follow; then call it again.
        """
        beyond = min(beyond, self._next + JUMP_MAX, BIRTHS_END)
        if beyond <= self._next:
            return EMPTY
        skipped = (self._next, beyond)
        held = self._owners[self.me]
        try:
            self._next = beyond
            held.seen = union(held.seen, skipped)
        except BaseException:
            self._rebuild(held)
            raise
        return skipped

    # ---------------------------------------------------------------- merging

    def merge(self, delta: Delta) -> Change:
        """Join `delta` into this set; say what changed. O(delta), whatever the set holds.

        The delta must come from one who had seen all of its runs. Of an owner that is not
        held nothing is stored. About my own life I am the authority: of births beyond my own
        top, and of entries I do not have, nothing is believed.

        Raises:
            Claimed: births of mine that I never minted; nothing was changed.
        """
        held = self._owners.get(delta.owner)
        if held is None:
            return Change(delta.owner)
        mine = delta.owner == self.me
        if mine and top(delta.runs) > self._next:
            raise Claimed(top(delta.runs), self._next - 1)
        runs = admissible(held.seen, delta.runs)
        seen_before = held.seen
        seen = union(seen_before, runs)
        change = Change(delta.owner, touched=seen != seen_before)
        listed = set(delta.births())
        try:
            for birth in [b for b in held.births.within(runs) if b not in listed]:
                self._drop(held, birth, change)
            if not mine:
                self._merge_entries(held, delta, runs, change)
            held.seen = seen
        except BaseException:
            self._rebuild(held)
            raise
        return change

    def _merge_entries(self, held: Owner, delta: Delta, runs: Runs, change: Change) -> None:
        whole = runs == delta.runs
        frontier = top(held.seen)
        for channel, clients in delta.entries.items():
            mine = held.channels.get(channel, NO_CLIENTS)
            for client, birth in clients.items():
                current = mine.get(client)
                if current == birth:
                    extra = delta.extras.get(birth, PLAIN)
                    if extra[0] > held.extras.get(birth, PLAIN)[0]:
                        self._reversion(held, channel, client, birth, extra, change)
                    continue
                if not whole and not contains(runs, birth):
                    continue  # its run was not admitted: it comes again
                if birth < frontier and contains(held.seen, birth):
                    continue  # seen and not live: it was removed here
                if current is not None:
                    # The owner minted the larger one after the smaller had ended.
                    if current > birth:
                        continue
                    change.births_met += 1
                    self._drop(held, current, change)
                self._insert(held, channel, client, birth, delta.extras.get(birth, PLAIN), change)
                mine = held.channels[channel]

    def merge_live(
        self, owner: NodeId, runs: Runs, listed: Mapping[int, int]
    ) -> tuple[Change, Runs, Runs]:
        """Merge a delta without bodies: of `runs`, exactly `listed` is live there.

        `listed` is birth -> version.

        Returns:
            The change, the births to tell the sender about (removed or newer here), and the
            births to pull from it (unseen or older here). Only what is unlisted is marked
            as seen: a listed birth is not seen before its entry is in.
        """
        held = self._owners.get(owner)
        if held is None:
            return Change(owner), EMPTY, EMPTY
        if owner == self.me:
            runs = intersection(runs, (1, self._next)) if self._next > 1 else EMPTY
        tell: list[int] = []
        pull: list[int] = []
        for birth, version in listed.items():
            if not contains(runs, birth):
                continue
            if not contains(held.seen, birth):
                pull.append(birth)
            elif held.births.get(birth) is None:
                tell.append(birth)
            else:
                here = held.extras.get(birth, PLAIN)[0]
                if here > version:
                    tell.append(birth)
                elif here < version and owner != self.me:
                    pull.append(birth)
        unlisted = difference(runs, from_births(listed))
        return self.merge(Delta(owner, unlisted, {})), from_births(tell), from_births(pull)

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

    # ---------------------------------------------------------------- the only hands on entries

    def _insert(
        self, held: Owner, channel: str, client: str, birth: int, extra: Extra, change: Change
    ) -> None:
        clients = held.channels.get(channel)
        if clients is None:
            clients = held.channels[channel] = {}
            self._by_channel.setdefault(channel, {})[held.node] = clients
        change.touched = True
        # The extra first: an entry caught between the two without it would stay wrong for ever
        # (version 0 either way: no sum differs). An extra without its entry is swept up.
        if extra != PLAIN:
            held.put_extra(channel, client, birth, extra)
        clients[client] = birth
        held.births.put(birth, (channel, client), extra[0])
        if client != DECLARATION:
            change.joined.append((channel, client, birth, extra))

    def _reversion(
        self, held: Owner, channel: str, client: str, birth: int, extra: Extra, change: Change
    ) -> None:
        change.touched = True
        held.births.reversion(birth, held.extras.get(birth, PLAIN)[0], extra[0])
        held.put_extra(channel, client, birth, extra)
        if client != DECLARATION:
            change.updated.append((channel, client, birth, extra))

    def _drop(self, held: Owner, birth: int, change: Change) -> None:
        """Every removal there is. It goes by the *birth*: the key may have a newer one."""
        key = held.births.get(birth)
        assert key is not None, "only what is live is dropped"
        channel, client = key
        clients = held.channels[channel]
        extra = held.extras.get(birth, PLAIN)
        change.touched = True
        if clients.get(client) == birth:
            del clients[client]
            if not clients:
                del held.channels[channel]
                by_owner = self._by_channel[channel]
                if by_owner.get(held.node) is clients:
                    del by_owner[held.node]
                    if not by_owner:
                        del self._by_channel[channel]
        # The extra last: an entry that outlived it would have fallen back to version 0.
        held.drop_extra(channel, client, birth)
        held.births.remove(birth, extra[0])
        if client != DECLARATION:
            change.removed.append((channel, client, birth, extra))

    def _rebuild(self, held: Owner) -> None:
        """Make the derived fields anew from `channels`, `extras` and `seen`.

        Called when an exception (a KeyboardInterrupt, say) broke into a commit. What is live
        and not marked as seen was in the middle of being added; to mark it is honest.
        """
        births = Births()
        for channel, clients in list(held.channels.items()):
            if not clients:
                del held.channels[channel]
                continue
            self._by_channel.setdefault(channel, {})[held.node] = clients
            for client, birth in clients.items():
                births.put(birth, (channel, client), held.extras.get(birth, PLAIN)[0])
        for channel, by_owner in list(self._by_channel.items()):
            if channel not in held.channels:
                by_owner.pop(held.node, None)
            if not by_owner:
                del self._by_channel[channel]
        live = from_births(b for clients in held.channels.values() for b in clients.values())
        held.extras = {b: extra for b, extra in held.extras.items() if contains(live, b)}
        held.derive(births)
        held.seen = union(held.seen, live)
        if held.node == self.me and self._next > 1:
            held.seen = union(held.seen, (1, self._next))  # minted, never in: nobody will add it

    def check(self) -> None:
        """Assert every invariant by recomputation. O(everything): for tests and the simulator."""
        for node, held in self._owners.items():
            held.check()
            for channel, clients in held.channels.items():
                assert self._by_channel[channel][node] is clients, "index out of step"
            assert len(held.seen) <= 2 * RUNS_MAX, "too many runs"
        assert count(self._owners[self.me].seen) == self._next - 1, "own births have a gap"


_NOBODY: Final[Mapping[NodeId, Clients]] = {}
