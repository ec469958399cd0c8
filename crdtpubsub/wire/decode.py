"""Bytes as frames: strict, total and bounded; the format stands in `codec`."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final, NoReturn

import msgpack  # type: ignore[import-untyped,unused-ignore]

from crdtpubsub.wire.header import HEADER_BYTES, unpack_header
from crdtpubsub.wire.limits import (
    CHUNK,
    HEADER_TEXT_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    RECORDS_MAX,
)
from crdtpubsub.wire.messages import Chunk, Frame, Message
from crdtpubsub.wire.reader import reader
from crdtpubsub.wire.refusal import FrameError, opaque, refuse

__all__ = ["Bodies", "Decoder", "decode"]

_GUARDED_BYTES: Final = 256 * 1024
"""Longer frames are decoded with a `_Budget`; shorter ones cannot do harm (18 MB at most)."""


def decode(data: bytes | memoryview, cluster: bytes) -> Frame:
    """The frame in `data`, all of it checked. `Decoder` also counts what it skipped.

    Raises:
        FrameError: anything else.
    """
    return Decoder(cluster).decode(data)


class Bodies:
    """What the bodies of frames said, for a program that is many nodes: it hears all of them.

    What is said to many is decoded once, since to decode is to compute and messages do not
    change. Headers are decoded for each frame. What is no body is not kept.
    """

    SIZE_MAX: Final = 1024

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[tuple[Message, ...], int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def read(self, body: bytes) -> tuple[tuple[Message, ...], int]:
        """The messages in `body`, and how many records were of kinds that are not known."""
        known = self._known.get(body)
        if known is None:
            if len(self._known) >= self.SIZE_MAX:
                self._known.clear()
            known = self._known[body] = _body(body)
        return known


class Decoder:
    """Decodes frames of one cluster, and counts the records of kinds it does not know."""

    __slots__ = ("_bodies", "_cluster", "unknown_records")

    def __init__(self, cluster: bytes, bodies: Bodies | None = None) -> None:
        """For the cluster with that tag; `bodies`: shared with the decoders of other nodes."""
        self._cluster = cluster
        self._bodies = bodies
        self.unknown_records = 0

    def decode(self, data: bytes | memoryview) -> Frame:
        """The frame in `data`, all of it checked.

        Raises:
            FrameError: it is no frame of this cluster and wire version.
        """
        try:
            header = unpack_header(data)
            if header.cluster != self._cluster:
                refuse(f"a frame of cluster {header.cluster.hex()}", reason="cluster")
            body = memoryview(data)[HEADER_BYTES:]
            bodies = self._bodies
            messages, unknown = _body(body) if bodies is None else bodies.read(bytes(body))
        except FrameError:
            raise
        except Exception as error:  # noqa: BLE001 - the one door: total, whatever came
            raise opaque("body", error) from None
        self.unknown_records += unknown
        return Frame(header, messages)

    def record(self, body: bytes | bytearray) -> Message | None:
        """The one record of a body that was put together from chunks; None: of unknown kind.

        Raises:
            FrameError: it is no array of one record, or the record is itself a chunk.
        """
        try:
            messages, unknown = _body(memoryview(body))
            if len(messages) + unknown != 1 or any(isinstance(m, Chunk) for m in messages):
                refuse("chunks that make up no record")
        except FrameError:
            raise
        except Exception as error:  # noqa: BLE001 - the same door
            raise opaque("record", error) from None
        self.unknown_records += unknown
        return messages[0] if messages else None


def _body(body: bytes | memoryview) -> tuple[tuple[Message, ...], int]:
    size = len(body)
    if size <= _GUARDED_BYTES and _claims_little(body):
        read = reader()
        # In one go: an unpacker that is fed costs ten times as much, and copies all twice.
        heard = [read(record) for record in msgpack.unpackb(body, **_LIMITS, max_map_len=size)]
    else:
        heard = _guarded(body, size)
    messages = tuple([message for message in heard if message is not None])
    return messages, len(heard) - len(messages)


def _claims_little(body: bytes | memoryview) -> bool:
    """Whether it is an array that is no longer than arrays inside of records may be."""
    first = body[0] if body else 0
    if first == 0xDC and len(body) > 2:
        return body[1] << 8 | body[2] <= CHUNK
    return 0x90 <= first <= 0x9F


def _guarded(body: bytes | memoryview, size: int) -> list[Message | None]:
    budget = _Budget() if size > _GUARDED_BYTES else None
    unpacker = msgpack.Unpacker(
        None,
        read_size=size,
        max_buffer_size=size,
        max_map_len=size,
        **_LIMITS,
        object_hook=budget and budget.spend,
        list_hook=budget and budget.spend,
    )
    unpacker.feed(body)
    claimed: int = unpacker.read_array_header()
    if claimed > RECORDS_MAX:
        refuse(f"{claimed} records; at most {RECORDS_MAX} are allowed")
    if budget:
        budget.left = 2 * claimed + size // 5
    read = reader()
    heard = [read(record) for record in islice(unpacker, claimed)]  # rubbish fails early
    if len(heard) != claimed:
        refuse(f"{claimed} records claimed, {len(heard)} found")
    if unpacker.tell() != size:
        refuse(f"{size - unpacker.tell()} bytes beyond the last record")
    return heard


class _Budget:
    """How many arrays and maps a large frame may make.

    The smallest is one byte of input and 64 of memory. What an `Encoder` makes has a channel
    name, a client id and a birth for every map (5 bytes), and fewer arrays than that.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def spend(self, made: object) -> object:
        self.left -= 1
        if self.left < 0:
            refuse("more arrays and maps than a frame of this size can need")
        return made


def _no_ext(code: int, _data: bytes) -> NoReturn:
    refuse(f"extension type {code}")


_LIMITS: Final[dict[str, Any]] = {
    "use_list": False,
    "raw": False,
    "strict_map_key": True,
    "max_str_len": HEADER_TEXT_BYTES_MAX,
    "max_bin_len": PAYLOAD_BYTES_MAX,
    "max_array_len": CHUNK,
    "max_ext_len": 0,
    "ext_hook": _no_ext,
}
