"""Generators and small helpers for tests of the set, once."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from hypothesis import strategies as st

from crdtpubsub.crdt.delta import Delta, Extra
from crdtpubsub.crdt.intervals import Runs, pairs
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.names import DECLARATION, NodeId

A, B, C, D = (NodeId(name * 32) for name in "abcd")
REPLICAS = (A, B, C)

CHANNELS = ("x", "y")
CLIENTS = (DECLARATION, "u", "v")

nodes = st.sampled_from(REPLICAS)
channels = st.sampled_from(CHANNELS)
clients = st.sampled_from(CLIENTS)
groups = st.sampled_from(("", "g", "h"))
metas = st.sampled_from((None, b"", b"1", b"2"))


def flatten(births: set[int]) -> Runs:
    """The runs of a set, the slow way: `b` opens a run if b-1 is missing, closes it if b+1 is."""
    opens = [b for b in births if b - 1 not in births]
    closes = [b + 1 for b in births if b + 1 not in births]
    return tuple(sorted(opens + closes))


def expand(runs: Runs) -> set[int]:
    """The births of some runs, one by one."""
    return {birth for lo, hi in pairs(runs) for birth in range(lo, hi)}


def birth_sets(top: int = 40) -> st.SearchStrategy[set[int]]:
    """Sets of births with gaps and with long runs."""
    spans = st.tuples(st.integers(1, top), st.integers(1, top)).map(
        lambda p: set(range(min(p), max(p) + 1))
    )
    loose = st.sets(st.integers(1, top), max_size=12)
    several = st.lists(spans, max_size=3).map(lambda parts: set[int]().union(*parts))
    return st.one_of(loose, spans, several, st.tuples(loose, spans).map(lambda p: p[0] ^ p[1]))


some_runs = birth_sets().map(flatten)
asked_runs = st.one_of(
    st.just((1, 1 << 20)),
    st.integers(2, 12).map(lambda hi: (1, hi)),
    st.integers(1, 12).map(lambda lo: (lo, lo + 1)),
    birth_sets(14).map(flatten),
)
"""What an anti-entropy asks for: everything, a prefix, one birth, a patchwork."""

Entry = tuple[str, str, int, Extra]
Canonical = dict[NodeId, tuple[Runs, frozenset[Entry]]]


def entries(of: MemberSet, owner: NodeId) -> frozenset[Entry]:
    """Every live entry, declarations included, by the plain reading interface."""
    return frozenset(
        (channel, client, birth, of.extra(owner, birth))
        for channel in of.channels_of(owner)
        for client, birth in of.clients(owner, channel).items()
    )


def canonical(of: MemberSet) -> Canonical:
    """All that a set knows, for comparing."""
    return {owner: (of.seen(owner), entries(of, owner)) for owner in sorted(of.owners())}


def check_indexes(of: MemberSet) -> None:
    """`check()`, and both directions of the channel index (nobody detached may be unswept)."""
    of.check()
    expected = {
        (channel, owner): dict(of.clients(owner, channel))
        for owner in of.owners()
        for channel in of.channels_of(owner)
    }
    shown = {
        (channel, owner): dict(members)
        for channel in of.channel_names()
        for owner, members in of.by_owner(channel).items()
    }
    assert shown == expected
    assert set(of.channel_names()) == {channel for channel, _ in expected}


def absorb(into: MemberSet, *others: MemberSet) -> MemberSet:
    """A copy of `into` that has merged the whole state of each of the others."""
    joined = copy.deepcopy(into)
    for other in others:
        for owner in other.owners():
            joined.hold(owner)
            joined.merge(other.delta(owner, other.seen(owner)))
    joined.check()
    return joined


@dataclass(frozen=True)
class History:
    """Some replicas that wrote and heard some of each other, and all deltas that were sent."""

    replicas: dict[NodeId, MemberSet]
    sent: list[Delta]


@st.composite
def histories(draw: st.DrawFn, *, rejoin: bool = True, steps: int = 25) -> History:
    """States reached by writing, losing, repeating and reordering: with gaps.

    Without `rejoin` no client joins twice, so that no two births of one client ever meet.
    """
    replicas = {node: MemberSet(node) for node in REPLICAS}
    for member_set in replicas.values():
        for node in REPLICAS:
            member_set.hold(node)
    sent: list[Delta] = []
    serial = 0
    kinds = st.sampled_from(("join", "join", "update", "remove", "hear", "hear", "tell"))
    for kind in draw(st.lists(kinds, max_size=steps)):
        at = replicas[draw(nodes)]
        if kind == "join":
            serial += 1
            client = draw(clients) if rejoin else f"c{serial}"
            _, runs = at.join(draw(channels), client, group=draw(groups), meta=draw(metas))
            sent.append(at.delta(at.me, runs))
        elif kind == "update":
            rows = sorted(at.roll(at.me))
            if rows:
                channel, client, _, _ = draw(st.sampled_from(rows))
                _, runs = at.join(channel, client, meta=draw(metas))
                sent.append(at.delta(at.me, runs))
        elif kind == "remove":
            _, runs = at.remove(owner := draw(nodes), draw(asked_runs))
            sent.append(at.delta(owner, runs))
        elif kind == "hear" and sent:
            at.merge(draw(st.sampled_from(sent)))
        elif kind == "tell":
            sent.append(at.delta(draw(nodes), draw(asked_runs)))
    return History(replicas, sent)
