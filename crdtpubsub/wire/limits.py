"""What a frame may hold at most. Encoders keep to it, decoders insist on it."""

from __future__ import annotations

from struct import Struct
from typing import Final

__all__ = [
    "ANSWERS_MAX",
    "BIRTH_MAX",
    "CHUNK",
    "ENDPOINT_BYTES_MAX",
    "FRAME_BYTES_MAX",
    "HEADERS_MAX",
    "HEADER_TEXT_BYTES_MAX",
    "META_BYTES_MAX",
    "PAIR",
    "PAYLOAD_BYTES_MAX",
    "RECORDS_MAX",
    "RECORD_BYTES_MAX",
    "RELAYS_MAX",
    "SCOPES_MAX",
    "U32_MAX",
    "U64_MAX",
]

U32_MAX: Final = 2**32 - 1
U64_MAX: Final = 2**64 - 1
BIRTH_MAX: Final = 2**62
PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
RECORD_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 1024 * 1024
"""The longest payload, and the longest headers and names around it. Travels in chunks."""

FRAME_BYTES_MAX: Final = 1024 * 1024
"""What a stranger can have us hold for one frame. Ours are a fraction of it."""

RECORDS_MAX: Final = 65_536
META_BYTES_MAX: Final = 4096
HEADERS_MAX: Final = 64
HEADER_TEXT_BYTES_MAX: Final = 4096
ENDPOINT_BYTES_MAX: Final = 255
SCOPES_MAX: Final = 64
RELAYS_MAX: Final = 16
"""Lives that pass one request to probe on. With it nodes in a chain of 18 list each other."""

PAIR: Final = Struct(">QQ")
"""Two u64s."""

ANSWERS_MAX: Final = 8192
"""Answers one node remembers for another: twice what that one may ask before it has answers."""

CHUNK: Final = 4096
"""Longest msgpack array inside a record.

msgpack allocates an array when its length is claimed, before an item of it has come, and
1024 claims may be open inside each other: 5 kB of input would hold 1024 times the limit.
Hence a low limit, and longer lists in chunks of it (a multiple of 4: extras come in fours).
Worst case 1024 * 4096 * 8 bytes = 34 MB for the length of one call.
"""
