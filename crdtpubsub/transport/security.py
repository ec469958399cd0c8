"""Who may shake hands. Every connection, in and out, passes a ZAP handler of ours.

Without a handler, NULL security hands the bytes of a ZMTP 1.0 stranger (a browser, say) to
the application and keeps the connection open. With a domain and a handler, libzmq closes it
at once (https://rfc.zeromq.org/spec/27/). The handler fails closed: no answer, no admission.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import zmq

__all__ = ["ADMITTED", "DOMAIN", "LATER", "NEVER", "NullSecurity", "Security", "ZapHandler"]

DOMAIN: Final = b"crdtpubsub"

ADMITTED: Final = b"200"
LATER: Final = b"300"
"""Not now: the peer dials again. For keys we do not know yet, and for our own mistakes.

libzmq closes the connection at once, or, if our answer was quick, at the end of HANDSHAKE_IVL."""
NEVER: Final = b"400"
"""libzmq gives up for good, while `send()` goes on accepting. Only for revoked keys."""

_ZAP_VERSION: Final = b"1.0"


@dataclass(frozen=True, slots=True)
class ZapRequest:
    """One handshake, as libzmq describes it."""

    domain: bytes
    address: bytes  # of the remote side, without port
    mechanism: bytes
    credentials: Sequence[bytes]


class Security(Protocol):
    """How sockets are prepared, and who is admitted: see `CurveSecurity` and `NullSecurity`."""

    @property
    def keys(self) -> int:
        """How many keys there are to dial with; 0: none is needed."""
        ...

    def prepare_inbound(self, socket: zmq.Socket[bytes]) -> None:
        """Set what a listening socket needs, before it binds."""
        ...

    def prepare_outbound(self, socket: zmq.Socket[bytes], key: int) -> None:
        """Set what a socket needs before it dials with key number `key`, from 0."""
        ...

    def admit(self, request: ZapRequest) -> bytes:
        """Return `ADMITTED`, `LATER` or `NEVER`. Called from the handler's thread."""
        ...


class NullSecurity:
    """No keys: everybody who speaks ZMTP 3 is admitted, and nobody else."""

    keys: Final = 0

    def prepare_inbound(self, socket: zmq.Socket[bytes]) -> None:
        """See `Security`."""
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def prepare_outbound(self, socket: zmq.Socket[bytes], key: int) -> None:  # noqa: ARG002
        """See `Security`. The domain keeps us from mistaking a web server for a ZMTP 1.0 peer."""
        self.prepare_inbound(socket)

    def admit(self, request: ZapRequest) -> bytes:
        """See `Security`."""
        known = request.domain == DOMAIN and request.mechanism == b"NULL"
        return ADMITTED if known else LATER


class ZapHandler:
    """Answers the handshakes of one context from a thread of its own.

    It ends when the context does: `Context.term()` makes its `recv` fail, it closes its
    socket, and `term` returns. Call `join` after that.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], security: Security) -> None:
        self._security = security
        self.denied = 0
        # Bound before the first handshake can ask; handed over to the thread by `start`.
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind("inproc://zeromq.zap.01")
        self._thread = threading.Thread(target=self._run, name="crdtpubsub-zap", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread; the context must be terminated, or about to be."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
        except zmq.ZMQError:  # ContextTerminated; after any other, nobody is admitted any more
            pass
        finally:
            self._socket.close(linger=0)

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        try:
            _version, _id, domain, address, _routing_id, mechanism, *credentials = frames
            request = ZapRequest(domain, address, mechanism, tuple(credentials))
            status = self._security.admit(request)
        except Exception:  # noqa: BLE001 - a mistake of ours must not end the thread, nor admit anybody
            status = LATER
        if status != ADMITTED:
            self.denied += 1
        request_id = frames[1] if len(frames) > 1 else b""
        return [_ZAP_VERSION, request_id, status, b"", b"", b""]
