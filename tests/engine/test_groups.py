"""Queue groups, pure: whose turn it is, who is passed over, and what a route keeps apart."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine.delivery import Router
from crdtpubsub.engine.groups import Grade, InGroup, Turns, in_turn
from crdtpubsub.names import NodeId

A, B, C = (NodeId(letter * 32) for letter in "abc")


def turns(seed: int = 1, **grades: Grade) -> Turns:
    return Turns(Random(seed), lambda owner: grades.get(owner[0], Grade.GOOD))


def take(
    turns: Turns, members: tuple[InGroup, ...], slow: frozenset[InGroup] = frozenset()
) -> InGroup:
    one = next(turns.order("jobs", "workers", members, slow=slow.__contains__))
    turns.took("jobs", "workers", one)
    return one


some_members = st.sets(
    st.tuples(st.sampled_from(("u", "v", "w", "x")), st.sampled_from((A, B, C))), min_size=1
).map(lambda members: tuple(sorted(members)))


@given(some_members, st.integers(0, 2**32), st.integers(1, 40))
def test_each_member_gets_as_many_as_any_other(
    members: tuple[InGroup, ...], seed: int, rounds: int
) -> None:
    at = turns(seed)
    got = Counter(take(at, members) for _ in range(rounds))
    counts = [got[member] for member in members]
    assert max(counts) - min(counts) <= 1


@given(some_members, st.data())
def test_who_is_passed_over_is_missing_and_the_others_share_it_evenly(
    members: tuple[InGroup, ...], data: st.DataObject
) -> None:
    slow = data.draw(st.sets(st.sampled_from(members), max_size=len(members) - 1))
    at = turns()
    got = Counter(take(at, members, frozenset(slow)) for _ in range(7 * len(members)))
    counts = [got[member] for member in members if member not in slow]
    assert max(counts) - min(counts) <= 1
    assert not slow & got.keys()


@given(st.lists(some_members, min_size=1, max_size=30))
def test_nobody_waits_longer_than_a_round_whoever_comes_and_goes(
    views: list[tuple[InGroup, ...]],
) -> None:
    """Who stays is picked again before any other has been picked twice since, but for newcomers."""
    at = turns()
    since: dict[InGroup, Counter[InGroup]] = {}
    for members in views:
        one = take(at, members)
        assert one in members
        for other in members:
            seen = since.setdefault(other, Counter())
            seen[one] += 1
            assert other == one or seen[one] <= 2
        since[one] = Counter()
        since = {member: seen for member, seen in since.items() if member in members}


def test_unreachable_ones_are_passed_over_and_doubtful_ones_come_last() -> None:
    members = (("u", A), ("v", B), ("w", C))
    at = turns(a=Grade.DOUBTFUL, b=Grade.UNLINKED)
    for _ in range(5):
        assert list(at.order("jobs", "workers", members)) == [("w", C), ("u", A)]
        at.took("jobs", "workers", ("w", C))
    everybody = list(at.order("jobs", "workers", members, unlinked=True))
    assert everybody == [("w", C), ("u", A), ("v", B)]


def test_publishers_that_publish_once_do_not_all_begin_with_the_same_member() -> None:
    members = (("u", A), ("v", B), ("w", C))
    first = Counter(take(turns(seed), members) for seed in range(300))
    assert set(first) == set(members)
    assert min(first.values()) > 50


def test_turns_are_bounded() -> None:
    at = turns()
    for n in range(at.TURNS_MAX + 10):
        at.took(f"jobs-{n}", "workers", ("u", A))
    assert len(at._last) <= at.TURNS_MAX


def test_of_the_owners_own_the_one_after_the_one_that_is_gone_is_next() -> None:
    assert in_turn(("u", "w", "x"), "w") == ("w", "x", "u")
    assert in_turn(("u", "w", "x"), "v") == ("w", "x", "u")
    assert in_turn(("u", "w", "x"), "z") == ("u", "w", "x")
    assert in_turn((), "z") == ()


def routed() -> tuple[MemberSet, Router]:
    members = MemberSet(A)
    router = Router(members, lambda _: True, lambda owner: f"tcp://{owner[0]}:1", turns())
    return members, router


def test_a_route_keeps_those_in_groups_apart() -> None:
    members, router = routed()
    other = MemberSet(B)
    members.hold(B)
    members.join("jobs", "plain")
    members.join("jobs", "u", group="workers")
    members.join("jobs", "v", group="audit")
    other.join("jobs", "u", group="workers", meta=b"m")
    members.merge(other.delta(B, other.seen(B)))
    route = router.route("jobs")
    assert (route.links, route.unlinked, route.clients) == ((), (), ("plain",))
    assert route.counts == ((A, 1),)
    assert route.groups == (("audit", (("v", A),)), ("workers", (("u", A), ("u", B))))
    assert route.mine == (("audit", ("v",)), ("workers", ("u",)))
    assert route.members == 4
    assert router.local("jobs", None) == ("plain",)
    members.check()


def test_everybody_can_be_asked_whatever_group_he_is_in() -> None:
    members, router = routed()
    listed = {A, B}
    router._listed = listed.__contains__
    other = MemberSet(B)
    members.hold(B)
    members.join("work", "plain")
    members.join("work", "v", group="audit")
    members.join("work", "")
    other.join("work", "u", group="workers")
    members.merge(other.delta(B, other.seen(B)))
    asked = router.everybody("work")
    assert asked == (("plain", A), ("u", B), ("v", A))
    assert router.everybody("work") is asked
    router.changed(members.join("work", "w")[0])
    assert router.everybody("work") == (*asked, ("w", A))
    listed.remove(B)
    router.clear()
    assert router.everybody("work") == (("plain", A), ("v", A), ("w", A))
    assert router.everybody("room") == ()
    for n in range(router.EVERYBODY_MAX + 5):
        router.everybody(f"room-{n}")
    assert len(router._everybody) <= router.EVERYBODY_MAX


def test_a_channel_without_groups_has_the_route_it_had() -> None:
    members, router = routed()
    members.join("room", "ann", meta=b"m")
    route = router.route("room")
    assert (route.groups, route.mine, route.members) == ((), (), 1)


@pytest.mark.parametrize(("before", "after"), [("", "g"), ("g", "h"), ("g", "g")])
def test_a_member_moves_to_another_group_and_its_route_with_it(before: str, after: str) -> None:
    members, router = routed()
    members.join("jobs", "u", group=before)
    old = router.route("jobs")
    change, _ = members.join("jobs", "u", group=after, meta=b"other")
    router.changed(change)
    assert (router.route("jobs") is old) is False
    assert [group for group, _ in router.route("jobs").groups] == [after]
    assert not members.join("jobs", "u")[0]  # joining again without a group keeps it
    members.remove(A, members.seen(A))
    members.check()
    assert members.grouped(A, "jobs") == {}


def test_new_metadata_cost_a_channel_without_groups_no_route() -> None:
    members, router = routed()
    members.join("room", "ann", meta=b"1")
    old = router.route("room")
    router.changed(members.join("room", "ann", meta=b"2")[0])
    assert router.route("room") is old
