"""Who is in which channel, on every node: one observed-remove set per scope.

Only the owner adds, so a birth is the owner's counter and a dot is `(owner, birth)`.
Anyone removes. There are no tombstones and no log: per owner the set keeps the births it
has *seen*, as runs, and the entries that are *live*; seen and not live means removed.
"""

from __future__ import annotations

from collections.abc import Mapping

from crdtpubsub.crdt.admission import BIRTHS_END, JUMP_MAX, RUNS_MAX, admissible, in_a_row
from crdtpubsub.crdt.births import Births
from crdtpubsub.crdt.delta import PLAIN, Change, Delta, Extra
from crdtpubsub.crdt.holding import Holding
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
from crdtpubsub.crdt.owner import NO_CLIENTS, Clients, Owner
from crdtpubsub.names import DECLARATION, NodeId

__all__ = ["RUNS_MAX", "Claimed", "MemberSet", "Owner"]


class Claimed(Exception):
    """A peer asserted births of mine, below `beyond`, that I never minted; state unchanged."""

    def __init__(self, beyond: int, minted: int) -> None:
        super().__init__(f"births up to {beyond - 1}; the last minted is {minted}")
        self.beyond = beyond


class MemberSet(Holding):
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

    # ---------------------------------------------------------------- lives

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

    # ---------------------------------------------------------------- writing

    def join(
        self, channel: str, client: str, *, group: str = "", meta: bytes | None = None
    ) -> tuple[Change, Runs]:
        """Make my `client` a member of `channel`; the births to push are returned beside it.

        If it is one already this is an update: same birth, next version, so that it loses to
        a concurrent removal. `meta` None leaves the metadata as they are; if then nothing
        would differ, nothing is done.
        """
        birth = self.add(channel, client, group=group, meta=meta or b"")
        if not birth:
            birth = self._mine.channels[channel][client]
            return self._update(self._mine, channel, client, birth, group, meta)
        change = Change(self.me, touched=True)
        if client != DECLARATION:
            change.joined.append((channel, client, birth, (0, group, meta or b"")))
        return change, (birth, birth + 1)

    def add(self, channel: str, client: str, *, group: str = "", meta: bytes = b"") -> int:
        """The same for one that is no member there: its birth. Of a member 0, and nothing is done.

        Nothing is made that is not kept: who calls knows what has changed.
        """
        held = self._mine
        clients = held.channels.get(channel)
        if clients is not None and client in clients:
            return 0
        birth = self._next
        try:
            self._next = birth + 1
            held.seen = (1, birth + 1)  # my own births have no gap
            if clients is None:
                clients = self._begin(held, channel)
            if group or meta:
                held.put_extra(channel, client, birth, (0, group, meta))
            clients[client] = birth
            held.births.put(birth, (channel, client), 0)
        except BaseException:
            self._rebuild(held)
            raise
        return birth

    def end(self, channel: str, client: str) -> int:
        """My client is no member any more: the birth that ended, or 0 if it was none."""
        held = self._mine
        birth = held.channels.get(channel, NO_CLIENTS).get(client, 0)
        if birth:
            try:
                self._take_out(held, channel, client, birth)
            except BaseException:
                self._rebuild(held)
                raise
        return birth

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
        if not mine and (run := in_a_row(held.seen, delta)) is not None:
            fresh = self._merge_in_a_row(held, delta, run)
            if fresh is not None:
                return fresh
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

    def _merge_in_a_row(self, held: Owner, delta: Delta, run: list[str | None]) -> Change | None:
        """The same for births beyond all those seen, table by table in place of row by row.

        None: somebody is a member there already, by an older birth; nothing was changed.
        """
        for channel, clients in delta.entries.items():
            mine = held.channels.get(channel)
            if mine is not None and not mine.keys().isdisjoint(clients):
                return None
        first, extras, told = delta.runs[0], delta.extras, self.told
        seen = union(held.seen, delta.runs)
        change = Change(held.node, touched=True)
        try:
            for birth, extra in extras.items():  # first, as for one by one
                at = 2 * (birth - first)
                held.put_extra(run[at] or "", run[at + 1] or "", birth, extra)
            for channel, clients in delta.entries.items():
                (held.channels.get(channel) or self._begin(held, channel)).update(clients)
                if told is not None and channel not in told:
                    change.channels.append(channel)
                    continue
                change.joined += [
                    (channel, client, birth, extras.get(birth, PLAIN))
                    for client, birth in clients.items()
                    if client != DECLARATION
                ]
            held.births.put_run(first, run, extras)
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

    # ---------------------------------------------------------------- the only hands on entries

    def _begin(self, held: Owner, channel: str) -> Clients:
        clients = held.channels[channel] = {}
        self._by_channel.setdefault(channel, {})[held.node] = clients
        return clients

    def _insert(
        self, held: Owner, channel: str, client: str, birth: int, extra: Extra, change: Change
    ) -> None:
        clients = held.channels.get(channel)
        if clients is None:
            clients = self._begin(held, channel)
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
        key = held.births.get(birth)
        assert key is not None, "only what is live is dropped"
        channel, client = key
        change.touched = True
        extra = self._take_out(held, channel, client, birth)
        if client != DECLARATION:
            change.removed.append((channel, client, birth, extra))

    def _take_out(self, held: Owner, channel: str, client: str, birth: int) -> Extra:
        """Every removal there is. It goes by the *birth*: the key may have a newer one."""
        clients = held.channels[channel]
        extra = held.extras.get(birth, PLAIN)
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
        if extra is not PLAIN:
            held.drop_extra(channel, client, birth)
        held.births.remove(birth, extra[0])
        return extra

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
