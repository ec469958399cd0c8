"""What waits to go out on one link: bounded in bytes, in order. Shared by both drivers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from crdtpubsub.engine.budget import SHARED_BYTES, Budget
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import (
    Ack,
    Addressed,
    Answers,
    Invite,
    Probe,
    ProbeFor,
    RelayedAck,
    Reply,
    Taken,
    Terms,
)

__all__ = ["CONFIRMED", "URGENT", "Outbox", "Sent"]

Cut = Callable[[int, int, int, memoryview], bytes]
"""The record of a `Chunk`: its id, the size of what is cut, the place, and the bytes there."""

URGENT: Final = (Probe, Ack, ProbeFor, RelayedAck, Taken, Answers)
"""What says that somebody lives. It stands for itself, so its place among others is free."""

CONFIRMED: Final = (Addressed, Reply, Invite, Terms)
"""What is said again until it is answered: to lose it is no loss. It keeps its order."""

_GOSSIP, _PUBLICATION, _CONFIRMED = 0, 1, -1
"""What a record is; above 0: so many publications."""

URGENT_MAX: Final = 1024
WINDOW_MIN_BYTES: Final = 32 * 1024
"""A link starts with so much under way, and keeps it on the slowest line: at 1 Mbit it delays
an answer to a probe by a third of a second. Twice what a receiver takes before it says so."""

WIDE_FRAME_BYTES: Final = 192 * 1024
"""What was gathered goes out in frames of up to a quarter of what may be under way, and no more
than this: three times as many long messages a frame. A receiver takes 256 KiB in one go."""

WAIT_LOW_S: Final = 0.1
WAIT_HIGH_S: Final = 0.25
"""What is under way may wait this long on top of the best time seen: below the first more of
it may, above the second half as much (the idea of LEDBAT, RFC 6817)."""


class Sent:
    """Publications that went out, of all links: so many to each life, and what came of them.

    Frames say the count for their life, so it goes on from one link to the next. Of too many
    lives the one that was sent nothing for longest is forgotten, and counted anew if it returns.
    """

    LIVES_MAX: Final = 1024

    __slots__ = ("_to", "acknowledged", "on_limit", "on_loss", "publications", "unknown", "unsent")

    def __init__(self) -> None:
        self.on_loss: Callable[[NodeId, int, int], object] = lambda _life, _unsent, _unknown: None
        self.on_limit: Callable[[str, NodeId, int], object] = lambda _limit, _life, _times: None
        self.publications = 0
        self.acknowledged = 0
        self.unknown = 0  # on their way when the link broke: they may have arrived
        self.unsent = 0  # still queued when the link broke
        self._to: dict[NodeId, int] = {}

    def to(self, life: NodeId) -> int:
        """How many went out to `life`."""
        return self._to.get(life, 0)

    def add(self, life: NodeId, publications: int) -> None:
        """More go out to it now."""
        self.publications += publications
        self._to[life] = self._to.pop(life, 0) + publications  # in order of use
        if len(self._to) > self.LIVES_MAX:
            del self._to[next(iter(self._to))]

    def lose(self, life: NodeId, *, unsent: int, unknown: int) -> None:
        """A link to it broke."""
        self.unsent += unsent
        self.unknown += unknown
        self.on_loss(life, unsent, unknown)


class Outbox:
    """The queue of one link, from encoded records to frames.

    Records are encoded once and shared by every outbox they are in. One that is too long for
    a frame is cut when it is drawn, so that what says that this node lives goes between its
    chunks. The header's sequence number is given when a frame is drawn, so that it says what
    really went out.

    What is under way (in ZeroMQ, in TCP, on the line) and not yet taken by the peer delays
    every probe behind it. So it is kept within a window, from `WINDOW_MIN_BYTES` to the link's
    credit, by how long the peer took to say that it took what was sent.
    """

    __slots__ = (
        "_best_s",
        "_chunk_id",
        "_cut",
        "_cut_at",
        "_greetings",
        "_records",
        "_shrink_at",
        "_terms",
        "_unacked",
        "_urgent",
        "budget",
        "bytes_max",
        "credit_bytes",
        "dropped_gossip",
        "dropped_publications",
        "dropped_urgent",
        "in_flight_bytes",
        "in_flight_publications",
        "lagging",
        "life",
        "link",
        "queued_bytes",
        "sent",
        "seq",
        "window_bytes",
    )

    def __init__(
        self,
        bytes_max: int,
        credit_bytes: int,
        cut: Cut,
        sent: Sent | None = None,
        budget: Budget | None = None,
        terms: Callable[[NodeId], bytes | None] = lambda _life: None,
    ) -> None:
        """A queue of so many bytes, of which so many may be under way.

        Args:
            bytes_max: beyond it records are refused.
            credit_bytes: sent and not yet taken by the peer, at most.
            cut: encodes a chunk: the engine knows no bytes.
            sent: the account, shared by all outboxes of a node.
            budget: what all of them may hold together.
            terms: the record that a frame with confirmed publications to a life begins with;
                None: the peer ignores them, and they are said again when there is one.
        """
        self.sent = sent or Sent()
        self.budget = budget or Budget(1 << 62)
        self._terms = terms
        self.in_flight_publications = 0
        self.bytes_max = bytes_max
        self.credit_bytes = credit_bytes
        self.in_flight_bytes = 0
        self.link = 0
        self.seq = 0
        self.life: NodeId | None = None
        self.lagging = False
        self.queued_bytes = 0
        self.dropped_gossip = 0
        self.dropped_publications = 0
        self.dropped_urgent = 0
        self.window_bytes = WINDOW_MIN_BYTES
        self._best_s = float("inf")
        self._shrink_at = float("-inf")
        self._cut = cut
        self._cut_at = 0  # so many bytes of the first record are out
        self._chunk_id = 0
        self._greetings: deque[tuple[NodeId, bytes]] = deque(maxlen=16)
        self._urgent: deque[bytes] = deque()
        self._records: deque[tuple[bytes, int]] = deque()
        # (seq, bytes, publications, when it was drawn) of each frame under way
        self._unacked: deque[tuple[int, int, int, float]] = deque()

    def __bool__(self) -> bool:
        """Whether a frame may be drawn now."""
        if self._greetings:
            return True
        return self.life is not None and bool(self._urgent or (self._records and self._credit))

    @property
    def _credit(self) -> bool:
        return self.in_flight_bytes < self.window_bytes

    def connected(self, link: int) -> None:
        """A handshake: frames carry this link id from 0 on. Nothing older goes out on it."""
        self.link = link
        self.seq = 0
        self.window_bytes = WINDOW_MIN_BYTES
        self._best_s = float("inf")
        self.clear()

    def bind(self, life: NodeId) -> None:
        """Address the frames to `life`; what was queued for another one is dropped."""
        if life != self.life:
            self._drop_records()
            self._unacked = deque((s, size, 0, at) for s, size, _, at in self._unacked)
            self.life = life

    def clear(self) -> None:
        """The link broke: what is queued or unacknowledged is lost, or may be, and counted."""
        self._greetings.clear()
        self._drop_records()
        self._unacked.clear()
        self.in_flight_bytes = 0
        self.life = None
        self.lagging = False

    def greet(self, to: NodeId, record: bytes) -> None:
        """Queue a frame of its own, ahead of everything; of too many the oldest is dropped."""
        self._greetings.append((to, record))

    def put_urgent(self, record: bytes) -> None:
        """Queue a record ahead of all others: what says that this node lives waits for nothing."""
        if self.life is None:
            return
        if len(self._urgent) >= URGENT_MAX:
            self._urgent.popleft()
            self.dropped_urgent += 1
            self.sent.on_limit("dropped_urgent", self.life, 1)
        self._urgent.append(record)

    def put(self, record: bytes, *, publication: bool) -> bool:
        """Queue a record. False: there is no room, or nobody to address; it was not taken.

        Gossip that finds no room between publications takes the queued gossip with it, to make
        room for them: the link is lagging, and will be repaired by rows when it has drained.
        Among its like it is dropped alone: of an answer in four parts nothing was left else, and
        the next answer fared the same.
        """
        if self.life is None:
            return False
        if not self._fits(record):
            if publication:
                self.dropped_publications += 1
            else:
                dropped_before = self.dropped_gossip
                self.dropped_gossip += 1
                if any(kind != _GOSSIP for _, kind in self._records):
                    self._drop_gossip()
                self.lagging = True
                dropped = self.dropped_gossip - dropped_before
                self.sent.on_limit("dropped_gossip", self.life, dropped)
            return False
        self._append(record, _PUBLICATION if publication else _GOSSIP)
        return True

    def _fits(self, record: bytes) -> bool:
        # An empty one takes any record: the longest payload and its header pass the limit alone.
        queued_bytes = self.queued_bytes
        if queued_bytes and queued_bytes + len(record) > self.bytes_max:
            return False
        if self.budget.fits(record, queued_bytes):
            return True
        if self.life is not None:
            self.sent.on_limit("outboxes_full", self.life, 1)
        return False

    def _append(self, record: bytes, kind: int) -> None:
        self._records.append((record, kind))
        self.queued_bytes += len(record)
        self.budget.charge(record)

    def room_bytes(self, frame_bytes: int, high_water_bytes: int) -> int:
        """How much `add` takes: what leaves in one frame, and stays below the mark."""
        if self.life is None:
            return 0
        below_mark = self.mark_bytes(high_water_bytes) - self.queued_bytes
        return min(max(min(frame_bytes, self.window_bytes // 2), self._wide), below_mark)

    @property
    def _wide(self) -> int:
        return min(WIDE_FRAME_BYTES, self.window_bytes // 4)

    def add(self, record: bytes, publications: int) -> None:
        """Queue many publications in one record, within `room_bytes`. Twice is as good as once."""
        if not self._records or self._records[-1][0] is not record:
            self._append(record, publications)

    def put_confirmed(self, record: bytes) -> bool:
        """Queue a record that is said again if it is lost. False: it was not taken."""
        if self.life is None or not self._fits(record):
            return False
        self._append(record, _CONFIRMED)
        return True

    def draw(
        self, frame_bytes: int, now: float, records_max: int = 4096
    ) -> tuple[NodeId, list[bytes], int] | None:
        """The next frame: whom it is for, its records, and the publications sent before it.

        None if nothing may go. It is about `frame_bytes` at most, and less on a link that turned
        out to be slow; more if it is one record of many publications, see `WIDE_FRAME_BYTES`.
        The driver keeps a drawn frame until its transport takes it; `number()` gives its place
        in the link.
        """
        if self._greetings:
            to, record = self._greetings.popleft()
            return to, [record], self.sent.to(to)
        if self.life is None or not (self._urgent or self._records):
            return None
        limit = min(frame_bytes, self.window_bytes // 2)
        records: list[bytes] = []
        urgent_bytes = 0
        while self._urgent and urgent_bytes < frame_bytes:
            urgent_bytes += len(self._urgent[0])
            records.append(self._urgent.popleft())
        size = publications = 0
        confirmed = False
        queue, budget = self._records, self.budget
        if not self._credit:
            records_max = 0
        while queue and len(records) < records_max:
            record, kind = queue[0]
            whole = len(record)
            left = whole - self._cut_at
            if size + left > limit and (size or kind <= 1 or whole > self._wide or self._cut_at):
                if not size:  # alone it is too long
                    size = limit
                    records.append(self._chunk(record, limit))
                break
            if self._cut_at:
                records.append(self._chunk(record, left))
                self._whole()
            else:
                records.append(record)
            queue.popleft()
            if whole < SHARED_BYTES:  # as `Budget.release`, some hundred times a frame
                budget.bytes -= whole
            else:
                budget.release(record)
            size += left
            if kind > 0:
                publications += kind
            elif kind == _CONFIRMED:
                confirmed = True
        if not records:
            return None
        if confirmed and (terms := self._terms(self.life)) is not None:
            records.insert(0, terms)
        before = self.sent.to(self.life)
        self.queued_bytes -= size
        if size:  # its number is the one `number()` gives next
            self._unacked.append((self.seq, size, publications, now))
            self.in_flight_bytes += size
        if publications:
            self.in_flight_publications += publications
            self.sent.add(self.life, publications)
        return self.life, records, before

    def _chunk(self, record: bytes, size: int) -> bytes:
        at = self._cut_at
        self._cut_at = at + size
        return self._cut(self._chunk_id, len(record), at, memoryview(record)[at : at + size])

    def _whole(self) -> None:
        """The first record is out, or given up: the next one that is cut has another id."""
        if self._cut_at:
            self._cut_at = 0
            self._chunk_id = (self._chunk_id + 1) & 0xFFFFFFFF

    def number(self) -> int:
        """The sequence number of the frame that goes out now."""
        seq = self.seq
        self.seq = seq + 1
        return seq

    def release(self, link: int, seq: int, now: float) -> None:
        """The peer has dealt with the frames of that link up to `seq`."""
        if link != self.link:
            return
        released_bytes, drawn_at = 0, None
        while self._unacked and self._unacked[0][0] <= seq:
            _, size, publications, drawn_at = self._unacked.popleft()
            released_bytes += size
            self.in_flight_publications -= publications
            self.sent.acknowledged += publications
        self.in_flight_bytes -= released_bytes
        if drawn_at is not None:
            self._adapt(released_bytes, now - drawn_at, now)

    def _adapt(self, released_bytes: int, took_s: float, now: float) -> None:
        """More may be under way if it does not wait, less if it does: see `WAIT_LOW_S`."""
        self._best_s = min(self._best_s, took_s)
        waited_s = took_s - self._best_s
        if waited_s < WAIT_LOW_S:
            grown = self.window_bytes + released_bytes  # doubles in each round trip
            self.window_bytes = min(grown, self.credit_bytes)
        elif waited_s > WAIT_HIGH_S and now >= self._shrink_at:
            self.window_bytes = max(self.window_bytes // 2, WINDOW_MIN_BYTES)
            self._shrink_at = now + took_s  # what was sent before says the same once more

    @property
    def has_publications(self) -> bool:
        """Whether one waits here, or is on its way and was not acknowledged."""
        if self.in_flight_publications:
            return True
        return any(kind > 0 for _, kind in reversed(self._records))

    @property
    def unacknowledged(self) -> int:
        """How many of them."""
        queued = sum([max(kind, 0) for _, kind in self._records])
        return self.in_flight_publications + queued

    def recount(self) -> None:
        """What is queued, counted anew: an interrupt may have come between the two.

        The budget is cleared before, once for all outboxes.
        """
        self.queued_bytes = sum(len(record) for record, _ in self._records) - self._cut_at
        for record, _ in self._records:
            self.budget.charge(record)

    def mark_bytes(self, high_water_bytes: int) -> int:
        """Above this a publisher waits: lower where all outboxes together are nearly full."""
        return min(high_water_bytes, self.budget.share_bytes // 2)

    def _drop_gossip(self) -> None:
        if self._records and not self._records[0][1]:
            self._whole()
        for record, publication in self._records:
            if not publication:
                self.budget.release(record)
        kept = deque(item for item in self._records if item[1])
        self.dropped_gossip += len(self._records) - len(kept)
        self._records = kept
        self.queued_bytes = sum(len(record) for record, _ in kept) - self._cut_at

    def _drop_records(self) -> None:
        self._whole()
        self._urgent.clear()
        unsent = 0
        for record, kind in self._records:
            self.budget.release(record)
            if kind > 0:
                unsent += kind
            else:
                self.dropped_gossip += kind == _GOSSIP
        self.dropped_publications += unsent
        self._records.clear()
        self.queued_bytes = 0
        unknown, self.in_flight_publications = self.in_flight_publications, 0
        if self.life is not None and (unsent or unknown):
            self.sent.lose(self.life, unsent=unsent, unknown=unknown)
