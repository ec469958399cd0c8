"""The checkers on planted histories: each sees its bug, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import exits, queue, setfull
from tests.chaos.history import (
    Began,
    Ended,
    Entry,
    Fault,
    History,
    Join,
    Publication,
    Read,
    Removal,
    Taken,
    load,
)

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16


def join(at: float, life: str, serial: int, client: str = "ann") -> Join:
    return Join(at, at + 0.1, life, "room", client, serial)


def read(at: float, life: str, *serials: int, settled: int | None = None) -> Read:
    return Read(at, at + 0.1, life, serials, settled=settled)


def removal(at: float, life: str, *seen: int, **more: object) -> Removal:
    plain = Removal(at, at + 0.1, life, "room", seen, exact=True)
    return replace(plain, **more)  # type: ignore[arg-type]


def quiet(at: float, point: int, *serials: int, who: tuple[str, ...] = (A, B)) -> list[Entry]:
    return [read(at + n, life, *serials, settled=point) for n, life in enumerate(who)]


BEGIN: list[Entry] = [Began(0, A, "a"), Began(0, B, "b")]


# -------------------------------------------------------------------- set-full


def test_a_history_in_order_is_valid_and_says_how_long_news_took() -> None:
    verdict = setfull.check(
        [
            *BEGIN,
            join(1, A, 1),
            read(1.5, B),
            read(2.5, B, 1),
            read(3, A, 1),
            removal(4, B, 1),
            read(5, A, 1),  # not yet heard
            read(6, A),
            join(7, A, 2),
            *quiet(10, 0, 2),
        ]
    )
    assert verdict.valid, verdict.why
    assert (verdict.elements, verdict.known, verdict.stable, verdict.quiet_points) == (2, 2, 2, 1)
    assert verdict.latencies_s == pytest.approx([0.0, 0.4])
    assert verdict.latency_s(0.5) == pytest.approx(0.4)


def test_an_empty_test_never_passes() -> None:
    assert not setfull.check([]).valid
    assert not setfull.check([*BEGIN, *quiet(1, 0)]).valid
    assert not setfull.check([*BEGIN, join(1, A, 1), read(2, A, 1)]).valid  # no quiet point
    assert not queue.check([]).valid


def test_lost_at_the_one_who_held_it() -> None:
    story = [*BEGIN, join(1, A, 1), read(2, B, 1), read(3, B), *quiet(4, 0, 1)]
    verdict = setfull.check(story)
    assert verdict.lost == {1}
    assert not verdict.valid
    assert "held, not at" in verdict.why[0]


def test_hidden_is_not_lost() -> None:
    hidden = Read(3, 3.1, B, (), hidden=(1,))
    assert setfull.check([*BEGIN, join(1, A, 1), read(2, B, 1), hidden, *quiet(4, 0, 1)]).valid


def test_lost_at_its_own_node() -> None:
    assert setfull.check([*BEGIN, join(1, A, 1), read(2, A), *quiet(4, 0, 1)]).lost == {1}


def test_lost_where_it_never_came() -> None:
    points = [read(4, A, 1, settled=0), read(5, B, settled=0)]
    verdict = setfull.check([*BEGIN, join(1, A, 1), *points])
    assert verdict.lost == {1}
    assert verdict.unequal == 1


def test_hidden_at_a_quiet_point_is_lost() -> None:
    points = [read(4, A, 1, settled=0), Read(5, 5.1, B, (), hidden=(1,), settled=0)]
    assert setfull.check([*BEGIN, join(1, A, 1), *points]).lost == {1}


def test_who_was_killed_takes_its_members_along() -> None:
    story = [*BEGIN, join(1, A, 1), join(1, B, 2), read(2, B, 1, 2), Ended(3, A, "killed")]
    assert setfull.check([*story, read(4, B, 2), *quiet(5, 0, 2, who=(B,))]).valid
    ghosts = setfull.check([*story, *quiet(5, 0, 1, 2, who=(B,))])
    assert ghosts.resurrected == {1}


def test_what_may_have_been_removed_is_not_lost() -> None:
    gone = Removal(3, 3.6, B, "room", (1,), exact=True, certain=False)  # B died before it answered
    story = [*BEGIN, join(1, A, 1), join(1, A, 2, "bob"), read(2, A, 1, 2), gone]
    story.append(Ended(3.5, B, "killed"))
    assert setfull.check([*story, *quiet(5, 0, 2, who=(A,))]).valid
    assert setfull.check([*story, *quiet(5, 0, 1, 2, who=(A,))]).valid


def test_a_removal_that_may_have_hit_the_next_membership() -> None:
    """B saw #1 and removed 'ann'; by then it may have been #2."""
    vague = removal(3, B, 1, owner=A, client="ann", exact=False)
    keep = join(1, A, 3, "bob")
    story = [*BEGIN, keep, join(1, A, 1), removal(2, A, 1, own=True), join(2.5, A, 2), vague]
    assert setfull.check([*story, *quiet(5, 0, 3)]).valid
    assert setfull.check([*story, *quiet(5, 0, 2, 3)]).valid
    exact = [replace(e, exact=True) if e is vague else e for e in story]
    assert setfull.check([*exact, *quiet(5, 0, 3)]).lost == {2}


def test_resurrected_at_a_reader_that_had_dropped_it() -> None:
    story = [*BEGIN, join(1, A, 1), join(1, A, 2, "bob"), read(2, B, 1, 2), removal(3, A, 1)]
    assert setfull.check([*story, read(4, B, 2), read(5, B, 2), *quiet(6, 0, 2)]).valid
    back = setfull.check([*story, read(4, B, 2), read(5, B, 1, 2), *quiet(6, 0, 2)])
    assert back.resurrected == {1}


