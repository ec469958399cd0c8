"""The harness of `benchmarks.peers`: its arithmetic, and one tiny run of what is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import percentile
from benchmarks.peers.__main__ import _asked
from benchmarks.peers.pg import term
from benchmarks.peers.questions import QUESTIONS, latency, throughput
from benchmarks.peers.roles import channels_of, rows_of
from benchmarks.peers.systems import FLOORS, OURS, SYSTEMS
from benchmarks.peers.table import LINES, Target, combined, markdown, number, ratio

FACTS = {
    "commit": "abc",
    "python": "3.11",
    "pyzmq": "27",
    "libzmq": "4.3",
    "cpu": "a cpu",
    "cores": 2,
    "load": [0.1, 0.1, 0.1],
    "versions": {"msgpack": "1.2"},
}


def line(system: str, **more: Any) -> dict[str, Any]:
    return {
        "benchmark": "throughput",
        "case": "1->1 100 B",
        "system": system,
        "facts": FACTS,
        **more,
    }


def test_percentiles_are_nearest_ranks() -> None:
    assert percentile([5.0, 1.0, 4.0, 2.0, 3.0], 50) == 3.0
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([7.0], 99) == 7.0


def test_repeats_become_medians_and_losses_are_summed() -> None:
    rows = [
        {"per_s": 10.0, "lost": 1.0},
        {"per_s": 30.0, "lost": 0.0},
        {"per_s": 20.0, "lost": 2.0},
    ]
    assert combined(rows) == {"per_s": 20.0, "lost": 3.0}
    assert combined([{"seconds": 1.0}, {"seconds": None}]) == {"seconds": None}


def test_numbers_are_short() -> None:
    shown = [number(n) for n in (0.123456, 12.34, 999.6, 9_949, 986_543)]
    assert shown == ["0.123", "12.3", "1,000", "9,949", "987 k"]


def test_the_table_shows_losses_ratios_and_reasons() -> None:
    text = markdown(
        [
            line(OURS, numbers={"per_s": 500_000.0, "lost": 0.0}),
            line("bare-batched", numbers={"per_s": 1_000_000.0, "lost": 0.0}),
            line("zenoh", numbers={"per_s": 400_000.0, "lost": 7.0}),
            line("redis-set", reason="its messages are those of redis"),
            line("pg", numbers={"per_s": None}, unfinished="45000 after 60 s"),
        ],
        "Title",
    )
    row = next(x for x in text.splitlines() if x.startswith("| throughput 1->1"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == [
        "500 k",
        "1,000 k",
        "**not done**",
        "-",
        "400 k (**7 lost**)",
        "0.50",
        "≥ 0.5x bare-batched, ahead of zenoh",
        "yes",
    ]
    assert "- throughput, redis-set: its messages are those of redis" in text
    assert "45000 after 60 s" in text
    assert "Commit abc" in text


def test_a_target_is_reached_missed_or_not_to_be_said() -> None:
    def cells(**numbers: float | None) -> dict[str, dict[str, Any]]:
        return {name: {"numbers": {"x": value}} for name, value in numbers.items()}

    fast = Target(0.5, "bare", higher=True, ahead=("zenoh",))
    assert fast.reached(cells(ours=50, bare=100, zenoh=49), "x") is True
    assert fast.reached(cells(ours=49, bare=100, zenoh=40), "x") is False
    assert fast.reached(cells(ours=60, bare=100, zenoh=60), "x") is False
    assert fast.reached(cells(ours=60, bare=100), "x") is None
    assert fast.reached(cells(ours=60, zenoh=50), "x") is None
    late = Target(1.5, "bare")
    assert late.reached(cells(ours=150, bare=100), "x") is True
    assert late.reached(cells(ours=151, bare=100), "x") is False
    assert Target(20).reached(cells(ours=20), "x") is True
    assert Target(20).reached(cells(ours=None), "x") is None
    assert (str(fast), str(late)) == ("≥ 0.5x bare, ahead of zenoh", "≤ 1.5x bare")


def test_no_ratio_without_a_floor() -> None:
    assert ratio({OURS: {"numbers": {"ms": 4.0}}}, "ms", "bare") == ""
    assert ratio({}, "ms", "") == ""


def test_each_line_of_the_table_is_asked_somewhere() -> None:
    for row in LINES:
        assert row.case in QUESTIONS[row.question].cases
        assert row.floor == "" or row.floor in FLOORS
        if row.target is not None:
            assert row.target.of in ("", row.floor)
            assert set(row.target.ahead) <= set(SYSTEMS)
    for question in QUESTIONS.values():
        assert set(question.quick) <= set(question.cases)


def test_what_cannot_be_asked_is_a_question_and_has_a_reason() -> None:
    for system in SYSTEMS.values():
        assert set(system.cannot) <= set(QUESTIONS)
        assert all(system.cannot.values())
    gone = [s.name for s in SYSTEMS.values() if s.missing() and not s.get]
    assert gone == []


def test_a_system_that_fails_is_a_reason_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(system: str, *args: object) -> dict[str, float | None]:
        if system == "bare":
            raise RuntimeError("first line\nit broke")
        return {"ms": 1.0}

    monkeypatch.setitem(QUESTIONS, "join", replace(QUESTIONS["join"], ask=breaks))
    ours, bare, batched = _asked("join", "seen elsewhere", [OURS, *FLOORS], 3)
    assert ours["numbers"] == {"ms": 1.0}
    assert bare["failed"]
    assert bare["reason"] == "failed: it broke"
    assert batched["reason"] == SYSTEMS["bare-batched"].cannot["join"]
    assert not batched["failed"]
    assert json.loads(json.dumps(ours)) == ours


def test_orders_to_erlang() -> None:
    assert term(["ear", [], [1, 0.5, None]]) == '[<<"ear">>,[],[1,0.5,none]]'
    assert term({"ten": 10}) == '[{<<"ten">>,10}]'


def test_the_shapes_of_memberships() -> None:
    assert len(rows_of([3, 4])) == 12
    assert {channel for channel, _ in rows_of([3, 4])} == set(channels_of([3, 4]))


def _reads_processes() -> bool:
    return Path("/proc/self/stat").exists()


@pytest.mark.net
@pytest.mark.skipif(not _reads_processes(), reason="needs /proc")
def test_a_tiny_run_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.questions.WARM", 50)
    monkeypatch.setattr("benchmarks.peers.questions.RUN_S", 0.05)
    numbers = throughput(OURS, 1, 100)
    assert numbers["lost"] == 0
    assert numbers["disordered"] == 0
    assert (numbers["per_s"] or 0) > 0


@pytest.mark.net
@pytest.mark.parametrize("system", ["pg", "redis", "nats", "zenoh"])
def test_a_tiny_run_of_what_is_installed(system: str) -> None:
    if gone := SYSTEMS[system].missing():
        pytest.skip(f"no {', '.join(gone)}: {SYSTEMS[system].get}")
    assert latency(system, 1000.0, 100, 50)["lost"] == 0
