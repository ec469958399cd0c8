"""Bugs to put in on purpose: each must be caught by the suite (test_planted_bugs.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from crdtpubsub.crdt import births
from crdtpubsub.crdt import memberset as module
from crdtpubsub.crdt.delta import PLAIN, Change, Delta, Extra
from crdtpubsub.crdt.intervals import Runs, contains, from_births, intersection, pairs, union
from crdtpubsub.crdt.memberset import MemberSet, Owner
from crdtpubsub.names import NodeId

__all__ = ["PLANTED"]

PLANTED: dict[str, Callable[[], AbstractContextManager[None]]] = {}
"""What is wrong -> a context manager in which it is."""


def planted(story: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register the replacements a function returns: `(object, attribute, replacement)`."""

    def register(
        make: Callable[[], list[tuple[Any, str, Any]]],
    ) -> Callable[[], list[tuple[Any, str, Any]]]:
        @contextmanager
        def wrong() -> Iterator[None]:
            patches = [patch.object(*replacement) for replacement in make()]
            for each in patches:
                each.start()
            try:
                yield
            finally:
                for each in patches:
                    each.stop()

        PLANTED[story] = wrong
        return make

    return register


Patches = list[tuple[Any, str, Any]]


@planted("the context is ignored on insert")
def _context_ignored() -> Patches:
    right = MemberSet._merge_entries

    def wrong(self: MemberSet, held: Owner, delta: Delta, runs: Runs, change: Change) -> None:
        live = from_births(held.births.within((1, 1 << 40)))
        seen, held.seen = held.seen, live
        try:
            right(self, held, delta, runs, change)
        finally:
            held.seen = union(seen, held.seen)

    return [(MemberSet, "_merge_entries", wrong)]


@planted("a delta claims wider runs than its sender has seen")
def _wide_context() -> Patches:
    right = MemberSet.delta

    def wrong(self: MemberSet, owner: NodeId, runs: Runs) -> Delta:
        delta = right(self, owner, runs)
        if not delta.runs:
            return delta
        return Delta(owner, (delta.runs[0], delta.runs[-1]), delta.entries, delta.extras)

    return [(MemberSet, "delta", wrong)]


@planted("an entry is dropped from a slice")
def _entry_dropped() -> Patches:
    right = Delta.slices

    def wrong(self: Delta, births_max: int) -> Iterator[Delta]:
        for number, part in enumerate(right(self, births_max)):
            yield Delta(part.owner, part.runs, {}) if number == 1 else part

    return [(Delta, "slices", wrong)]


@planted("a slice claims the runs of the whole")
def _slice_of_the_whole() -> Patches:
    right = Delta.slices

    def wrong(self: Delta, births_max: int) -> Iterator[Delta]:
        for part in right(self, births_max):
            yield Delta(part.owner, self.runs, part.entries, part.extras)

    return [(Delta, "slices", wrong)]


@planted("births listed by a LIVE are marked as seen before their entries are in")
def _seen_too_early() -> Patches:
    right = MemberSet.merge_live

    def wrong(
        self: MemberSet, owner: NodeId, runs: Runs, listed: Mapping[int, int]
    ) -> tuple[Change, Runs, Runs]:
        result = right(self, owner, runs, listed)
        if owner != self.me and self.holds(owner):
            held = self.hold(owner)
            held.seen = union(held.seen, runs)
        return result

    return [(MemberSet, "merge_live", wrong)]


@planted("a birth is used again when what had it is gone")
def _birth_reused() -> Patches:
    right = MemberSet.join

    def wrong(self: MemberSet, channel: str, client: str, **extra: Any) -> tuple[Change, Runs]:
        held = self.hold(self.me)
        if self._next > 1 and held.births.get(self._next - 1) is None:
            self._next -= 1
        return right(self, channel, client, **extra)

    return [(MemberSet, "join", wrong)]


@planted("a removal goes by the key and does not compare the birth")
def _removal_by_key() -> Patches:
    right = MemberSet.merge
    keys: dict[tuple[NodeId, int], tuple[str, str]] = {}

    def wrong(self: MemberSet, delta: Delta) -> Change:
        for channel, clients in delta.entries.items():
            for client, birth in clients.items():
                keys[delta.owner, birth] = (channel, client)
        if self.holds(delta.owner) and not delta.entries:
            held = self.hold(delta.owner)
            removed = (b for b in range(1, 100) if contains(delta.runs, b))
            named = [keys[delta.owner, b] for b in removed if (delta.owner, b) in keys]
            now = [held.channels.get(channel, {}).get(client) for channel, client in named]
            wider = union(delta.runs, from_births(b for b in now if b is not None))
            delta = Delta(delta.owner, wider, {})
        return right(self, delta)

    return [(MemberSet, "merge", wrong)]


@planted("a removal ends dots that were never observed")
def _unobserved() -> Patches:
    def wrong(self: MemberSet, owner: NodeId, runs: Runs) -> tuple[Change, Runs]:
        if not self.holds(owner):
            return Change(owner), ()
        runs = intersection(runs, (1, self._next if owner == self.me else 12))
        return self.merge(Delta(owner, runs, {})), runs

    return [(MemberSet, "remove", wrong)]


