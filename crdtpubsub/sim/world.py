"""A cluster in one thread on invented time: real engines, real codec, a network that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

from crdtpubsub.config import Config
from crdtpubsub.engine.events import (
    CloseScope,
    Declare,
    DeleteChannel,
    Flush,
    Join,
    Leave,
    LinkDown,
    LinkRefused,
    LinkUp,
    OpenScope,
    SayGoodbye,
)
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.sim.checks import Checks
from crdtpubsub.sim.faults import CALM, CutMode, Weather
from crdtpubsub.sim.network import Flight, Link, Network
from crdtpubsub.sim.process import Process
from crdtpubsub.wire.messages import Publication

__all__ = ["Sent", "World"]

_DIAL_S: Final = 0.001
_REDIAL_MAX_S: Final = 5.0
_SEEDS: Final = 2  # the first nodes are everybody's seeds

Group = int | Iterable[int]


class Sent(tuple[int, int, int]):
    """`(owners it was sent to, owners without a link, local members)` of a publication."""

    __slots__ = ()


class World:
    """Nodes, numbered from 0, and everything that happens to them, in one order per seed.

    Time is `now`, in seconds, and moves only in `run_for` and its relatives.
    """

    def __init__(
        self,
        seed: int,
        nodes: int = 5,
        loss: float = 0.0,
        *,
        weather: Weather | None = None,
        config: Config | None = None,
        trace: bool = False,
        settle: bool = False,
    ) -> None:
        """Start `nodes` processes; with `settle`, run until each lists all."""
        self.seed = seed
        self.now = 0.0
        self.dice = Random(seed)
        self.config = config or Config()
        if weather is None:
            weather = Weather(loss=loss) if loss else CALM
        self.network = Network(Random(self.dice.getrandbits(64)), weather)
        self.checks = Checks(self)
        self.slots: list[Process] = []  # the newest life of each node, running or not
        self.lives: list[Process] = []
        self.trace: list[str] | None = [] if trace else None
        self.steps = 0
        self._ports: list[int] = []
        self._listening: dict[str, Process] = {}
        self._vanished: set[int] = set()
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0
        self._hash = blake2b(digest_size=16)
        for _ in range(nodes):
            self.add_node()
        if settle:
            self.run_until_quiet()

    # ---------------------------------------------------------------- nodes

    def add_node(self) -> int:
        """A further node starts; its number is returned."""
        self._ports.append(7400)
        self.slots.append(self._start(len(self.slots)))
        return len(self.slots) - 1

    def _start(self, index: int) -> Process:
        node = NodeId(f"{self.dice.getrandbits(128):032x}")
        process = Process(
            self,
            index,
            node,
            endpoint=self._endpoint(index),
            seeds=tuple(self._endpoint(s) for s in range(min(_SEEDS, len(self._ports)))),
            config=self.config,
            dice=Random(self.dice.getrandbits(64)),
            clock_behind=self.now - self.dice.uniform(10.0, 1e6),
        )
        self.lives.append(process)
        self._listening[process.endpoint] = process
        self._vanished.discard(index)
        self.say(index, f"starts as {node[:6]}")
        self.checks.started(process)
        process.perform()
        return process

    def _endpoint(self, index: int) -> str:
        return f"tcp://10.0.{index // 250}.{index % 250 + 1}:{self._ports[index]}"

    def running(self) -> list[Process]:
        """The processes that run now."""
        return [process for process in self.slots if process.running]

    def crash(self, i: int) -> None:
        """The process dies at once; its host answers, and refuses."""
        process = self._stop(i, "crashes")
        for link in self._links_to(process):
            self._break(link, refused=True)

    def vanish(self, i: int) -> None:
        """The host is gone without a word."""
        self._stop(i, "vanishes")
        self._vanished.add(i)

    def goodbye(self, i: int) -> None:
        """The node leaves properly."""
        process = self.slots[i]
        process.feed(SayGoodbye())
        self.checks.gone(process)
        self.later(0.05, self._after_goodbye, process)

    def _after_goodbye(self, process: Process) -> None:
        if process.running:
            self.crash(process.index)

    def restart(self, i: int, *, new_port: bool = False) -> None:
        """Another life of node `i` starts on the same endpoint, or another one."""
        if self.slots[i].running:
            self.crash(i)
        if new_port:
            self._ports[i] += 1
        self.slots[i] = self._start(i)

    def _stop(self, i: int, how: str) -> Process:
        process = self.slots[i]
        assert process.running, f"node {i} does not run"
        self.say(i, how)
        process.running = False
        if self._listening.get(process.endpoint) is process:
            del self._listening[process.endpoint]
        for link in process.links.values():
            link.closed = True  # what was sent is sent
        self.checks.gone(process)
        return process

    def pause(self, i: int, *, clock_stands: bool = False) -> None:
        """The process stops where it is; with `clock_stands` the whole host sleeps."""
        self.say(i, "pauses")
        self.slots[i].paused = True
        self.slots[i].slept_at = self.now if clock_stands else None

    def resume(self, i: int, *, frames_first: bool = True) -> None:
        """The process goes on."""
        process = self.slots[i]
        if process.running and process.paused:
            self.say(i, "resumes")
            if process.slept_at is not None:
                process.clock_behind += self.now - process.slept_at
            process.resume(frames_first=frames_first)

    # ---------------------------------------------------------------- what applications do

    def join(
        self,
        i: int,
        channel: str,
        client: str | None = None,
        *,
        meta: bytes | None = None,
        group: str = "",
        scope: str = DEFAULT_SCOPE,
    ) -> int:
        """A client of node `i` becomes a member, or is updated."""
        client = f"client-{i}" if client is None else client
        process = self.slots[i]
        with self.checks.joining(process, scope, channel, client, meta):
            return process.feed(Join(scope, channel, client, group, meta))

    def update(self, i: int, channel: str, client: str, meta: bytes) -> int:
        """A member of node `i` gets other metadata."""
        return self.join(i, channel, client, meta=meta)

    def leave(
        self, i: int, channel: str, client: str | None = None, *, scope: str = DEFAULT_SCOPE
    ) -> int:
        """A client of node `i` leaves through its own handle."""
        client = f"client-{i}" if client is None else client
        process = self.slots[i]
        self.checks.leaving(process, scope, channel, client)
        return process.feed(Leave(scope, channel, process.node, client, by_client=True))

    def remove(
        self, i: int, channel: str, owner: NodeId, client: str, *, scope: str = DEFAULT_SCOPE
    ) -> int:
        """Node `i` ends somebody's membership, wherever the client lives."""
        process = self.slots[i]
        self.checks.removing(process, scope, channel, owner, client)
        return process.feed(Leave(scope, channel, owner, client, by_client=False))

    def add_channel(self, i: int, channel: str, *, scope: str = DEFAULT_SCOPE) -> int:
        """Node `i` declares a channel."""
        process = self.slots[i]
        with self.checks.joining(process, scope, channel, "", None):
            return process.feed(Declare(scope, channel))

    def del_channel(self, i: int, channel: str, *, scope: str = DEFAULT_SCOPE) -> int:
        """Node `i` deletes a channel, as far as it has seen it."""
        process = self.slots[i]
        self.checks.deleting(process, scope, channel)
        return process.feed(DeleteChannel(scope, channel))

    def open_scope(self, i: int, scope: str) -> None:
        """Node `i` takes part in an overlay."""
        self.checks.opening(self.slots[i], scope)
        self.slots[i].feed(OpenScope(scope))

    def close_scope(self, i: int, scope: str) -> None:
        """Node `i` leaves an overlay."""
        self.checks.closing(self.slots[i], scope)
        self.slots[i].feed(CloseScope(scope))

    def publish(self, i: int, channel: str, payload: bytes, *, scope: str = DEFAULT_SCOPE) -> Sent:
        """Node `i` publishes; what the receipt would say is returned."""
        process = self.slots[i]
        process.feed(Flush(scope))
        route = process.engine.route(scope, channel)
        process.publish(route, Publication(scope, channel, payload))
        return Sent((len(route.endpoints), len(route.unlinked), len(route.clients)))

    def members(
        self, i: int, channel: str, *, scope: str = DEFAULT_SCOPE, include_down: bool = False
    ) -> frozenset[str]:
        """The view of node `i`: `client@owner`, owners by number."""
        found = self.slots[i].engine.members(scope, channel, include_down=include_down)
        return frozenset(f"{client}@{self.number(owner)}" for owner, client, *_ in found)

    def views(self, channel: str, *, scope: str = DEFAULT_SCOPE) -> set[frozenset[str]]:
        """The different views of a channel; one, if all running nodes agree."""
        return {self.members(p.index, channel, scope=scope) for p in self.running()}

    def number(self, node: NodeId) -> int:
        """Which node this is, or was, a life of."""
        return self.checks.index_of[node]

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
                    self._break(link, refused=mode is CutMode.REJECT)

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
                self._break(link, refused=False)

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
        self.at(at, self._arrive, self._count, flight)
        flight.link.flights[self._count - 1] = flight

    def _arrive(self, number: int, flight: Flight) -> None:
        link, peer = flight.link, flight.peer
        link.flights.pop(number, None)
        if flight.lost or not self.network.passes(link.owner.index, peer.index):
            return
        if peer.running:
            self._hash.update(b"%d %r " % (peer.index, self.now) + flight.data)
            if self.trace is not None:
                self.say(peer.index, f"< {link.owner.index} {len(flight.data)} bytes")
            peer.receive(flight.data)
        elif link.peer is peer and peer.index not in self._vanished:
            # The host is there and does not know this connection: it resets it.
            self._break(link, refused=peer.endpoint not in self._listening)

    def dial_later(self, link: Link, seconds: float) -> None:
        """Dial after a while, unless something else happens to the link first."""
        link.dials += 1
        self.later(seconds, self._dial, link, link.dials)

    def _dial(self, link: Link, number: int) -> None:
        if link.closed or number != link.dials:
            return
        target = self._listening.get(link.endpoint)
        me = link.owner
        if target is None or not self.network.passes(me.index, target.index):
            self.dial_later(link, link.redial_s)
            link.redial_s = min(2 * link.redial_s, _REDIAL_MAX_S)
            return
        me.feed(LinkUp(link.endpoint, me.connected(link, target)))

    def _break(self, link: Link, *, refused: bool) -> None:
        if link.closed or link.peer is None:
            return
        link.peer = None
        link.outbox.clear()
        self.later(0.001, link.owner.feed, LinkDown(link.endpoint))
        if refused:
            self.later(0.002, link.owner.feed, LinkRefused(link.endpoint))
        self.dial_later(link, link.redial_s)

    def close(self, link: Link) -> None:
        """The driver drops a link with whatever is queued."""
        link.closed = True

    def _all_links(self) -> list[Link]:
        return [link for process in self.running() for link in process.links.values()]

    def _links_to(self, peer: Process) -> list[Link]:
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

    def run_until(self, holds: Callable[[], bool], *, within: float, what: str = "") -> float:
        """Let time pass until `holds()`; say how long it took. Fails after `within` seconds."""
        start = self.now
        while not holds():
            if self.now - start >= within:
                self.checks.fail(f"not within {within} s: {what or holds.__name__}")
            self.run_for(0.25)
        return self.now - start

    def run_until_quiet(self, within: float = 120.0) -> float:
        """Let time pass until all running nodes agree with each other and with the journal."""
        start = self.now
        while (unequal := self.checks.unequal()) is not None:
            if self.now - start >= within:
                self.checks.fail(f"no convergence within {within} s: {unequal}")
            self.run_for(0.25)
        return self.now - start

    # ---------------------------------------------------------------- what happened

    def say(self, index: int, text: str) -> None:
        """Note a line in the trace, if one is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.now:10.4f} {'net' if index < 0 else index:>3} {text}")

    @property
    def digest(self) -> str:
        """A hash over every frame that arrived, where and when: one seed, one digest."""
        return self._hash.hexdigest()

    def counters(self) -> dict[str, int]:
        """How often rare paths fired, over all lives."""
        total: dict[str, int] = {}
        for process in self.lives:
            for name, count in process.engine.counters.items():
                total[name] = total.get(name, 0) + count
        return dict(sorted(total.items()))


def _group(nodes: Group) -> set[int]:
    return {nodes} if isinstance(nodes, int) else set(nodes)
