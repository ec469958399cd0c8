"""The transport on ZeroMQ: one bound DEALER in, one connected DEALER per endpoint out.

We never answer through the inbound socket, so it needs no routing ids, and a ROUTER's (claims
of the remote side, by which one peer can silence another) are avoided.

Waiting is done on ZeroMQ's descriptors in a selector, not by `zmq.Poller`: `zmq_poll` makes a
system call per socket, so with a monitor per peer each call would cost O(peers). Those
descriptors are edge-triggered: readable means "there may be news", and news that nobody fetches
is not announced again. Hence the one rule here: *a socket that is new, or that woke us, is read
until it says EAGAIN, or is remembered as having more*. EAGAIN from `recv`, and reading EVENTS,
both empty the socket's mailbox, so the next news raises the descriptor again.
"""

from __future__ import annotations

import os
import re
import selectors
from time import monotonic
from typing import Final, Protocol

import zmq

from crdtpubsub.errors import (
    BindError,
    ClosedError,
    ConfigError,
    ForkedError,
    PayloadTooLargeError,
)
from crdtpubsub.transport.base import (
    FRAME_BYTES_MAX,
    Connected,
    Disconnected,
    FrameIn,
    HandshakeFailed,
    Happening,
    Writable,
    is_endpoint,
)
from crdtpubsub.transport.door import Door
from crdtpubsub.transport.handshakes import NONSENSE, SILENT, Retries, why_outbound
from crdtpubsub.transport.ipc import PathLock, path_of
from crdtpubsub.transport.link import (
    DISCONNECTED,
    HANDSHAKE_SUCCEEDED,
    Link,
    news,
)
from crdtpubsub.transport.options import (
    DRAIN_BYTES_MAX,
    DRAIN_FRAMES_MAX,
    FDS_PER_LINK,
    FDS_SPARED,
    FDS_STRANGERS,
    INBOUND_OPTIONS,
    RESTORES_MAX,
    SOCKETS_MAX,
    needs_ipv6,
    raise_fd_limit,
)
from crdtpubsub.transport.refusal import RefusalChecks
from crdtpubsub.transport.security import NullSecurity, Security, ZapHandler
from crdtpubsub.transport.sleep import Sleep

__all__ = ["ZmqTransport"]


class _Handler(Protocol):
    def __call__(self, out: list[Happening], /) -> None: ...


