"""Asks, after a link broke, whether anybody still listens there.

ZeroMQ redials with back-off and does not say why a dial failed. A plain `connect()` of our own
does: ECONNREFUSED is the kernel of a live machine telling us that the process is gone, within
a round trip, where suspicion would take seconds.
"""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from crdtpubsub.transport.base import Happening, Refused

__all__ = ["Address", "RefusalChecks", "address_of"]

CHECKS_MAX: Final = 256
"""Pending at a time; beyond that a check is skipped, and the failure detector has to do."""

CHECK_TIMEOUT_S: Final = 1.0
"""Black holes and stopped processes do not answer; the check ends silently."""

TRIES_MAX: Final = 4

Address = tuple[socket.AddressFamily, tuple[str | int | bytes, ...] | str]
"""What `socket.socket` and `connect` want."""


def address_of(endpoint: str) -> Address | None:
    """Where `endpoint` is, or None if that would take a resolver. Never blocks."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        return socket.AF_UNIX, "\0" + rest[1:] if rest.startswith("@") else rest
    host, _, port = rest.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]"),
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
    except OSError:
        return None
    family, _type, _proto, _name, address = found[0]
    return family, address


class RefusalChecks:
    """The pending checks, at most one per endpoint.

    The far end sees a connection that closes after its greeting, which ZeroMQ takes in its
    stride. We wait for that greeting: a listener that is about to die still completes TCP
    handshakes in its backlog, and resets them a moment later.
    """

    def __init__(self, selector: selectors.BaseSelector, stats: dict[str, int]) -> None:
        self._selector = selector
        self._stats = stats
        self._checks: dict[str, _Check] = {}

    def start(self, endpoint: str, address: Address, out: list[Happening]) -> None:
        """Ask whether `endpoint` refuses; the answer may come at once."""
        self.cancel(endpoint)
        if len(self._checks) >= CHECKS_MAX:
            self._stats["checks_skipped"] += 1
            return
        check = _Check(endpoint, address, deadline_s=monotonic() + CHECK_TIMEOUT_S)
        self._checks[endpoint] = check
        self._dial(check, out)

    def cancel(self, endpoint: str) -> None:
        """Forget about `endpoint`. Idempotent."""
        if (check := self._checks.pop(endpoint, None)) is not None:
            self._hang_up(check)

    def close(self) -> None:
        """Cancel all."""
        for endpoint in list(self._checks):
            self.cancel(endpoint)

    def timeout_s(self, limit_s: float | None) -> float | None:
        """The shorter of `limit_s` and the time to the next deadline."""
        if not self._checks:
            return limit_s
        # All deadlines are equally far away from their start: the first started ends first.
        first = next(iter(self._checks.values()))
        left_s = max(0.0, first.deadline_s - monotonic())
        return left_s if limit_s is None else min(limit_s, left_s)

    def expire(self) -> None:
        """Give up, silently, on those that took too long."""
        if not self._checks:
            return
        now_s = monotonic()
        for check in list(self._checks.values()):
            if check.deadline_s > now_s:
                return
            self.cancel(check.endpoint)

    def _dial(self, check: _Check, out: list[Happening]) -> None:
        family, address = check.address
        try:
            check.socket = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # no descriptors left: not the peer's fault
            self.cancel(check.endpoint)
            return
        check.socket.setblocking(False)
        code = check.socket.connect_ex(address)
        if code == errno.EINPROGRESS:
            self._watch(check, selectors.EVENT_WRITE, self._dialled)
        else:
            self._judge(check, code, out)

    def _dialled(self, check: _Check, out: list[Happening]) -> None:
        assert check.socket is not None
        code = check.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._selector.unregister(check.socket)
        self._judge(check, code, out)

    def _judge(self, check: _Check, code: int, out: list[Happening]) -> None:
        assert check.socket is not None
        if code == 0 and _is_itself(check.socket):
            code = errno.ECONNREFUSED
        if code == 0:
            self._watch(check, selectors.EVENT_READ, self._greeted)
            return
        if code == errno.ECONNRESET:
            self._ask_again(check, out)
            return
        self.cancel(check.endpoint)
        if code in (errno.ECONNREFUSED, errno.ENOENT):  # ENOENT: the path of an ipc endpoint
            self._stats["refused"] += 1
            out.append(Refused(check.endpoint))

    def _greeted(self, check: _Check, out: list[Happening]) -> None:
        assert check.socket is not None
        try:
            alive = check.socket.recv(64) != b""
        except BlockingIOError:
            return
        except OSError:
            alive = False
        if alive:
            self.cancel(check.endpoint)
        else:
            self._ask_again(check, out)

    def _ask_again(self, check: _Check, out: list[Happening]) -> None:
        """Whoever hung up on us is about to die, or does not like us: the next dial tells."""
        check.tries += 1
        if check.tries >= TRIES_MAX:
            self.cancel(check.endpoint)
            return
        self._hang_up(check)
        self._dial(check, out)

    def _watch(
        self,
        check: _Check,
        events: int,
        then: Callable[[_Check, list[Happening]], None],
    ) -> None:
        assert check.socket is not None
        mine = check.socket

        def handle(out: list[Happening]) -> None:
            if check.socket is mine:  # else it was cancelled earlier in this very poll
                then(check, out)

        self._selector.register(mine, events, handle)

    def _hang_up(self, check: _Check) -> None:
        if check.socket is None:
            return
        if check.socket in self._selector.get_map():
            self._selector.unregister(check.socket)
        check.socket.close()
        check.socket = None


class _Check:
    """One question under way."""

    __slots__ = ("address", "deadline_s", "endpoint", "socket", "tries")

    def __init__(self, endpoint: str, address: Address, *, deadline_s: float) -> None:
        self.endpoint = endpoint
        self.address = address
        self.deadline_s = deadline_s
        self.socket: socket.socket | None = None
        self.tries = 0


def _is_itself(ours: socket.socket) -> bool:
    """Whether TCP's simultaneous open made us our own peer.

    With nobody listening, we may be given the very port we dial as our own, and get through.
    """
    if ours.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return bool(ours.getsockname() == ours.getpeername())
    except OSError:  # reset already; reading will tell
        return False
