"""The recorded run: what it writes into the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record
from benchmarks.record import BEGIN, END, block, lines_of, rewritten

FACTS: dict[str, Any] = {
    "commit": "abc",
    "python": "3.11",
    "pyzmq": "27",
    "libzmq": "4.3",
    "cpu": "a cpu",
    "cores": 2,
    "date": "2026-01-02",
    "load": [0.1, 0.1, 0.1],
    "versions": {},
}


def write(path: Path, *lines: dict[str, Any]) -> None:
    text = "".join(json.dumps({**line, "facts": FACTS}) + "\n" for line in lines)
    path.write_text(text, "utf-8")


def throughput(system: str, per_s: float) -> dict[str, Any]:
    numbers = {"per_s": per_s, "lost": 0}
    return {
        "benchmark": "throughput",
        "case": "1->1 100 B",
        "system": system,
        "numbers": numbers,
    }


def test_only_what_is_between_the_marks_is_written_anew() -> None:
    readme = f"before\n{BEGIN}old\n{END}after\n"
    once = rewritten(readme, "new\n")
    assert once == f"before\n{BEGIN}new\n{END}after\n"
    assert rewritten(once, "new\n") == once
    with pytest.raises(AssertionError, match="performance:end"):
        rewritten(f"before\n{BEGIN}old\n", "new\n")


def test_the_block_has_the_table_of_the_rivals_and_what_is_there_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "peers.jsonl", throughput("ours", 50.0), throughput("bare-batched", 90.0))
    write(
        tmp_path / "ours.jsonl",
        {"benchmark": "slow_reader", "case": "5 stopped", "ratio_p99": 1.234},
        *(
            {
                "benchmark": "idle",
                "case": f"{nodes} nodes",
                "bytes_per_s_per_link": nodes * 10.0,
                "cpu_percent": 0.25,
            }
            for nodes in (3, 10, 50)
        ),
    )
    text = block(tmp_path)
    assert "Commit abc on 2026-01-02" in text
    assert "Nothing was lost." in text
    assert "| throughput 1->1, 100 B, deliveries/s | 50 | 90 | 0.56 |" in text
    assert "| 1.23 | `slow_reader` |" in text
    assert "| 30 / 100 / 500 | `idle` |" in text
    assert "SIGKILL" not in text  # nobody measured it
    assert block(tmp_path) == text


def test_nothing_recorded_is_nothing_said(tmp_path: Path) -> None:
    assert block(tmp_path) == ""
    assert lines_of(tmp_path / "none.jsonl") == []


def test_parts_run_one_by_one_and_a_failed_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, bool]] = []

    def well(into: Path, quick: bool) -> bool:
        asked.append(("well", quick))
        write(into / "peers.jsonl", throughput("ours", 50.0))
        return True

    monkeypatch.setenv("BENCH_COMMIT", "abc")
    monkeypatch.setitem(record.RUNS, "peers", well)
    monkeypatch.setitem(record.RUNS, "growth", lambda _into, _quick: False)
    argv = ["record", "--quick", "--only", "peers,growth", "--into", str(tmp_path / "new")]
    monkeypatch.setattr("sys.argv", argv)
    assert record.main() == 1
    said = capsys.readouterr()
    assert asked == [("well", True)]
    assert "failed: growth" in said.err
    assert "| 50 |" in said.out
