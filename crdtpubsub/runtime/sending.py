"""Outboxes on their way to the transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from crdtpubsub.config import Config
from crdtpubsub.engine.budget import Budget
from crdtpubsub.engine.outbox import Outbox, Sent
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.handover import HandOverLock
from crdtpubsub.runtime.streams import GATHERED_BYTES_MAX, Stream
from crdtpubsub.transport.base import Transport
from crdtpubsub.wire.codec import Encoder, chunk, frame
from crdtpubsub.wire.messages import Header

__all__ = ["Sender"]

FRAMES_PER_TURN = 8

HERE_EVERY_S = 0.0003
"""What comes sooner after a frame sent from a caller's thread is gathered by the I/O thread."""
HERE_LINKS_MAX = 4
"""A caller says it itself on so many links; some 15 us each."""


@dataclass(slots=True)
class _Line:
    """One link's way out."""

    outbox: Outbox
    parked: bytes | None = None  # a frame the transport did not take yet
    blocked: bool = False
    progress_at: float = 0.0  # when the peer last said what it took
    stalled: bool = False  # a publisher waited for it in vain: it holds nobody any more
    awaited: bool = False  # a publisher was told that it is above its mark; until there is room


@dataclass(slots=True)
class Sender:
    """Every outbox of a node. Filled under the lock by anybody, drained by the I/O thread."""

    transport: Transport
    lock: HandOverLock
    config: Config
    cluster: bytes
    me: NodeId
    encoder: Encoder
    sent: Sent = field(default_factory=Sent)
    budget: Budget = field(init=False)
    terms: Callable[[NodeId], bytes | None] = lambda _life: None
    drained_records: int = 0  # in the last drain
    open: Stream | None = None  # what is gathered now: behind all that is in the outboxes
    streamed: int = 0  # publications that were gathered and are in the outboxes
    _here_at: float = float("-inf")
    _lines: dict[str, _Line] = field(default_factory=dict)
    _ready: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """All outboxes share one budget."""
        self.budget = Budget(self.config.outboxes_bytes_max)

    # ---------------------------------------------------------------- under the lock

    def line(self, endpoint: str) -> _Line | None:
        """The line to `endpoint`, if it is dialled."""
        return self._lines.get(endpoint)

    def add(self, endpoint: str) -> None:
        """A link is dialled."""
        config = self.config
        if endpoint not in self._lines:
            outbox = Outbox(
                config.outbox_bytes_max,
                config.link_credit_bytes,
                chunk,
                self.sent,
                self.budget,
                self.terms,
            )
            self._lines[endpoint] = _Line(outbox)

    def shut(self, endpoint: str) -> Outbox | None:
        """A link is dropped; what was queued is lost and counted."""
        self.seal()
        line = self._lines.pop(endpoint, None)
        self._ready.discard(endpoint)
        if line is None:
            return None
        line.outbox.clear()
        return line.outbox

    def connected(self, endpoint: str, link: int) -> None:
        """A handshake."""
        self.seal()
        if (line := self._lines.get(endpoint)) is not None:
            line.outbox.connected(link)
            line.parked, line.blocked, line.stalled = None, False, False

    def bind(self, endpoint: str, life: NodeId) -> None:
        """That life is behind the link."""
        self.seal()
        if (line := self._lines.get(endpoint)) is not None:
            line.outbox.bind(life)

    def disconnected(self, endpoint: str) -> None:
        """The connection broke."""
        self.seal()
        if (line := self._lines.get(endpoint)) is not None:
            line.outbox.clear()
            line.parked, line.blocked, line.stalled = None, True, False

    def writable(self, endpoint: str) -> None:
        """The transport has room again."""
        if (line := self._lines.get(endpoint)) is not None:
            line.blocked = False
            self._ready.add(endpoint)

    def put(self, endpoint: str, record: bytes, *, publication: bool) -> bool:
        """Queue an encoded record."""
        self.seal()
        line = self._lines.get(endpoint)
        if line is None or not line.outbox.put(record, publication=publication):
            return False
        self._ready.add(endpoint)
        return True

    def put_confirmed(self, endpoint: str, record: bytes) -> None:
        """Queue a record that is said again if it is lost, or finds no room."""
        self.seal()
        line = self._lines.get(endpoint)
        if line is not None and line.outbox.put_confirmed(record):
            self._ready.add(endpoint)

    def put_urgent(self, endpoint: str, record: bytes) -> None:
        """Queue a record ahead of all others."""
        if (line := self._lines.get(endpoint)) is not None:
            line.outbox.put_urgent(record)
            self._ready.add(endpoint)

    def release(self, endpoint: str, link: int, seq: int) -> None:
        """The peer took so much: the next may go."""
        if (line := self._lines.get(endpoint)) is not None:
            line.progress_at = now = monotonic()
            line.outbox.release(link, seq, now)
            if line.outbox:
                self._ready.add(endpoint)

    def publish(self, endpoint: str, record: bytes, full: list[str]) -> bool:
        """Queue a publication; note the link in `full` if it is above its high-water mark."""
        self.seal()
        line = self._lines.get(endpoint)
        if line is None:
            return False
        if line.outbox.queued_bytes > line.outbox.mark_bytes(self.config.outbox_high_water_bytes):
            if line.stalled:
                line.outbox.dropped_publications += 1
                return False
            full.append(endpoint)
            line.awaited = True
        else:
            line.stalled = False
        if not line.outbox.put(record, publication=True):
            return False
        self._ready.add(endpoint)
        return True

    def gather(self, stream: Stream, payload: bytes) -> bool:
        """Queue a publication with those of its stream. False: a link has no room, or it is long.

        So many are gathered that their record needs no chunks, and passes no mark.
        """
        if self.open is stream and stream.take(payload):
            return True
        self.seal()
        frame_bytes, high_water_bytes = self.config.frame_bytes, self.config.outbox_high_water_bytes
        room_bytes = GATHERED_BYTES_MAX
        for _, endpoint in stream.route.links:
            if (line := self._lines.get(endpoint)) is None:
                return False
            room_bytes = min(room_bytes, line.outbox.room_bytes(frame_bytes, high_water_bytes))
            if room_bytes <= 0:
                return False
            line.stalled = False
        stream.room_bytes = room_bytes - stream.head_bytes
        self.open = stream
        if stream.take(payload):
            return True
        self.open = None
        return False

    def seal(self) -> None:
        """Encode what was gathered, for all links at once. Under the lock.

        Whatever breaks in, the next call goes on: nobody gets it twice, and none of it is lost.
        """
        if (stream := self.open) is None:
            return
        stream.room_bytes = 0
        if stream.payloads:
            if not stream.record:
                stream.left = [endpoint for _, endpoint in stream.route.links]
                stream.record = self.encoder.publications(
                    stream.scope, stream.channel, stream.payloads
                )
            while stream.left:
                endpoint = stream.left[-1]
                self._lines[endpoint].outbox.add(stream.record, len(stream.payloads))
                self._ready.add(endpoint)
                stream.left.pop()
            self.streamed += len(stream.payloads)
            stream.payloads = []
        stream.record = b""
        self.open = None

    @property
    def gathered(self) -> int:
        """Publications that wait to be encoded."""
        return 0 if self.open is None else len(self.open.payloads)

    def room_at(self, endpoint: str) -> float | None:
        """None: the outbox of `endpoint` has room. Else when it last made progress."""
        line, high_water_bytes = self._lines.get(endpoint), self.config.outbox_high_water_bytes
        if line is None or line.outbox.queued_bytes <= line.outbox.mark_bytes(high_water_bytes):
            return None
        return line.progress_at

    def stall(self, endpoint: str) -> int:
        """A publisher waited for this link in vain: nobody waits for it until it has drained."""
        if (line := self._lines.get(endpoint)) is None:
            return 0
        line.stalled = True
        return 1

    def greet(self, endpoint: str, to: NodeId, record: bytes) -> None:
        """Queue a frame of its own."""
        if (line := self._lines.get(endpoint)) is not None:
            line.outbox.greet(to, record)
            self._ready.add(endpoint)

    def recover(self) -> None:
        """Something broke into a write: count anew, and look at every line again."""
        self.seal()
        self.budget.clear()
        for endpoint, line in self._lines.items():
            line.outbox.recount()
            self._ready.add(endpoint)

    @property
    def ready(self) -> bool:
        """Whether the I/O thread has something to drain."""
        return self.open is not None or bool(self._ready)

    @property
    def has_publications(self) -> bool:
        """Whether a publication was not acknowledged by the peer it is for."""
        boxes = [line.outbox for line in self._lines.values()]
        return self.open is not None or any(box.has_publications for box in boxes)

    def unacknowledged(self) -> Iterator[tuple[NodeId, int]]:
        """How many were not, by life."""
        gathered = set() if self.open is None else set(self.open.route.endpoints)
        for endpoint, line in self._lines.items():
            count = line.outbox.unacknowledged + (self.gathered if endpoint in gathered else 0)
            if line.outbox.life is not None and count:
                yield line.outbox.life, count

    def queued_bytes(self) -> int:
        """What waits, in all outboxes."""
        return sum(line.outbox.queued_bytes for line in self._lines.values())

    def dropped_urgent(self) -> int:
        """Answers to probes and the like that found no room on open links."""
        return sum(line.outbox.dropped_urgent for line in self._lines.values())

    def dropped(self) -> tuple[int, int]:
        """Publications and gossip records that open links have dropped."""
        boxes = [line.outbox for line in self._lines.values()]
        return (
            sum(box.dropped_publications for box in boxes),
            sum(box.dropped_gossip for box in boxes),
        )

    def send_here(self, now: float) -> None:
        """Spare the I/O thread, which sleeps, a wake-up: send what is ready from this thread.

        It draws no frame while the caller holds the lock, so frames keep their order. A frame
        that an interrupt hits is lost, or was sent; the peer sees the gap in its numbers.
        """
        gathered = () if self.open is None else self.open.route.links
        if now - self._here_at < HERE_EVERY_S or len(self._ready) + len(gathered) > HERE_LINKS_MAX:
            return
        self._here_at = now
        self.seal()
        for endpoint in sorted(self._ready):
            line = self._lines.get(endpoint)
            if line is None or line.blocked or line.parked is not None or line.outbox.lagging:
                continue
            if (drawn := self._draw(line, now)) is not None:
                data = frame(*drawn)
                if not self.transport.send_asleep(endpoint, data):
                    line.parked = data
                    continue
            if not line.outbox:
                self._ready.discard(endpoint)

    # ---------------------------------------------------------------- the I/O thread

    def drain(self) -> list[str]:
        """Hand over what the transport takes, a few frames a link; the links that ran empty."""
        emptied: list[str] = []
        self.drained_records, before = 0, self.sent.publications
        if self.open is not None:
            with self.lock:
                self.seal()
        for endpoint in sorted(self._ready):
            line = self._lines.get(endpoint)
            if line is None or line.blocked or self._drain_line(endpoint, line):
                self._ready.discard(endpoint)
                with self.lock:
                    if line is not None and not line.blocked:
                        if line.outbox:  # filled between the last look and now
                            self._ready.add(endpoint)
                        else:
                            emptied.append(endpoint)
        self.drained_records = max(self.drained_records, self.sent.publications - before)
        return emptied

    def say_last(self, record: bytes) -> None:
        """Where something is still queued, `record` goes out in its place, if anything can."""
        with self.lock:
            self.seal()
            for endpoint, line in self._lines.items():
                if line.outbox.queued_bytes and line.outbox.life is not None:
                    line.outbox.greet(line.outbox.life, record)
                    self._ready.add(endpoint)
        self.drain()

    def _drain_line(self, endpoint: str, line: _Line) -> bool:
        """Whether the line is done for now: empty, or blocked."""
        for _ in range(FRAMES_PER_TURN):
            with self.lock:
                drawn = None
                if line.parked is None and (drawn := self._draw(line, monotonic())) is None:
                    return True
            if drawn is not None:
                line.parked = frame(*drawn)
                self.drained_records += len(drawn[1])
            assert line.parked is not None
            if not self.transport.try_send(endpoint, line.parked):
                line.blocked = True
                return True
            line.parked = None
        return False

    def _draw(self, line: _Line, now: float) -> tuple[bytes, list[bytes]] | None:
        """Header and records of the next frame, if one may go."""
        outbox = line.outbox
        if (drawn := outbox.draw(self.config.frame_bytes, now)) is None:
            return None
        to, records, published = drawn
        header = Header(self.cluster, self.me, to, outbox.link, outbox.number(), published)
        return self.encoder.header(header), records
