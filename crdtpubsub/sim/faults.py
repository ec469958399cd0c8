"""What may go wrong in a world: the weather on its links, and the kinds of accidents.

Swarm testing (Groce et al., ISSTA 2012): each world has only some kinds switched on. When all
are on at once they hide each other: a world that resets every link never builds up a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

__all__ = ["ALL_FAULTS", "CALM", "CutMode", "Fault", "Weather"]


class CutMode(StrEnum):
    """How a cut looks to whoever dials across it."""

    DROP = "drop"  # frames vanish, the connection stays: a cable pulled, a firewall that drops
    BREAK = "break"  # the connection breaks, redials go unanswered
    REJECT = "reject"  # the connection breaks, redials are refused: a firewall that rejects


class Fault(StrEnum):
    """One kind of accident."""

    CRASH = "crash"  # the process dies; its host refuses connections from then on
    VANISH = "vanish"  # the host is gone: silence
    RESTART = "restart"  # another life on the same endpoint
    INTRUDER = "intruder"  # for a while another life listens at the endpoint of one that runs
    MOVE = "move"  # another life of the same name on another port
    GOODBYE = "goodbye"
    LATE_JOINER = "late_joiner"
    PAUSE = "pause"  # a stalled loop: frames queue at its socket
    SLEEP = "sleep"  # the same, and its clock stands still
    PARTITION = "partition"
    CUT = "cut"
    ONE_WAY = "one_way"
    RESET = "reset"  # connections break and are made again: a suffix in flight is lost
    LATE = "late"  # the same, and what is not lost arrives after frames of the next link
    LAG = "lag"  # a peer reads nothing: its outbox overflows
    SCOPE = "scope"  # a scope is closed and, perhaps, opened again


ALL_FAULTS: Final = tuple(Fault)


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to single frames. TCP does only the delays; the rest is harsher than life."""

    delay_s: float = 0.0005
    jitter_s: float = 0.0005
    loss: float = 0.0
    duplicate: float = 0.0
    shuffle: float = 0.0  # a frame that others overtake

    @staticmethod
    def draw(dice: Random, *, loss: float | None = None) -> Weather:
        """The weather of a random world."""
        return Weather(
            delay_s=dice.choice((0.0003, 0.002, 0.02)),
            jitter_s=dice.choice((0.0002, 0.002, 0.03)),
            loss=dice.choice((0.0, 0.0, 0.02, 0.1)) if loss is None else loss,
            duplicate=dice.choice((0.0, 0.0, 0.05)),
            shuffle=dice.choice((0.0, 0.0, 0.03)),
        )


CALM: Final = Weather()
