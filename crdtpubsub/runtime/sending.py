"""Outboxes on their way to the transport, and what a publisher is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic

from crdtpubsub.config import Config
from crdtpubsub.engine.budget import Budget
from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.outbox import Outbox, Sent
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.handover import HandOverLock
from crdtpubsub.transport.base import Transport
from crdtpubsub.wire.codec import Encoder, chunk, frame
from crdtpubsub.wire.messages import Header

__all__ = ["Outcome", "Receipt", "Sender", "receipt_of"]

FRAMES_PER_TURN = 8


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `publish` or `send` did.

    Attributes:
        members: how many members the owners that took it have, as far as this node knows. With
            `confirm=`: how many clients took it into their queues, for certain.
        owners: every owner of a listed member, this node included, and what became of it there.
        clients: with `confirm=`: of each owner that is `DELIVERED`, how many of its clients.
        groups: of each queue group of the channel, what became of it at the one that was picked.
            It counts as one of `members`, and its owner is in `owners`.
    """

    members: int
    owners: Mapping[NodeId, Outcome]
    clients: Mapping[NodeId, int] = field(default_factory=dict)
    groups: Mapping[str, Outcome] = field(default_factory=dict)


def receipt_of(
    me: NodeId, route: Route, refused: dict[NodeId, Outcome], exclude: tuple[NodeId, str] | None
) -> Receipt:
    """What is known when an unconfirmed publication has been queued."""
    owners = {owner: Outcome.QUEUED for owner, _ in route.links}
    if route.clients:
        owners[me] = Outcome.DELIVERED
    owners.update(refused)
    members = sum(n for owner, n in route.counts if owner not in refused)
    if exclude is not None:
        members -= exclude[0] in owners and exclude[0] not in refused
    return Receipt(members, owners)


@dataclass(slots=True)
class _Line:
    """One link's way out."""

    outbox: Outbox
    parked: bytes | None = None  # a frame the transport did not take yet
    blocked: bool = False
    progress_at: float = 0.0  # when the peer last said what it took
    stalled: bool = False  # a publisher waited for it in vain: it holds nobody any more


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
    _lines: dict[str, _Line] = field(default_factory=dict)
    _ready: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """All outboxes share one budget."""
        self.budget = Budget(self.config.outboxes_bytes_max)

    # ---------------------------------------------------------------- under the lock

    def line(self, endpoint: str) -> _Line | None:
        """The line to `endpoint`, if it is dialled."""
        return self._lines.get(endpoint)

    def open(self, endpoint: str) -> None:
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
        line = self._lines.pop(endpoint, None)
        self._ready.discard(endpoint)
        if line is None:
            return None
        line.outbox.clear()
        return line.outbox

    def connected(self, endpoint: str, link: int) -> None:
        """A handshake."""
        if (line := self._lines.get(endpoint)) is not None:
            line.outbox.connected(link)
            line.parked, line.blocked, line.stalled = None, False, False

    def disconnected(self, endpoint: str) -> None:
        """The connection broke."""
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
        line = self._lines.get(endpoint)
        if line is None or not line.outbox.put(record, publication=publication):
            return False
        self._ready.add(endpoint)
        return True

    def put_confirmed(self, endpoint: str, record: bytes) -> None:
        """Queue a record that is said again if it is lost, or finds no room."""
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
        line = self._lines.get(endpoint)
        if line is None:
            return False
        if line.outbox.queued_bytes > line.outbox.mark_bytes(self.config.outbox_high_water_bytes):
            if line.stalled:
                line.outbox.dropped_publications += 1
                return False
            full.append(endpoint)
        else:
            line.stalled = False
        if not line.outbox.put(record, publication=True):
            return False
        self._ready.add(endpoint)
        return True

    def greet(self, endpoint: str, to: NodeId, record: bytes) -> None:
        """Queue a frame of its own."""
        if (line := self._lines.get(endpoint)) is not None:
            line.outbox.greet(to, record)
            self._ready.add(endpoint)

    def recover(self) -> None:
        """Something broke into a write: count anew, and look at every line again."""
        self.budget.clear()
        for endpoint, line in self._lines.items():
            line.outbox.recount()
            self._ready.add(endpoint)

    @property
    def ready(self) -> bool:
        """Whether the I/O thread has something to drain."""
        return bool(self._ready)

    @property
    def has_publications(self) -> bool:
        """Whether a publication was not acknowledged by the peer it is for."""
        return any(line.outbox.has_publications for line in self._lines.values())

    def unacknowledged(self) -> Iterator[tuple[NodeId, int]]:
        """How many were not, by life."""
        for line in self._lines.values():
            if line.outbox.life is not None and (count := line.outbox.unacknowledged):
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

    # ---------------------------------------------------------------- the I/O thread

    def drain(self) -> list[str]:
        """Hand over what the transport takes, a few frames a link; the links that ran empty."""
        emptied: list[str] = []
        self.drained_records = 0
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
        return emptied

    def say_last(self, record: bytes) -> None:
        """Where something is still queued, `record` goes out in its place, if anything can."""
        with self.lock:
            for endpoint, line in self._lines.items():
                if line.outbox.queued_bytes and line.outbox.life is not None:
                    line.outbox.greet(line.outbox.life, record)
                    self._ready.add(endpoint)
        self.drain()

    def _drain_line(self, endpoint: str, line: _Line) -> bool:
        """Whether the line is done for now: empty, or blocked."""
        for _ in range(FRAMES_PER_TURN):
            if line.parked is None:
                with self.lock:
                    drawn = line.outbox.draw(self.config.frame_bytes, monotonic())
                    if drawn is None:
                        return True
                    to, records, published = drawn
                    outbox = line.outbox
                    header = Header(
                        self.cluster, self.me, to, outbox.link, outbox.number(), published
                    )
                line.parked = frame(self.encoder.header(header), records)
                self.drained_records += len(records)
            if not self.transport.try_send(endpoint, line.parked):
                line.blocked = True
                return True
            line.parked = None
        return False
