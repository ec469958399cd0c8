"""The small types everybody speaks in: who, where, and what a name may be."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NewType

from crdtpubsub.errors import InvalidNameError

__all__ = [
    "DECLARATION",
    "DEFAULT_SCOPE",
    "NAME_BYTES_MAX",
    "NodeId",
    "check_channel",
    "check_client",
    "check_group",
    "check_label",
    "is_name",
]

NodeId = NewType("NodeId", str)
"""One life of one process: 128 random bits as 32 hex digits, drawn when the node starts.

A restart is a new `NodeId`. It is a `str` and nothing more, so that tables of it are
invisible to the garbage collector and it prints, sorts and serialises as it is.
"""

NAME_BYTES_MAX: Final = 255
"""Longest channel, client id, group or node name, in bytes of UTF-8."""

DECLARATION: Final = ""
"""The client id under which a node declares a channel: not a member, never routed to."""

DEFAULT_SCOPE: Final = "default"
"""The overlay every node opens."""

# C0, DEL and C1 controls: they would let a peer write to the terminal of whoever prints a name.
_CONTROLS: Final = frozenset(map(chr, (*range(0x20), 0x7F, *range(0x80, 0xA0))))


def is_name(text: object) -> bool:
    """Whether `text` may name a channel, client, group or node: 1 to 255 bytes, no controls."""
    return _complaint(text) is None


def check_channel(text: str) -> str:
    """Return `text` if it may name a channel, else raise `InvalidNameError`."""
    if text.__class__ is str and _fine(text):  # asked once per publication
        return text
    return _check("channel", text)


def check_client(text: str) -> str:
    """Return `text` if it may be a client id, else raise `InvalidNameError`."""
    return _check("client id", text)


def check_group(text: str) -> str:
    """Return `text` if it may name a queue group, else raise `InvalidNameError`."""
    return _check("queue group", text)


def check_label(text: str) -> str:
    """Return `text` if it may name a node, cluster or scope, else raise `InvalidNameError`."""
    return _check("name", text)


@lru_cache(maxsize=4096)
def _fine(text: str) -> bool:
    return _complaint(text) is None


def _check(kind: str, text: str) -> str:
    if (complaint := _complaint(text)) is not None:
        raise InvalidNameError(kind=kind, text=text, complaint=complaint)
    return text


def _complaint(text: object) -> str | None:
    if not isinstance(text, str):
        return f"it must be a str, not {type(text).__name__}"
    if text.isascii():  # the hot path: no encoding needed to know the length
        length = len(text)
        plain = text.isprintable()
    else:
        try:
            length = len(text.encode())
        except UnicodeEncodeError:
            return "it holds a lone surrogate, which UTF-8 cannot carry"
        plain = _CONTROLS.isdisjoint(text)
    if not plain:
        return "it holds a control character"
    if not 0 < length <= NAME_BYTES_MAX:
        return f"it is {length} bytes of UTF-8; 1 to {NAME_BYTES_MAX} are allowed"
    return None
