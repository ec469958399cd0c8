"""A running node, seen by callers: each hops in under the lock, and out again.

A caller's write is done in the caller's own thread, under the lock, and is visible when the
call returns. What it causes (frames, wake-ups) leaves after the lock is released.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TypeVar

from crdtpubsub.config import Config
from crdtpubsub.crdt.token import Token
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.errors import ClosedError, ConfigError, CrdtPubSubError, ForkedError, QueueFullError
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.asking import Asker
from crdtpubsub.runtime.bell import Bell
from crdtpubsub.runtime.core import Core
from crdtpubsub.runtime.handover import HandOverLock
from crdtpubsub.runtime.joining import Joiner
from crdtpubsub.runtime.living import began, made
from crdtpubsub.runtime.loop import GOODBYE_S, Loop
from crdtpubsub.runtime.mailbox import Mailbox
from crdtpubsub.runtime.memory import keep_freed_memory
from crdtpubsub.runtime.message import Message
from crdtpubsub.runtime.notices import REFUSED, NoticeBoard
from crdtpubsub.runtime.place import Place
from crdtpubsub.runtime.receipts import Outcome, Receipt, receipt_of
from crdtpubsub.runtime.rosters import AllRosters
from crdtpubsub.runtime.sending import Sender
from crdtpubsub.runtime.streams import Streams
from crdtpubsub.runtime.telling import log
from crdtpubsub.transport import Security
from crdtpubsub.transport.zmq import ZmqTransport
from crdtpubsub.wire.codec import Decoder, Encoder, cluster_tag
from crdtpubsub.wire.messages import Addressed

__all__ = ["Runtime"]

T = TypeVar("T")


class Runtime:
    """A running node, without manners: see `Node` for what users touch."""

    def __init__(
        self,
        *,
        bind: str | None,
        seeds: tuple[str, ...],
        advertise: str | None,
        name: str | None,
        cluster: str,
        config: Config,
        security: Security | None = None,
    ) -> None:
        self.config = config
        self._named = name
        self._draw()
        self.endpoint = ""
        self.bell = Bell()  # rung after a change of any kind, by whichever thread makes it
        self.board = NoticeBoard()
        self.asker = Asker(self)
        self.joiner = Joiner(self)
        self.core: Core  # from `start` on
        self._place = Place(bind, advertise, seeds, cluster, config)
        self._tag = cluster_tag(cluster)
        self._security = security
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._ended = False
        self.rosters = AllRosters()
        self._closing = self.draining = self._forked = False
        self.streams = Streams()
        self._published = 0
        made(self)

    def _draw(self) -> None:
        self._pid = os.getpid()
        self.id = NodeId(os.urandom(16).hex())
        self.name = self._named or f"node-{self.id[:8]}"

    # ---------------------------------------------------------------- life

    def start(self) -> None:
        """Bind and run in a thread of its own; the bell rings when `started` is true."""
        if self._pid != os.getpid():  # a fork that Python was not told of
            self.forked()
        name = f"crdtpubsub-{self.name}"
        try:
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            began(self)
            if self._closing:
                raise ClosedError(f"node {self.name} was closed before it started")  # noqa: TRY301
            self._thread.start()
        except BaseException:  # no thread to be had; or an interrupt: it sees this, and ends
            self._closing, self._thread = True, None
            raise

    def started(self) -> bool:
        """Whether it runs. Raises, once, why it does not."""
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error
        return bool(self.endpoint)

    def stop(self) -> None:
        """Say goodbye, let the last frames leave, and end: soon; the bell rings when `ended`.

        For any thread, and for finalizers. Idempotent.
        """
        if self._closing or self._forked:
            return
        self._closing = True  # also for a `start` that comes at the same time, in another thread
        self.streams.stopped = True
        self.rosters.lost()
        if self.endpoint:
            self.core.transport.wake()

    def close(self) -> None:
        """The same, and wait for it: up to half a second."""
        self.stop()
        if self._thread is not None and not self._forked:
            self._thread.join()

    def begin_drain(self) -> list[tuple[str, str, str]]:
        """Refuse what is new from now on; memberships to end, as (scope, channel, client)."""
        self.check()
        with self.core.lock:
            self.draining = self.streams.stopped = True
            if self.core.lost_in_drain is None:
                self.core.lost_in_drain = {}
            engine = self.core.engine
            rolls = {scope: engine.set_of(scope).roll(self.id) for scope in engine.scopes()}
        return sorted((scope, row[0], row[1]) for scope, roll in rolls.items() for row in roll)

    def drained(self) -> bool:
        """Whether nothing waits for a peer to acknowledge it. Raises if the node is closed."""
        self.check()
        with self.core.lock:
            return not self.core.sender.has_publications and not self.core.tickets

    def undrained(self) -> dict[str, tuple[str, int]]:
        """Whose acknowledgement is missing, or was when a link broke: name, publications."""
        with self.core.lock:
            counts = Counter(self.core.lost_in_drain or {})
            for life, publications in self.core.sender.unacknowledged():
                counts[life] += publications
            names = {peer.node: peer.name for peer in self.core.engine.peers()}
        return {life: (names.get(life, life[:8]), n) for life, n in sorted(counts.items())}

    def ended(self) -> bool:
        """Whether nothing of it runs here any more."""
        return self._forked or self._thread is None or self._ended

    @property
    def running(self) -> bool:
        """Whether it was started here and not told to end."""
        return self._thread is not None and not self._closing and not self._forked

    @property
    def closed(self) -> bool:
        """Whether calls are refused."""
        return self._closing

    def check(self) -> None:
        """Raise unless this node runs, in this process."""
        self.check_process()
        if self._closing or not self.endpoint:
            state = "closed" if self._closing else "not started"
            raise ClosedError(f"node {self.name} is {state}; use `async with Node(...)`")

    def check_process(self) -> None:
        """Raise in the child of a fork."""
        if self._forked:
            raise ForkedError(
                f"node {self.name} was made before this process was forked; make a new one here"
            )

    def forked(self) -> None:
        """This is a child of fork: what runs is the parent's, the rest another life."""
        self._forked = self.streams.stopped = self._thread is not None
        if self.endpoint:
            self.core.spread.messages = []  # nobody here may take the lock of the parent
        self.rosters.lost()
        if not self._forked:
            self._draw()

    # ---------------------------------------------------------------- callers

    def write(self, event: ev.Event) -> int:
        """Do a local write, visible when this returns; how many memberships it changed."""
        self.check()
        core = self.core
        try:
            with core.lock:
                due = core.exits_due(event)
                try:
                    changed = core.engine.handle(event, monotonic())
                    core.perform(core.engine.take())
                    wake = core.speak()
                except CrdtPubSubError:
                    raise  # before anything was changed
                except BaseException:
                    core.recover(due)
                    raise
            core.let_go(wake=wake)
        except CrdtPubSubError:
            raise
        except BaseException:
            core.rouse()
            raise
        return changed

    def refusal(self) -> ClosedError:
        """What to raise at whoever asks for something new."""
        state = "closed" if self._closing else "draining"
        return ClosedError(f"node {self.name} is {state} and takes nothing new; nothing was done")

    def open_mailbox(self, client_id: str, mailbox: Mailbox) -> None:
        """From now on it is that client's; ConfigError if one of that id is open here."""
        try:
            with self.core.lock:
                self.check()  # a node that closed meanwhile would never close this one
                if self.draining:
                    raise self.refusal()  # noqa: TRY301
                self.core.bury_now(client_id)
                if client_id in self.core.mailboxes:
                    raise ConfigError(  # noqa: TRY301
                        f"client {client_id!r} is open on this node; close it first"
                    )
                self.core.mailboxes[client_id] = mailbox
        except BaseException:  # an interrupt: nobody would have it, and its name be taken
            if self.core.mailboxes.get(client_id) is mailbox:
                del self.core.mailboxes[client_id]
            raise

    def close_mailbox(
        self, client_id: str, mailbox: Mailbox, channels_of: Callable[[str], Iterable[str]]
    ) -> None:
        """That client is closed: its memberships end, and its id is free again."""
        if self.core.mailboxes.get(client_id) is not mailbox:
            return
        with contextlib.suppress(ClosedError):  # the node is closing: all memberships end
            for name in channels_of(client_id):
                self.joiner.leave(name, client_id, mailbox)
        with self.core.lock:
            if self.core.mailboxes.get(client_id) is mailbox:
                del self.core.mailboxes[client_id]
                self.core.counters["mailbox_dropped"] += mailbox.dropped

    def publish(
        self,
        scope: str,
        channel: str,
        payload: bytes,
        *,
        headers: dict[str, str],
        exclude: tuple[NodeId, str] | None,
        after: Token | None = None,
    ) -> tuple[Receipt, list[str]]:
        """Queue a publication for every owner; the receipt, and the links above high water."""
        self.check()
        full, core = list[str](), self.core
        said = (scope, channel, payload, headers, exclude, full)
        try:
            with core.lock:
                if self.draining:
                    raise self.refusal()  # noqa: TRY301
                try:
                    receipt = self._queue(*said, after=after)
                    wake = core.speak()
                except ClosedError:
                    raise  # of a scope: before anything was changed
                except BaseException:
                    core.recover()
                    raise
            if wake or core.to_wake:
                core.let_go(wake=wake)
        except ClosedError:
            raise
        except BaseException:
            core.rouse()
            raise
        return receipt, full

    def locked(self, act: Callable[[], T], *, draining: bool = False) -> T:
        """Do that under the lock, as a caller; what it causes leaves after the lock is free."""
        self.check()
        core = self.core
        try:
            with core.lock:
                if self.draining and (self._closing or not draining):
                    raise self.refusal()  # noqa: TRY301
                try:
                    result = act()
                    wake = core.speak()
                except (ClosedError, QueueFullError):
                    raise  # before anything was changed
                except BaseException:
                    core.recover()
                    raise
            core.let_go(wake=wake)
        except (ClosedError, QueueFullError):
            raise
        except BaseException:
            core.rouse()
            raise
        return result

    def _queue(
        self,
        scope: str,
        channel: str,
        payload: bytes,
        headers: dict[str, str],
        exclude: tuple[NodeId, str] | None,
        full: list[str],
        *,
        after: Token | None,
    ) -> Receipt:
        engine, sender = self.core.engine, self.core.sender
        if engine.pending(scope):
            self.core.flush(scope)
        route = engine.route(scope, channel)
        refused: dict[NodeId, Outcome] = dict.fromkeys(route.unlinked, Outcome.REFUSED_NO_LINK)
        stream = self.streams.of(self.core, scope, channel, route)
        plain = bool(route.links) and not (headers or exclude or after)
        gathered = plain and sender.gather(stream, payload)
        if route.links and not gathered:
            ahead = () if after is None else engine.knowing.deltas(after)
            record = sender.encoder.publication(
                scope, channel, payload, headers=headers, exclude=exclude, after=ahead
            )
            for owner, endpoint in route.links:
                if not sender.publish(endpoint, record, full):
                    refused[owner] = Outcome.REFUSED_LAGGING
        if route.clients:
            message = Message(channel, payload, self.id, headers)
            self.core.spread.add(route.clients, exclude, message)
        self._published += not gathered  # else it is counted with the others
        if route.groups:
            said = Addressed(0, scope, channel, "", payload, headers, exclude)
            return self.asker.pick(route, said, refused, full, after)
        if refused or exclude is not None:
            if exclude and exclude[1] not in engine.set_of(scope).clients(exclude[0], channel):
                exclude = None  # one who is no member here is not missing either
            self.tally(refused)
            return receipt_of(self.id, route, refused, exclude)
        return stream.receipt

    def tally(self, refused: dict[NodeId, Outcome]) -> None:
        """Publications were refused here. Under the lock."""
        self.core.counters["publications_refused"] += len(refused)
        for owner, outcome in refused.items():
            self.core.tallies.add(REFUSED[outcome], owner)

    def snapshot(self) -> dict[str, int]:
        """Every counter there is. Under the lock."""
        counters = self.core.snapshot()
        sender = self.core.sender
        counters["publications"] = self._published + sender.streamed + sender.gathered
        return counters

    # ---------------------------------------------------------------- the I/O thread

    def _run(self) -> None:
        try:
            self._live()
        except BaseException as error:  # noqa: BLE001  (see below)
            if self.endpoint:
                log.exception("node %s: it could not close its sockets", self.name)
            else:
                self._failed = error  # whatever it is, the starter must hear of it
        finally:
            self._closing = True
            self.board.close()
            self._ended = True
            self.bell.ring()

    def _live(self) -> None:
        keep_freed_memory()
        loop = self._open()
        core = self.core
        self.bell.ring()
        try:
            while not self._closing:
                loop.turn()
            loop.leave()
        except Exception:  # noqa: BLE001  (a bug of ours: say so, and do not hang the application)
            log.exception("node %s: its I/O thread failed; the node is closed", self.name)
        finally:
            self._closing = True
            self.rosters.lost()
            with core.lock:
                # For who stands before the lock: nobody would answer.
                self.draining = self.streams.stopped = True
            core.end()
            core.transport.close(GOODBYE_S)
            self._place.close()

    def _open(self) -> Loop:
        transport = ZmqTransport(security=self._security)
        try:
            return self._introduce(transport, self._place.open(transport))
        except BaseException:
            transport.close()
            raise

    def _introduce(self, transport: ZmqTransport, endpoint: str) -> Loop:
        engine = Engine(
            self.id,
            name=self.name,
            endpoint=endpoint,
            seeds=self._place.seeds.look(monotonic()),
            config=self.config,
            dice=random.SystemRandom(),
            now=monotonic(),
        )
        lock = HandOverLock()
        sender = Sender(transport, lock, self.config, self._tag, self.id, Encoder())
        self.core = Core(engine, sender, transport, lock, self.config)
        self.core.read(self.rosters)
        self.core.bell = self.bell
        self.core.teller.board = self.board
        self.asker.requests.serve(self.core)
        self.streams.serve(self.core)
        self.endpoint = endpoint
        return Loop(self.core, Decoder(self._tag), self._place)
