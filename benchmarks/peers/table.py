"""From the lines of a run to a Markdown table, which is all of arithmetic that needs a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.peers.systems import FLOORS, OURS, SYSTEMS

__all__ = [
    "LINES",
    "Line",
    "Target",
    "combined",
    "combined_facts",
    "machine",
    "markdown",
    "number",
    "ratio",
    "table",
]


@dataclass(frozen=True)
class Target:
    """What ours shall reach: a limit, by itself or as a ratio to a floor, and who is behind."""

    limit: float
    of: str = ""
    """The floor that the limit is a multiple of; empty: the limit is absolute."""

    higher: bool = False
    """Whether more is better."""

    ahead: Sequence[str] = ()

    def __str__(self) -> str:
        limit = f"{self.limit:g}x {self.of}" if self.of else number(self.limit)
        ahead = f", ahead of {', '.join(self.ahead)}" if self.ahead else ""
        return f"{'≥' if self.higher else '≤'} {limit}{ahead}"

    def reached(self, cells: Mapping[str, Mapping[str, Any]], key: str) -> bool | None:
        """None if it cannot be said, since somebody it names was not asked."""
        values = {name: _value(cells, name, key) for name in (OURS, self.of, *self.ahead) if name}
        if OURS not in cells or values.pop(OURS) is None:
            return None
        ours = float(cells[OURS]["numbers"][key])
        if self.of and values.pop(self.of, None) is None:
            return None
        limit = self.limit * (float(cells[self.of]["numbers"][key]) if self.of else 1.0)
        behind = [value for name in self.ahead if (value := values[name]) is not None]
        if len(behind) < len(self.ahead):
            return None
        if self.higher:
            return ours >= limit and all(ours > value for value in behind)
        return ours <= limit and all(ours < value for value in behind)


@dataclass(frozen=True)
class Line:
    """A row of the table: one number of one case."""

    question: str
    case: str
    key: str
    label: str
    floor: str = ""
    """What ours is put beside."""

    target: Target | None = None


_FAST: Final = Target(0.5, "bare-batched", higher=True, ahead=("zenoh",))
_LONG: Final = Target(0.65, "bare-batched", higher=True, ahead=("pg", "redis", "nats", "pyre"))
_LATE: Final = Target(1.6, "bare")
_SEEN: Final = Target(1.5, "bare")
_ONE: Final = "1 x 100,000"
_MANY: Final = "10,000 x 10"
_WHILE: Final = "100,000, 100 joins/s"

LINES: Final = (
    *(
        Line("throughput", case, "per_s", f"{label}, deliveries/s", "bare-batched", target)
        for case, label, target in (
            ("1->1 100 B", "throughput 1->1, 100 B", _FAST),
            ("1->4 100 B", "1->4 processes, 100 B", _FAST),
            ("1->1 4 KiB", "1->1, 4 KiB", _LONG),
            ("1->4 4 KiB", "1->4, 4 KiB", Target(0.65, "bare-batched", higher=True)),
        )
    ),
    Line(
        *("fan-out", "1,000 subscribers", "per_s", "1,000 local subscribers, deliveries/s", "bare"),
        Target(2_000_000, higher=True),
    ),
    Line("latency", "1,000/s", "p50_us", "latency 1->1 at 1,000/s, p50, us", "bare", _LATE),
    Line("latency", "1,000/s", "p99_us", "latency, p99, us", "bare", _LATE),
    *(
        Line("join", "seen elsewhere", f"{verb}_{p}_us", f"{verb} seen, {p}, us", "bare", _SEEN)
        for verb in ("join", "leave")
        for p in ("p50", "p99")
    ),
    Line("join", "seen elsewhere", "wire_bytes", "bytes on the wire for one, headers too", "bare"),
    Line("memberships", _ONE, "seconds", "100,000 joins, 1 channel, seen, s", "bare", Target(1.0)),
    Line(
        "memberships", _ONE, "bytes_each", "memory each where they are watched", "bare", Target(190)
    ),
    Line(
        "memberships",
        _ONE,
        "wire_bytes",
        "bytes on the wire each (26 are names)",
        "bare",
        Target(56),
    ),
    Line("memberships", _MANY, "seconds", "10,000 channels x 10, seen, s", "bare", Target(1.0)),
    Line(
        "memberships",
        _MANY,
        "bytes_each",
        "memory each where they are watched",
        "bare",
        Target(190),
    ),
    Line(
        "memberships",
        _MANY,
        "wire_bytes",
        "bytes on the wire each (26 are names)",
        "bare",
        Target(56),
    ),
    *(
        Line(
            *("members", "read", key, f"`members()` of {label}, calls/s", "bare"),
            Target(3_000_000, higher=True),
        )
        for key, label in (("ten_per_s", "10"), ("thousand_per_s", "1,000"))
    ),
    Line(
        *("members-while-joined", _WHILE, "read_p99_ms"),
        *("`members()` of 100,000 while 100/s join, p99, ms", "bare", Target(20)),
    ),
    *(
        Line("formation", f"{n} nodes", "ms", f"formation of {n} nodes, ms", "", Target(limit))
        for n, limit in ((2, 50), (8, 150), (16, 400))
    ),
    Line(
        *("kill", "owner of 1,000", "ms", "SIGKILL of an owner of 1,000, gone elsewhere, ms"),
        *("bare", Target(12)),
    ),
    Line("stop", "owner of 1,000", "seconds", "SIGSTOP of the same, 2 nodes, s", "", Target(8)),
    Line("idle", "3 nodes", "bytes_per_s_link", "idle, 3 nodes: bytes/s a link, headers too"),
    Line("idle", "3 nodes", "cpu_percent", "idle, 3 nodes: CPU a node, % of a core"),
    Line(
        *("idle", "10 nodes", "bytes_per_s_link", "idle, 10 nodes: bytes/s a link, headers too"),
        *("", Target(200)),
    ),
    Line(
        *("idle", "10 nodes", "cpu_percent", "idle, 10 nodes: CPU a node, % of a core"),
        *("", Target(0.5)),
    ),
)


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
    ours, beside = _value(cells, OURS, key), _value(cells, floor, key)
    return f"{ours / beside:.2f}" if ours and beside else ""


def _value(cells: Mapping[str, Mapping[str, Any]], name: str, key: str) -> float | None:
    value: float | None = cells.get(name, {}).get("numbers", {}).get(key)
    return value


def table(lines: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The table, a line a row, and why cells are empty."""
    cells: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for line in lines:
        cells.setdefault((line["benchmark"], line["case"]), {})[line["system"]] = line
    asked = {name for of in cells.values() for name in of}
    names = [name for name in SYSTEMS if name in asked]
    heads = ["same work", *names, "ours : floor", "target", "reached"]
    shown = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    reasons: dict[str, None] = {}
    for row in LINES:
        of = cells.get((row.question, row.case))
        if of is None or not any(row.key in line.get("numbers", {}) for line in of.values()):
            continue
        found = [_cell(of.get(name), row.key, f"{row.label}, {name}", reasons) for name in names]
        found += [ratio(of, row.key, row.floor), *_target(row, of)]
        shown.append("| " + " | ".join([row.label, *found]) + " |")
    return shown, list(reasons)


