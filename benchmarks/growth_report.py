"""The lines of `benchmarks.growth` as a page and as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module, util
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.table import combined_facts, machine

__all__ = ["draw", "markdown"]

Rows = Sequence[Mapping[str, Any]]

SECTIONS: Final = {
    "nodes": "Against nodes: processes on one machine",
    "simulated_nodes": "Against nodes: the engine and the codec on invented time",
    "channels": "Against channels, of one member each, two nodes",
    "members": "Against memberships, two nodes",
    "churn_per_s": "Against churn: joins and leaves a second on one of five nodes",
    "changes": "Heals: what two sides send each other after 1 % changed",
}
"""The key that a kind of line has, and what its section is called; the first that fits."""

_HIDDEN: Final = {"benchmark", "case", "facts"}
_NOT_DRAWN: Final = {"took_cpu_s", "seen_by_all"}


def sections(lines: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """The lines by the key that they grow with."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        kind = next(key for key in SECTIONS if key in line)
        found.setdefault(kind, []).append(line)
    return {kind: found[kind] for kind in SECTIONS if kind in found}


def markdown(lines: Rows) -> str:
    """A table a kind."""
    said = ["# What one more costs", "", machine(combined_facts(lines))]
    said += [
        "",
        "Bytes are those of our frames, without ZMTP, TCP and IP. Where a line says nothing",
    ]
    said += ["else, a cost is that of all nodes together: of one join, one publication.", ""]
    for kind, rows in sections(lines).items():
        keys = list(dict.fromkeys(key for row in rows for key in row if key not in _HIDDEN))
        heads = ["case", *(key.replace("_", " ") for key in keys)]
        said += [f"## {SECTIONS[kind]}", "", "| " + " | ".join(heads) + " |"]
        said += ["|---" * len(heads) + "|"]
        said += [
            "| " + " | ".join([row["case"], *(_cell(row.get(key)) for key in keys)]) + " |"
            for row in rows
        ]
        said += [""]
    return "\n".join(said)


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def draw(lines: Rows, out: Path) -> bool:
    """Cost against size, a panel a kind of cost; False without matplotlib."""
    if util.find_spec("matplotlib") is None:
        return False
    panels = []
    for kind, rows in sections(lines).items():
        if kind == "changes" or len(rows) < 2:
            continue
        keys = [key for key in rows[0] if key not in _HIDDEN | _NOT_DRAWN | {kind}]
        panels += [(kind, key, rows) for key in keys]
    if not panels:
        return False
    import_module("matplotlib").use("Agg")
    plt = import_module("matplotlib.pyplot")
    columns = 4
    height = -(-len(panels) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(18, 3.2 * height), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (kind, key, rows) in zip(axes.flat, panels, strict=False):
        axis.plot([row[kind] for row in rows], [row[key] for row in rows], "o-")
        axis.set_xlabel(kind.replace("_", " "), fontsize=8)
        axis.set_title(key.replace("_", " "), fontsize=9)
        axis.set_ylim(bottom=0)
        if kind in {"members", "channels"}:
            axis.set_xscale("log")
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)
    return True
