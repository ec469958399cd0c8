"""One node's I/O thread: sockets, timers, engine. Everybody else hops in under the lock.

A caller's write is done in the caller's own thread, under the lock, and is visible when the
call returns. What it causes (frames, wake-ups) leaves after the lock is released.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from time import monotonic

from crdtpubsub.config import Config
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.slicing import slices
from crdtpubsub.errors import ClosedError, ConfigError, ForkedError, WireError
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.handover import HandOverLock
from crdtpubsub.runtime.mailbox import Exit, Mailbox, Message
from crdtpubsub.runtime.sending import Outcome, Receipt, Sender
from crdtpubsub.transport.base import (
    Connected,
    Disconnected,
    FrameIn,
    Happening,
    Refused,
    Writable,
    is_endpoint,
)
from crdtpubsub.transport.zmq import ZmqTransport
from crdtpubsub.wire.codec import Decoder, Encoder, cluster_tag

__all__ = ["Runtime"]

log = logging.getLogger("crdtpubsub")

GOODBYE_S = 0.25
"""How long a closing node lets its last frames leave."""

RECEIPTS_MAX = 4096

NAP_S = 0.001
STREAM_RECORDS = 1
"""More records than this in one turn: callers write faster than one wake-up at a time."""

_running: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime:
    """A running node, without manners: see `Node` for what users touch."""

    def __init__(
        self,
        *,
        bind: str,
        seeds: tuple[str, ...],
        advertise: str | None,
        name: str | None,
        cluster: str,
        config: Config,
    ) -> None:
        self.config = config
        self.lock = HandOverLock()
        self.id = NodeId(os.urandom(16).hex())
        self.name = name or f"node-{self.id[:8]}"
        self.endpoint = ""
        self.counters: Counter[str] = Counter()
        self.mailboxes: dict[str, Mailbox] = {}
        self.engine: Engine
        self._bind, self._seeds, self._advertise = bind, seeds, advertise
        self._tag = cluster_tag(cluster)
        self._sender: Sender
        self._transport: ZmqTransport
        self._thread: threading.Thread | None = None
        self._started: Future[None] = Future()
        self._closing = False
        self._closed = threading.Event()
        self._forked = False
        self._sleeping = False
        self._streaming = False
        self._sleep_until = 0.0
        self._next_link = 0
        self._receipts: dict[str, tuple[Route, Receipt]] = {}
        self._published = 0
        self._lagging: list[str] = []
        self._to_wake: set[Mailbox] = set()
        self._changed_channels: set[str] | None = set()  # None: all of them
        self._pulse = False
        self._listeners: list[Callable[[set[str] | None], None]] = []
        self._on_pulse: list[Callable[[], None]] = []

    # ---------------------------------------------------------------- life

    def start(self) -> Future[None]:
        """Bind and run in a thread of its own; the future tells when, or why not."""
        self._thread = threading.Thread(
            target=self._run, name=f"crdtpubsub-{self.name}", daemon=True
        )
        self._thread.start()
        return self._started

    def close(self) -> None:
        """Say goodbye, let the last frames leave, stop. Blocks up to half a second. Idempotent."""
        if self._forked or self._thread is None:
            return
        self._closing = True
        if self._started.done() and self._started.exception() is None:
            self._transport.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def closed(self) -> bool:
        """Whether calls are refused."""
        return self._closing or self._closed.is_set()

    def check(self) -> None:
        """Raise unless this node runs, in this process."""
        if self._forked:
            raise ForkedError(
                f"node {self.name} was made before this process was forked; make a new one here"
            )
        if self._closing or not self.endpoint:
            state = "closed" if self._closing else "not started"
            raise ClosedError(f"node {self.name} is {state}; use `async with Node(...)`")

    def forked(self) -> None:
        """This is the child of a fork: sockets, thread and births are the parent's."""
        self._forked = True

    # ---------------------------------------------------------------- callers

    def write(self, event: ev.Event) -> int:
        """Do a local write, visible when this returns; how many memberships it changed."""
        self.check()
        with self.lock:
            changed = self.engine.handle(event, monotonic())
            self._perform(self.engine.take())
            wake = self._must_wake()
        self._after(wake)
        return changed

    def publish(
        self,
        scope: str,
        channel: str,
        payload: bytes,
        *,
        headers: dict[str, str],
        exclude: tuple[NodeId, str] | None,
    ) -> tuple[Receipt, list[str]]:
        """Queue a publication for every owner; the receipt, and the links above high water."""
        self.check()
        full: list[str] = []
        with self.lock:
            engine, sender = self.engine, self._sender
            if engine.pending(scope):  # what I wrote before goes out before what I say
                engine.handle(ev.Flush(scope), monotonic())
                self._perform(engine.take())
            route = engine.route(scope, channel)
            refused: dict[NodeId, Outcome] = dict.fromkeys(route.unlinked, Outcome.REFUSED_NO_LINK)
            if route.links:
                record = sender.encoder.publication(
                    scope, channel, payload, headers=headers, exclude=exclude
                )
                for owner, endpoint in route.links:
                    if not sender.publish(endpoint, record, full):
                        refused[owner] = Outcome.REFUSED_LAGGING
            if route.clients:
                message = Message(channel, payload, self.id, headers)
                mine = exclude[1] if exclude is not None and exclude[0] == self.id else None
                self._deliver(message, (c for c in route.clients if c != mine))
            if refused or exclude is not None:
                receipt = self._receipt(route, refused, exclude)
                self.counters["publications_refused"] += len(refused)
            else:
                known = self._receipts.get(channel)
                if known is None or known[0] is not route:
                    if len(self._receipts) >= RECEIPTS_MAX:
                        self._receipts.clear()
                    known = self._receipts[channel] = (route, self._receipt(route, {}, None))
                receipt = known[1]
            self._published += 1
            wake = self._sleeping and self._must_wake()
        if wake or self._to_wake:
            self._after(wake)
        return receipt, full

    def _receipt(
        self, route: Route, refused: dict[NodeId, Outcome], exclude: tuple[NodeId, str] | None
    ) -> Receipt:
        owners = {owner: Outcome.QUEUED for owner, _ in route.links}
        if route.clients:
            owners[self.id] = Outcome.DELIVERED
        owners.update(refused)
        members = sum(n for owner, n in route.counts if owner not in refused)
        if exclude is not None and (exclude[0] != self.id or exclude[1] in route.clients):
            members -= exclude[0] in owners and exclude[0] not in refused
        return Receipt(members, owners)

    def room_at(self, endpoint: str) -> float | None:
        """None: the outbox of `endpoint` has room. Else when it last made progress."""
        line = self._sender.line(endpoint)
        if line is None or line.outbox.queued_bytes <= self.config.outbox_high_water_bytes:
            return None
        return line.progress_at

    def stall(self, endpoint: str) -> None:
        """A publisher waited for this link in vain: nobody waits for it until it has drained."""
        with self.lock:
            if (line := self._sender.line(endpoint)) is not None:
                line.stalled = True
                self.counters["stalled"] += 1

    def on_change(self, listener: Callable[[set[str] | None], None]) -> None:
        """Call `listener` under the lock with the channels whose members changed; None: all."""
        self._listeners.append(listener)

    def once(self, waker: Callable[[], None]) -> None:
        """Call `waker` after the next change of any kind, from whichever thread makes it."""
        self._on_pulse.append(waker)

    def snapshot(self) -> dict[str, int]:
        """Every counter there is."""
        with self.lock:
            publications, gossip = self._sender.dropped()
            counters = Counter(self.engine.counters)
            counters.update(self.counters)
            counters.update({f"transport_{k}": v for k, v in self._transport.stats.items()})
            counters["dropped_publications"] += publications
            counters["dropped_gossip"] += gossip
            counters["publications"] = self._published
            counters["outbox_bytes"] = self._sender.queued_bytes()
            counters["mailbox_dropped"] += sum(m.dropped for m in self.mailboxes.values())
        return dict(counters)

    # ---------------------------------------------------------------- effects, under the lock

    def _perform(self, effects: Iterable[ef.Effect]) -> None:
        sender = self._sender
        for effect in effects:
            match effect:
                case ef.Send():
                    record = sender.encoder.message(effect.message)
                    for endpoint in effect.endpoints:
                        self._put_gossip(endpoint, record)
                case ef.Deliver():
                    said = effect.publication
                    message = Message(said.channel, said.payload, effect.sender, said.headers)
                    self._deliver(message, effect.clients)
                case ef.Changed():
                    self._changed(effect)
                case ef.Exited():
                    closed = effect.cause is ef.Cause.SCOPE_CLOSED
                    mailbox = self.mailboxes.get(effect.client)
                    if mailbox is not None:
                        mailbox.put_exit(Exit(effect.channel, "closed" if closed else "removed"))
                        self._to_wake.add(mailbox)
                case ef.Greet():
                    sender.greet(effect.endpoint, effect.to, sender.encoder.message(effect.message))
                case ef.Bind():
                    if (line := sender.line(effect.endpoint)) is not None:
                        line.outbox.bind(effect.life)
                case ef.Connect():
                    self._connect(effect.endpoint)
                case ef.Disconnect():
                    self._dials.append((effect.endpoint, False))
                    sender.shut(effect.endpoint)
                case ef.PeerChanged() | ef.Noted():
                    self._pulse = True
                    self._notes.append(effect)

    def _put_gossip(self, endpoint: str, record: bytes) -> None:
        if self._sender.put(endpoint, record, publication=False):
            return
        line = self._sender.line(endpoint)
        if line is not None and line.outbox.lagging and endpoint not in self._lagging:
            self._lagging.append(endpoint)

    def _connect(self, endpoint: str) -> None:
        if is_endpoint(endpoint):
            self._sender.open(endpoint)
            self._dials.append((endpoint, True))
        else:
            self.counters["endpoints_refused"] += 1

    def _deliver(self, message: Message, clients: Iterable[str]) -> None:
        mailboxes, to_wake = self.mailboxes, self._to_wake
        delivered = 0
        for client in clients:
            mailbox = mailboxes.get(client)
            if mailbox is not None:
                delivered += mailbox.put(message)
                to_wake.add(mailbox)
        self.counters["delivered"] += delivered

    def _changed(self, effect: ef.Changed) -> None:
        self._pulse = True
        channels: set[str] | None = None
        if effect.cause is ef.Cause.OP:
            channels = {row[0] for row in effect.joined}
            channels.update(row[0] for row in effect.left)
            channels.update(row[0] for row in effect.updated)
        for listener in self._listeners:
            listener(channels)

    def _must_wake(self) -> bool:
        """Whether the I/O thread sleeps longer than what was just queued allows."""
        if not self._sleeping:
            return False
        if self._sender.ready or self._dials or self._lagging:
            return True
        return self.engine.next_flush() < self._sleep_until

    # ---------------------------------------------------------------- after the lock

    def _after(self, wake: bool) -> None:
        if wake:
            self._sleeping = False
            self._transport.wake()
        while self._to_wake:
            with contextlib.suppress(KeyError):
                self._to_wake.pop().wake()
        if self._pulse:
            self._pulse = False
            wakers, self._on_pulse = self._on_pulse, []
            for waker in wakers:
                waker()
        while self._notes:
            self._log(self._notes.pop(0))

    def _log(self, note: ef.PeerChanged | ef.Noted) -> None:
        if isinstance(note, ef.PeerChanged):
            log.info("%s: node %s (%s) is %s", self.name, note.name, note.node[:8], note.state)
            return
        self.counters[f"noted_{note.what}"] += 1
        if self.counters[f"noted_{note.what}"] in _LOGGED:
            log.warning("%s: %s: %.300s", self.name, note.what, note.about)

    # ---------------------------------------------------------------- the I/O thread

    def _run(self) -> None:
        try:
            self._open()
        except BaseException as error:  # noqa: BLE001  (whatever it is, the starter must hear of it)
            self._closing = True
            self._started.set_exception(error)
            return
        _running.add(self)
        self._started.set_result(None)
        try:
            while not self._closing:
                self._turn()
            self._leave()
        except Exception:
            log.exception("node %s: its I/O thread failed; the node is closed", self.name)
        finally:
            self._closing = True
            self._closed.set()
            self._transport.close(GOODBYE_S)
            with self.lock:
                for mailbox in self.mailboxes.values():
                    mailbox.closed = True
                    self._to_wake.add(mailbox)
                self._pulse = True
            self._after(False)

    def _open(self) -> None:
        self._transport = ZmqTransport()
        try:
            actual = self._transport.bind(self._bind)
        except BaseException:
            self._transport.close()
            raise
        endpoint = self._advertise or actual
        self._decoder = Decoder(self._tag)
        self._sender = Sender(
            self._transport, self.lock, self.config, self._tag, self.id, Encoder()
        )
        self._dials: list[tuple[str, bool]] = []
        self._notes: list[ef.PeerChanged | ef.Noted] = []
        self.engine = Engine(
            self.id,
            name=self.name,
            endpoint=endpoint,
            seeds=self._seeds,
            config=self.config,
            dice=random.SystemRandom(),
            now=monotonic(),
        )
        self.engine.watch(False)
        self.endpoint = endpoint

    def _turn(self) -> None:
        with self.lock:
            deadline = self.engine.next_deadline()
            self._sleep_until = deadline
            busy = bool(self._sender.ready or self._dials or self._lagging)
            # Callers wake a sleeping thread. While they come in a stream, a nap nobody cuts
            # short gathers a batch: a wake-up a message is what would limit them otherwise.
            nap = not busy and self._streaming
            self._sleeping = not busy and not nap
        pause_s = 0.0 if busy else max(0.0, deadline - monotonic())
        happened = self._transport.poll(min(pause_s, NAP_S) if nap else pause_s)
        self._sleeping = False
        for happening in happened:
            self._happened(happening)
        now = monotonic()
        if now >= deadline:
            self._handle(ev.Tick())
        while self._lagging:
            self._handle(ev.LinkLagging(self._lagging.pop()))
        while self._dials:
            self._dial(*self._dials.pop(0))
        emptied = self._sender.drain()
        self._streaming = self._sender.drained_records > STREAM_RECORDS
        for endpoint in emptied:
            self._emptied(endpoint)
        self._after(False)

    def _dial(self, endpoint: str, up: bool) -> None:
        try:
            if up:
                self._transport.connect(endpoint)
            else:
                self._transport.disconnect(endpoint)
        except ConfigError as error:
            self.counters["dials_refused"] += 1
            log.warning("%s: cannot dial %.120s: %s", self.name, endpoint, error)

    def _emptied(self, endpoint: str) -> None:
        line = self._sender.line(endpoint)
        if line is not None and line.outbox.lagging:
            line.outbox.lagging = False
            self._handle(ev.LinkDrained(endpoint))
        self._pulse = True

    def _handle(self, event: ev.Event) -> None:
        with self.lock:
            self.engine.handle(event, monotonic())
            self._perform(self.engine.take())

    def _happened(self, happening: Happening) -> None:
        match happening:
            case FrameIn(data):
                self._frame(data)
            case Connected(endpoint):
                with self.lock:
                    self._next_link += 1
                    self._sender.connected(endpoint, self._next_link)
                self._handle(ev.LinkUp(endpoint, self._next_link))
            case Disconnected(endpoint):
                with self.lock:
                    self._sender.disconnected(endpoint)
                self._handle(ev.LinkDown(endpoint))
            case Refused(endpoint):
                self._handle(ev.LinkRefused(endpoint))
            case Writable(endpoint):
                with self.lock:
                    self._sender.writable(endpoint)

    def _frame(self, data: bytes) -> None:
        try:
            frame = self._decoder.decode(data)
        except WireError as error:
            self.counters["frames_malformed"] += 1
            if self.counters["frames_malformed"] in _LOGGED:
                log.warning("%s: dropped a frame: %s", self.name, error)
            return
        self.counters["frames"] += 1
        for part in slices(frame, self.config.slice_births):
            self._handle(ev.Received(part))

    def _leave(self) -> None:
        """Say goodbye and let what is queued leave, for a moment."""
        self._handle(ev.SayGoodbye())
        until = monotonic() + GOODBYE_S
        while self._sender.ready and monotonic() < until:
            self._sender.drain()
            for happening in self._transport.poll(0.01):
                if isinstance(happening, Writable):
                    self._sender.writable(happening.endpoint)


_LOGGED = frozenset({1, 10, 100, 1_000, 10_000, 100_000, 1_000_000})


def _forget_in_child() -> None:
    for runtime in list(_running):
        runtime.forked()


os.register_at_fork(after_in_child=_forget_in_child)
