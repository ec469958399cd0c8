"""The set-full checker over simulated worlds; ten thousand of them in a soak."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final
from unittest.mock import patch

import pytest

from crdtpubsub.sim import World, run_world
from crdtpubsub.sim.checks import Checks
from tests.chaos.worlds import judge_world, judge_worlds
from tests.crdt.planted import PLANTED

CAUGHT: Final = {
    "a LIVE asserts beyond what was seen": "lost",
    "a LIVE ends what lies beyond its runs": "lost",
    "a birth is used again when what had it is gone": "resurrected",
    "a delta claims wider runs than its sender has seen": "lost",
    "a removal ends dots that were never observed": "resurrected",
    "a removal goes by the key and does not compare the birth": "lost",
    "a slice claims the runs of the whole": "lost",
    "an entry is dropped from a slice": "lost",
    "an update is a new birth": "lost",
    "of two births of one client the smaller stays": "lost",
    "the context is ignored on insert": "resurrected",
}
"""Planted bugs that show in calls and reads, and as what."""


WORLDS: Final = 20


def without_the_simulators_checks() -> ExitStack:
    """Nobody but the set-full checker looks."""
    blind = ExitStack()
    for what in ("after", "final", "fail"):
        blind.enter_context(patch.object(Checks, what, lambda *_args, **_more: None))

    def wait(self: World, _within: float) -> float:
        self.run_for(15.0)
        return 15.0

    blind.enter_context(patch.object(World, "run_until_quiet", wait))
    return blind


def test_without_a_planted_bug_the_blind_judge_is_content() -> None:
    with without_the_simulators_checks():
        assert judge_world(1).valid


@pytest.mark.parametrize("story", CAUGHT)
def test_a_planted_bug_shows_in_calls_and_reads(story: str) -> None:
    """In one of a few worlds, whatever a change of the engine made of the first."""
    with without_the_simulators_checks(), PLANTED[story]():
        for seed in range(1, 1 + WORLDS):
            verdict = judge_world(seed).verdict
            if not verdict.valid and getattr(verdict, CAUGHT[story]):
                return
    pytest.fail(f"{WORLDS} worlds did not show it")


@pytest.mark.parametrize("first", [1, 11])
def test_nothing_is_lost_resurrected_or_made_up_in_a_world(first: int) -> None:
    for seed in range(first, first + 10):
        judged = judge_world(seed)
        assert judged.valid, (judged.verdict.why, judged.summary.failure)
        assert judged.verdict.stable > 10
        assert judged.verdict.reads > 100


def test_recording_a_world_does_not_change_it() -> None:
    assert judge_world(5).summary.digest == run_world(5).digest


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_ten_thousand_worlds() -> None:
    totals = judge_worlds(1, 10_000, jobs=2)
    print(totals)
    assert totals["invalid"] == 0, totals["why"]