class ZmqTransport:
    """A `Transport` on ZeroMQ. It owns a context and a small thread from construction on.

    Known limit: ZeroMQ assembles a multipart message before anybody sees it, and counts it as
    one. A stranger who is admitted and never ends his message fills our memory; keep strangers
    out (keys, or a network of your own).
    """

    def __init__(self, *, security: Security | None = None) -> None:
        self.stats: dict[str, int] = {
            "frames_in": 0,
            "bytes_in": 0,
            "frames_out": 0,
            "bytes_out": 0,
            "multipart_dropped": 0,
            "oversized": 0,
            "refused": 0,
            "handshakes_failed": 0,
            "strangers_refused": 0,
            "strangers_broke_off": 0,
            "checks_skipped": 0,
            "paths_restored": 0,
        }
        self._pid = os.getpid()
        self._closed = False
        self._security: Security = NullSecurity() if security is None else security
        self.links_max: Final = max(1, (raise_fd_limit() - FDS_SPARED) // FDS_PER_LINK)
        self._links: dict[str, Link] = {}
        self._retries = Retries(self._security.keys)
        self._failed: list[tuple[Link, int, int]] = []  # handshakes, in this poll
        self._pending: list[Happening] = []
        # A pipe announces news only to a reader who once found it empty: the next poll looks.
        self._fresh: list[Link] = []
        self._locks: list[PathLock] = []

        self._selector = selectors.DefaultSelector()
        self._checks = RefusalChecks(self._selector, self.stats)
        self._sleep = Sleep(self._selector)

        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)  # counts before the first socket only
        self._zap = ZapHandler(self._context, self._security)
        self._inbound = self._context.socket(zmq.DEALER)
        for option, value in INBOUND_OPTIONS:
            self._inbound.setsockopt(option, value)
        self._security.prepare_inbound(self._inbound)
        self._inbound_has_more = False
        self._selector.register(self._inbound.FD, selectors.EVENT_READ, self._on_inbound)
        self._door = Door(
            self._context,
            self._inbound,
            self._selector,
            self.stats,
            # A link is dialled from both sides: as many come in as go out.
            open_max=self.links_max + FDS_STRANGERS,
            secret=self._security.keys > 0,
        )

    # ------------------------------------------------------------------ links

    def bind(self, endpoint: str) -> str:
        """See `Transport`. A second process cannot take over an ipc path that is in use."""
        self._check_usable()
        # ZeroMQ takes port 99999 modulo 65536, so this is checked here.
        concrete = re.sub(r":(\*|0)$", ":1", endpoint).replace("tcp://*:", "tcp://any:", 1)
        if not is_endpoint(concrete):
            raise BindError(
                endpoint=endpoint, reason="it is neither tcp://host:port nor ipc://path"
            )
        path = path_of(endpoint)
        lock = None if path is None else PathLock(endpoint, path)
        try:
            self._inbound.setsockopt(zmq.IPV6, needs_ipv6(endpoint))
            self._inbound.bind(endpoint)
        except (zmq.ZMQError, ValueError, TypeError) as error:
            if lock is not None:
                lock.release(bound=False)
            reason = error.strerror if isinstance(error, zmq.ZMQError) else str(error)
            raise BindError(endpoint=endpoint, reason=reason) from error
        if lock is not None:
            self._locks.append(lock)
        self._inbound_has_more = True  # bind() may have taken the announcement of an earlier link
        actual = self._inbound.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(actual, bytes)
        bound = actual.rstrip(b"\0").decode()
        self._door.bound(bound)
        return bound

    def restore(self, endpoint: str) -> bool:
        """See `Transport`."""
        self._check_usable()
        place = next((n for n, lock in enumerate(self._locks) if lock.endpoint == endpoint), None)
        if place is None or self.stats["paths_restored"] >= RESTORES_MAX:
            return False
        lock = self._locks[place].restore(lambda: self._inbound.bind(endpoint))
        if lock is None:
            return False
        self._inbound_has_more = True
        self._locks[place] = lock
        self.stats["paths_restored"] += 1
        return True

    def connect(self, endpoint: str, at: str | None = None) -> None:
        """See `Transport`."""
        self._check_usable()
        if endpoint in self._links:
            return
        if not is_endpoint(at or endpoint):
            raise ConfigError(f"{endpoint!r:.200} is neither tcp://host:port nor ipc://path")
        if len(self._links) >= self.links_max:
            raise ConfigError(
                f"{self.links_max} links are all that the limit of open files allows; "
                f"raise it (ulimit -n), {FDS_PER_LINK} per link"
            )
        link = Link(endpoint, at or endpoint)
        self._links[endpoint] = link
        try:
            self._dial(link)
        except zmq.ZMQError as error:
            del self._links[endpoint]
            raise ConfigError(f"cannot dial {endpoint!r:.200}: {error.strerror}") from error

    def disconnect(self, endpoint: str) -> None:
        """See `Transport`."""
        if self._closed or (link := self._links.get(endpoint)) is None:
            return
        self._check_usable()
        del self._links[endpoint]
        self._retries.forget(endpoint)
        self._hang_up(link, linger_ms=0)
        self._pending = [
            h for h in self._pending if isinstance(h, FrameIn) or h.endpoint != endpoint
        ]

    def redial(self, endpoint: str, at: str | None = None) -> None:
        """See `Transport`."""
        self._check_usable()
        if (link := self._links.get(endpoint)) is None:
            return
        if link.connected:
            self._pending.append(Disconnected(endpoint))
        self._hang_up(link, linger_ms=0)
        link.go_to(at or link.at)
        try:
            self._dial(link)
        except zmq.ZMQError as error:
            del self._links[endpoint]
            raise ConfigError(f"cannot dial {endpoint!r:.200}: {error.strerror}") from error

    def _dial(self, link: Link) -> None:
        link.dial(self._context, self._security, self._retries.key(link.endpoint))

        def on_monitor(out: list[Happening]) -> None:
            self._on_monitor(link, out)

        self._selector.register(link.monitor.FD, selectors.EVENT_READ, on_monitor)
        self._fresh.append(link)

    def _hang_up(self, link: Link, *, linger_ms: int) -> None:
        if not link.dialled:
            return
        self._checks.cancel(link.endpoint)
        self._unwatch(link)
        self._selector.unregister(link.monitor.FD)
        link.hang_up(linger_ms=linger_ms)

    # ------------------------------------------------------------------ out

    def try_send(self, endpoint: str, frame: bytes) -> bool:
        """See `Transport`."""
        self._check_usable()
        if len(frame) > FRAME_BYTES_MAX:
            # The far end would drop the connection without a word.
            self.stats["oversized"] += 1
            raise PayloadTooLargeError(
                what="frame", size_bytes=len(frame), limit_bytes=FRAME_BYTES_MAX
            )
        if (link := self._links.get(endpoint)) is None:
            return False
        if not link.connected:
            link.refused_a_frame = True
            return False
        if not link.send(frame):
            link.refused_a_frame = True
            self._watch(link)
            return False
        if link.refused_a_frame:
            # This send may have eaten the news that the watch waits for: keep the promise.
            link.refused_a_frame = False
            self._unwatch(link)
            self._pending.append(Writable(endpoint))
        self.stats["frames_out"] += 1
        self.stats["bytes_out"] += len(frame)
        return True

    def send_asleep(self, endpoint: str, frame: bytes) -> bool:
        """See `Transport`. While the owner sleeps in the selector it touches no socket.

        ZeroMQ lets a socket move to another thread across a full fence, which the gate is.
        """
        if len(frame) > FRAME_BYTES_MAX:
            return False
        with self._sleep.gate:
            link = self._links.get(endpoint)
            if not self._sleep.deep or link is None or not link.connected or link.refused_a_frame:
                return False
            if not link.send(frame):
                return False
            self.stats["frames_out"] += 1
            self.stats["bytes_out"] += len(frame)
        return True

    def _watch(self, link: Link) -> None:
        if link.watched:
            return

        def on_outbound(out: list[Happening]) -> None:
            if link.watched and link.has_room():
                self._report_room(link, out)

        self._selector.register(link.socket.FD, selectors.EVENT_READ, on_outbound)
        link.watched = True

    def _unwatch(self, link: Link) -> None:
        if link.watched:
            link.watched = False
            self._selector.unregister(link.socket.FD)

    def _report_room(self, link: Link, out: list[Happening]) -> None:
        self._unwatch(link)
        link.refused_a_frame = False
        out.append(Writable(link.endpoint))

    # ------------------------------------------------------------------ in

    def poll(self, timeout_s: float | None) -> list[Happening]:
        """See `Transport`."""
        self._check_usable()
        out, self._pending = self._pending, []
        while self._fresh:
            link = self._fresh.pop()
            if self._links.get(link.endpoint) is link and link.dialled:
                self._on_monitor(link, out)
        if out or self._inbound_has_more:
            timeout_s = 0.0
        had_more = self._inbound_has_more
        timeout_s = self._checks.timeout_s(timeout_s)
        timeout_s = self._retries.timeout_s(timeout_s, monotonic())
        for key, _events in self._sleep.until(timeout_s):
            handler: _Handler = key.data
            handler(out)
            if handler == self._on_inbound:
                had_more = False
        if had_more:
            self._on_inbound(out)
        self._checks.expire()
        self._door.look()
        self._retry(out)
        return out

    def _retry(self, out: list[Happening]) -> None:
        """Give up on dials whose handshake failed, and begin those whose time has come."""
        for link, event, value in self._failed:
            if self._links.get(link.endpoint) is not link or link.connected or not link.dialled:
                continue
            self._hang_up(link, linger_ms=0)
            rounds = self._retries.failed(link.endpoint, monotonic())
            why = why_outbound(event, value, rounds, secret=self._security.keys > 0)
            if why is not None:
                out.append(HandshakeFailed(link.endpoint, why))
        self._failed.clear()
        for endpoint in self._retries.due(monotonic()):
            if (waiting := self._links.get(endpoint)) is None or waiting.dialled:
                continue
            try:
                self._dial(waiting)
            except zmq.ZMQError:  # no descriptors left, for instance: as if it had failed
                self._retries.failed(endpoint, monotonic())

    def _on_inbound(self, out: list[Happening], /) -> None:
        """Take frames until there are none, or the portion is full."""
        recv = self._inbound.recv
        frames, size = 0, 0
        self._inbound_has_more = True
        try:
            while frames < DRAIN_FRAMES_MAX and size < DRAIN_BYTES_MAX:
                data = recv(zmq.NOBLOCK)
                frames += 1
                size += len(data)
                if self._inbound.rcvmore:
                    # We send single frames. ZeroMQ delivers all parts or none: no wait here.
                    while self._inbound.rcvmore:
                        size += len(recv(zmq.NOBLOCK))
                    self.stats["multipart_dropped"] += 1
                    continue
                out.append(FrameIn(data))
        except zmq.Again:
            self._inbound_has_more = False
        self.stats["frames_in"] += frames
        self.stats["bytes_in"] += size

    def _on_monitor(self, link: Link, out: list[Happening]) -> None:
        for event, value in news(link.monitor):
            if event == HANDSHAKE_SUCCEEDED:
                self._on_connected(link, out)
            elif event == DISCONNECTED:
                self._on_disconnected(link, out)
            elif not link.connected:
                self._on_failed(link, event, value)

    def _on_failed(self, link: Link, event: int, value: int) -> None:
        link.announced = True
        self.stats["handshakes_failed"] += 1
        if event != SILENT or self._security.keys > 0:  # else ZeroMQ redials as well as we could
            self._failed.append((link, event, value))

    def _on_connected(self, link: Link, out: list[Happening]) -> None:
        self._checks.cancel(link.endpoint)
        if link.connected:
            return
        link.connected = True
        self._retries.worked(link.endpoint)
        out.append(Connected(link.endpoint))
        if link.refused_a_frame:
            if link.has_room():
                self._report_room(link, out)
            else:
                self._watch(link)

    def _on_disconnected(self, link: Link, out: list[Happening]) -> None:
        if not link.connected:
            if not link.announced:  # ZeroMQ gives up for ever, and says no more than this
                self._on_failed(link, NONSENSE, 0)
            link.announced = False
            return
        link.connected = False
        self._unwatch(link)
        out.append(Disconnected(link.endpoint))
        if link.address is not None:
            self._checks.start(link.endpoint, link.address, out)

    # ------------------------------------------------------------------ wake, close

    def wake(self) -> None:
        """See `Transport`."""
        if not self._closed and os.getpid() == self._pid:
            self._sleep.wake()

    def close(self, linger_s: float = 0.0) -> None:
        """See `Transport`."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self._checks.close()
        for link in self._links.values():
            self._hang_up(link, linger_ms=round(linger_s * 1000))
        self._links.clear()
        self._door.close()
        self._selector.unregister(self._inbound.FD)
        self._inbound.close(linger=0)
        self._context.term()  # ends the ZAP handler, and waits for those who linger
        self._zap.join()
        for lock in self._locks:
            lock.release(bound=True)
        self._selector.close()
        self._sleep.close()

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            # ZeroMQ would take the frame and lose it: its I/O thread did not survive the fork.
            raise ForkedError("this transport belongs to the parent process; make one here")
        if self._closed:
            raise ClosedError("this transport is closed")
