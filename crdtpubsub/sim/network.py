"""Links on invented time: who reaches whom, and what becomes of a frame on its way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Final

from crdtpubsub.engine.outbox import Outbox
from crdtpubsub.sim.faults import CutMode, Weather

if TYPE_CHECKING:
    from crdtpubsub.sim.process import Process

__all__ = ["REDIAL_MIN_S", "Flight", "Link", "Network"]

REDIAL_MIN_S: Final = 0.1


@dataclass(slots=True, eq=False)
class Flight:
    """A frame on its way."""

    link: Link
    peer: Process
    data: bytes
    lost: bool = False


@dataclass(slots=True, eq=False)
class Link:
    """One DEALER of a process: it dials an endpoint until told to stop. Frames go one way."""

    owner: Process
    endpoint: str
    outbox: Outbox
    peer: Process | None = None  # the process it is connected to; None: no connection
    stalled: bool = False  # the peer reads nothing
    closed: bool = False
    redial_s: float = REDIAL_MIN_S
    dials: int = 0  # invalidates the dial that is under way
    last_arrival: float = 0.0
    flights: dict[int, Flight] = field(default_factory=dict)


class Network:
    """The ether between hosts, which are numbered like the nodes of the world."""

    def __init__(self, dice: Random, weather: Weather) -> None:
        self._dice = dice
        self.weather = weather
        self.cuts: dict[tuple[int, int], CutMode] = {}  # (from, to)

    def passes(self, a: int, b: int) -> bool:
        """Whether frames and dials get from host `a` to host `b`."""
        return (a, b) not in self.cuts

    def rejects(self, a: int, b: int) -> bool:
        """Whether a dial from `a` to `b` is refused at once."""
        return self.cuts.get((a, b)) is CutMode.REJECT

    def hops(self, a: int, hosts: Iterable[int]) -> dict[int, int]:
        """How far from `a` the other hosts are, counting only links that work both ways."""
        far = {a: 0}
        edge = [a]
        left = sorted(set(hosts) - {a})
        while edge:
            near = [(x, y) for x in edge for y in left if self.passes(x, y) and self.passes(y, x)]
            for x, y in near:
                far.setdefault(y, far[x] + 1)
            edge = [y for y in left if y in far]
            left = [y for y in left if y not in far]
        return far

    def cut(self, pairs: Iterable[tuple[int, int]], mode: CutMode) -> list[tuple[int, int]]:
        """Cut these directions; say which are newly cut."""
        new = [pair for pair in pairs if pair not in self.cuts and pair[0] != pair[1]]
        for pair in new:
            self.cuts[pair] = mode
        return new

    def heal(self, pairs: Iterable[tuple[int, int]] | None = None) -> None:
        """Restore these directions, or all."""
        for pair in list(self.cuts) if pairs is None else pairs:
            self.cuts.pop(pair, None)

    def calm(self) -> None:
        """Loss, repeats and overtaking stop; delays stay."""
        self.weather = replace(self.weather, loss=0.0, duplicate=0.0, shuffle=0.0)

    def arrivals(self, link: Link, to: int, now: float) -> list[float]:
        """When a frame sent now arrives: never, once, or more than once."""
        if not self.passes(link.owner.index, to):
            return []
        weather, dice = self.weather, self._dice
        if weather.loss and dice.random() < weather.loss:
            return []
        at = now + weather.delay_s + weather.jitter_s * dice.random()
        if weather.shuffle and dice.random() < weather.shuffle:
            return [at + 20 * weather.delay_s + 0.5 * dice.random()]
        # TCP keeps the order of a connection.
        at = link.last_arrival = max(at, link.last_arrival)
        if weather.duplicate and dice.random() < weather.duplicate:
            return [at, at + 0.3 * dice.random()]
        return [at]
