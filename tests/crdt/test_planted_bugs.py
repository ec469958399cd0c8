"""Would the suite notice? Each planted bug must fail a short, repeatable run of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crdt import test_births
from tests.crdt import test_memberset_stories as stories
from tests.crdt.machine import ClippedAgainstJournal, MembersAgainstTextbook
from tests.crdt.planted import PLANTED
from tests.crdt.walk import walks

SEEDS = 200

CHECKS: dict[str, Callable[[], None]] = {
    "against the textbook": lambda: walks(MembersAgainstTextbook, SEEDS),
    "clipped": lambda: walks(ClippedAgainstJournal, SEEDS // 4),
    "return before the sweep": stories.test_a_life_that_returns_before_it_is_swept_shows_no_ghosts,
    "sums": test_births.check_the_sum_is_not_linear,
    "many gaps": stories.test_a_set_full_of_gaps_takes_no_more_runs_and_says_so_to_nobody,
    "repair in parts": stories.test_a_repair_in_parts_gets_on_though_the_set_is_full_of_gaps,
    "interrupts": stories.test_an_interrupt_anywhere_in_a_merge_leaves_an_honest_set,
}

NOT_BY_TEXTBOOK = {
    "the sum is linear": "sums",
    "the sum does not move with the version": "sums",
    "what opens one run too many is taken all the same": "many gaps",
    "no place is kept for the first part of a repair": "repair in parts",
    "what is swept is dropped by name, also when the life came back": "return before the sweep",
    "an interrupted commit is left as it is": "interrupts",
}


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_planted_bug_every_check_passes(check: str) -> None:
    CHECKS[check]()


@pytest.mark.parametrize("story", PLANTED)
def test_a_planted_bug_is_caught(story: str) -> None:
    check = CHECKS[NOT_BY_TEXTBOOK.get(story, "against the textbook")]
    with PLANTED[story](), pytest.raises(Exception):  # noqa: B017, PT011 - caught is caught
        check()
