"""The table as bars, if matplotlib is there (extra `bench`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module, util
from pathlib import Path
from typing import Any

from benchmarks.peers.systems import OURS
from benchmarks.peers.table import LINES

__all__ = ["draw"]


def draw(lines: Iterable[Mapping[str, Any]], out: Path) -> bool:
    """One panel a line of the table, log scale, into `out`; False without matplotlib."""
    if util.find_spec("matplotlib") is None:
        return False
    import_module("matplotlib").use("Agg")
    plt = import_module("matplotlib.pyplot")
    cells: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for line in lines:
        cells.setdefault((line["benchmark"], line["case"]), {})[line["system"]] = line
    panels = []
    for row in LINES:
        of = cells.get((row.question, row.case), {})
        bars = {name: (line.get("numbers") or {}).get(row.key) for name, line in of.items()}
        known = {name: value for name, value in bars.items() if value}
        if known:
            panels.append((row.label, known))
    if not panels:
        return False
    columns = 4
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(20, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (label, bars) in zip(axes.flat, panels, strict=False):
        colours = [_colour(name) for name in bars]
        axis.barh(list(bars), list(bars.values()), color=colours, log=True)
        axis.invert_yaxis()
        axis.set_title(label, fontsize=9)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)
    return True


def _colour(name: str) -> str:
    if name == OURS:
        return "#d95f02"
    return "#999999" if name.startswith("bare") else "#7570b3"
