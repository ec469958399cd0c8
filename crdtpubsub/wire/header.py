"""The first bytes of every frame: who speaks to whom, in which cluster, by which version."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Final

from crdtpubsub.names import NodeId
from crdtpubsub.wire.limits import FRAME_BYTES_MAX
from crdtpubsub.wire.messages import Header
from crdtpubsub.wire.refusal import FrameError, opaque, refuse

__all__ = [
    "HEADER_BYTES",
    "NOBODY",
    "WIRE_VERSION",
    "cluster_tag",
    "life_of",
    "pack_header",
    "peek",
    "unpack_header",
]

WIRE_VERSION: Final = 1

_MAGIC: Final = b"\xc5p"
_HEADER: Final = Struct(">2sBB8s16s16sIQQ")
HEADER_BYTES: Final = _HEADER.size
NOBODY: Final = bytes(16)


life_of: Final[Callable[[bytes], NodeId]] = bytes.hex  # type: ignore[assignment]
"""The life in 16 bytes. To call `NodeId` costs as much again."""


def cluster_tag(name: str) -> bytes:
    """The 8 bytes that tell frames of one cluster from those of another. Not a secret."""
    return blake2b(name.encode(), digest_size=8, person=b"crdtps-cluster").digest()


def pack_header(header: Header) -> bytes:
    """`header` as `HEADER_BYTES` bytes."""
    return _HEADER.pack(
        _MAGIC,
        WIRE_VERSION,
        0,
        header.cluster,
        bytes.fromhex(header.sender),
        bytes.fromhex(header.to),
        header.link,
        header.seq,
        header.published,
    )


def peek(data: bytes | memoryview) -> Header:
    """The header alone, for cheap checks; of which cluster is for the caller to compare.

    Raises:
        FrameError: it is not a frame of this wire version, or longer than any may be.
    """
    try:
        return unpack_header(data)
    except FrameError:
        raise
    except Exception as error:  # noqa: BLE001 - the one door: total, whatever came
        raise opaque("header", error) from None


def unpack_header(data: bytes | memoryview) -> Header:
    """The same; it may also raise what `Struct` raises."""
    size = len(data)
    if size < HEADER_BYTES:
        refuse(f"{size} bytes are no header", reason="header")
    if size > FRAME_BYTES_MAX:
        refuse(f"{size} bytes; a frame has at most {FRAME_BYTES_MAX}", reason="header")
    magic, version, flags, cluster, sender, to, link, seq, published = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        refuse("no magic at the start", reason="header")
    if version != WIRE_VERSION:
        refuse(f"wire version {version}; this is {WIRE_VERSION}", reason="version")
    if flags:
        refuse(f"flags {flags:#x} are not known", reason="header")
    if sender == NOBODY:
        refuse("the sender is nobody", reason="header")
    return Header(cluster, life_of(sender), life_of(to), link, seq, published)
