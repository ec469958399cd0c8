"""Frames as bytes: a fixed header, then a msgpack array of records.

Encoding trusts the caller. Decoding trusts nobody: it is strict and total, every byte string
gives a `Frame` or one `FrameError`, and a frame with one bad record is refused whole. What
it costs is bounded by what came: see `limits.CHUNK` and the budget in `decode`.

A record is `[kind, ...fields]`, of fixed arity. Inside of records:

    life    16 bytes, not all zero
    u64s    one bin of 8 bytes each, big endian: runs, births, sums
    list    an array of arrays of at most `CHUNK` items: facts, rows, deltas, extras
    fact    [life, name, endpoint, incarnation, [scope, ...]]
    delta   [life, u64s runs, {channel: {client: birth}}, list of birth, version, group, meta]
    row     [life, u64s runs, count, sum]

A record of a kind that is not known is counted and skipped: a newer minor version may send
it. Another major version stands in the header and is refused by name.
"""

from __future__ import annotations

from crdtpubsub.wire.assembly import Assemblies
from crdtpubsub.wire.decode import Decoder, decode
from crdtpubsub.wire.encode import Encoder, chunk, frame
from crdtpubsub.wire.header import HEADER_BYTES, WIRE_VERSION, cluster_tag, peek
from crdtpubsub.wire.kind import Kind
from crdtpubsub.wire.limits import (
    BIRTH_MAX,
    CHUNK,
    ENDPOINT_BYTES_MAX,
    FRAME_BYTES_MAX,
    HEADER_TEXT_BYTES_MAX,
    HEADERS_MAX,
    META_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORDS_MAX,
    SCOPES_MAX,
)
from crdtpubsub.wire.refusal import FrameError, Reason

__all__ = [
    "BIRTH_MAX",
    "CHUNK",
    "ENDPOINT_BYTES_MAX",
    "FRAME_BYTES_MAX",
    "HEADERS_MAX",
    "HEADER_BYTES",
    "HEADER_TEXT_BYTES_MAX",
    "META_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "RECORDS_MAX",
    "RECORD_BYTES_MAX",
    "SCOPES_MAX",
    "WIRE_VERSION",
    "Assemblies",
    "Decoder",
    "Encoder",
    "FrameError",
    "Kind",
    "Reason",
    "chunk",
    "cluster_tag",
    "decode",
    "frame",
    "peek",
]
