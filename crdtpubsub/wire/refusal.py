"""How the wire says no: one error, and nothing in it that a peer could abuse."""

from __future__ import annotations

from typing import Final, Literal, NoReturn

from crdtpubsub.errors import WireError

__all__ = ["FrameError", "Reason", "bad", "opaque", "refuse"]

Reason = Literal["header", "version", "cluster", "body", "record"]


class FrameError(WireError):
    """A frame that cannot be used; `reason` says which counter it belongs to.

    Raised by: `peek`, `decode` and `Decoder.decode`, which raise nothing else.
    State: unchanged.
    Do: count it and drop the frame.
    """

    def __init__(self, complaint: str, *, reason: Reason) -> None:
        super().__init__(complaint)
        self.reason: Final = reason


def refuse(complaint: str, *, reason: Reason = "body") -> NoReturn:
    """Raise `FrameError`."""
    raise FrameError(complaint, reason=reason)


def bad(what: str, value: object) -> NoReturn:
    """Raise `FrameError`: `value` is no `what`."""
    refuse(f"{_show(value)} is no {what}")


def opaque(reason: Reason, error: Exception) -> FrameError:
    """Nothing but the type: the text of a foreign exception may hold what the peer wrote."""
    return FrameError(f"{reason} does not decode: {type(error).__name__}", reason=reason)


def _show(value: object) -> str:
    """At most 120 characters; never the `repr` of something nested or long."""
    if isinstance(value, (str, bytes)):
        return f"{value[:120]!r:.120}"
    if isinstance(value, (int, float)):
        return repr(value)
    return f"a {type(value).__name__}"
