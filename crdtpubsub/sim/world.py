"""A cluster in one thread on invented time: real engines, real codec, a network that fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

from crdtpubsub.config import Config
from crdtpubsub.crdt.intervals import EMPTY, Runs, union
from crdtpubsub.engine.events import (
    CloseScope,
    Declare,
    DeleteChannel,
    Flush,
    Join,
    Leave,
    OpenScope,
    SayGoodbye,
)
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.sim.ether import Ether
from crdtpubsub.sim.faults import CALM, Weather
from crdtpubsub.sim.process import Process
from crdtpubsub.wire.messages import Addressed, Publication

__all__ = ["Sent", "World"]


_REDIAL_MAX_S: Final = 5.0
_SEEDS: Final = 2  # the first nodes are everybody's seeds
_TOLD: Final = 16


class Sent(tuple[int, int, int]):
    """`(owners it was sent to, owners without a link, local members)` of a publication."""

    __slots__ = ()


class World(Ether):
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
        super().__init__(seed, weather or (Weather(loss=loss) if loss else CALM), trace=trace)
        self.config = config or Config()
        self.rare: Counter[str] = Counter()  # rare paths that only the script can see
        self.intruders: dict[int, Process] = {}
        self._ports: list[int] = []
        for _ in range(nodes):
            self.add_node()
        if settle:
            self.run_until_quiet()

    # ---------------------------------------------------------------- nodes

    def add_node(self, name: str | None = None) -> int:
        """A further node starts; its number is returned."""
        self._ports.append(7400)
        self.slots.append(self._start(len(self.slots), name))
        return len(self.slots) - 1

    def _start(self, index: int, name: str | None = None) -> Process:
        node = NodeId(f"{self.dice.getrandbits(128):032x}")
        process = Process(
            self,
            index,
            node,
            endpoint=self._endpoint(index),
            seeds=self._seeds(),
            config=self.config,
            dice=Random(self.dice.getrandbits(64)),
            name=name or f"node-{index}",
        )
        self.lives.append(process)
        self.listening[process.endpoint] = process
        self.vanished.discard(index)
        self.say(index, f"starts as {node[:6]}")
        self.checks.started(process)
        process.perform()
        return process

    def _seeds(self) -> tuple[str, ...]:
        """The first nodes, dead or not, and those that run: what a name service would say.

        All of them: who is told of one node only, and is cut from that one for ever, is alone
        (seed 571).
        """
        first = [self._endpoint(s) for s in range(min(_SEEDS, len(self._ports)))]
        running = [process.endpoint for process in self.running()[:_TOLD]]
        return tuple(dict.fromkeys(first + running))

    def _endpoint(self, index: int) -> str:
        return f"tcp://10.0.{index // 250}.{index % 250 + 1}:{self._ports[index]}"

    def crash(self, i: int) -> None:
        """The process dies at once; its host answers, and refuses."""
        process = self._stop(i, "crashes")
        for link in self.links_to(process):
            self.break_link(link, refused=True)

    def vanish(self, i: int) -> None:
        """The host is gone without a word."""
        self._stop(i, "vanishes")
        self.vanished.add(i)

    def goodbye(self, i: int) -> None:
        """The node leaves properly."""
        self.slots[i].feed(SayGoodbye())
        self.crash(i)

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
        self.expel(i)
        self.say(i, how)
        process.running = False
        if self.listening.get(process.endpoint) is process:
            del self.listening[process.endpoint]
        for link in process.links.values():
            link.closed = True  # what was sent is sent
        self.checks.gone(process)
        return process

    def intrude(self, i: int) -> None:
        """Another life listens at the endpoint of node `i`, which runs on, undialled."""
        self.expel(i)
        victim = self.slots[i]
        self.intruders[i] = self._start(i, f"intruder-{i}")
        for link in self.links_to(victim):
            self.break_link(link, refused=False)

    def expel(self, i: int) -> None:
        """The intruder at the endpoint of node `i`, if any, dies; the node listens again."""
        intruder = self.intruders.pop(i, None)
        if intruder is None:
            return
        self.say(i, f"expels {intruder.node[:6]}")
        intruder.running = False
        if self.listening.get(intruder.endpoint) is intruder:
            self.listening[intruder.endpoint] = self.slots[i]
        for link in intruder.links.values():
            link.closed = True
        self.checks.gone(intruder)
        for link in self.links_to(intruder):
            self.break_link(link, refused=False)

    def gap_shared(self, life: NodeId) -> bool:
        """Whether births of that life are missing between those that its survivors have seen."""
        sets = [p.engine.set_of(DEFAULT_SCOPE) for p in self.running() if p.node != life]
        seen: Runs = EMPTY
        for members in sets:
            seen = union(seen, members.seen(life))
        return len(seen) > 2

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
        with self.checks.joining(process, scope, channel, client):
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
        with self.checks.joining(process, scope, channel, ""):
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

    def ask(
        self,
        i: int,
        channel: str,
        payload: bytes,
        *,
        confirm_s: float,
        scope: str = DEFAULT_SCOPE,
    ) -> tuple[int, tuple[NodeId, ...]]:
        """Node `i` publishes and wants answers: the counter, and the other owners it asks.

        What they answered is in `slots[i].settled[counter]`.
        """
        process = self.slots[i]
        process.feed(Flush(scope))
        route = process.engine.route(scope, channel)
        owners = (*(owner for owner, _ in route.links), *route.unlinked)
        message = Addressed(0, scope, channel, "", payload)
        return process.ask(message, owners, confirm_s), owners

    def members(
        self, i: int, channel: str, *, scope: str = DEFAULT_SCOPE, include_down: bool = False
    ) -> frozenset[str]:
        """The view of node `i`: `client@owner`, owners by number."""
        found = self.slots[i].engine.members(scope, channel, include_down=include_down)
        return frozenset(f"{client}@{self.number(owner)}" for owner, client, *_ in found)

    def views(self, channel: str, *, scope: str = DEFAULT_SCOPE) -> set[frozenset[str]]:
        """The different views of a channel; one, if all running nodes agree."""
        return {self.members(p.index, channel, scope=scope) for p in self.running()}

    def states(self, i: int) -> dict[int, str]:
        """What node `i` holds of the others' newest lives, by number."""
        newest = {p.node for p in self.slots}
        return {
            self.number(peer.node): str(peer.state)
            for peer in self.slots[i].engine.peers()
            if peer.node in newest
        }

    def exits(self, channel: str) -> list[str]:
        """Every Exit there was in a channel, as `client@owner`, sorted."""
        return sorted(
            f"{e.client}@{p.index}" for p in self.lives for e in p.exits if e.channel == channel
        )

    def number(self, node: NodeId) -> int:
        """Which node this is, or was, a life of."""
        return self.checks.index_of[node]

    # ---------------------------------------------------------------- time

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

    def counters(self) -> dict[str, int]:
        """How often rare paths fired, over all lives."""
        total: dict[str, int] = dict(self.rare)
        for process in self.lives:
            for name, count in process.engine.counters.items():
                total[name] = total.get(name, 0) + count
        return dict(sorted(total.items()))
