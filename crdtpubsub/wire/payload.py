"""What users publish, as bytes: msgpack of plain data, opaque to everybody in between.

A payload comes from a peer, but is unpacked only when its consumer asks. What it may cost is
bounded by its length, at most 70 bytes of objects for one byte of `{}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgpack  # type: ignore[import-untyped,unused-ignore]

from crdtpubsub.errors import ConfigError, PayloadError

__all__ = ["PayloadPacker", "check_headers", "pack", "unpack"]

_CLAIMED_BYTES_MAX: Final = 64 * 1024 * 1024
_NESTED_MAX: Final = 1024  # msgpack's stack; no more arrays can be open at a time
_CAREFUL_DEPTH_MAX: Final = 256


class PayloadPacker:
    """`pack` at a third of its cost, for one thread: it reuses one packer."""

    __slots__ = ("_packer",)

    def __init__(self) -> None:
        self._packer = msgpack.Packer(autoreset=True, use_bin_type=True)

    def pack(self, data: object) -> bytes:
        """`data` as bytes.

        Raises:
            PayloadError: it holds what msgpack does not know, or is nested too deeply.
        """
        try:
            packed: bytes = self._packer.pack(data)
        except Exception as error:
            self._packer = msgpack.Packer(autoreset=True, use_bin_type=True)
            raise PayloadError(f"cannot pack {type(data).__name__}: {_words(error)}") from error
        return packed


def _words(error: Exception) -> str:
    """What it says, or its kind: it may be the user's own, and raise when it is asked."""
    try:
        return f"{error!s:.200}"
    except Exception:  # noqa: BLE001
        return type(error).__name__


def pack(data: object) -> bytes:
    """`data` as bytes: None, bool, int, float, str, bytes, list and dict; a tuple is a list.

    Raises:
        PayloadError: it holds what msgpack does not know, or is nested too deeply.
    """
    return PayloadPacker().pack(data)


def unpack(payload: bytes) -> object:
    """What was packed. Lists are lists; extension types and timestamps are refused.

    Raises:
        PayloadError: it is not msgpack, or of a kind `pack` does not make.
    """
    try:
        if len(payload) <= _SMALL_BYTES or _claims_little(payload):
            # Whatever it claims to be long is limited by its own length, by default.
            return msgpack.unpackb(payload, strict_map_key=False, max_ext_len=0, ext_hook=_no_ext)
        return _unpack_carefully(payload)
    except PayloadError:
        raise
    except Exception as error:  # noqa: BLE001 - the one door: total, whatever came
        raise PayloadError(f"the payload does not unpack: {type(error).__name__}") from None


_SMALL_BYTES: Final = 1024
"""So few bytes can claim 8 MB of arrays at worst: 1024 nested ones of 1024 items."""


def _limits(size: int) -> dict[str, Any]:
    return {
        "use_list": True,
        "raw": False,
        "strict_map_key": False,  # `pack` takes {1: ...}; what goes in must come out
        "max_str_len": size,
        "max_bin_len": size,
        "max_array_len": size,
        "max_map_len": size,
        "max_ext_len": 0,
        "ext_hook": _no_ext,
    }


def _no_ext(code: int, _data: bytes) -> NoReturn:
    raise PayloadError(f"the payload holds extension type {code}")


def _claims_little(payload: bytes) -> bool:
    """Whether msgpack may be let loose on it.

    It allocates an array when its length is claimed, and claims nest: a megabyte of them
    takes gigabytes. Long arrays start with one of two bytes; so few of these, little harm.
    """
    size = len(payload)
    if b"\xdc" not in payload and b"\xdd" not in payload:
        return True  # asked first: to count takes thirty times as long, for each message
    short = min(payload.count(b"\xdc"), _NESTED_MAX) * min(size, 0xFFFF)
    long = min(payload.count(b"\xdd"), _NESTED_MAX) * size
    return 8 * (short + long) <= _CLAIMED_BYTES_MAX + 16 * size


def _unpack_carefully(payload: bytes) -> object:
    """The same, at a few times the cost per item: no list is longer than what has come."""
    size = len(payload)
    unpacker = msgpack.Unpacker(None, read_size=size, max_buffer_size=size, **_limits(size))
    unpacker.feed(payload)

    def item(depth: int) -> object:
        if depth > _CAREFUL_DEPTH_MAX:
            raise PayloadError("the payload is nested too deeply")
        first = payload[unpacker.tell()]
        if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
            made: list[object] = []
            for _ in range(unpacker.read_array_header()):
                made.append(item(depth + 1))  # noqa: PERF401 - one Python frame per level
            return made
        if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
            table: dict[object, object] = {}
            for _ in range(unpacker.read_map_header()):
                key = item(depth + 1)
                table[key] = item(depth + 1)
            return table
        scalar: object = unpacker.unpack()
        return scalar

    whole = item(0)
    if unpacker.tell() != size:
        raise PayloadError("the payload has bytes beyond its end")
    return whole


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A copy of `headers`, if they may travel."""
    unchecked: object = headers
    if not isinstance(unchecked, Mapping):
        raise ConfigError(f"headers={headers!r:.80} must be a dict of str to str")
    said = dict(headers)
    parts: list[object] = [*said, *said.values()]  # unchecked callers exist
    try:
        sizes = [len(p.encode()) for p in parts if isinstance(p, str)]
    except UnicodeEncodeError:
        raise ConfigError("headers: a lone surrogate, which UTF-8 cannot carry") from None
    if len(sizes) != len(parts) or len(said) > 64 or max(sizes, default=0) > 4096:
        raise ConfigError("headers: at most 64, str to str, each at most 4096 bytes")
    return said