def test_resurrected_at_its_remover() -> None:
    story = [*BEGIN, join(1, A, 1), join(1, A, 2, "bob"), removal(3, B, 1), read(4, B, 1, 2)]
    assert setfull.check([*story, *quiet(6, 0, 2)]).resurrected == {1}


def test_resurrected_at_a_quiet_point_and_after() -> None:
    story = [*BEGIN, join(1, A, 1), join(1, A, 2, "bob"), removal(3, B, 1)]
    assert setfull.check([*story, *quiet(6, 0, 1, 2)]).resurrected == {1}
    later = [*story, *quiet(6, 0, 2), Began(8, C, "c"), read(9, C, 1, 2), *quiet(10, 1, 2)]
    assert setfull.check(later).resurrected == {1}


def test_a_removal_only_the_dead_knew_of_may_be_forgotten() -> None:
    story = [*BEGIN, join(1, A, 1), join(1, A, 2, "bob"), removal(3, B, 1), Ended(4, B, "killed")]
    assert setfull.check([*story, *quiet(6, 0, 1, 2, who=(A,))]).valid
    assert setfull.check([*story, *quiet(6, 0, 2, who=(A,))]).valid


def test_phantoms() -> None:
    story = [*BEGIN, join(1, A, 1)]
    assert setfull.check([*story, *quiet(6, 0, 1)]).valid
    assert setfull.check([*story, *quiet(6, 0, 1, 7)]).phantom
    assert setfull.check([*BEGIN, read(0.5, B, 1), join(1, A, 1), *quiet(6, 0, 1)]).phantom
    strange = Read(2, 2.1, B, (1,), strange=("who@nowhere",))
    assert setfull.check([*story, strange, *quiet(6, 0, 1)]).phantom == {"who@nowhere"}


# -------------------------------------------------------------------- the queue


def published(number: int, **owners: str) -> Publication:
    lives = {"a": A, "b": B, "c": C}
    said = {lives[name]: outcome for name, outcome in owners.items()}
    return Publication(1, 2, A, "room", number, confirmed=True, owners=said)


def taken(life: str, *messages: tuple[str, int]) -> Taken:
    return Taken(5, life, messages)


def test_a_queue_in_order() -> None:
    verdict = queue.check(
        [
            published(1, a="delivered 1", b="delivered 2"),
            published(2, b="unknown: no answer in time", c="refused: restarted"),
            taken(A, ("ann", 1)),
            taken(B, ("bob", 1), ("cid", 1), ("bob", 2)),
        ]
    )
    assert verdict.valid, verdict.why
    assert (verdict.acknowledged, verdict.received) == (3, 4)
    assert (verdict.unknown, verdict.refused) == (1, 1)


@pytest.mark.parametrize(
    ("what", "messages"),
    [
        ("lost", [("bob", 1)]),
        ("duplicated", [("bob", 1), ("cid", 1), ("bob", 1)]),
        ("unexpected", [("bob", 1), ("cid", 1), ("dan", 1)]),
        ("unexpected", [("bob", 1), ("cid", 1), ("bob", 9)]),
        ("unexpected", [("bob", 1), ("cid", 1), ("bob", 2)]),
    ],
)
def test_a_planted_bug_in_the_queue(what: str, messages: list[tuple[str, int]]) -> None:
    story: list[Entry] = [published(1, b="delivered 2"), published(2, b="refused: queue full")]
    verdict = queue.check([*story, taken(B, *messages)])
    assert getattr(verdict, what) == 1
    assert not verdict.valid
    assert what in verdict.why[0]


def test_who_was_killed_is_not_judged() -> None:
    story: list[Entry] = [published(1, a="delivered 1", b="delivered 2"), taken(A, ("ann", 1))]
    assert queue.check(story).lost == 2
    verdict = queue.check([*story, Ended(3, B, "killed")])
    assert verdict.valid
    assert verdict.unjudged == 2
    assert queue.check([*story, Ended(3, B, "goodbye")]).unjudged == 2


def test_refused_and_yet_received_is_unexpected_also_of_a_life_that_ended() -> None:
    story: list[Entry] = [published(1, a="delivered 1", b="refused: restarted")]
    story += [taken(A, ("ann", 1)), taken(B, ("bob", 1)), Ended(6, B, "goodbye")]
    verdict = queue.check(story)
    assert verdict.unexpected == 1
    assert not verdict.valid


# -------------------------------------------------------------------- exits


def test_exits() -> None:
    story: list[Entry] = [join(1, A, 1), join(1, A, 2, "bob")]
    story += [removal(2, B, 1), removal(2, A, 2, own=True)]
    one = Taken(5, A, (), exits=(("ann", "room"),))
    assert exits.check([*story, one]).valid
    assert exits.check(story).missing == 1
    assert exits.check([*story, one, one]).extra == 1
    assert exits.check([*story, one, Taken(6, A, (), exits=(("bob", "room"),))]).extra == 1
    both = removal(2, B, 2)  # it left, and was removed: at most one
    assert exits.check([*story, both, one]).valid
    assert exits.check([*story, both, one, Taken(6, A, (), exits=(("bob", "room"),))]).valid


# -------------------------------------------------------------------- the file


def test_a_history_comes_back_from_its_file(tmp_path: Path) -> None:
    entries: list[Entry] = [
        *BEGIN,
        join(1, A, 1),
        removal(2, B, 1, owner=A, client="ann"),
        Read(3, 4, A, (1, 2), (3,), ("strange",), settled=2),
        published(1, a="delivered 1"),
        Taken(5, A, (("ann", 1),), (("ann", "room"),)),
        Fault(6, "cut", ("a", "b"), 2.5, {"loss": 0.1}),
        Ended(7, B, "killed"),
    ]
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.extend(entries)
    history.close()
    assert load(path) == entries == list(history)
