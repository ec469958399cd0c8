"""What is told of a random world."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Summary"]


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
