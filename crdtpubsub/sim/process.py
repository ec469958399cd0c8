"""One life of a node: an engine, and the driver that performs its effects on invented time."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Final, assert_never

from crdtpubsub.config import Config
from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.effects import (
    Agreed,
    Bind,
    Changed,
    Connect,
    Deliver,
    DeliverRun,
    Disconnect,
    Effect,
    Exited,
    Gap,
    Greet,
    Limited,
    Noted,
    PeerChanged,
    Redial,
    Release,
    Replied,
    Send,
    Settled,
)
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.events import Event, LinkDrained, LinkLagging, Received, Tick
from crdtpubsub.engine.groups import InGroup
from crdtpubsub.engine.outbox import CONFIRMED, URGENT, Outbox, Sent
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.engine.slicing import slices
from crdtpubsub.errors import WireError
from crdtpubsub.names import NodeId
from crdtpubsub.sim.network import REDIAL_MIN_S, Link
from crdtpubsub.wire.codec import Assemblies, Decoder, Encoder, chunk, cluster_tag, frame
from crdtpubsub.wire.messages import (
    Ack,
    Addressed,
    Counted,
    Deltas,
    Echo,
    Frame,
    Header,
    Live,
    Message,
    Publication,
    RelayedAck,
    Reply,
    Request,
    Welcome,
)

if TYPE_CHECKING:
    from crdtpubsub.sim.ether import Ether

__all__ = ["CLUSTER", "Process"]

CLUSTER: Final = cluster_tag("sim")

_OUTBOX_BYTES: Final = 2048
"""So small that small worlds know lagging peers."""

_NEVER: Final = float("inf")
_TURN_S: Final = 0.0001  # a driver cannot turn its loop more often than this
_SPINS_MAX: Final = 500
_WRITES: Final = (Deltas, Live)
_ANSWERS: Final = (Welcome, Ack, Echo)


class Process:
    """A running node. What the real driver does with sockets and a clock, this does with a heap."""

    def __init__(
        self,
        world: Ether,
        index: int,
        node: NodeId,
        *,
        endpoint: str,
        seeds: tuple[str, ...],
        config: Config,
        dice: Random,
        name: str,
    ) -> None:
        self.world = world
        self.index = index
        self.node = node
        self.endpoint = endpoint
        self.config = config
        # The monotonic clocks of two hosts have nothing in common.
        self.clock_behind = world.now - world.dice.uniform(10.0, 1e6)
        self.running = True
        self.paused = False
        self.resumed_at: float | None = None
        self.slept_at: float | None = None  # since when its clock stands still
        self.links: dict[str, Link] = {}
        self.answered: set[NodeId] = set()  # lives that answered a frame of mine, or were relayed
        self.delivered: list[tuple[str, str, bytes]] = []  # (client, channel, payload)
        self.publications = Sent()
        self.full: set[str] = set()  # clients whose queues have no room
        self.settled: dict[int, dict[NodeId, tuple[Outcome, int]]] = {}  # what was asked
        self.gaps: dict[NodeId, int] = {}  # publications of others that never came
        self.asked: list[tuple[NodeId, Request]] = []  # requests that a client of mine got
        self.replies: list[tuple[NodeId, Reply]] = []  # that came, to whatever
        self.worked: list[tuple[str, str, bytes]] = []  # (group, client, payload): it was picked
        self.exits: list[Exited] = []
        self.changes: list[Changed] = []
        self.notes: list[Noted] = []
        self.entries_in = 0  # memberships that came in deltas, known before or not
        self.faulty_frames = 0
        self.bytes_sent = 0
        self.frames_sent = 0
        self.sent: dict[str, int] = {}  # records sent, by kind
        self._inbox: list[bytes | Event] = []
        self._links_made = 0
        self._encoder = Encoder()
        self._decoder = Decoder(CLUSTER, world.bodies)
        self._tick_at = _NEVER
        self._spins = 0
        self._spin_second = 0.0
        self.engine = Engine(
            node,
            name=name,
            endpoint=endpoint,
            seeds=seeds,
            config=config,
            dice=dice,
            now=self.clock(),
        )
        self.assemblies = Assemblies(
            node,
            self._decoder,
            config.assemblies_bytes_max,
            held=self.engine.listed,
            count=lambda what, _sender: self.engine.counters.update((what,)),
        )

    def clock(self) -> float:
        """What this host's monotonic clock shows."""
        return self.world.now - self.clock_behind

    # ---------------------------------------------------------------- in

    def feed(self, event: Event) -> int:
        """Hand one event to the engine, or keep it until the process runs again."""
        if not self.running:
            return 0
        if self.paused:
            self._inbox.append(event)
            return 0
        count = self.engine.handle(event, self.clock())
        self.perform()
        return count

    def receive(self, data: bytes) -> None:
        """A frame arrived at the socket."""
        if not self.running:
            return
        if self.paused:
            self._inbox.append(data)
            return
        try:
            arrived = self.assemblies.take(self._decoder.decode(data))
        except WireError:
            self.faulty_frames += 1
            return
        writes = self._look_at(arrived)
        size_bytes = len(data)
        now = self.clock()
        for part in slices(arrived, self.config.slice_births):
            self.engine.handle(Received(part, size_bytes), now)
            size_bytes = 0
            self.perform(writes=writes)

    def resume(self, *, frames_first: bool) -> None:
        """Run again. What queued at the socket is read before or after the timers fire."""
        self.paused, self.resumed_at = False, self.world.now
        inbox, self._inbox = self._inbox, []
        if not frames_first:
            self._tick_now()
        for item in inbox:
            if isinstance(item, bytes):
                self.receive(item)
            else:
                self.feed(item)
        if frames_first:
            self._tick_now()

    def tick(self, when: float) -> None:
        """The deadline for which the world was asked has come."""
        if when != self._tick_at or not self.running:
            return  # an earlier one was asked for since
        self._tick_at = _NEVER
        if not self.paused:
            self._tick_now()

    def _tick_now(self) -> None:
        if self.engine.next_deadline() <= self.clock() + 1e-9:
            self._guard_against_spinning()
            self.engine.handle(Tick(), self.clock())
            self.assemblies.sweep()
            self.perform()
        else:
            self._ask_for_tick()

    def _guard_against_spinning(self) -> None:
        second = float(int(self.world.now))
        if second != self._spin_second:
            self._spin_second, self._spins = second, 0
        self._spins += 1
        if self._spins == _SPINS_MAX:
            self.world.checks.fail(f"node {self.index} ticks {_SPINS_MAX} times in one second")

    def _look_at(self, arrived: Frame) -> bool:
        """Note who answered; whether the frame can change a set."""
        writes = False
        for message in arrived.messages:
            if isinstance(message, _WRITES):
                writes = True
                if isinstance(message, Deltas):
                    self.entries_in += sum(
                        len(c) for d in message.deltas for c in d.entries.values()
                    )
            elif isinstance(message, _ANSWERS):
                self.answered.add(arrived.header.sender)
            elif isinstance(message, RelayedAck) and message.fact is not None:
                self.answered.add(message.target)
        return writes

    # ---------------------------------------------------------------- out

    def perform(self, *, writes: bool = True) -> None:
        """Do what the engine asked for since the last time; `writes`: a set may differ now."""
        effects = self.engine.take()
        touched: dict[str, Link] = {}
        for effect in effects:
            if isinstance(effect, Send):  # most of them
                self._send(effect.endpoints, effect.message, touched)
            else:
                self._perform_one(effect, touched)
                if isinstance(effect, Deliver) and effect.sender == self.node:
                    effects += self.engine.take()  # my own pick: what comes of it is known at once
        self.world.checks.after(self, effects, writes=writes)
        for link in touched.values():
            self.drain(link)
        self._ask_for_tick()

    def _perform_one(self, effect: Effect, touched: dict[str, Link]) -> None:
        match effect:
            case Send():
                pass  # in `perform`
            case Changed():
                self.changes.append(effect)
            case Connect(endpoint):
                if endpoint not in self.links:
                    link = self.links[endpoint] = Link(
                        self,
                        endpoint,
                        Outbox(
                            _OUTBOX_BYTES,
                            self.config.link_credit_bytes,
                            chunk,
                            self.publications,
                            terms=self._terms,
                        ),
                    )
                    self.world.dial_later(link, _TURN_S)
            case Redial(endpoint):
                if (hung := self.links.get(endpoint)) is not None:
                    self.world.redial(hung)
            case Disconnect(endpoint):
                gone = self.links.pop(endpoint, None)
                touched.pop(endpoint, None)
                if gone is not None:
                    self.world.close(gone)
            case Greet(endpoint, to, message):
                greeted = self.links.get(endpoint)
                if greeted is not None and greeted.peer is not None:
                    greeted.outbox.greet(to, self._encoder.message(message))
                    touched[endpoint] = greeted
            case Bind(endpoint, life):
                if (bound := self.links.get(endpoint)) is not None:
                    bound.outbox.bind(life)
            case Release(endpoint, link_id, seq):
                if (told := self.links.get(endpoint)) is not None:
                    told.outbox.release(link_id, seq, self.world.now)
                    touched[endpoint] = told
            case Deliver(sender, publication, receivers):
                self._hand_over(sender, publication, receivers)
            case Replied(sender, reply):
                self.replies.append((sender, reply))
                self.engine.answered(sender, reply.counter, took=1, full=0)
            case DeliverRun(_, channel, payloads, receivers):
                for payload in payloads:
                    self.delivered += [(client, channel, payload) for client in receivers]
            case Exited():
                self.exits.append(effect)
            case Settled(counter, node, outcome, clients):
                self._settled(counter, node, outcome, clients)
            case Gap(node, publications):
                self.gaps[node] = self.gaps.get(node, 0) + publications
            case Noted():
                self.notes.append(effect)
            case Agreed() | Limited():
                pass  # the script asks `Engine.unequal` itself
            case PeerChanged(node, _, state, _):
                self.world.say(self.index, f"holds {node[:6]} {state}")
            case _:
                assert_never(effect)

    def _send(self, endpoints: tuple[str, ...], message: Message, touched: dict[str, Link]) -> None:
        record = self._encoder.message(message)
        kind = type(message).__name__
        self.sent[kind] = self.sent.get(kind, 0) + 1
        urgent = isinstance(message, URGENT)
        publication = isinstance(message, Publication) or (
            isinstance(message, Addressed) and not message.counter
        )
        confirmed = isinstance(message, CONFIRMED) and not publication
        for endpoint in endpoints:
            link = self.links.get(endpoint)
            if link is None or link.peer is None:
                continue  # a link without a connection is skipped
            touched[endpoint] = link
            outbox = link.outbox
            if urgent:
                outbox.put_urgent(record)
                continue
            if confirmed:
                outbox.put_confirmed(record)
                continue
            lagging = outbox.lagging
            outbox.put(record, publication=publication)
            if outbox.lagging and not lagging:
                self.world.later(0.0, self.feed, LinkLagging(endpoint))

    def publish(self, route: Route, publication: Publication) -> None:
        """What the driver's publish does: one record to each owner, my own clients directly."""
        self.delivered += [
            (client, publication.channel, publication.payload) for client in route.clients
        ]
        touched: dict[str, Link] = {}
        self._send(route.endpoints, publication, touched)
        turns = self.engine.picking.turns(publication.scope)
        for group, members in route.groups:
            for member in turns.order(publication.channel, group, members):
                self._pick(publication, group, member, touched)
                turns.took(publication.channel, group, member)
                break
        for link in touched.values():
            self.drain(link)

    def _pick(
        self, said: Publication, group: str, member: InGroup, touched: dict[str, Link]
    ) -> None:
        client, owner = member
        if owner == self.node:
            self.delivered.append((client, said.channel, said.payload))
            self.worked.append((group, client, said.payload))
        elif (endpoint := self.engine.link_of(owner)) is not None:
            one = Addressed(0, said.scope, said.channel, client, said.payload, group=group)
            self._send((endpoint,), one, touched)

    def ask_one(self, message: Addressed, wait_s: float) -> int:
        """The same for one member of `message.group`."""
        now = self.clock()
        number = self.engine.picking.ask(message, now + wait_s, now)
        self.settled[number] = {}
        self.perform()
        return number

    def ask_own(self, said: Request) -> Outcome:
        """The same of a client of mine: what comes of it is known at once."""
        if said.client not in self.engine.set_of(said.scope).clients(self.node, said.channel):
            return Outcome.REFUSED_NOBODY
        if said.client in self.full:
            return Outcome.REFUSED_FULL
        self.asked.append((self.node, said))
        return Outcome.DELIVERED

    def ask(self, message: Counted, owners: Iterable[NodeId], wait_s: float) -> int:
        """What the driver's confirmed publish does, but for its own clients; the counter."""
        now = self.clock()
        counter = self.engine.ask(message, owners, now + wait_s, now)
        self.settled[counter] = {}
        self.perform()
        return counter

    def _hand_over(
        self, sender: NodeId, publication: Publication | Addressed, clients: tuple[str, ...]
    ) -> None:
        confirmed = isinstance(publication, Addressed) and publication.counter
        took = [client for client in clients if not (confirmed and client in self.full)]
        if isinstance(publication, Addressed) and publication.group:
            took = took[:1]
            self.worked += [(publication.group, client, publication.payload) for client in took]
        for client in took:
            self.delivered.append((client, publication.channel, publication.payload))
            if isinstance(publication, Request):
                self.asked.append((sender, publication))
        if confirmed:
            full = len(clients) - len(took)
            self.engine.answered(sender, confirmed, took=len(took), full=full)

    def _settled(self, counter: int, node: NodeId, outcome: Outcome, clients: int) -> None:
        told = self.settled[counter]
        if node in told:
            self.world.checks.fail(f"node {self.index}: publication {counter} is settled twice")
        told[node] = (outcome, clients)

    def _terms(self, life: NodeId) -> bytes | None:
        terms = self.engine.terms(life)
        return None if terms is None else self._encoder.message(terms)

    def drain(self, link: Link) -> None:
        """Pack what is queued into frames and send them, unless the peer reads nothing."""
        if link.stalled or link.peer is None:
            return
        outbox = link.outbox
        while (drawn := outbox.draw(self.config.frame_bytes, self.world.now)) is not None:
            to, records, published = drawn
            header = Header(CLUSTER, self.node, to, outbox.link, outbox.number(), published)
            data = frame(self._encoder.header(header), records)
            self.bytes_sent += len(data)
            self.frames_sent += 1
            self.world.send(link, data)
        if outbox.lagging and not outbox.queued_bytes:
            outbox.lagging = False
            self.world.later(0.0, self.feed, LinkDrained(link.endpoint))

    def connected(self, link: Link, peer: Process) -> int:
        """A handshake is done: a new connection, counted from the first this life made."""
        self._links_made += 1
        link.peer, link.redial_s, link.last_arrival = peer, REDIAL_MIN_S, self.world.now
        link.outbox.connected(self._links_made)
        return self._links_made

    def _ask_for_tick(self) -> None:
        due = self.engine.next_deadline() + self.clock_behind
        due = max(due, self.world.now + _TURN_S)
        if due < self._tick_at:
            self._tick_at = due
            self.world.at(due, self.tick, due)
