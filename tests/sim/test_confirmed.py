"""Confirmed publications: never twice to one client, none missing that was reported delivered."""

from __future__ import annotations

from collections import Counter

import pytest

from crdtpubsub.config import Config
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.sim import CutMode, World
from tests.sim.confirmed import Confirmed, storm

QUICK = Config(suspicion_mult=1.0, suspicion_max_mult=1.0, forget_after_s=6.0)


RARE = (
    "confirmed_delivered",
    "confirmed_done",
    "confirmed_refused",
    "confirmed_repeated",
    "confirmed_said_again",
    "confirmed_unknown",
    "purged",
    "terms_of_no_table",
)


def storms(seeds: range) -> None:
    seen: Counter[str] = Counter()
    acknowledged = 0
    for seed in seeds:
        confirmed, verdict = storm(seed)
        assert verdict.valid, (seed, verdict)
        acknowledged += verdict.acknowledged
        seen.update(confirmed.world.counters())
    assert acknowledged > 100 * len(seeds)
    for path in RARE:
        assert seen[path], f"{path} never happened in these worlds: {seen}"


@pytest.mark.parametrize("block", range(3))
def test_reports_are_true_whatever_breaks(block: int) -> None:
    storms(range(7 * block, 7 * block + 7))


@pytest.mark.soak
@pytest.mark.parametrize("block", range(100))
def test_reports_are_true_in_many_worlds(block: int) -> None:
    storms(range(1000 + 10 * block, 1010 + 10 * block))


def room(seed: int = 1, nodes: int = 2) -> Confirmed:
    """Node 1 owns the one member of the room."""
    confirmed = Confirmed(World(seed=seed, nodes=nodes, config=QUICK))
    confirmed.join(1)
    confirmed.ask(0, confirm_s=5.0)
    confirmed.world.run_for(1.0)
    assert outcomes(confirmed) == [Outcome.DELIVERED]
    return confirmed


def outcomes(confirmed: Confirmed) -> list[Outcome | None]:
    """What became of each, at its one owner, so far."""
    world = confirmed.world
    told = [world.lives[asker].settled[counter] for asker, counter, _ in confirmed.open]
    return [next((outcome for outcome, _ in owners.values()), None) for owners in told]


@pytest.mark.parametrize("clock_stands", [True, False])
@pytest.mark.parametrize("frames_first", [True, False])
def test_a_publisher_suspended_for_longer_than_it_is_remembered_delivers_nothing_twice(
    *, clock_stands: bool, frames_first: bool
) -> None:
    """It has said, and not heard that it was taken; the owner has forgotten it meanwhile."""
    confirmed = room()
    world = confirmed.world
    world.cut(1, 0, one_way=True)  # what the owner answers is lost
    confirmed.ask(0, confirm_s=600.0)
    world.run_for(0.1)
    assert len(world.slots[1].delivered) == 2
    world.pause(0, clock_stands=clock_stands)
    world.run_for(60.0)  # forgotten after 6
    assert world.counters()["purged"]
    world.heal()
    world.resume(0, frames_first=frames_first)
    world.run_until_quiet()
    world.run_for(30.0)
    assert len(world.slots[1].delivered) == 2
    assert outcomes(confirmed) == [Outcome.DELIVERED, Outcome.UNKNOWN]
    assert world.counters()["answers_forgotten"] == 1
    confirmed.ask(0, confirm_s=5.0)
    world.run_for(6.0)
    assert outcomes(confirmed)[-1] is Outcome.DELIVERED
    assert confirmed.verdict().valid


def test_an_answer_lost_with_its_link_is_said_again_and_nothing_else_is() -> None:
    confirmed = room()
    world = confirmed.world
    world.pause(0)  # the answer waits at its socket ...
    world.resume(0)
    world.cut(1, 0, one_way=True)
    for _ in range(20):
        confirmed.ask(0, confirm_s=60.0)
    world.run_for(0.2)
    sent = dict(world.slots[0].sent)
    assert outcomes(confirmed)[1:] == [None] * 20
    world.heal()
    world.reset(1, 0)
    world.run_until(lambda: None not in outcomes(confirmed), within=10.0)
    assert world.slots[0].sent["Addressed"] == sent["Addressed"]
    verdict = confirmed.verdict()
    assert (verdict.valid, verdict.acknowledged) == (True, 21)


