"""What users publish comes back, and what peers made of it cannot hurt."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.errors import PayloadError
from crdtpubsub.wire import payload as module
from crdtpubsub.wire.payload import PayloadPacker, pack, unpack
from tests.strategies import plain_data


@given(plain_data)
def test_what_goes_in_comes_out(data: object) -> None:
    assert unpack(pack(data)) == data
    assert module._unpack_carefully(pack(data)) == data


def test_lists_stay_lists() -> None:
    assert unpack(pack([1, (2, [3])])) == [1, [2, [3]]]


def _endless() -> list[object]:
    data: list[object] = []
    data.append(data)
    return data


@pytest.mark.parametrize(
    "data",
    [object(), {1, 2}, 2**64, -(2**63) - 1, "\ud800", [datetime.now(UTC)], 1j, _endless()],
    ids=lambda data: type(data).__name__,
)
def test_what_msgpack_does_not_know(data: object) -> None:
    packer = PayloadPacker()
    with pytest.raises(PayloadError):
        packer.pack(["before", data])
    assert packer.pack(1) == b"\x01"


@given(st.binary(max_size=100))
def test_random_bytes(data: bytes) -> None:
    for way in (unpack, module._unpack_carefully):
        try:
            way(data)
        except PayloadError:
            continue
        except Exception:  # noqa: BLE001 - the careful way has its door in `unpack`
            assert way is not unpack


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x02",
        b"\xc1",
        b"\xa2\xff\xfe",
        b"\x92\x01",
        b"\x81\x80\x01",
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb([msgpack.ExtType(5, b"x")]),
        msgpack.packb(msgpack.ExtType(5, b"")),
        b"\x91" * 2**20,
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x0f\xff\xff" * 200_000,
        b"\xdc\xff\xff" * 300_000,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_hostile_payloads(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError):
            unpack(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 160 * 2**20


def test_many_floats_with_the_bytes_of_claims() -> None:
    """The careful way is taken, and comes to the same."""
    data: object = {"series": [i / 7 for i in range(50_000)], "deep": [[[{"a": [1]}]]]}
    assert not module._claims_little(pack(data))
    assert unpack(pack(data)) == data
