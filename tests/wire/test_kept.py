"""What the codec keeps instead of computing it again says what the computation would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.names import NodeId
from crdtpubsub.wire.codec import (
    HEADER_BYTES,
    Decoder,
    Encoder,
    FrameError,
    Kind,
    cluster_tag,
    decode,
    frame,
)
from crdtpubsub.wire.decode import Bodies
from crdtpubsub.wire.messages import Echo, Fact, Facts, Frame, Header, Row
from tests.strategies import frames

CLUSTER = cluster_tag("test")
A, B = NodeId("0a" * 16), NodeId("0b" * 16)
HEADER = Header(CLUSTER, A, B, 7, 1)


def _encode(said: Frame) -> bytes:
    encoder = Encoder()
    return frame(encoder.header(said.header), [encoder.message(m) for m in said.messages])


@given(frames)
def test_a_body_heard_before_says_the_same_to_another_node(said: Frame) -> None:
    bodies = Bodies()
    header = replace(said.header, cluster=CLUSTER)
    other = replace(header, seq=header.seq ^ 1)
    first = Decoder(CLUSTER, bodies).decode(_encode(Frame(header, said.messages)))
    again = Decoder(CLUSTER, bodies).decode(_encode(Frame(other, said.messages)))
    assert (first.header, again.header) == (header, other)
    assert first.messages == again.messages == said.messages


def test_what_is_no_body_is_refused_each_time_and_not_kept() -> None:
    bodies = Bodies()
    good = _encode(Frame(HEADER, (Echo(1),)))
    for bad in (good + b"\0", good[:-1], good[:HEADER_BYTES]):
        for _ in range(2):
            with pytest.raises(FrameError):
                Decoder(CLUSTER, bodies).decode(bad)
    assert len(bodies) == 0
    with pytest.raises(FrameError, match="cluster"):
        Decoder(cluster_tag("other"), bodies).decode(good)


def test_unknown_records_are_counted_by_every_decoder_that_hears_them() -> None:
    bodies = Bodies()
    data = frame(Encoder().header(HEADER), [msgpack.packb([99]), msgpack.packb([Kind.ECHO, 5])])
    for decoder in (Decoder(CLUSTER, bodies), Decoder(CLUSTER, bodies)):
        assert decoder.decode(data).messages == (Echo(5),)
        assert decoder.unknown_records == 1


def test_bodies_are_kept_up_to_a_limit() -> None:
    bodies = Bodies()
    decoder = Decoder(CLUSTER, bodies)
    for nonce in range(Bodies.SIZE_MAX + 10):
        assert decoder.decode(_encode(Frame(HEADER, (Echo(nonce),)))).messages == (Echo(nonce),)
        assert len(bodies) <= Bodies.SIZE_MAX


@pytest.mark.parametrize(
    ("at", "stranger"),
    [(3, True), (3, 1.0), (3, None), (1, b"web-1"), (4, ["default", True]), (4, ["default", {}])],
    ids=repr,
)
def test_a_fact_that_only_equals_a_known_one_is_refused(at: int, stranger: Any) -> None:
    """Facts that came before are found by what they hold; for Python, True and 1.0 equal 1."""
    fact = Fact(A, "web-1", "tcp://10.0.0.1:5555", 1, ("default",))
    known = _encode(Frame(HEADER, (Facts((fact,)),)))
    assert decode(known, CLUSTER) == decode(known, CLUSTER) == Frame(HEADER, (Facts((fact,)),))
    told: list[Any] = [bytes.fromhex(A), "web-1", "tcp://10.0.0.1:5555", 1, ["default"]]
    told[at] = stranger
    record = msgpack.packb([Kind.FACTS, [[told]]], use_bin_type=True)
    with pytest.raises(FrameError):
        decode(frame(Encoder().header(HEADER), [record]), CLUSTER)


def test_light_classes_compare_and_hash_by_their_fields() -> None:
    row = Row(A, (1, 4), 2, 77)
    assert row == Row(A, (1, 4), 2, 77) != Row(A, (1, 4), 2, 78)
    assert hash(row) == hash(Row(A, (1, 4), 2, 77))
    assert not hasattr(Delta(A, (), {}), "__dict__")
