"""What a transport can do, and what can happen on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = [
    "FRAME_BYTES_MAX",
    "Connected",
    "Disconnected",
    "FrameIn",
    "Happening",
    "Refused",
    "Transport",
    "Writable",
    "is_endpoint",
]

FRAME_BYTES_MAX: Final = 1024 * 1024
"""Longest frame sent or taken. A peer that sends a longer one is disconnected by ZeroMQ."""


@dataclass(slots=True)
class FrameIn:
    """Somebody sent us `data`. Who, only the frame itself says.

    Treat it as frozen. It is not: one is made per frame, and freezing doubles its cost.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """The far end of the link to `endpoint` shook hands: it speaks our protocol, now."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link to `endpoint` broke, once per `Connected`. Frames in flight are lost.

    Dialling goes on by itself.
    """

    endpoint: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody listens at `endpoint` any more: the machine is up, the process is not.

    At most once per `Disconnected`, and never without one: an endpoint that was never
    reached is silent. Its absence says nothing (a firewall, a dead machine, a restart
    that was faster than we).
    """

    endpoint: str


@dataclass(frozen=True, slots=True)
class Writable:
    """`try_send` to `endpoint` said False, and is now worth another try. Once per refusal."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class HandshakeFailed:
    """The far end of a connection is there, and we do not agree on who may talk.

    At most once a round of dials, with all keys; strangers who dial us: at most once a `poll`.
    Dialling goes on by itself, slower and slower.
    """

    endpoint: str | None  # None: a stranger who dialled us
    why: str  # for people; names no secret and no key


Happening = FrameIn | Connected | Disconnected | Refused | Writable | HandshakeFailed


class Transport(Protocol):
    """Bytes in, bytes out. Called from one thread, the owner's; `wake`, `send_asleep` from any.

    Raises:
        ForkedError: from every other method but `close`, in a child of `os.fork`.
        ClosedError: from every other method but `disconnect` and `close`, after `close`.
    """

    @property
    def stats(self) -> dict[str, int]:
        """Counters since the start, live: copy it to keep it."""
        ...

    def bind(self, endpoint: str) -> str:
        """Listen at `endpoint`; return the actual one (`tcp://127.0.0.1:*` takes a free port).

        Raises:
            BindError: the endpoint is taken or makes no sense. Nothing is left behind.
        """
        ...

    def restore(self, endpoint: str) -> bool:
        """Make the files of a bound ipc endpoint again, if somebody deleted them; whether one had.

        Links that are there are not touched. Other endpoints have no files.

        Raises:
            BindError: they cannot be made now. What works goes on working.
        """
        ...

    def connect(self, endpoint: str, at: str | None = None) -> None:
        """Dial `endpoint`, and again for ever until `disconnect`. Idempotent.

        `at`: the same place in numbers, to be dialled in its stead. What happens on the link is
        told of `endpoint`. A host name that is dialled is resolved on the thread all links share.

        Raises:
            ConfigError: `is_endpoint(endpoint)` is false, or no file descriptors are left for
                one more link. Nothing was dialled. Check what a remote peer suggests first.
        """
        ...

    def disconnect(self, endpoint: str) -> None:
        """Drop the link and what is queued on it; report nothing more of it. Idempotent."""
        ...

    def redial(self, endpoint: str, at: str | None = None) -> None:
        """Drop the link and dial afresh, `at` another address perhaps, against a link that hangs.

        A link that was up reports `Disconnected`; no `Refused` follows. An endpoint that
        was not dialled is left alone.
        """
        ...

    def try_send(self, endpoint: str, frame: bytes) -> bool:
        """Queue `frame`, or return False: no connection, or no room.

        After a False exactly one `Writable` follows, when the link is up and has room;
        none for an endpoint that is not dialled. True promises nothing about delivery.

        Raises:
            PayloadTooLargeError: the frame is longer than `FRAME_BYTES_MAX`.
        """
        ...

    def send_asleep(self, endpoint: str, frame: bytes) -> bool:
        """Queue `frame` from any thread while the owner waits in `poll`; it need not wake up.

        False: the owner does not wait, there is no connection, no room, or a `Writable` is owed.
        Nothing was done and nothing follows: the owner may try. For callers who see to the order.
        """
        ...

    def poll(self, timeout_s: float | None) -> list[Happening]:
        """Wait up to `timeout_s` (None: for ever) and return what happened, in order.

        Returns early on `wake`, and may return early with nothing. A flood of frames is cut
        into portions, so that the caller gets to its other work; the next call has the rest.
        """
        ...

    def wake(self) -> None:
        """Make the current or the next `poll` return. Any thread may call it, at any time."""
        ...

    def close(self, linger_s: float = 0.0) -> None:
        """Let go of everything; queued frames get `linger_s` to leave. Idempotent.

        To leave is to reach the kernel. What a slow peer has not read by then is lost if it
        writes (a heartbeat, say) to the closed connection: TCP resets. Whoever must know asks
        for an answer before closing.

        In a child of `os.fork` it does nothing: the sockets are the parent's.
        """
        ...


_TCP = re.compile(r"tcp://(?:\[[0-9A-Za-z:.%_-]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})", re.ASCII)

_IPC_PATH_BYTES_MAX: Final = 107  # sockaddr_un on Linux, less the closing NUL


def is_endpoint(text: object) -> bool:
    """Whether `text` may be dialled: `tcp://host:port` or `ipc://path`. Nothing is resolved."""
    if not isinstance(text, str) or not text.isprintable():
        return False
    if match := _TCP.fullmatch(text):
        return 0 < int(match[1]) < 65536
    if not text.startswith("ipc://") or text == "ipc://@":
        return False
    return 0 < len(text[6:].encode(errors="surrogatepass")) <= _IPC_PATH_BYTES_MAX