def test_what_was_lost_with_its_link_is_said_again_when_the_next_is_up() -> None:
    confirmed = room()
    world = confirmed.world
    for _ in range(20):
        confirmed.ask(0, confirm_s=60.0)
    world.cut(0, 1, one_way=True)
    world.heal()
    world.reset(0, 1)
    world.run_until(lambda: None not in outcomes(confirmed), within=10.0)
    assert world.counters()["confirmed_said_again"] == 20
    verdict = confirmed.verdict()
    assert (verdict.valid, verdict.acknowledged) == (True, 21)


def test_a_restarted_owner_answers_by_being_another_life() -> None:
    confirmed = room()
    world = confirmed.world
    world.crash(1)
    confirmed.ask(0, confirm_s=60.0)  # said, into a link that has just broken
    world.restart(1)
    world.run_until(lambda: None not in outcomes(confirmed), within=10.0)
    assert outcomes(confirmed)[-1] is Outcome.UNKNOWN
    assert world.slots[1].delivered == []


def test_what_was_never_said_to_an_owner_that_restarts_is_refused() -> None:
    confirmed = room()
    world = confirmed.world
    world.cut(0, 1, mode=CutMode.BREAK)
    world.run_for(0.1)
    confirmed.ask(0, confirm_s=60.0)
    world.crash(1)
    world.restart(1)
    world.heal()
    world.run_until(lambda: None not in outcomes(confirmed), within=10.0)
    assert outcomes(confirmed)[-1] is Outcome.REFUSED_RESTARTED


def test_what_an_owner_delivered_before_its_goodbye_overtook_the_answer_is_unknown() -> None:
    """Chaos seed 21: the receipt said refused, and a client had it."""
    confirmed = room()
    world = confirmed.world
    confirmed.ask(0, confirm_s=60.0)
    world.cut(1, 0, one_way=True)  # no answer comes back
    world.run_for(0.2)
    assert len(world.slots[1].delivered) == 2
    world.network.heal([(1, 0)])
    world.goodbye(1)
    world.run_until(lambda: None not in outcomes(confirmed), within=30.0)
    assert outcomes(confirmed)[-1] in (Outcome.UNKNOWN, Outcome.DELIVERED)
    assert confirmed.verdict().valid


def test_an_owner_that_says_goodbye_has_left() -> None:
    confirmed = room()
    world = confirmed.world
    world.pause(1)
    confirmed.ask(0, confirm_s=60.0)
    world.run_for(0.1)
    world.resume(1, frames_first=False)
    world.goodbye(1)
    world.run_until(lambda: None not in outcomes(confirmed), within=10.0)
    assert outcomes(confirmed)[-1] in (Outcome.UNKNOWN, Outcome.DELIVERED)


def test_an_owner_beyond_a_missing_link_is_refused_when_the_time_is_over() -> None:
    """Node 2 sees both; 0 and 1 know of each other, and have no link."""
    confirmed = room(nodes=3)
    world = confirmed.world
    world.partition(0, 1)
    world.run_until(lambda: "suspect" not in world.states(0).values(), within=60.0)
    world.run_for(5.0)
    confirmed.ask(0, confirm_s=3.0)
    world.run_for(2.5)
    assert outcomes(confirmed)[-1] is None
    world.run_for(1.0)
    assert outcomes(confirmed)[-1] is Outcome.REFUSED_NO_LINK
    confirmed.ask(0, confirm_s=30.0)
    world.heal()
    world.run_until(lambda: outcomes(confirmed)[-1] is not None, within=25.0)
    assert outcomes(confirmed)[-1] is Outcome.DELIVERED


def test_answers_are_forgotten_as_soon_as_nobody_wants_them() -> None:
    confirmed = room()
    world = confirmed.world
    for _ in range(500):
        confirmed.ask(0, confirm_s=5.0)
        world.run_for(0.002)
    world.run_for(1.0)
    (table,) = world.slots[1].engine._answering._tables.values()
    assert len(table.answers) < 20
    assert confirmed.verdict().acknowledged == 501
