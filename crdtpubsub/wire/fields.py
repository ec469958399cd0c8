"""Fields of records, checked. Who says no raises `FrameError`; only names need a `reader`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import chain
from struct import unpack
from typing import Any

from crdtpubsub.crdt.intervals import Runs, is_runs, pairs
from crdtpubsub.names import NodeId
from crdtpubsub.wire.header import NOBODY, life_of
from crdtpubsub.wire.limits import BIRTH_MAX, HEADERS_MAX, PAIR, RELAYS_MAX, U64_MAX
from crdtpubsub.wire.refusal import bad, refuse

__all__ = [
    "check_headers",
    "check_inside",
    "check_types",
    "flag",
    "life",
    "lives",
    "nonce",
    "number",
    "runs",
    "u64s",
    "unchunked",
]


def life(value: object) -> NodeId:
    """A life; not nobody."""
    if type(value) is not bytes or len(value) != 16 or value == NOBODY:
        bad("life", value)
    return life_of(value)


def lives(packed: object) -> tuple[NodeId, ...]:
    """At most `RELAYS_MAX` lives in a bin."""
    if type(packed) is not bytes or len(packed) % 16 or len(packed) > 16 * RELAYS_MAX:
        bad("sequence of lives", packed)
    return tuple([life(packed[at : at + 16]) for at in range(0, len(packed), 16)])


def number(what: str, value: object, most: int) -> int:
    """An int of 0 to `most`; a bool is none."""
    if type(value) is not int or not 0 <= value <= most:
        bad(what, value)
    return value


def nonce(value: object) -> int:
    """A u64."""
    return number("nonce", value, U64_MAX)


def flag(value: object) -> bool:
    """A bool."""
    if type(value) is not bool:
        bad("bool", value)
    return value


def unchunked(chunks: object) -> list[Any]:
    """The items of a list that came in chunks."""
    if type(chunks) is not tuple:
        bad("list of chunks", chunks)
    if len(chunks) == 1 and type(chunks[0]) is tuple:
        return list(chunks[0])
    check_types("chunk", chunks, tuple)
    return list(chain.from_iterable(chunks))


def u64s(packed: object) -> tuple[int, ...]:
    """The numbers of a bin of u64s."""
    if type(packed) is not bytes or len(packed) % 8:
        bad("sequence of u64", packed)
    if len(packed) == 16:  # the single run of a young life
        return PAIR.unpack(packed)
    return unpack(f">{len(packed) // 8}Q", packed)


def runs(packed: object) -> Runs:
    """Runs of births, well formed."""
    flat = u64s(packed)
    if not is_runs(flat) or (flat and flat[-1] > BIRTH_MAX + 1):
        refuse("malformed runs")
    return flat


def check_types(what: str, values: Collection[object], expected: type) -> None:
    """Exactly that type, of all: bool is not int."""
    if list(map(type, values)).count(expected) != len(values):
        refuse(f"something among others is no {what}")


def check_inside(births: Sequence[int], runs: Runs) -> None:
    """Whether all `births`, which are sorted, lie in `runs`."""
    if not births:
        return
    if len(runs) == 2:
        inside = births[0] >= runs[0] and births[-1] < runs[1]
    else:
        found = sum(bisect_left(births, hi) - bisect_left(births, lo) for lo, hi in pairs(runs))
        inside = found == len(births)
    if not inside:
        refuse("a birth outside of the runs")


def check_headers(headers: object) -> None:
    """The headers of a publication."""
    if type(headers) is not dict or len(headers) > HEADERS_MAX:
        bad("map of headers", headers)
    check_types("header", headers, str)  # their lengths are limited by the unpacker
    check_types("header", headers.values(), str)
