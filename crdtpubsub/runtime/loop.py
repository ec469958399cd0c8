"""The I/O thread at work: what happens on the transport becomes events, outboxes become frames."""

from __future__ import annotations

from time import monotonic

from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.slicing import slices
from crdtpubsub.runtime.core import Core
from crdtpubsub.runtime.dialling import Dialler
from crdtpubsub.runtime.limits import LIMITS
from crdtpubsub.runtime.place import Place
from crdtpubsub.runtime.telling import LOGGED, log
from crdtpubsub.transport.base import (
    Connected,
    Disconnected,
    FrameIn,
    HandshakeFailed,
    Happening,
    Refused,
    Writable,
)
from crdtpubsub.wire.codec import Assemblies, Decoder, FrameError
from crdtpubsub.wire.messages import Goodbye

__all__ = ["GOODBYE_S", "Loop"]

GOODBYE_S = 0.25
"""How long a closing node lets its last frames leave."""

NAP_S = 0.001
STREAM_RECORDS = 1
"""More records than this in one turn: callers write faster than one wake-up at a time."""


class Loop:
    """One turn after the other, in a thread of its own."""

    def __init__(self, core: Core, decoder: Decoder, place: Place) -> None:
        self.core = core
        self.place = place
        self.dialler = Dialler(core)
        self.decoder = decoder
        engine = core.engine
        self.assemblies = Assemblies(
            engine.me,
            decoder,
            core.config.assemblies_bytes_max,
            held=engine.listed,
            count=self._count,
        )
        self._next_link = 0
        self._streaming = False

    def turn(self) -> None:
        """Wait for something to happen, and deal with it."""
        with self.core.lock:
            deadline = self.core.engine.next_deadline()
            self.core.sleep_until = deadline
            core = self.core
            busy = bool(core.sender.ready or core.dials or core.lagging or core.overflowed)
            # Callers wake a sleeping thread. While they come in a stream, a nap nobody cuts
            # short gathers a batch: a wake-up a message is what would limit them otherwise.
            nap = not busy and self._streaming
            self.core.sleeping = not busy and not nap
        pause_s = 0.0 if busy else max(0.0, deadline - monotonic())
        happened = self.core.transport.poll(min(pause_s, NAP_S) if nap else pause_s)
        self.core.sleeping = False
        for happening in happened:
            self._happened(happening)
        now = monotonic()
        if now >= deadline:
            self._handle(ev.Tick())
            self.assemblies.sweep()
        if (now >= deadline or self.place.news) and (
            seeds := self.place.look(self.core, now)
        ) is not None:
            self._handle(ev.SeedsChanged(seeds))
        while self.core.lagging:
            self._lagging(self.core.lagging.pop())
        if self.core.spread.messages:
            self.core.spread.look()
        while self.core.overflowed:
            with self.core.lock:
                if self.core.overflowed:
                    self.core.bury(self.core.overflowed.pop())
        if now >= deadline or self.dialler.news:
            self.dialler.look(now)
        while self.core.dials:
            self.dialler.do(self.core.dials.pop(0))
        self.core.say_taken()
        emptied = self.core.sender.drain()
        self._streaming = self.core.sender.drained_records > STREAM_RECORDS
        for endpoint in emptied:
            self._emptied(endpoint)
        self.core.let_go(wake=False)
        self.core.teller.tell_due(now, self.core.transport.stats)

    def _lagging(self, endpoint: str) -> None:
        self._handle(ev.LinkLagging(endpoint))
        line = self.core.sender.line(endpoint)
        if line is None or not line.outbox.lagging:  # it drained before anybody heard of it
            self._handle(ev.LinkDrained(endpoint))

    def _emptied(self, endpoint: str) -> None:
        line = self.core.sender.line(endpoint)
        if line is None:
            return
        if line.outbox.lagging and not line.outbox.queued_bytes:
            line.outbox.lagging = False
            self._handle(ev.LinkDrained(endpoint))
            self.core.pulse = True
        # Only when there is room, or who waits for news would be bothered by every frame.
        if line.awaited and self.core.sender.room_at(endpoint) is None:
            line.awaited = False
            self.core.pulse = True

    def _handle(self, event: ev.Event) -> None:
        with self.core.lock:
            self.core.engine.handle(event, monotonic())
            self.core.perform(self.core.engine.take())

    def _happened(self, happening: Happening) -> None:
        match happening:
            case FrameIn(data):
                self._frame(data)
            case Connected(endpoint):
                with self.core.lock:
                    self._next_link += 1
                    self.core.sender.connected(endpoint, self._next_link)
                self._handle(ev.LinkUp(endpoint, self._next_link))
            case Disconnected(endpoint):
                with self.core.lock:
                    self.core.sender.disconnected(endpoint)
                self._handle(ev.LinkDown(endpoint))
            case Refused(endpoint):
                self._handle(ev.LinkRefused(endpoint))
            case HandshakeFailed(endpoint, why):
                what = "stranger_refused" if endpoint is None else "handshake_failed"
                about = why if endpoint is None else f"{endpoint}: {why}"
                self.core.notes.append(ef.Noted(what, about, endpoint or ""))
            case Writable(endpoint):
                with self.core.lock:
                    self.core.sender.writable(endpoint)

    def _frame(self, data: bytes) -> None:
        try:
            frame = self.assemblies.take(self.decoder.decode(data))
        except FrameError as error:
            self._limit("frames_malformed", "")
            self.core.counters[f"frames_malformed_{error.reason}"] += 1
            if self.core.counters["frames_malformed"] in LOGGED:
                log.warning("%s: dropped a frame: %s", self.core.name, error)
            return
        self.core.counters["frames"] += 1
        size_bytes = len(data)
        for part in slices(frame, self.core.config.slice_births):
            self._handle(ev.Received(part, size_bytes))
            size_bytes = 0

    def _count(self, what: str, whom: str) -> None:
        if what in LIMITS:
            self._limit(what, whom)
        else:
            self.core.counters[what] += 1

    def _limit(self, what: str, whom: str) -> None:
        with self.core.lock:
            self.core.counters[what] += 1
            self.core.limit(what, whom, 1)

    def leave(self) -> None:
        """Say goodbye and let what is queued leave, for a moment; the rest is dropped."""
        self._handle(ev.SayGoodbye())
        sender, until = self.core.sender, monotonic() + GOODBYE_S
        while sender.ready and monotonic() < until:
            sender.drain()
            for happening in self.core.transport.poll(0.01):
                if isinstance(happening, Writable):
                    sender.writable(happening.endpoint)
        sender.say_last(sender.encoder.message(Goodbye()))
