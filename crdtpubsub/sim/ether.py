"""The ground under a world: invented time, the links, and how they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from struct import Struct
from typing import Any, Final

from crdtpubsub.engine.events import LinkDown, LinkRefused, LinkUp
from crdtpubsub.sim.checks import Checks
from crdtpubsub.sim.faults import CutMode, Weather
from crdtpubsub.sim.network import REDIAL_MIN_S, Flight, Link, Network
from crdtpubsub.sim.process import Process
from crdtpubsub.wire.decode import Bodies

__all__ = ["Ether", "Group"]

_REDIAL_MAX_S: Final = 5.0
_FRAMES_A_SECOND_MAX: Final = 4000  # a node; random worlds see some hundred
_WHERE_AND_WHEN: Final = Struct("<Id")

Group = int | Iterable[int]


class Ether:
    """Everything between the processes. Time is `now`, in seconds; it moves in `run_for` alone."""

    def __init__(self, seed: int, weather: Weather, *, trace: bool) -> None:
        self.seed = seed
        self.now = 0.0
        self.dice = Random(seed)
        self.network = Network(Random(self.dice.getrandbits(64)), weather)
        self.checks = Checks(self)
        self.slots: list[Process] = []  # the newest life of each node, running or not
        self.lives: list[Process] = []
        self.listening: dict[str, Process] = {}
        self.vanished: set[int] = set()
        self.trace: list[str] | None = [] if trace else None
        self.steps = 0
        self.bodies = Bodies()
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0
        self._second, self._arrived = -1, 0
        self._hash = blake2b(digest_size=16)

    def running(self) -> list[Process]:
        """The processes that run now."""
        return [process for process in self.slots if process.running]

    # ---------------------------------------------------------------- the network fails

    def partition(self, a: Group, b: Group | None = None, *, mode: CutMode = CutMode.DROP) -> None:
        """Cut all between `a` and `b` (everybody else), both ways."""
        left = _group(a)
        right = _group(b) if b is not None else set(range(len(self.slots))) - left
        self.cut(left, right, mode=mode)

    def cut(
        self, a: Group, b: Group, *, one_way: bool = False, mode: CutMode = CutMode.DROP
    ) -> None:
        """Cut from `a` to `b` and, unless `one_way`, back."""
        pairs = [(x, y) for x in sorted(_group(a)) for y in sorted(_group(b))]
        if not one_way:
            pairs += [(y, x) for x, y in pairs]
        self.say(-1, f"cut {mode.value} {pairs}")
        new = set(self.network.cut(pairs, mode))
        for link in self._all_links():
            if link.peer is not None and (link.owner.index, link.peer.index) in new:
                for flight in link.flights.values():
                    flight.lost = True
                if mode is not CutMode.DROP:
                    self.break_link(link, refused=mode is CutMode.REJECT)

    def heal(self, *, keep: Iterable[tuple[int, int]] = ()) -> None:
        """Undo every cut but those in `keep`."""
        kept = set(keep)
        self.say(-1, "heal")
        self.network.heal([pair for pair in self.network.cuts if pair not in kept])

    def reset(self, i: int, j: int, *, late_s: float = 0.0) -> None:
        """The connection from `i` to `j` breaks; a suffix of what is in flight is lost.

        With `late_s` the rest arrives that much later, after frames of the next connection.
        """
        for link in self._all_links():
            if link.owner.index == i and link.peer is not None and link.peer.index == j:
                flights = list(link.flights.values())
                kept = self.dice.randint(0, len(flights))
                for number, flight in enumerate(flights):
                    if number >= kept or late_s:
                        flight.lost = True
                    if number < kept and late_s:
                        self._fly(Flight(link, flight.peer, flight.data), self.now + late_s)
                self.break_link(link, refused=False)

    def lag(self, i: int, j: int) -> None:
        """Node `j` reads nothing of what `i` sends: the outbox fills."""
        for link in self.slots[i].links.values():
            if link.endpoint == self.slots[j].endpoint:
                link.stalled = True

    def unlag(self) -> None:
        """Everybody reads again."""
        for link in self._all_links():
            if link.stalled:
                link.stalled = False
                link.owner.drain(link)

    def send(self, link: Link, data: bytes) -> None:
        """A frame goes out on a connection."""
        assert link.peer is not None
        for at in self.network.arrivals(link, link.peer.index, self.now):
            self._fly(Flight(link, link.peer, data), at)

    def _fly(self, flight: Flight, at: float) -> None:
        number = self._count
        self.at(at, self._arrive, number, flight)
        flight.link.flights[number] = flight

    def _arrive(self, number: int, flight: Flight) -> None:
        link, peer = flight.link, flight.peer
        link.flights.pop(number, None)
        if flight.lost or not self.network.passes(link.owner.index, peer.index):
            return
        if peer.running:
            self._guard_against_storms()
            self._hash.update(_WHERE_AND_WHEN.pack(peer.index, self.now) + flight.data)
            if self.trace is not None:
                self.say(peer.index, f"< {link.owner.index} {len(flight.data)} bytes")
            peer.receive(flight.data)
        elif link.peer is peer and peer.index not in self.vanished:
            # The host is there and does not know this connection: it resets it.
            self.break_link(link, refused=peer.endpoint not in self.listening)

    def _guard_against_storms(self) -> None:
        """What answers itself more than once never ends, and looks like a world that hangs."""
        second = int(self.now)
        if second != self._second:
            self._second, self._arrived = second, 0
        self._arrived += 1
        if self._arrived == _FRAMES_A_SECOND_MAX * len(self.slots):
            self.checks.fail(f"a storm: {self._arrived} frames arrived within one second")

    def dial_later(self, link: Link, seconds: float) -> None:
        """Dial after a while, unless something else happens to the link first."""
        link.dials += 1
        self.later(seconds, self._dial, link, link.dials)

    def _dial(self, link: Link, number: int) -> None:
        if link.closed or number != link.dials:
            return
        target = self.listening.get(link.endpoint)
        me = link.owner
        if target is None or not self.network.passes(me.index, target.index):
            self.dial_later(link, link.redial_s)
            link.redial_s = min(2 * link.redial_s, _REDIAL_MAX_S)
            return
        me.feed(LinkUp(link.endpoint, me.connected(link, target)))

    def break_link(self, link: Link, *, refused: bool) -> None:
        """A connection breaks; its owner hears of it, and of a refusal right after."""
        if link.closed or link.peer is None:
            return
        if refused:
            self.checks.suspicions.refused(link.owner.node, link.peer.node)
        link.peer = None
        link.outbox.clear()
        self.later(0.001, link.owner.feed, LinkDown(link.endpoint))
        if refused:
            self.later(0.002, link.owner.feed, LinkRefused(link.endpoint))
        self.dial_later(link, link.redial_s)

    def redial(self, link: Link) -> None:
        """The driver gives up a connection that hangs, and dials afresh."""
        link.redial_s = REDIAL_MIN_S
        if link.peer is not None:
            self.break_link(link, refused=False)
        else:
            self.dial_later(link, link.redial_s)

    def close(self, link: Link) -> None:
        """The driver drops a link with whatever is queued."""
        link.closed = True

    def _all_links(self) -> list[Link]:
        return [link for process in self.running() for link in process.links.values()]

    def links_to(self, peer: Process) -> list[Link]:
        """The connections to a process."""
        return [link for link in self._all_links() if link.peer is peer]

    # ---------------------------------------------------------------- time

    def at(self, when: float, action: Callable[..., Any], *arguments: Any) -> None:
        """Do something at that time."""
        heappush(self._heap, (when, self._count, action, arguments))
        self._count += 1

    def later(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> None:
        """Do something after that long."""
        self.at(self.now + seconds, action, *arguments)

    def run_for(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, action, arguments = heappop(heap)
            self.steps += 1
            action(*arguments)
        self.now = end

    # ---------------------------------------------------------------- what happened

    def say(self, index: int, text: str) -> None:
        """Note a line in the trace, if one is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.now:10.4f} {'net' if index < 0 else index:>3} {text}")

    @property
    def digest(self) -> str:
        """A hash over every frame that arrived, where and when: one seed, one digest."""
        return self._hash.hexdigest()


def _group(nodes: Group) -> set[int]:
    return {nodes} if isinstance(nodes, int) else set(nodes)
