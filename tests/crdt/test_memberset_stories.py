"""What must never happen again, one story each."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from itertools import permutations
from types import FrameType
from typing import Any

import pytest

from crdtpubsub.crdt import admission
from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.intervals import contains, difference
from crdtpubsub.crdt.memberset import RUNS_MAX, Claimed, MemberSet
from crdtpubsub.names import DECLARATION, NodeId
from tests.crdt.strategies import REPLICAS, A, B, C, absorb, canonical, check_indexes, entries


def trio() -> dict[str, MemberSet]:
    sets: dict[str, MemberSet] = {node: MemberSet(node) for node in REPLICAS}
    for each in sets.values():
        for node in REPLICAS:
            each.hold(node)
    return sets


def members(of: MemberSet, channel: str) -> set[tuple[str, str]]:
    return {
        (owner, client) for owner, clients in of.by_owner(channel).items() for client in clients
    }


def wrote(at: MemberSet, channel: str, client: str, **extra: Any) -> Delta:
    _, runs = at.join(channel, client, **extra)
    return at.delta(at.me, runs)


def ended(at: MemberSet, owner: str, delta: Delta) -> Delta:
    _, runs = at.remove(delta.owner, delta.runs)
    return at.delta(delta.owner, runs)


# ------------------------------------------------------------------ orders


def test_q7_one_client_id_on_two_owners_is_two_members() -> None:
    sets = trio()
    a, b = wrote(sets[A], "x", "u"), wrote(sets[B], "x", "u")
    for delta in (a, b):
        sets[C].merge(delta)
    assert members(sets[C], "x") == {(A, "u"), (B, "u")}
    sets[C].merge(ended(sets[A], A, a))
    assert members(sets[C], "x") == {(B, "u")}


def test_q8_a_removal_before_its_add_ends_with_the_member_gone() -> None:
    """Three writers add, a fourth message each removes: every order of six messages."""
    sets = trio()
    messages = []
    for node in REPLICAS:
        add = wrote(sets[node], "x", "u", meta=b"1")
        other = sets[B if node == A else A]
        other.merge(add)
        messages += [add, ended(other, node, add)]
    for order in permutations(messages):
        late = MemberSet(NodeId("d" * 32))
        for node in REPLICAS:
            late.hold(node)
        for message in order:
            late.merge(message)
        late.check()
        assert not list(late.channel_names())
        assert all(late.seen(node) == (1, 2) for node in REPLICAS)


def _every_order(messages: list[Delta]) -> list[MemberSet]:
    results = []
    for order in permutations(messages):
        late = trio()[C]
        for message in order:
            late.merge(message)
        late.check()
        repeated = copy.deepcopy(late)
        for message in order:
            assert not repeated.merge(message).touched
        results.append(late)
    return results


def test_q9_an_update_never_resurrects_and_the_highest_version_wins() -> None:
    sets = trio()
    add = wrote(sets[A], "x", "u", meta=b"0")
    sets[B].merge(add)
    updates = [wrote(sets[A], "x", "u", meta=b"1"), wrote(sets[A], "x", "u", meta=b"2")]
    for late in _every_order([add, *updates]):
        assert entries(late, A) == {("x", "u", 1, (2, "", b"2"))}
    removal = ended(sets[B], A, add)
    for late in _every_order([add, *updates, removal]):
        assert not members(late, "x")
    sets[A].merge(removal)
    again = wrote(sets[A], "x", "u", meta=b"3")
    for late in _every_order([add, *updates, removal, again]):
        assert entries(late, A) == {("x", "u", 2, (0, "", b"3"))}


def test_z03_declare_delete_declare_in_every_order() -> None:
    sets = trio()
    first = wrote(sets[A], "x", DECLARATION)
    sets[B].merge(first)
    delete = ended(sets[B], A, first)
    sets[A].merge(delete)
    second = wrote(sets[A], "x", DECLARATION)
    third = wrote(sets[B], "x", DECLARATION)
    one, *others = _every_order([first, delete, second, third])
    assert members(one, "x") == {(A, DECLARATION), (B, DECLARATION)}
    assert all(canonical(other) == canonical(one) for other in others)
    assert not list(one.roll(A))


def test_z04_the_old_delete_does_not_remove_the_new_membership() -> None:
    sets = trio()
    old = wrote(sets[A], "x", "u")
    sets[B].merge(old)
    delete = ended(sets[B], A, old)
    ended(sets[A], A, old)
    new = wrote(sets[A], "x", "u")
    assert new.runs == (2, 3)
    for late in _every_order([old, delete, new]):
        assert entries(late, A) == {("x", "u", 2, (0, "", b""))}
    sets[A].merge(delete)
    assert members(sets[A], "x") == {(A, "u")}


# ------------------------------------------------------------------ authority, scopes, purges


def test_i_am_the_authority_on_my_own_life() -> None:
    mine = MemberSet(A)
    mine.join("x", "u", meta=b"1")
    before = canonical(mine)
    with pytest.raises(Claimed):
        mine.merge(Delta(A, (1, 3), {"x": {"u": 1}}))
    mine.merge(Delta(A, (1, 2), {"x": {"u": 1}}, {1: (9, "g", b"forged")}))
    mine.merge(Delta(A, (), {}))
    _, tell, pull = mine.merge_live(A, (1, 9), {1: 9, 5: 0})
    assert (tell, pull) == ((), ())
    assert canonical(mine) == before
    mine.merge(Delta(A, (1, 2), {}))  # but anybody may remove
    mine.merge(Delta(A, (1, 2), {"y": {"w": 1}}))  # and nobody may add for me
    assert not list(mine.channel_names())
    mine.check()


def test_a_reopened_scope_continues_the_births() -> None:
    old = MemberSet(A)
    delta = wrote(old, "x", "u")
    again = MemberSet(A, first_birth=old.next_birth)
    again.merge(delta)  # a late echo of the closed scope
    assert not members(again, "x")
    assert wrote(again, "x", "u").runs == (2, 3)
    again.check()
    other = MemberSet(B)
    other.hold(A)
    other.merge(delta)
    other.merge(again.delta(A, again.seen(A)))
    assert entries(other, A) == {("x", "u", 2, (0, "", b""))}


def test_of_a_life_not_held_nothing_is_stored() -> None:
    mine, other = MemberSet(A), MemberSet(B)
    delta = wrote(other, "x", "u")
    assert not mine.merge(delta).touched
    assert mine.merge_live(B, (1, 2), {1: 0})[1:] == ((), ())
    assert list(mine.owners()) == [A]
    assert not list(mine.channel_names())


def test_a_life_that_returns_before_it_is_swept_shows_no_ghosts() -> None:
    sets = trio()
    for channel in "xyz":
        sets[A].merge(wrote(sets[B], channel, "u"))
    gone = sets[A].detach(B)
    assert gone is not None
    sets[A].hold(B)
    assert not members(sets[A], "x")
    sets[A].merge(wrote(sets[B], "y", "v"))
    while not sets[A].sweep(gone, 1):
        pass
    assert members(sets[A], "y") == {(B, "v")}
    check_indexes(sets[A])
    assert canonical(absorb(sets[A], sets[B]))[B] == canonical(sets[B])[B]


def test_a_declaration_that_goes_touches_the_set_though_no_member_changed() -> None:
    """`touched` was False: births seen before and not a membership, so nobody was told."""
    sets = trio()
    declared = wrote(sets[A], "x", DECLARATION)
    sets[B].merge(declared)
    change = sets[B].merge(ended(sets[A], A, declared))
    assert change.touched
    assert not change


# ------------------------------------------------------------------ clipping


def test_a_set_full_of_gaps_takes_no_more_runs_and_says_so_to_nobody() -> None:
    owner, late = MemberSet(A), MemberSet(B)
    late.hold(A)
    deltas = [wrote(owner, "x", f"u{n}") for n in range(3 * RUNS_MAX)]
    for delta in deltas[2::2]:
        late.merge(delta)
        late.check()
    assert len(late.seen(A)) <= 2 * RUNS_MAX
    assert late.size(A) == RUNS_MAX - 1
    assert all(contains(late.seen(A), b) for _, _, b, _ in entries(late, A))
    late.merge(owner.delta(A, owner.seen(A)))
    assert canonical(late)[A] == canonical(owner)[A]


def test_a_repair_in_parts_gets_on_though_the_set_is_full_of_gaps() -> None:
    """The first part opened one run too many, was dropped, and was asked for again for ever."""
    owner, late = MemberSet(A), MemberSet(B)
    late.hold(A)
    deltas = [wrote(owner, "x", f"u{n}") for n in range(300)]
    for delta in deltas[100::2]:
        late.merge(delta)
    for _ in range(400):
        missing = difference(owner.seen(A), late.seen(A))
        if not missing:
            break
        part = owner.prefix(A, missing, 3)
        assert late.merge(owner.delta(A, part)).touched, "no progress"
    assert canonical(late)[A] == canonical(owner)[A]


# ------------------------------------------------------------------ interrupts

SPARED = {"_rebuild", "check"}


def interrupted(at: int, act: Callable[[], object]) -> bool:
    """Run `act`, break into its `at`-th instruction in the package; whether it came to that."""
    left = at

    def on_event(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith("crdtpubsub.crdt."):
            return None
        if frame.f_code.co_name in SPARED:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return on_event

    before = sys.gettrace()
    sys.settrace(on_event)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def _interruptible() -> tuple[MemberSet, MemberSet]:
    """B has to drop one, replace one, raise one and insert two, in old and new channels."""
    a, b = MemberSet(A), MemberSet(B)
    b.hold(A)
    for channel, client in (("x", "u"), ("y", "u"), ("z", "u")):
        b.merge(wrote(a, channel, client, meta=b"0"))
    b.merge(wrote(a, "z", "u", meta=b"1"))
    a.remove(A, (1, 3))
    for channel, client in (("y", "u"), ("w", "u"), ("w", DECLARATION)):
        wrote(a, channel, client, group="g", meta=b"2")
    wrote(a, "z", "u", meta=b"3")
    return a, b


def test_an_interrupt_anywhere_in_a_merge_leaves_an_honest_set() -> None:
    """An entry lost its group and metadata at an unchanged version, which nobody would repair."""
    a, template = _interruptible()
    delta = a.delta(A, a.seen(A))
    old, new = entries(template, A), entries(a, A)
    whole = copy.deepcopy(template)
    whole.merge(delta)
    at = 0
    while True:
        b = copy.deepcopy(template)
        broken = interrupted(at, lambda b=b: b.merge(delta))  # type: ignore[misc]
        check_indexes(b)
        assert entries(b, A) <= old | new, at
        live = {birth for _, _, birth, _ in entries(b, A)}
        unlisted = {1, 2}  # what A removed
        seen = {n for n in range(1, 10) if contains(b.seen(A), n)}
        assert seen - live <= unlisted, at
        b.merge(delta)
        assert canonical(b) == canonical(whole), at
        if not broken:
            return
        at += 1


@pytest.mark.parametrize("again", [False, True])
def test_an_interrupt_anywhere_in_a_join_leaves_an_honest_set(again: bool) -> None:
    template = MemberSet(A)
    template.join("x", "other")
    if again:
        template.join("y", "u", group="g", meta=b"1")
    after = copy.deepcopy(template)
    after.join("y", "u", group="h", meta=b"2")
    at = 0
    while True:
        a = copy.deepcopy(template)
        broken = interrupted(at, lambda a=a: a.join("y", "u", group="h", meta=b"2"))  # type: ignore[misc]
        check_indexes(a)
        assert entries(a, A) in (entries(template, A), entries(after, A)), at
        a.join("y", "u", group="h", meta=b"2")
        (extra,) = (row[3] for row in a.roll(A) if row[0] == "y")
        assert extra[1:] == ("h", b"2")
        check_indexes(a)
        if not broken:
            return
        at += 1


def in_a_row() -> tuple[MemberSet, MemberSet, Delta]:
    """What B knows of A, and what comes next: in an old channel and in new ones, some ended."""
    a, b = MemberSet(A), MemberSet(B)
    b.hold(A)
    for client in ("t", "u"):
        b.merge(wrote(a, "x", client, group="g"))
    first = a.next_birth
    for channel, client in (("x", "v"), ("x", "gone"), ("y", "u"), ("y", DECLARATION), ("z", "u")):
        wrote(a, channel, client, meta=b"1" if channel == "y" else None)
    a.end("x", "gone")
    return a, b, a.delta(A, (first, a.next_birth))


def test_joins_in_a_row_are_merged_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    a, template, delta = in_a_row()
    changes = []
    for least in (2, 99):
        monkeypatch.setattr(admission, "ROW_MIN", least)
        assert (admission.in_a_row(template.seen(A), delta) is None) is (least == 99)
        b = copy.deepcopy(template)
        changes.append(b.merge(delta))
        assert canonical(b)[A] == canonical(a)[A]
        check_indexes(b)
        assert not b.merge(delta).touched, "the second time it is nothing new"
    assert changes[0] == changes[1]
    assert len(changes[0].joined) == 3, "a declaration is no member"


def test_who_joins_where_nobody_is_told_is_named_by_the_channel_alone() -> None:
    _, b, delta = in_a_row()
    b.told = {"z"}
    change = b.merge(delta)
    assert [row[:2] for row in change.joined] == [("z", "u")]
    assert change.channels == ["x", "y"]
    assert change


def test_of_births_in_a_row_a_newer_one_takes_the_place_of_an_older() -> None:
    """The removal of the older one is on its way."""
    a, b, _ = in_a_row()
    a.end("x", "u")
    for channel in ("x", "y", "w"):
        wrote(a, channel, "u" if channel == "x" else "new")
    delta = a.delta(A, (3, a.next_birth))
    assert admission.in_a_row(b.seen(A), delta) is not None
    change = b.merge(delta)
    assert change.births_met == 1
    assert [row[:2] for row in change.removed] == [("x", "u")]
    check_indexes(b)


def test_an_interrupt_anywhere_in_a_merge_of_joins_in_a_row_leaves_an_honest_set() -> None:
    _, template, delta = in_a_row()
    whole = copy.deepcopy(template)
    whole.merge(delta)
    at = 0
    while True:
        b = copy.deepcopy(template)
        broken = interrupted(at, lambda b=b: b.merge(delta))  # type: ignore[misc]
        check_indexes(b)
        assert entries(template, A) <= entries(b, A) <= entries(whole, A), at
        seen = {n for n in range(3, 10) if contains(b.seen(A), n)}
        assert seen - {birth for _, _, birth, _ in entries(b, A)} <= {4}, at
        b.merge(delta)
        assert canonical(b) == canonical(whole), at
        if not broken:
            return
        at += 1


def test_an_interrupt_anywhere_in_a_leave_leaves_an_honest_set() -> None:
    template = MemberSet(A)
    template.join("x", "other")
    template.join("y", "u", group="g", meta=b"1")
    after = copy.deepcopy(template)
    assert after.end("y", "u") == 2
    at = 0
    while True:
        a = copy.deepcopy(template)
        broken = interrupted(at, lambda a=a: a.end("y", "u"))  # type: ignore[misc]
        check_indexes(a)
        assert entries(a, A) in (entries(template, A), entries(after, A)), at
        a.end("y", "u")
        assert canonical(a) == canonical(after)
        assert a.end("y", "u") == a.end("z", "u") == 0
        if not broken:
            return
        at += 1


def test_an_interrupt_anywhere_in_a_removal_leaves_an_honest_set() -> None:
    template, _ = _interruptible()
    at = 0
    while True:
        a = copy.deepcopy(template)
        broken = interrupted(at, lambda a=a: a.remove(A, (1, 99)))  # type: ignore[misc]
        check_indexes(a)
        assert entries(a, A) <= entries(template, A), at
        a.remove(A, (1, 99))
        assert not entries(a, A)
        check_indexes(a)
        if not broken:
            return
        at += 1
