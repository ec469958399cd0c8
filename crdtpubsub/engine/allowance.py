"""What one peer may make this node do for a few bytes.

Most of what a peer says costs what it weighs, and its link's credit bounds that. Some questions
do not: a PULL of 60 bytes is answered with 1 600 births. Each peer has an allowance for those.
Beyond it a question is dropped and counted; whoever asks honestly asks again a round later, and
gossip repairs what was not answered. Knows neither lives nor links.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crdtpubsub.wire.messages import Deltas, Live, Message, Rows, Sums

__all__ = ["BURST", "PER_S", "PROBE_FOR_COST", "Allowance", "cost"]

PER_S: Final = 100_000
"""Units given back each second. A unit is a birth, a row or a sum said: some 2 us, so that one
peer takes at most a fifth of a core for long."""

BURST: Final = 500_000
"""Units at the start: a node that comes new may pull so many births from one peer at once."""

PROBE_FOR_COST: Final = 2_000
"""A request to probe is passed on at most 50 times a second."""


class Allowance:
    """Units left; answers are charged after the fact, so it may be overdrawn by one answer."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = float("-inf")

    def allows(self, now: float) -> bool:
        """Whether there is something left at `now`."""
        if self._left < BURST:
            self._left = min(self._left + (now - self._at) * PER_S, BURST)
        self._at = now
        return self._left > 0

    def spend(self, units: int) -> None:
        """Charge an answer."""
        self._left -= units


def cost(messages: Iterable[Message]) -> int:
    """The units of an answer; each message costs ten, whatever is in it."""
    units = 0
    for message in messages:
        units += 10
        match message:
            case Deltas():
                for delta in message.deltas:
                    units += sum(map(len, delta.entries.values())) + len(delta.runs)
            case Live():
                units += len(message.births) + len(message.runs)
            case Rows():
                units += 1 if message.rows is None else 2 * len(message.rows)
            case Sums():
                units += 4 * len(message.sums)
            case _:
                pass
    return units
