"""Bugs of confirmed delivery, put in on purpose: the queue checker, or a story, must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from crdtpubsub.engine.answering import Answering
from crdtpubsub.engine.asking import Asking
from crdtpubsub.engine.effects import Cause
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.sim import World
from crdtpubsub.wire.messages import Addressed, Answers, Terms
from tests.sim.confirmed import Confirmed, storm
from tests.sim.test_confirmed import (
    QUICK,
    outcomes,
    room,
    test_a_publisher_suspended_for_longer_than_it_is_remembered_delivers_nothing_twice,
)

Plant = Callable[[pytest.MonkeyPatch], None]

STORMS: Final = 12


def answers_forgotten_too_early(patch: pytest.MonkeyPatch) -> None:
    plain = Answering.tick

    def tick(self: Answering) -> None:
        plain(self)
        for table in self._tables.values():
            table.answers.clear()
            table.order.clear()

    patch.setattr(Answering, "tick", tick)


def duplicates_not_recognised(patch: pytest.MonkeyPatch) -> None:
    plain = Answering.take

    def take(self: Answering, question: Addressed, sender: NodeId) -> bool:
        table = self._under
        if table is not None and table.answers.pop(question.counter, None) is not None:
            table.order.remove(question.counter)
        return plain(self, question, sender)

    patch.setattr(Answering, "take", take)


def done_ones_delivered(patch: pytest.MonkeyPatch) -> None:
    plain = Answering.take

    def take(self: Answering, question: Addressed, sender: NodeId) -> bool:
        if self._under is not None:
            self._under.lowest = 0
        return plain(self, question, sender)

    patch.setattr(Answering, "take", take)


def delivered_before_it_was(patch: pytest.MonkeyPatch) -> None:
    """What the owner has not listed is taken for delivered when it has a new link."""
    plain = Asking.answers

    def answers(self: Asking, said: Answers, sender: NodeId, now: float, *, late: bool) -> None:
        owner = self._owners.get(sender)
        if said.stamp and owner is not None and owner.open:
            first, last = min(owner.open), max(owner.open)
            said = replace(said, runs=((first, last - first + 1, 1),))
        plain(self, said, sender, now, late=late)

    patch.setattr(Asking, "answers", answers)


def counter_reused_after_re_admission(patch: pytest.MonkeyPatch) -> None:
    plain = Asking.purged

    def purged(self: Asking, life: NodeId, cause: Cause) -> None:
        plain(self, life, cause)
        self._next = 1

    patch.setattr(Asking, "purged", purged)


def table_id_ignored(patch: pytest.MonkeyPatch) -> None:
    """By both: each of them alone would notice."""
    plain, heard = Answering.terms, Asking.answers

    def terms(self: Answering, said: Terms, sender: NodeId) -> None:
        if said.table:
            said = replace(said, table=self._table(sender).id)
        plain(self, said, sender)

    def answers(self: Asking, said: Answers, sender: NodeId, now: float, *, late: bool) -> None:
        owner = self._owners.get(sender)
        if owner is not None and owner.table:
            said = replace(said, table=owner.table)
        heard(self, said, sender, now, late=late)

    patch.setattr(Answering, "terms", terms)
    patch.setattr(Asking, "answers", answers)


@pytest.mark.parametrize(
    "plant",
    [
        answers_forgotten_too_early,
        duplicates_not_recognised,
        done_ones_delivered,
        delivered_before_it_was,
    ],
)
def test_a_planted_bug_is_noticed_by_the_queue_checker(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    for seed in range(STORMS):
        _, verdict = storm(seed)
        if verdict.lost or verdict.duplicated or verdict.unexpected:
            return
    pytest.fail(f"{plant.__name__}: no world of {STORMS} noticed")


def an_owner_that_slept_is_asked_anew_and_answers() -> None:
    confirmed = room()
    world = confirmed.world
    for _ in range(3):
        confirmed.ask(0, confirm_s=5.0)
    world.run_for(1.0)
    world.pause(1, clock_stands=True)
    world.run_for(60.0)
    assert world.slots[0].engine.counters["purged"]
    world.resume(1)
    world.run_until_quiet()
    confirmed.ask(0, confirm_s=5.0)
    world.run_for(6.0)
    assert outcomes(confirmed) == [Outcome.DELIVERED] * 5
    assert confirmed.verdict().valid


def test_an_owner_that_slept_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    an_owner_that_slept_is_asked_anew_and_answers()
    counter_reused_after_re_admission(monkeypatch)
    with pytest.raises(AssertionError):
        an_owner_that_slept_is_asked_anew_and_answers()


def test_a_table_that_was_forgotten_is_noticed_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    story = test_a_publisher_suspended_for_longer_than_it_is_remembered_delivers_nothing_twice
    table_id_ignored(monkeypatch)
    with pytest.raises(AssertionError):
        story(clock_stands=True, frames_first=True)


def test_a_full_queue_refuses_and_the_count_says_so() -> None:
    confirmed = Confirmed(World(seed=3, nodes=2, config=QUICK))
    confirmed.join(1, clients=2)
    confirmed.world.slots[1].full = {"c1"}
    confirmed.ask(0, confirm_s=5.0)
    confirmed.world.run_for(1.0)
    confirmed.world.slots[1].full = {"c0", "c1"}
    confirmed.ask(0, confirm_s=5.0)
    confirmed.world.run_for(1.0)
    told = [list(owners.values()) for owners in confirmed.world.slots[0].settled.values()]
    assert told == [[(Outcome.DELIVERED, 1)], [(Outcome.REFUSED_FULL, 0)]]
    assert confirmed.verdict().valid
