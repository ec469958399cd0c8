"""The pages of births against a plain dict, and their sums against recomputation."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.crdt import births as module
from crdtpubsub.crdt.births import PAGE_BIRTHS, Births
from crdtpubsub.crdt.delta import Extra
from tests.crdt.strategies import expand, flatten

M64 = (1 << 64) - 1

# Few pages, near their edges, and one far away: `within` must not walk to it.
numbers = st.one_of(
    st.integers(1, 60),
    st.integers(PAGE_BIRTHS - 3, PAGE_BIRTHS + 3),
    st.integers(2 * PAGE_BIRTHS - 2, 3 * PAGE_BIRTHS),
    st.integers(10**12, 10**12 + 5),
)
steps = st.lists(st.tuples(numbers, st.integers(0, 3)), max_size=120)
spans = st.lists(st.tuples(numbers, st.integers(1, 600)), max_size=4)


def runs_of(parts: list[tuple[int, int]]) -> set[int]:
    return {b for lo, width in parts for b in range(lo, lo + width)}


def recount(live: dict[int, int]) -> int:
    return sum(module.mix(b, v) for b, v in live.items()) & M64


def compare(births: Births, live: dict[int, int], asked: set[int]) -> None:
    runs = flatten(asked)
    extras = {b: (v, "", b"") for b, v in live.items() if v}
    assert len(births) == len(live)
    assert births.sum == recount(live)
    assert list(births.within(runs)) == sorted(asked & live.keys())
    assert births.sum_within(runs, extras) == recount({b: live[b] for b in asked & live.keys()})
    assert births.sum_within((1, 1 << 62), extras) == births.sum
    entries = dict[str, dict[str, int]]()
    for birth in births.within(runs):
        channel, client = births.get(birth) or ("", "")
        entries.setdefault(channel, {})[client] = birth
    assert births.entries(runs) == entries


@given(
    st.one_of(st.integers(1, 40), st.integers(PAGE_BIRTHS - 9, PAGE_BIRTHS + 9)),
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.sampled_from([1, 9, 20]),
    st.sets(numbers, max_size=60),
    spans,
)
def test_a_run_at_once_is_the_same_one_by_one(
    first: int, kinds: list[int], times: int, before: set[int], asked: list[tuple[int, int]]
) -> None:
    """Of each birth: not live, in this channel, in that one, or with a version."""
    kinds *= times
    births, one_by_one, live = Births(), Births(), dict[int, int]()
    for birth in before - set(range(first, first + len(kinds))):
        for each in (births, one_by_one):
            each.put(birth, ("c", "u"), 0)
        live[birth] = 0
    run: list[str | None] = []
    versions: dict[int, Extra] = {}
    for birth, kind in enumerate(kinds, first):
        run += (f"c{kind % 2}", f"u{birth}") if kind else (None, None)
        if kind:
            live[birth] = 5 if kind == 3 else 0
            one_by_one.put(birth, (f"c{kind % 2}", f"u{birth}"), live[birth])
        if kind == 3:
            versions[birth] = (5, "", b"")
    births.put_run(first, run, versions)
    for each in (births, one_by_one):
        compare(each, live, runs_of(asked))
    everything = (1, 1 << 62)
    assert births.entries(everything) == one_by_one.entries(everything)
    for birth in live:
        births.remove(birth, live[birth])
    assert (len(births), births.sum) == (0, 0)


@given(steps, spans)
def test_pages_are_a_dict_with_sums(
    turns: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    """A number that is absent comes, one that is there changes its version (3: it goes)."""
    births, live = Births(), dict[int, int]()
    for birth, turn in turns:
        if birth not in live:
            births.put(birth, (f"c{birth % 7}", "" if birth % 3 else "u"), turn)
            live[birth] = turn
        elif turn < 3:
            births.reversion(birth, live[birth], turn)
            live[birth] = turn
        else:
            births.remove(birth, live.pop(birth))
    compare(births, live, runs_of(asked))
    for birth in range(1, 70):
        key = (f"c{birth % 7}", "" if birth % 3 else "u")
        assert births.get(birth) == (key if birth in live else None)


@given(st.permutations(range(40)), st.permutations(range(40)))
def test_a_page_changes_its_shape_up_and_down_and_forgets_nothing(
    coming: list[int], going: list[int]
) -> None:
    """Beyond 24 births a page is a list, below 12 a dict again, empty it is gone."""
    births, live = Births(), dict[int, int]()
    base = 3 * PAGE_BIRTHS
    everything = expand((1, 5 * PAGE_BIRTHS))
    for offset in coming:
        births.put(base + offset, (f"c{offset}", "u"), offset % 2)
        live[base + offset] = offset % 2
    compare(births, live, everything)
    for offset in going:
        assert births.get(base + offset) == (f"c{offset}", "u")
        births.remove(base + offset, live.pop(base + offset))
        assert births.get(base + offset) is None
        assert births.sum == recount(live)
        assert list(births.within((1, 1 << 40))) == sorted(live)
    assert births.sum == 0
    assert len(births) == 0
    assert not births._pages


def check_the_sum_is_not_linear() -> None:
    """{1, 4} and {2, 3}, and a version moved from one birth to another, have unequal sums."""
    dots = [(b, v) for b in range(1, 13) for v in range(3)]
    sums = [(module.mix(*p) + module.mix(*q)) & M64 for p, q in combinations(dots, 2)]
    assert len(set(sums)) == len(sums)


def test_the_sum_is_not_linear() -> None:
    check_the_sum_is_not_linear()
