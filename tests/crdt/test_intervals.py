"""Runs of births against Python's sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.crdt import intervals
from tests.crdt.strategies import birth_sets, expand, flatten

births = birth_sets()


@given(births)
def test_a_set_and_its_runs_are_the_same_thing(a: set[int]) -> None:
    runs = flatten(a)
    assert intervals.is_runs(runs)
    assert expand(runs) == a
    assert intervals.count(runs) == len(a)
    assert intervals.top(runs) == max(a, default=0) + 1
    assert [b for b in range(45) if intervals.contains(runs, b)] == sorted(a)


@given(st.lists(st.integers(1, 40)))
def test_births_in_any_order_and_repeated_make_the_runs_of_their_set(given: list[int]) -> None:
    assert intervals.from_births(given) == flatten(set(given))


@given(births, births)
def test_union_intersection_and_difference_are_those_of_sets(a: set[int], b: set[int]) -> None:
    x, y = flatten(a), flatten(b)
    assert intervals.union(x, y) == flatten(a | b)
    assert intervals.intersection(x, y) == flatten(a & b)
    assert intervals.difference(x, y) == flatten(a - b)


@given(births, births)
def test_equal_sets_are_equal_tuples_however_they_were_made(a: set[int], b: set[int]) -> None:
    x, y = flatten(a), flatten(b)
    both = intervals.union(intervals.difference(x, y), intervals.intersection(x, y))
    assert both == x


@given(st.lists(st.integers(-2, 20), max_size=6))
def test_only_what_is_well_formed_passes_for_runs(flat: list[int]) -> None:
    shaped = len(flat) % 2 == 0 and flat == sorted(set(flat)) and all(n >= 1 for n in flat)
    assert intervals.is_runs(tuple(flat)) == shaped