@planted("a LIVE asserts beyond what was seen")
def _live_too_wide() -> Patches:
    right = MemberSet.live

    def wrong(self: MemberSet, owner: NodeId, runs: Runs) -> tuple[Runs, dict[int, int]]:
        said, listed = right(self, owner, runs)
        return (said and (said[0], said[-1] + 1)), listed

    return [(MemberSet, "live", wrong)]


@planted("a LIVE ends what lies beyond its runs")
def _live_ends_too_much() -> Patches:
    right = MemberSet.merge_live

    def wrong(
        self: MemberSet, owner: NodeId, runs: Runs, listed: Mapping[int, int]
    ) -> tuple[Change, Runs, Runs]:
        return right(self, owner, union(runs, self.seen(owner)), listed)

    return [(MemberSet, "merge_live", wrong)]


@planted("the version is ignored: an update of what is live is lost")
def _version_ignored() -> Patches:
    right = MemberSet._reversion

    def wrong(self: MemberSet, held: Owner, *rest: Any) -> None:
        if held.node == self.me:
            right(self, held, *rest)

    return [(MemberSet, "_reversion", wrong)]


@planted("the version is ignored: the last to arrive wins")
def _last_wins() -> Patches:
    right = MemberSet.merge

    def wrong(self: MemberSet, delta: Delta) -> Change:
        change = right(self, delta)
        if self.holds(delta.owner) and delta.owner != self.me:
            held = self.hold(delta.owner)
            for channel, clients in delta.entries.items():
                for client, birth in clients.items():
                    extra: Extra = delta.extras.get(birth, PLAIN)
                    now = held.channels.get(channel, {}).get(client)
                    if now == birth and held.extras.get(birth, PLAIN) != extra:
                        self._reversion(held, channel, client, birth, extra, change)
        return change

    return [(MemberSet, "merge", wrong)]


@planted("an update is a new birth")
def _update_is_new() -> Patches:
    def wrong(
        self: MemberSet, held: Owner, channel: str, client: str, birth: int, *extra: Any
    ) -> tuple[Change, Runs]:
        group, meta = extra
        change, runs = self.remove(self.me, (birth, birth + 1))
        joined, fresh = self.join(channel, client, group=group, meta=meta)
        change.joined.extend(joined.joined)
        return change, union(runs, fresh)

    return [(MemberSet, "_update", wrong)]


@planted("of two births of one client the smaller stays")
def _smaller_stays() -> Patches:
    right = MemberSet._merge_entries

    def wrong(self: MemberSet, held: Owner, delta: Delta, runs: Runs, change: Change) -> None:
        kept = {
            channel: {
                c: b for c, b in clients.items() if held.channels.get(channel, {}).get(c, b) >= b
            }
            for channel, clients in delta.entries.items()
        }
        right(self, held, Delta(delta.owner, delta.runs, kept, delta.extras), runs, change)

    return [(MemberSet, "_merge_entries", wrong)]


@planted("the sum is linear")
def _linear_sum() -> Patches:
    def wrong(birth: int, version: int) -> int:
        return (birth * 0x9E3779B97F4A7C15 + version * 0xD1B54A32D192ED03) & ((1 << 64) - 1)

    return [(births, "mix", wrong)]


@planted("the sum does not move with the version")
def _sum_without_version() -> Patches:
    right = births.mix
    return [(births, "mix", lambda birth, version: right(birth, 0))]


@planted("a purge forgets what is live and keeps what was seen")
def _purge_keeps_seen() -> Patches:
    detach, hold = MemberSet.detach, MemberSet.hold
    kept: dict[tuple[int, NodeId], Runs] = {}

    def wrong_detach(self: MemberSet, owner: NodeId) -> Owner | None:
        gone = detach(self, owner)
        if gone is not None:
            kept[id(self), owner] = gone.seen
        return gone

    def wrong_hold(self: MemberSet, owner: NodeId) -> Owner:
        held = hold(self, owner)
        held.seen = union(held.seen, kept.pop((id(self), owner), ()))
        return held

    return [(MemberSet, "detach", wrong_detach), (MemberSet, "hold", wrong_hold)]


@planted("what is swept is dropped by name, also when the life came back")
def _sweep_by_name() -> Patches:
    def wrong(self: MemberSet, gone: Owner, channels_max: int) -> bool:
        for channel in list(gone.channels)[:channels_max]:
            del gone.channels[channel]
            by_owner = self._by_channel.get(channel, {})
            by_owner.pop(gone.node, None)
            if not by_owner:
                self._by_channel.pop(channel, None)
        return not gone.channels

    return [(MemberSet, "sweep", wrong)]


@planted("what opens one run too many is taken all the same")
def _unbounded_runs() -> Patches:
    return [(module, "admissible", lambda seen, runs: runs)]


@planted("no place is kept for the first part of a repair")
def _no_place_kept() -> Patches:
    def wrong(seen: Runs, runs: Runs) -> Runs:
        kept: Runs = ()
        for lo, hi in pairs(runs):
            grown = union(seen, (lo, hi))
            if len(grown) <= 2 * module.RUNS_MAX:
                seen, kept = grown, (*kept, lo, hi)
        return kept

    return [(module, "admissible", wrong)]


@planted("an interrupted commit is left as it is")
def _no_rebuild() -> Patches:
    return [(MemberSet, "_rebuild", lambda self, held: None)]
