"""Where inputs come from: examples of every record kind there is, and ways to spoil bytes.

The examples are made by `tests/strategies.py`, one strategy a kind, so a new kind of record is
fuzzed as soon as it has one (and `tests/wire` fails as long as it has none).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Final, get_args

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from crdtpubsub.wire.codec import HEADER_BYTES, Encoder, cluster_tag, frame
from crdtpubsub.wire.messages import Frame, Message
from tests.strategies import frames, messages_by_kind

CLUSTER: Final = cluster_tag("test")
GOLDEN: Final = Path(__file__).parent.parent / "wire" / "golden.json"
EXAMPLES: Final = 40  # of each kind


def examples(strategy: st.SearchStrategy[object], many: int, number: int) -> list[object]:
    """The same `many` values of a strategy for the same number, on the same Hypothesis."""
    found: list[object] = []

    @seed(number)
    @settings(
        max_examples=many,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def gather(value: object) -> None:
        found.append(value)

    gather()
    return found


@cache
def messages(number: int) -> dict[type[Message], list[Message]]:
    """Examples of every kind of record."""
    assert set(messages_by_kind) == set(get_args(Message)), "a kind without a strategy"
    return {
        kind: [m for m in examples(strategy, EXAMPLES, number) if isinstance(m, kind)]
        for kind, strategy in messages_by_kind.items()
    }


def encode(frame_: Frame) -> bytes:
    """A frame as its sender would say it."""
    encoder = Encoder()
    return frame(encoder.header(frame_.header), [encoder.message(m) for m in frame_.messages])


@cache
def seeds(number: int) -> list[bytes]:
    """Good frames to spoil: the golden one of each kind, and some of many records."""
    golden = [bytes.fromhex(data) for data in json.loads(GOLDEN.read_text()).values()]
    header = golden[0][:HEADER_BYTES]
    many = [
        encode(each)[HEADER_BYTES:]
        for each in examples(frames, EXAMPLES, number)
        if isinstance(each, Frame)
    ]
    single = [
        frame(header, [Encoder().message(message)])
        for of_kind in messages(number).values()
        for message in of_kind
    ]
    return golden + single + [header + body for body in many]


# ---------------------------------------------------------------- spoiling

INTERESTING: Final = (
    b"\x00 \x7f \x80 \x8f \x90 \x9f \xa0 \xbf \xc0 \xc1 \xc2 \xc3 \xc4\xff \xc5\xff\xff "
    b"\xc6\xff\xff\xff\xff \xc7\xff\x01 \xca\x7f\xc0\x00\x00 \xcb\x7f\xf8\x00\x00\x00\x00\x00\x00 "
    b"\xcc\xff \xcd\xff\xff \xce\xff\xff\xff\xff \xcf\xff\xff\xff\xff\xff\xff\xff\xff "
    b"\xd0\x80 \xd3\x80\x00\x00\x00\x00\x00\x00\x00 \xd4\x00\x00 \xd6\xff\x00\x00\x00\x00 "
    b"\xd9\xff \xdb\xff\xff\xff\xff \xdc\xff\xff \xdd\xff\xff\xff\xff \xde\xff\xff "
    b"\xdf\xff\xff\xff\xff \xe0 \xff"
).split(b" ")
"""The first bytes of every msgpack type, with claims: NaN, extensions, four gigabytes."""

Spoil = Callable[[bytearray, int, Random, list[bytes]], None]


def _flip(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    data[at] ^= 1 << dice.getrandbits(3)


def _set(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    data[at] = dice.getrandbits(8)


def _step(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    data[at] = (data[at] + (1 if dice.getrandbits(1) else 255)) & 255


def _write(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    word = INTERESTING[dice.getrandbits(16) % len(INTERESTING)]
    data[at : at + len(word)] = word


def _insert(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    data[at:at] = INTERESTING[dice.getrandbits(16) % len(INTERESTING)]


def _delete(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    del data[at : at + 1 + dice.getrandbits(3)]


def _cut(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    del data[at:]


def _repeat(data: bytearray, at: int, dice: Random, _all: list[bytes]) -> None:
    part = data[at : at + 1 + dice.getrandbits(5)]
    data[at:at] = part * (1 + dice.getrandbits(2))


def _splice(data: bytearray, at: int, dice: Random, every: list[bytes]) -> None:
    other = every[dice.getrandbits(16) % len(every)]
    start = HEADER_BYTES + dice.getrandbits(16) % max(len(other) - HEADER_BYTES, 1)
    data[at:] = other[start:]


_SPOILS: Final[tuple[Spoil, ...]] = (
    *(_flip, _set, _step, _write, _write, _insert, _delete, _repeat, _splice, _cut),
)


def spoil(good: bytes, dice: Random, every: list[bytes]) -> bytes:
    """One to four changes, nearly always behind the header: else most would end there."""
    data = bytearray(good)
    bits = dice.getrandbits(40)
    first = 0 if bits & 31 == 0 else HEADER_BYTES
    for turn in range(1 + (bits >> 5 & 3 if bits & 512 else 0)):
        room = len(data) - first
        if room <= 0:
            break
        at = first + (bits >> 10 + 4 * turn) % room
        _SPOILS[dice.getrandbits(16) % len(_SPOILS)](data, at, dice, every)
    return bytes(data)
