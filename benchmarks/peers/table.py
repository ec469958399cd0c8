"""From the lines of a run to a Markdown table, which is all of arithmetic that needs a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from benchmarks.peers.systems import FLOORS, OURS, SYSTEMS

__all__ = ["LINES", "combined", "markdown", "number", "ratio"]

Lines = Sequence[tuple[str, str, str, str, str]]

LINES: Final[Lines] = (
    ("throughput", "1->1 100 B", "per_s", "throughput 1->1, 100 B, deliveries/s", "bare-batched"),
    ("throughput", "1->4 100 B", "per_s", "1->4 processes, 100 B, deliveries/s", "bare-batched"),
    ("throughput", "1->1 4 KiB", "per_s", "1->1, 4 KiB, deliveries/s", "bare-batched"),
    ("throughput", "1->4 4 KiB", "per_s", "1->4, 4 KiB, deliveries/s", "bare-batched"),
    ("fan-out", "1,000 subscribers", "per_s", "1,000 local subscribers, deliveries/s", "bare"),
    ("latency", "1,000/s", "p50_us", "latency 1->1 at 1,000/s, p50, us", "bare"),
    ("latency", "1,000/s", "p99_us", "latency, p99, us", "bare"),
    ("join", "seen elsewhere", "join_p50_us", "join seen on another node, p50, us", "bare"),
    ("join", "seen elsewhere", "join_p99_us", "join seen, p99, us", "bare"),
    ("join", "seen elsewhere", "leave_p50_us", "leave seen, p50, us", "bare"),
    ("join", "seen elsewhere", "leave_p99_us", "leave seen, p99, us", "bare"),
    ("memberships", "1 x 100,000", "seconds", "100,000 joins, 1 channel, seen, s", "bare"),
    ("memberships", "1 x 100,000", "bytes_each", "their bytes each on the watching node", "bare"),
    ("memberships", "10,000 x 10", "seconds", "10,000 channels x 10, seen, s", "bare"),
    ("memberships", "10,000 x 10", "bytes_each", "their bytes each on the watching node", "bare"),
    ("members", "read", "ten_per_s", "`members()` of 10, calls/s", "bare"),
    ("members", "read", "thousand_per_s", "`members()` of 1,000, calls/s", "bare"),
    ("formation", "2 nodes", "ms", "formation of 2 nodes, ms", ""),
    ("formation", "8 nodes", "ms", "formation of 8 nodes, ms", ""),
    ("formation", "16 nodes", "ms", "formation of 16 nodes, ms", ""),
    ("kill", "owner of 1,000", "ms", "SIGKILL of an owner of 1,000, gone elsewhere, ms", "bare"),
    ("idle", "3 nodes", "bytes_per_s", "idle, 3 nodes: bytes/s a node, headers and all", ""),
    ("idle", "3 nodes", "cpu_percent", "idle, 3 nodes: CPU a node, % of a core", ""),
    ("idle", "10 nodes", "bytes_per_s", "idle, 10 nodes: bytes/s a node", ""),
    ("idle", "10 nodes", "cpu_percent", "idle, 10 nodes: CPU a node, % of a core", ""),
)
"""Question, case, key, what the line is called, the floor that ours is put beside."""


def combined(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Key by key the median of the repeats; losses are summed; None if any repeat had none."""
    result: dict[str, float | None] = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            result[key] = None
        elif key in {"lost", "disordered"}:
            result[key] = sum(known)
        else:
            result[key] = round(median(known), 4)
    return result


def number(value: float) -> str:
    """Three digits that matter, thousands as k."""
    if value >= 9_950:
        return f"{value / 1000:,.0f} k"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio(cells: Mapping[str, Mapping[str, Any]], key: str, floor: str) -> str:
    """Ours to the floor, of one run."""
    ours = cells.get(OURS, {}).get("numbers", {}).get(key)
    beside = cells.get(floor, {}).get("numbers", {}).get(key)
    return f"{ours / beside:.2f}" if ours and beside else ""


def markdown(lines: Iterable[Mapping[str, Any]], title: str) -> str:
    """The table, and below it why cells are empty."""
    cells: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    facts: Mapping[str, Any] = {}
    for line in lines:
        cells.setdefault((line["benchmark"], line["case"]), {})[line["system"]] = line
        facts = line["facts"]
    asked = {name for of in cells.values() for name in of}
    names = [name for name in SYSTEMS if name in asked]
    heads = ["same work", *names, "ours : floor"]
    table = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    reasons: dict[str, None] = {}
    for benchmark, case, key, label, floor in LINES:
        of = cells.get((benchmark, case))
        if of is None:
            continue
        shown = [_cell(of.get(name), key, f"{label}, {name}", reasons) for name in names]
        table.append("| " + " | ".join([label, *shown, ratio(of, key, floor)]) + " |")
    floors = " and ".join(name for name in FLOORS if name in names)
    return "\n".join(
        [
            f"# {title}",
            "",
            *_said(facts),
            "",
            *table,
            "",
            f"The floor is {floors or 'not there'}: batched for throughput, else one frame each.",
            "The ratio is ours to it, in the same run.",
            "",
            "A dash and its reason:" if reasons else "",
            "",
            *(f"- {reason}" for reason in reasons),
            "",
        ]
    )


def _cell(line: Mapping[str, Any] | None, key: str, label: str, reasons: dict[str, None]) -> str:
    if line is None:
        return "-"
    if line.get("reason"):
        reasons[f"{line['benchmark']}, {line['system']}: {line['reason']}"] = None
        return "-"
    value = line["numbers"].get(key)
    if value is None:
        if line.get("unfinished"):
            reasons[f"{label}: {line['unfinished']}"] = None
        return "**not done**"
    lost = line["numbers"].get("lost")
    return number(value) + (f" (**{lost:.0f} lost**)" if lost else "")


def _said(facts: Mapping[str, Any]) -> list[str]:
    if not facts:
        return []
    versions = ", ".join(f"{name} {value}" for name, value in facts.get("versions", {}).items())
    machine = f"{facts['cores']} cores of {facts['cpu']}; load {facts['load'][0]}"
    ours = f"Commit {facts['commit']}, CPython {facts['python']}, libzmq {facts['libzmq']}"
    return [f"{ours}; {machine}; {versions}."]
