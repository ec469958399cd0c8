"""One seed is one schedule; and what the schedule asks, the router does."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.router import BACKLOG_S, HELD_BACK_S, Direction
from tests.chaos.schedule import KINDS, PROCESS_KINDS, UP_MIN, Rules, Shape, between, schedule

NODES = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("transport", sorted(KINDS))
def test_a_schedule_is_its_seed_and_keeps_its_bounds(transport: str) -> None:
    kinds = KINDS[transport]
    drawn: Counter[str] = Counter()
    for seed in range(60):
        steps = schedule(seed, seconds=40.0, nodes=NODES, kinds=kinds)
        assert steps == schedule(seed, seconds=40.0, nodes=NODES, kinds=kinds)
        assert len(steps) > 5
        drawn.update(step.kind for step in steps)
        for step in steps:
            assert 0 < step.at_s <= step.at_s + step.lasting_s < 40.0
            meddled = {
                name
                for other in steps
                if other.kind in PROCESS_KINDS
                and other.at_s <= step.at_s <= other.at_s + other.lasting_s
                for name in other.who
            }
            assert len(meddled) <= len(NODES) - UP_MIN + 1
    assert set(drawn) == set(kinds)


def test_rules_that_hold_at_once_add_up() -> None:
    ways = between("a", "b")
    one = Rules(shape=Shape(delay_s=0.1, loss=0.5, rate_bps=1e6), ways=ways)
    other = Rules(shape=Shape(delay_s=0.2, loss=0.5), ways=frozenset([("a", "b")]))
    assert Rules.of([one, other], ("b", "a")) == one.shape
    both = Rules.of([one, other], ("a", "b"))
    assert (both.delay_s, both.loss, both.rate_bps) == pytest.approx((0.3, 0.75, 1e6))


def told(*shape: float) -> Direction:
    direction = Direction("7", "1>2")
    direction.told = shape
    return direction


def test_the_router_loses_and_doubles_what_it_is_told_to() -> None:
    direction = told(0.0, 0.0, 0.3, 0.1, 0.0, 0.0)
    handed_on = [len(direction.due(100, float(n))) for n in range(10_000)]
    assert 0.28 < handed_on.count(0) / 10_000 < 0.32
    assert 0.06 < handed_on.count(2) / 10_000 < 0.08
    again = told(0.0, 0.0, 0.3, 0.1, 0.0, 0.0)
    assert handed_on == [len(again.due(100, float(n))) for n in range(10_000)]


def test_the_router_delays_in_order_and_swaps_only_when_told_to() -> None:
    delayed = told(0.1, 0.05, 0.0, 0.0, 0.0, 0.0)
    dues = [delayed.due(100, n / 1000)[0] for n in range(1000)]
    assert dues == sorted(dues)
    assert all(0.1 <= due - n / 1000 <= 0.2 for n, due in enumerate(dues))
    swapping = told(0.0, 0.0, 0.0, 0.0, 0.1, 0.0)
    late = [swapping.due(100, n / 1000)[0] - n / 1000 for n in range(1000)]
    assert 50 < sum(due == pytest.approx(HELD_BACK_S) for due in late) < 150


def test_a_narrow_line_takes_its_time_and_drops_what_waits_too_long() -> None:
    narrow = told(0.0, 0.0, 0.0, 0.0, 0.0, 1e6)
    dues = [narrow.due(1250, 0.0) for _ in range(100)]  # 10 ms each
    passed = [due[0] for due in dues if due]
    assert passed[:3] == pytest.approx([0.01, 0.02, 0.03])
    assert max(passed) <= BACKLOG_S + 0.011
    assert dues[-1] == []
