"""What is told of a random world."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

__all__ = ["RARE", "RareWalks", "Summary"]

RARE: Final = (
    "asked_again",
    "asked_gone",
    "births_met",
    "dirty_repaired",
    "gap_link",
    "gap_shared",
    "indirect",
    "lagging_repaired",
    "late_frame",
    "live",
    "picked_again",
    "pull_many_frames",
    "pull_moved",
    "purged",
    "refuted",
    "relay_admitted",
    "returned",
    "scope_closed_unheard",
    "slept",
    "stubborn",
    "sums",
    "suspect_passed",
)
"""The rare paths: the counters of the engine, and of the script, that a batch must move."""


@dataclass(slots=True)
class Summary:
    """One world in a nutshell."""

    seed: int
    nodes: int
    steps: int = 0
    ops: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    topology: str = ""
    converged: bool = False
    converged_after_s: float = 0.0  # invented seconds since the last fault was mended
    lasted_s: float = 0.0  # invented seconds in all
    counters: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    failure: str = ""
    replay: str = ""
    trace: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "trace"}


class RareWalks:
    """How often a batch of worlds walked each rare path, and in how many of them."""

    def __init__(self) -> None:
        self.times = dict.fromkeys(RARE, 0)
        self.worlds = dict.fromkeys(RARE, 0)

    def add(self, summary: Summary) -> None:
        """Count one world."""
        for path in RARE:
            times = summary.counters.get(path, 0)
            self.times[path] += times
            self.worlds[path] += times > 0

    def __str__(self) -> str:
        return ", ".join(f"{path} x{self.times[path]} in {self.worlds[path]}" for path in RARE)
