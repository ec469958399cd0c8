"""The sockets of one link: what dials an endpoint, and what tells how that goes."""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Iterator
from typing import Final

import zmq

from crdtpubsub.transport.handshakes import FAILED, SILENT
from crdtpubsub.transport.options import OUTBOUND_OPTIONS, needs_ipv6
from crdtpubsub.transport.refusal import Address, address_of
from crdtpubsub.transport.security import Security

__all__ = ["DISCONNECTED", "HANDSHAKE_SUCCEEDED", "Link", "news", "watch_over"]

HANDSHAKE_SUCCEEDED: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)

_EVENT: Final = struct.Struct("=HI")

_serial = itertools.count(1)


class Link:
    """One endpoint that is dialled, or will be again."""

    __slots__ = (
        "address",
        "announced",
        "at",
        "connected",
        "dialled",
        "endpoint",
        "monitor",
        "refused_a_frame",
        "socket",
        "watched",
    )

    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]

    at: str  # where it is dialled: `endpoint`, or the same in numbers
    address: Address | None

    def __init__(self, endpoint: str, at: str) -> None:
        self.endpoint = endpoint
        self.go_to(at)
        self.dialled = False  # socket and monitor are there
        self.connected = False
        self.announced = False  # it was said why the handshake failed; the end of it follows
        self.refused_a_frame = False  # a `Writable` is owed
        self.watched = False  # the selector looks for room

    def go_to(self, at: str) -> None:
        """From the next dial on it leads there."""
        self.at = at
        self.address = address_of(at)

    def dial(self, context: zmq.Context[zmq.Socket[bytes]], security: Security, key: int) -> None:
        """Make the sockets and dial, with key number `key`.

        Raises:
            zmq.ZMQError: nothing was left behind.
        """
        events = HANDSHAKE_SUCCEEDED | DISCONNECTED | FAILED | SILENT
        with contextlib.ExitStack() as undo:
            self.socket = context.socket(zmq.DEALER)
            undo.callback(self.socket.close, linger=0)
            for option, value in OUTBOUND_OPTIONS:
                self.socket.setsockopt(option, value)
            self.socket.setsockopt(zmq.IPV6, needs_ipv6(self.at))
            security.prepare_outbound(self.socket, key)
            self.monitor = watch_over(context, self.socket, events)
            undo.callback(self.monitor.close, linger=0)
            self.socket.connect(self.at)
            undo.pop_all()
        self.dialled = True
        self.announced = False

    def hang_up(self, *, linger_ms: int) -> None:
        """Monitor, then socket: the other order ends in a monitor of nothing."""
        self.dialled = self.connected = False
        self.socket.monitor(None, 0)
        self.monitor.close(linger=0)
        self.socket.close(linger=linger_ms)

    def has_room(self) -> bool:
        """Whether a send would be taken. Reading EVENTS empties the socket's mailbox."""
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLOUT)

    def send(self, frame: bytes) -> bool:
        """Hand `frame` to ZeroMQ, if there is room."""
        try:
            self.socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            # send() looks for news of room only once in a while; reading EVENTS always does.
            try:
                if not self.has_room():
                    return False
                self.socket.send(frame, zmq.NOBLOCK)
            except zmq.Again:
                return False
        return True


def watch_over(
    context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], events: int
) -> zmq.Socket[bytes]:
    """A monitor of `socket`: see `news`."""
    endpoint = f"inproc://monitor-{next(_serial)}"
    socket.monitor(endpoint, events)
    monitor = context.socket(zmq.PAIR)
    monitor.linger = 0
    # ZeroMQ's I/O thread *blocks* on a full monitor, and with it every link we have.
    monitor.rcvhwm = 0
    monitor.connect(endpoint)
    return monitor


def news(monitor: zmq.Socket[bytes]) -> Iterator[tuple[int, int]]:
    """What a monitor has to tell, as (event, value), until it says EAGAIN."""
    while True:
        try:
            description, *_endpoint = monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        event, value = _EVENT.unpack(description)
        yield event, value
