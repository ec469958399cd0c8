"""The set-full checker over simulated worlds; ten thousand of them in a soak."""

from __future__ import annotations

import pytest

from crdtpubsub.sim import run_world
from tests.chaos.worlds import judge_world, judge_worlds


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
