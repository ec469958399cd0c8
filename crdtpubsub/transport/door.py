"""Who knocks, and how many are let in: strangers must not use up the open files of the process.

ZeroMQ accepts whoever comes, and keeps one who says nothing for `HANDSHAKE_IVL`. Without a file
left its I/O thread tries to accept the same connection again and again, with a whole core, as
long as somebody waits in the backlog. So the newest are shut when there are too many; and one
file is kept in reserve: when the application has used up all others it is given away, and those
that wait are accepted with it, one after the other, and shut. (ZeroMQ tells of each failure to
accept: a hundred thousand a second, behind which the news of an accepted one comes too late. So
we look for ourselves.)
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from time import monotonic
from typing import Final

import zmq

from crdtpubsub.transport.base import HandshakeFailed, Happening
from crdtpubsub.transport.handshakes import FAILED, SILENT, why_inbound
from crdtpubsub.transport.link import DISCONNECTED, news, watch_over

__all__ = ["Door"]

_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_WATCHED: Final = _ACCEPTED | DISCONNECTED | FAILED | SILENT
_LOOK_EVERY_S: Final = 0.25


class Door:
    """Watches a socket that is about to be bound. Not thread-safe: for the I/O thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        inbound: zmq.Socket[bytes],
        selector: selectors.BaseSelector,
        stats: dict[str, int],
        *,
        open_max: int,
        secret: bool,
    ) -> None:
        self._inbound = inbound
        self._selector = selector
        self._stats = stats
        stats["connections_shut"] = 0
        stats["files_short"] = 0
        self._open_max = open_max
        self._secret = secret
        self._open: set[int] = set()  # descriptors; they belong to ZeroMQ
        self._addresses: list[object] = []  # ports and paths that were bound
        self._reserve: int | None = _spare()
        self._look_at = 0.0
        self._monitor = watch_over(context, inbound, _WATCHED)
        self._on_news([])  # finds it empty: from now on it announces what comes
        selector.register(self._monitor.FD, selectors.EVENT_READ, self._on_news)

    def bound(self, endpoint: str) -> None:
        """Connections to this endpoint are those that may be shut."""
        scheme, _, rest = endpoint.partition("://")
        self._addresses.append(int(rest.rpartition(":")[2]) if scheme == "tcp" else rest)

    def look(self) -> None:
        """Now and then: is there a file left beside the one in reserve?"""
        if (now := monotonic()) < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        was_short = self._reserve is None
        if was_short:
            self._reserve = _spare()
        if (another := _spare()) is not None:
            os.close(another)
            return
        self._give_way()
        self._stats["files_short"] += not was_short

    def close(self) -> None:
        """Before the socket is closed."""
        self._selector.unregister(self._monitor.FD)
        self._inbound.monitor(None, 0)
        self._monitor.close(linger=0)
        self._give_way()

    def _on_news(self, out: list[Happening], /) -> None:
        """Of strangers that we did not let in one is reported; all are counted."""
        why = None
        for event, value in news(self._monitor):
            if event == _ACCEPTED:
                if self._reserve is None or len(self._open) >= self._open_max:
                    self._shut(value)
                else:
                    self._open.add(value)
            elif event == DISCONNECTED:
                self._open.discard(value)
            elif event == SILENT:  # a look from outside, or the other half of what differs
                self._stats["strangers_broke_off"] += 1
            else:
                self._stats["strangers_refused"] += 1
                why = why_inbound(value, secret=self._secret)
        if why is not None:
            out.append(HandshakeFailed(None, why))

    def _give_way(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _shut(self, fd: int) -> None:
        """End a connection; ZeroMQ closes it. The number may be another file's by now."""
        with contextlib.suppress(OSError):
            connection = socket.socket(fileno=fd)
            try:
                if self._is_mine(connection):
                    connection.shutdown(socket.SHUT_RDWR)
                    self._stats["connections_shut"] += 1
            finally:
                connection.detach()

    def _is_mine(self, connection: socket.socket) -> bool:
        name = connection.getsockname()
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            return name[1] in self._addresses and connection.type == socket.SOCK_STREAM
        return name in self._addresses


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