def combined_facts(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Those of the last line, with the versions of all and the load of each."""
    versions: dict[str, str] = {}
    loads = [line["facts"]["load"][0] for line in lines]
    for line in lines:
        versions |= line["facts"].get("versions", {})
    return {**lines[-1]["facts"], "versions": versions, "load": [min(loads), max(loads)]}


def machine(facts: Mapping[str, Any]) -> str:
    """A sentence about where and with what it was measured."""
    low, high = facts["load"][0], facts["load"][-1]
    on = f" on {facts['date']}" if "date" in facts else ""
    return (
        f"Commit {facts['commit']}{on}, CPython {facts['python']}, pyzmq {facts['pyzmq']}, "
        f"libzmq {facts['libzmq']}; {facts['cores']} cores of {facts['cpu']}, load average "
        f"{low} to {high}, its own work included."
    )


def markdown(lines: Sequence[Mapping[str, Any]], title: str) -> str:
    """A page: the table, and below it why cells are empty."""
    shown, reasons = table(lines)
    facts = combined_facts(lines)
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    floors = " and ".join(name for name in FLOORS if f" {name} |" in shown[0])
    return "\n".join(
        [
            f"# {title}",
            "",
            machine(facts),
            f"Versions: {versions}.",
            "",
            *shown,
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


def _target(row: Line, of: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    if row.target is None:
        return "", ""
    reached = row.target.reached(of, row.key)
    return str(row.target), {True: "yes", False: "**no**", None: "-"}[reached]


def _cell(line: Mapping[str, Any] | None, key: str, label: str, reasons: dict[str, None]) -> str:
    if line is None:
        return "-"
    if line.get("reason"):
        reasons[f"{line['benchmark']}, {line['system']}: {line['reason']}"] = None
        return "-"
    if key not in line["numbers"]:
        return "-"
    value = line["numbers"][key]
    if value is None:
        if line.get("unfinished"):
            reasons[f"{label}: {line['unfinished']}"] = None
        return "**not done**"
    lost = line["numbers"].get("lost")
    return number(value) + (f" (**{lost:.0f} lost**)" if lost else "")
