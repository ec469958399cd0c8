"""Did anything get slower? Ratios to bare ZeroMQ in the same run, in a file for each release.

Sketch    Seven figures, ours and the floor in turn, three times: under two minutes.
Setup     As `benchmarks.peers`, whose questions these are, in smaller cases.
Measures  Of each figure the ratio in each repeat: its median, and the ends as noise.
Excludes  Absolute figures: they are those of the machine.
Compares  Ours with the floor; with --compare, two files.
Run       python -m benchmarks.regress --out docs/benchmarks/releases/0.1.0.json
          python -m benchmarks.regress --compare OLD.json NEW.json
Prints    A line a figure; with --compare what got worse beyond noise, and exit code 1 if anything.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.common import facts, parser
from benchmarks.peers.questions import (
    Numbers,
    join_seen,
    latency,
    members_read,
    memberships,
    throughput,
)

_PROJECT: Final = Path(__file__).resolve().parent.parent / "pyproject.toml"
VERSION: Final[str] = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"]

MARGIN: Final = 0.10
"""What two runs of one commit differ by on a good day."""

FIGURES: Final[dict[str, tuple[Any, tuple[Any, ...], str, str, str]]] = {
    "throughput 1->1 100 B": (throughput, (1, 100), "bare-batched", "per_s", "higher"),
    "throughput 1->4 100 B": (throughput, (4, 100), "bare-batched", "per_s", "higher"),
    "throughput 1->1 4 KiB": (throughput, (1, 4096), "bare-batched", "per_s", "higher"),
    "latency p50": (latency, (1000.0, 100, 1000), "bare", "p50_us", "lower"),
    "join seen p50": (join_seen, (50, 0.012), "bare", "join_p50_us", "lower"),
    "20,000 joins seen": (memberships, (1, 20_000), "bare", "seconds", "lower"),
    "members() of 1,000": (members_read, (0.4,), "bare", "thousand_per_s", "higher"),
}
"""What is asked, of which floor, which number of it, and which way is better."""

Release = dict[str, Any]


def figure(ratios: Sequence[float], better: str) -> dict[str, Any]:
    """The ratio of a figure over the repeats."""
    return {
        "ratio": round(median(ratios), 4),
        "low": round(min(ratios), 4),
        "high": round(max(ratios), 4),
        "better": better,
    }


def measured(repeat: int) -> Release:
    """Everything, ours and the floor in turn."""
    figures: dict[str, Any] = {}
    lost = 0.0
    for name, (ask, args, floor, key, better) in FIGURES.items():
        ratios = []
        for _ in range(repeat):
            ours: Numbers = ask("ours", *args)
            beside: Numbers = ask(floor, *args)
            lost += ours.get("lost") or 0
            ratios.append(float(ours[key] or 0) / float(beside[key] or 1))
        figures[name] = figure(ratios, better)
        _say(f"{name}: {figures[name]['ratio']} of {floor}, {better} is better")
    return {"version": VERSION, "lost": lost, "figures": figures, "facts": facts()}


def worse(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What got worse by more than a tenth and the noise of both; a sentence each.

    Noise is the distance of the median from its own farther end: one bad repeat of three
    makes a figure say little, and it is then asked again rather than believed.
    """
    said = []
    for name, before in old["figures"].items():
        after = new["figures"].get(name)
        if after is None:
            said.append(f"{name}: not measured any more")
            continue
        change = after["ratio"] / before["ratio"] - 1
        if before["better"] == "higher":
            change = -change
        noise = max(MARGIN, _noise(before) + _noise(after))
        if change > noise:
            said.append(
                f"{name}: {before['ratio']} became {after['ratio']}, "
                f"{change:.0%} worse where {noise:.0%} is noise"
            )
    if new["lost"]:
        said.append(f"messages lost: {new['lost']:.0f}")
    return said


def _noise(of: Mapping[str, Any]) -> float:
    return float(max(of["high"] - of["ratio"], of["ratio"] - of["low"]) / of["ratio"])


def _say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> int:
    cli = parser(__doc__)
    cli.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"))
    cli.add_argument("--out", type=Path, help=f"docs/benchmarks/releases/{VERSION}.json")
    cli.add_argument("--repeat", type=int, default=3)
    args = cli.parse_args()
    if args.compare:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in args.compare)
        found = worse(old, new)
        for line in found or ["nothing got worse beyond noise"]:
            _say(line)
        return int(bool(found))
    out: Path = args.out or Path(f"docs/benchmarks/releases/{VERSION}.json")
    release = measured(args.repeat)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(release, indent=1) + "\n", encoding="utf-8")
    _say(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
