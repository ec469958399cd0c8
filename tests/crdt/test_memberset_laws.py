"""The laws of the set, on states reached by histories with gaps."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.crdt.intervals import Runs, contains, difference
from crdtpubsub.crdt.memberset import MemberSet
from tests.crdt import strategies as some
from tests.crdt.strategies import REPLICAS, A, B, C, D, History, absorb, canonical, check_indexes

plain = some.histories(rejoin=False)
"""No two births of one client ever meet: the laws hold to the letter."""


def stranger() -> MemberSet:
    """A fourth who holds everybody and has seen nothing."""
    fresh = MemberSet(D)
    for node in REPLICAS:
        fresh.hold(node)
    return fresh


@given(some.histories())
def test_merging_again_changes_nothing(history: History) -> None:
    a, b = history.replicas[A], history.replicas[B]
    once = absorb(a, b)
    assert canonical(absorb(a, a)) == canonical(a)
    assert canonical(absorb(once, b)) == canonical(once)


@given(some.histories())
def test_any_order_of_two_is_the_same(history: History) -> None:
    a, b = history.replicas[A], history.replicas[B]
    assert canonical(absorb(a, b)) == canonical(absorb(b, a))


@given(plain)
def test_any_grouping_is_the_same(history: History) -> None:
    a, b, c = history.replicas.values()
    assert canonical(absorb(absorb(a, b), c)) == canonical(absorb(a, absorb(b, c)))


@given(some.histories())
def test_any_grouping_is_the_same_after_one_exchange_where_clients_come_again(
    history: History,
) -> None:
    """Who meets two births of one client infers that the smaller ended."""
    a, b, c = history.replicas.values()
    left, right = absorb(absorb(a, b), c), absorb(a, absorb(b, c))
    assert canonical(absorb(left, right)) == canonical(absorb(right, left))


@given(some.histories())
def test_nothing_seen_is_ever_unseen(history: History) -> None:
    a, b = history.replicas[A], history.replicas[B]
    joined = absorb(a, b)
    for owner in a.owners():
        both = some.expand(a.seen(owner)) | some.expand(b.seen(owner))
        assert some.expand(joined.seen(owner)) == both


@given(some.histories(), some.channels, some.clients, some.metas)
def test_a_write_and_its_delta_say_the_same(
    history: History, channel: str, client: str, meta: bytes | None
) -> None:
    before, after = history.replicas[A], copy.deepcopy(history.replicas[A])
    _, runs = after.join(channel, client, meta=meta)
    for other in (history.replicas[B], history.replicas[C]):
        by_delta = copy.deepcopy(other)
        by_delta.merge(after.delta(A, runs))
        assert canonical(absorb(by_delta, after)) == canonical(absorb(other, after))
        assert canonical(absorb(by_delta, before)) == canonical(
            absorb(absorb(other, before), after)
        )


@given(plain, st.data())
def test_deltas_in_any_order_repeated_then_repaired_are_the_whole(
    history: History, data: st.DataObject
) -> None:
    """Q3. Some get lost; the repair is the whole state of everybody."""
    heard = data.draw(st.lists(st.sampled_from(history.sent), max_size=40)) if history.sent else []
    one_by_one, at_once = stranger(), absorb(stranger(), *history.replicas.values())
    for delta in heard:
        one_by_one.merge(delta)
        check_indexes(one_by_one)
    assert canonical(absorb(one_by_one, *history.replicas.values())) == canonical(at_once)


@given(plain, st.integers(1, 4))
def test_slices_in_any_order_are_the_whole(history: History, births_max: int) -> None:
    """Each slice is small, names what it should, and all of them make the whole."""
    a, b = history.replicas[A], history.replicas[B]
    whole, sliced, backwards = copy.deepcopy(b), copy.deepcopy(b), copy.deepcopy(b)
    for owner in REPLICAS:
        delta = a.delta(owner, a.seen(owner))
        slices = list(delta.slices(births_max))
        whole.merge(delta)
        for part in slices:
            assert len(list(part.births())) <= births_max
            assert set(part.births()) <= some.expand(part.runs)
            assert set(part.extras) <= set(part.births())
            sliced.merge(part)
        for part in reversed(slices):
            backwards.merge(part)
    assert canonical(whole) == canonical(sliced) == canonical(backwards)


@given(plain, some.some_runs)
def test_a_cut_and_its_rest_are_the_whole(history: History, runs: Runs) -> None:
    a, b = history.replicas[A], history.replicas[B]
    whole, cut = copy.deepcopy(b), copy.deepcopy(b)
    for owner in REPLICAS:
        delta = a.delta(owner, a.seen(owner))
        whole.merge(delta)
        cut.merge(delta.cut(difference(delta.runs, runs)))
        cut.merge(delta.cut(runs))
    assert canonical(whole) == canonical(cut)


@given(some.histories(), some.asked_runs, st.integers(1, 3))
def test_a_prefix_holds_no_more_than_asked_and_is_the_lowest(
    history: History, runs: Runs, live_max: int
) -> None:
    a = history.replicas[A]
    for owner in REPLICAS:
        part = a.prefix(owner, runs, live_max)
        live = set(a.delta(owner, runs).births())
        inside = {b for b in live if contains(part, b)}
        assert inside == set(sorted(live)[:live_max])
