"""What is said is what is heard; and what is not well said is refused, whatever it is."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import pack
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.token import Writes
from crdtpubsub.errors import WireError
from crdtpubsub.names import NodeId
from crdtpubsub.wire.codec import (
    BIRTH_MAX,
    CHUNK,
    FRAME_BYTES_MAX,
    HEADER_BYTES,
    HEADER_TEXT_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORDS_MAX,
    Decoder,
    Encoder,
    FrameError,
    Kind,
    chunk,
    cluster_tag,
    decode,
    frame,
    peek,
)
from crdtpubsub.wire.messages import (
    ANYBODY,
    REFUSALS,
    Accuse,
    Ack,
    Addressed,
    Answers,
    Ask,
    Chunk,
    Deltas,
    Echo,
    Fact,
    Facts,
    Frame,
    Goodbye,
    Header,
    Hello,
    Invite,
    Live,
    Message,
    Opinion,
    Probe,
    ProbeFor,
    Publication,
    Publications,
    Pull,
    RelayedAck,
    Reply,
    Request,
    Row,
    Rows,
    Seen,
    Sums,
    Taken,
    Terms,
    Welcome,
)
from tests.strategies import frames, headers, messages, messages_by_kind

GOLDEN = Path(__file__).with_name("golden.json")
CLUSTER = cluster_tag("test")
A, B = NodeId("0a" * 16), NodeId("0b" * 16)
HEADER = Header(CLUSTER, A, B, 7, 2**40, 2**33)
FACT = Fact(A, "web-1", "tcp://10.0.0.1:5555", 3, ("default", "jobs"))
DELTA = Delta(
    A, (1, 4, 6, 9), {"prices": {"": 1, "ann": 2}, "größe": {"bob": 7}}, {7: (2, "g", b"\xc0")}
)
EXAMPLES: tuple[Message, ...] = (
    Hello(FACT, 2**64 - 1, 5),
    Welcome(1, 2, FACT, (FACT,)),
    Echo(9),
    Goodbye(),
    Probe(4, (FACT,)),
    Ack(4, FACT),
    ProbeFor(5, B, (A,)),
    RelayedAck(5, B, None, refused=True),
    Facts((FACT, FACT)),
    Accuse(B, 2, Opinion.DOWN),
    Taken(7, 2**40),
    Deltas("default", (DELTA,), 6, more=True),
    Rows("default", 2**63, (Row(A, (1, 4), 3, 77),), reply=False, stamp=8),
    Pull("default", A, (2, 3, 5, 6), 11),
    Sums("default", A, (1, 5000), (1, 2**64 - 1)),
    Live("default", A, (1, 9), {2: 0, 5: 3}),
    Publication("default", "prices", b"\x01", "ann", {"traceparent": "00-1"}, (B, "bob")),
    Publications("default", "prices", (b"\x01", b"", b"\xc0")),
    Chunk(3, 300_000, 65_536, b"part"),
    Addressed(2**40, "default", "prices", "ann", b"\x01", {"k": "v"}, (B, "bob")),
    Request(2**40, "default", "prices", "ann", b"\x01", {"k": "v"}, id=7, within_ms=2500),
    Reply(2**40, 7, b"\x01", {"k": "v"}),
    Invite(2**40, "default", "prices", "ann", b"\x01", "workers"),
    Terms(2**63, 17, 5),
    Answers(2**63, 5, ((17, 3, 1), (20, 1, REFUSALS + 1))),
    Ask("default", 7, (Writes(A, 12, (3, 5, 9, 10), (2, 3), ((3, 1), (9, 2))),)),
    Seen("default", 7, True),
)


def encode(frame_: Frame) -> bytes:
    encoder = Encoder()
    return frame(encoder.header(frame_.header), [encoder.message(m) for m in frame_.messages])


def raw(*records: object) -> bytes:
    """A frame of whatever, packed by msgpack alone."""
    return Encoder().header(HEADER) + body(list(records))


def body(records: object) -> bytes:
    packed: bytes = msgpack.packb(records)
    return packed


def outcome(data: bytes) -> Frame | None:
    """What `decode` makes of it; anything but `FrameError` fails the test."""
    try:
        return decode(data, CLUSTER)
    except FrameError as error:
        complaint = str(error)
    assert len(complaint) < 250
    assert complaint.isprintable()
    return None


def refused(data: bytes) -> bool:
    return outcome(data) is None


# ---------------------------------------------------------------- what is said is heard


@pytest.mark.parametrize("kind", get_args(Message))
def test_every_message_comes_back(kind: type[Message]) -> None:
    @given(messages_by_kind[kind])
    def check(message: Message) -> None:
        data = encode(Frame(HEADER, (message,)))
        assert decode(data, CLUSTER) == Frame(HEADER, (message,))

    check()


@given(frames)
def test_every_frame_comes_back(frame_: Frame) -> None:
    data = encode(frame_)
    assert decode(data, frame_.header.cluster) == frame_
    assert decode(memoryview(data), frame_.header.cluster) == frame_


@given(headers)
def test_peek_is_the_header_alone(header: Header) -> None:
    assert peek(Encoder().header(header) + b"\xc1") == header


def test_a_publication_needs_no_object() -> None:
    encoder = Encoder()
    said = Publication("s", "c", b"p", "me", {"a": "b"}, (B, "x"))
    packed = encoder.publication("s", "c", b"p", sender="me", headers={"a": "b"}, exclude=(B, "x"))
    assert packed == encoder.message(said)
    assert encoder.publication("s", "c", b"p") == encoder.message(Publication("s", "c", b"p"))
    many = encoder.publications("s", "c", [b"p", b"q"])
    assert many == encoder.message(Publications("s", "c", (b"p", b"q")))


@pytest.mark.parametrize("n", [0, 1, 15, 16, 65_535, RECORDS_MAX])
def test_the_claim_of_a_frame_has_any_length(n: int) -> None:
    said = Frame(HEADER, (Goodbye(),) * n)
    assert decode(encode(said), CLUSTER) == said


def test_payloads_in_a_row_are_as_many_as_records_may_be() -> None:
    """Two bytes each: a frame of them would be half a million messages in one turn."""
    full = Publications("s", "c", (b"",) * CHUNK)
    some = Frame(HEADER, (full,) * (RECORDS_MAX // CHUNK))
    assert decode(encode(some), CLUSTER) == some
    assert refused(encode(Frame(HEADER, (*some.messages, Publications("s", "c", (b"",))))))


def test_one_record_too_many_is_refused() -> None:
    assert refused(encode(Frame(HEADER, (Goodbye(),) * (RECORDS_MAX + 1))))


@pytest.mark.parametrize("n", [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_lists_longer_than_a_chunk(n: int) -> None:
    entries = {"c": {str(i): i + 1 for i in range(n)}}
    extras = {i + 1: (i, "g", b"m") for i in range(n)}
    runs = tuple(range(1, 2 * n + 1))
    said: tuple[Message, ...] = (
        Facts((FACT,) * n),
        Deltas("s", (Delta(A, (1, n + 1), entries, extras),)),
        Deltas("s", (Delta(A, (1, 2), {}),) * n),
        Rows("s", 0, (Row(A, (1, 2), 1, 1),) * n, reply=True),
        Pull("s", A, runs, 1),
        Live("s", A, (1, n + 1), {i + 1: i % 3 for i in range(n)}),
    )
    for message in said:
        assert decode(encode(Frame(HEADER, (message,))), CLUSTER).messages == (message,)


def test_small_names_in_a_large_delta_stay_within_the_budget() -> None:
    """The most maps for a byte that an encoder can make, in a frame that is guarded."""
    entries = {chr(0x4E00 + i): {"": i + 1} for i in range(20_000)}
    entries |= {
        a + b: {"": 20_001 + 90 * i + j}
        for i, a in enumerate(map(chr, range(33, 123)))
        for j, b in enumerate(map(chr, range(33, 123)))
    }
    said = Deltas("s", tuple(Delta(A, (1, 30_000), entries) for _ in range(2)))
    data = encode(Frame(HEADER, (said, *[Probe(1)] * 60_000)))
    assert len(data) > 256 * 1024
    assert decode(data, CLUSTER).messages[0] == said


def test_the_largest_payload_passes_and_one_byte_more_does_not() -> None:
    said = Publication("s", "c", bytes(PAYLOAD_BYTES_MAX))
    assert Decoder(CLUSTER).record(b"\x91" + Encoder().message(said)) == said
    more = Publication("s", "c", bytes(PAYLOAD_BYTES_MAX + 1))
    with pytest.raises(WireError):
        Decoder(CLUSTER).record(b"\x91" + Encoder().message(more))
    assert refused(encode(Frame(HEADER, (said,))))


def test_the_longest_publication_is_no_longer_than_a_record_may_be() -> None:
    """16 MiB and long headers made a frame that the transport refused: the node was closed."""
    texts = {f"{n:02}".ljust(HEADER_TEXT_BYTES_MAX): "v" * HEADER_TEXT_BYTES_MAX for n in range(64)}
    longest = "n" * 255
    said = Publication(longest, longest, bytes(PAYLOAD_BYTES_MAX), longest, texts, (A, longest))
    record = Encoder().message(said)
    assert len(record) <= RECORD_BYTES_MAX
    assert Decoder(CLUSTER).record(b"\x91" + record) == said


def test_a_frame_longer_than_any_may_be_is_refused() -> None:
    data = encode(Frame(HEADER, (Publication("s", "c", bytes(FRAME_BYTES_MAX - 200)),)))
    assert decode(data, CLUSTER).messages
    assert refused(data + bytes(200))


def test_a_chunk_is_spelt_in_two_ways_and_read_in_one() -> None:
    said = Chunk(3, 300_000, 65_536, bytes(70_000))
    data = frame(Encoder().header(HEADER), [chunk(3, 300_000, 65_536, memoryview(said.data))])
    assert (
        decode(data, CLUSTER)
        == Frame(HEADER, (said,))
        == decode(encode(Frame(HEADER, (said,))), CLUSTER)
    )


@pytest.mark.parametrize(
    "bad",
    [
        Chunk(1, 10, 0, b""),
        Chunk(1, 10, 8, b"123"),
        Chunk(1, RECORD_BYTES_MAX + 1, 0, b"1"),
        Chunk(2**32, 10, 0, b"1"),
        Chunk(1, 10, -1, b"1"),
    ],
)
def test_a_chunk_that_makes_no_sense_is_refused(bad: Chunk) -> None:
    assert refused(encode(Frame(HEADER, (bad,))))


def test_golden() -> None:
    """The wire changed? Then old peers do not understand it: see docs/PROTOCOL.md.

    To write the file anew: `python -m tests.wire.test_codec`.
    """
    assert {type(example) for example in EXAMPLES} == set(get_args(Message))
    golden = json.loads(GOLDEN.read_text())
    assert golden == {type(m).__name__: encode(Frame(HEADER, (m,))).hex() for m in EXAMPLES}
    for message in EXAMPLES:
        data = bytes.fromhex(golden[type(message).__name__])
        assert decode(data, CLUSTER) == Frame(HEADER, (message,))


def test_a_publication_after_something_is_a_kind_of_its_own() -> None:
    """What old nodes do not know they skip: they never get the one without the other."""
    delta = Delta(A, (3, 5), {"prices": {"ann": 4}}, {})
    said = Publication("default", "prices", b"\x01", exclude=(B, "bob"), after=(delta,))
    data = encode(Frame(HEADER, (said,)))
    assert decode(data, CLUSTER) == Frame(HEADER, (said,))
    assert data[HEADER_BYTES + 2] == Kind.PUBLICATION_AFTER
    assert encode(Frame(HEADER, (replace(said, after=()),)))[HEADER_BYTES + 2] == Kind.PUBLICATION
    assert refused(raw([26, [], "default", "prices", b"\x01", "", {}, None]))


def test_a_publication_to_one_of_a_group_is_a_kind_of_its_own() -> None:
    """What old nodes do not know they skip: they would give it to a member that was not meant."""
    delta = Delta(A, (3, 5), {"prices": {"ann": 4}}, {})
    said = Addressed(7, "default", "jobs", "ann", b"\x01", {}, (B, "bob"), "workers", (delta,))
    data = encode(Frame(HEADER, (said,)))
    assert decode(data, CLUSTER) == Frame(HEADER, (said,))
    assert data[HEADER_BYTES + 2] == Kind.PICKED
    assert encode(Frame(HEADER, (replace(said, group="", after=()),)))[HEADER_BYTES + 2] == 19
    whole = [27, "workers", [], 0, "default", "jobs", "ann", b"\x01", {}, None]
    assert not refused(raw(whole))
    for at, wrong in ((1, ""), (1, 3), (2, None), (5, ""), (6, ""), (7, "text")):
        assert refused(raw([*whole[:at], wrong, *whole[at + 1 :]])), (at, wrong)


# ---------------------------------------------------------------- the header


def test_the_tag_of_a_cluster_never_changes() -> None:
    assert cluster_tag("test").hex() == "9daa43a48930148b"
    assert cluster_tag("test") != cluster_tag("tess")


def test_each_refusal_has_its_counter() -> None:
    data = encode(Frame(HEADER, (Goodbye(),)))
    cases = {
        "header": [b"", data[:55], b"\xc6" + data[1:], data[:3] + b"\x01" + data[4:]],
        "version": [data[:2] + b"\x02" + data[3:]],
        "cluster": [data[:4] + bytes(8) + data[12:]],
        "body": [data[:HEADER_BYTES], data + b"\0", data[:-1]],
    }
    cases["header"].append(encode(Frame(Header(CLUSTER, ANYBODY, B, 0, 0), ())))
    for reason, many in cases.items():
        for one in many:
            with pytest.raises(WireError) as caught:
                decode(one, CLUSTER)
            assert isinstance(caught.value, FrameError)
            assert caught.value.reason == reason
    with pytest.raises(FrameError, match="wire version 2; this is 1"):
        peek(cases["version"][0])


def test_records_of_unknown_kinds_are_counted_and_skipped() -> None:
    decoder = Decoder(CLUSTER)
    data = raw([99], [-1, {"x": [None]}], [Kind.ECHO, 5], [2**40, "new"])
    assert decoder.decode(data).messages == (Echo(5),)
    assert decoder.unknown_records == 3
    with pytest.raises(FrameError):
        decoder.decode(raw([99], [Kind.ECHO]))
    assert decoder.unknown_records == 3


# ---------------------------------------------------------------- hostile


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    outcome(data)
    outcome(Encoder().header(HEADER) + data)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_no_cut_frame_passes(message: Message) -> None:
    data = encode(Frame(HEADER, (message,)))
    assert all(refused(data[:size]) for size in range(len(data)))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_every_flipped_bit(message: Message) -> None:
    """Some flips say something else, well formed; those must be sayable by an encoder."""
    data = encode(Frame(HEADER, (message,)))
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        if (heard := outcome(bytes(flipped))) is not None:
            assert decode(encode(heard), CLUSTER) == heard


@given(messages, st.data())
def test_no_byte_may_be_anything(message: Message, data: st.DataObject) -> None:
    mutated = bytearray(encode(Frame(HEADER, (message,))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(HEADER_BYTES, len(mutated) - 1))
        mutated[at] = data.draw(st.integers(0, 255))
    outcome(bytes(mutated))


STRANGERS: tuple[object, ...] = (
    None, True, False, -1, 2**64 - 1, 1.0, float("nan"), float("inf"), "", "a\nb", "x" * 300,
    b"", b"x" * 15, bytes(16), [], [[]], [[[]]], [1, 2], {}, {"a": 1}, {"a": {}}, {b"k": {"a": 1}},
    msgpack.Timestamp(1), msgpack.ExtType(5, b"x"), msgpack.ExtType(5, b""),
)  # fmt: skip


def _swaps(value: Any) -> list[Any]:
    """`value` with one thing inside of it, or itself, replaced by each of the strangers."""
    made: list[Any] = list(STRANGERS)
    if isinstance(value, list):
        for i, inner in enumerate(value):
            made += [[*value[:i], other, *value[i + 1 :]] for other in _swaps(inner)]
        made += [[*value, None], value[:-1]]
    if isinstance(value, dict):
        for key, inner in value.items():
            made += [{**value, key: other} for other in _swaps(inner)]
    return made


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: type(m).__name__)
def test_swapped_types(message: Message) -> None:
    record = msgpack.unpackb(Encoder().message(message))
    for swapped in _swaps(record)[len(STRANGERS) :]:
        if (heard := outcome(raw(swapped))) is not None:
            assert decode(encode(heard), CLUSTER) == heard
    for stranger in STRANGERS:
        assert refused(raw(stranger))


def q(*numbers: int) -> bytes:
    return pack(f">{len(numbers)}Q", *numbers)


LIFE = bytes.fromhex(A)
K = Kind
DELTA_LIES: dict[str, list[object]] = {
    "twice": [LIFE, q(1, 9), {"a": {"x": 1}, "b": {"x": 1}}, []],
    "outside": [LIFE, q(1, 3), {"a": {"x": 3}}, []],
    "between": [LIFE, q(1, 3, 5, 7), {"a": {"x": 3}}, []],
    "no runs": [LIFE, b"", {"a": {"x": 1}}, []],
    "zero": [LIFE, q(0, 3), {}, []],
    "falling": [LIFE, q(3, 1), {}, []],
    "touching": [LIFE, q(1, 3, 3, 4), {}, []],
    "odd": [LIFE, q(1), {}, []],
    "half a number": [LIFE, q(1, 2) + b"\0", {}, []],
    "far": [LIFE, q(1, BIRTH_MAX + 2), {}, []],
    "bool": [LIFE, q(1, 3), {"a": {"x": True}}, []],
    "float": [LIFE, q(1, 3), {"a": {"x": 1.0}}, []],
    "nan": [LIFE, q(1, 3), {"a": {"x": float("nan")}}, []],
    "nobody": [bytes(16), q(1, 3), {}, []],
    "no clients": [LIFE, q(1, 3), {"a": {}}, []],
    "no channel": [LIFE, q(1, 3), {"": {"a": 1}}, []],
    "control": [LIFE, q(1, 3), {"a\x1b": {"a": 1}}, []],
    "control in a client": [LIFE, q(1, 3), {"a": {"ä\x9b": 1}}, []],
    "long": [LIFE, q(1, 3), {"a": {"x" * 256: 1}}, []],
    "long in bytes": [LIFE, q(1, 3), {"a": {"ä" * 128: 1}}, []],
    "bytes for a name": [LIFE, q(1, 3), {"a": {b"x": 1}}, []],
    "extra of nothing": [LIFE, q(1, 3), {"a": {"x": 1}}, [[2, 1, "", b""]]],
    "plain extra": [LIFE, q(1, 3), {"a": {"x": 1}}, [[1, 0, "", b""]]],
    "extra twice": [LIFE, q(1, 3), {"a": {"x": 1}}, [[1, 1, "", b"", 1, 2, "", b""]]],
    "extra of a bool": [LIFE, q(1, 3), {"a": {"x": 1}}, [[True, 1, "", b""]]],
    "version": [LIFE, q(1, 3), {"a": {"x": 1}}, [[1, 2**32, "", b""]]],
    "negative version": [LIFE, q(1, 3), {"a": {"x": 1}}, [[1, -1, "", b""]]],
    "group": [LIFE, q(1, 3), {"a": {"x": 1}}, [[1, 1, "\n", b""]]],
    "meta": [LIFE, q(1, 3), {"a": {"x": 1}}, [[1, 1, "", b"m" * 4097]]],
    "threes": [LIFE, q(1, 3), {"a": {"x": 1}}, [[1, 1, ""]]],
}


@pytest.mark.parametrize("lie", DELTA_LIES)
def test_a_delta_that_cannot_be(lie: str) -> None:
    assert not refused(raw([K.DELTAS, "s", [[[LIFE, q(1, 3), {"a": {"x": 1}}, []]]], 0, False]))
    assert refused(raw([K.DELTAS, "s", [[DELTA_LIES[lie]]], 0, False]))


@pytest.mark.parametrize(
    "record",
    [
        [K.LIVE, "s", LIFE, q(1, 9), q(2, 2), b""],
        [K.LIVE, "s", LIFE, q(1, 9), q(3, 2), b""],
        [K.LIVE, "s", LIFE, q(1, 9), q(9), b""],
        [K.LIVE, "s", LIFE, q(1, 9), q(2), q(3, 1)],
        [K.LIVE, "s", LIFE, q(1, 9), q(2), q(2, 0)],
        [K.LIVE, "s", LIFE, q(1, 9), q(2), q(2, 2**32)],
        [K.LIVE, "s", LIFE, q(1, 9), q(2), q(2)],
        [K.LIVE, "s", LIFE, q(1, 9), q(2), q(2, 1, 2, 1)],
        [K.ROWS, "s", 0, [[[LIFE, q(1, 3), 3, 0]]], True, 0],
        [K.ROWS, "s", 0, None, 1, 0],
        [K.ROWS, "s", 0, None, True, 2**32],
        [K.ACCUSE, LIFE, 2**32, 0],
        [K.ACCUSE, LIFE, 0, 3],
        [K.ECHO, True],
        [K.ECHO, -1],
        [True],
        [K.FACTS, [[[LIFE, "n", "tcp://x", 0, ["b", "a"]]]]],
        [K.FACTS, [[[LIFE, "n", "tcp://x", 0, ["a", "a"]]]]],
        [K.FACTS, [[[LIFE, "n", "tcp://x", 0, [f"{i:03}" for i in range(65)]]]]],
        [K.FACTS, [[[LIFE, "n", "", 0, []]]]],
        [K.FACTS, [[[LIFE, "n", "x" * 256, 0, []]]]],
        [K.FACTS, [[[LIFE, "n", "tcp://\x07", 0, []]]]],
        [K.ADDRESSED, 1, "s", "", "", b"", {}, None],
        [K.ADDRESSED, -1, "s", "c", "", b"", {}, None],
        [K.ADDRESSED, 1, "s", "c", "", "text", {}, None],
        [K.ADDRESSED, 1, "s", "c", "\n", b"", {}, None],
        [K.ADDRESSED, 1, "s", "c", "", b"", {"a": 1}, None],
        [K.ADDRESSED, 1, "s", "c", "", b"", {}, [LIFE]],
        [K.TERMS, 1, 2, -1],
        [K.TERMS, True, 2, 1],
        [K.ANSWERS, 1, 0, q(1, 2)],
        [K.ANSWERS, 1, 0, q(1, 8193, 1)],
        [K.ANSWERS, 1, 0, q(1, 8000, 1, 9000, 193, 1)],
        [K.PUBLICATION, "s", "c", b"", "", {str(i): "" for i in range(65)}, None],
        [K.PUBLICATION, "s", "c", b"", "", {"a": "x" * 4097}, None],
        [K.PUBLICATION, "s", "c", b"", "", {"a": b""}, None],
        [K.PUBLICATION, "s", "c", "text", "", {}, None],
        [K.PUBLICATION, "s", "c", b"", "", {}, [LIFE, ""]],
        [K.PUBLICATION, "s", "c", b"", None, {}, None],
        [K.PUBLICATIONS, "s", "c", []],
        [K.PUBLICATIONS, "s", "c", b"p"],
        [K.PUBLICATIONS, "s", "c", [b"p", "text"]],
        [K.PUBLICATIONS, "s", "c", [b"p", None]],
        [K.PUBLICATIONS, "s", "c", [b"p"] * 4097],
        [K.PUBLICATIONS, "s", "", [b"p"]],
        [K.PUBLICATIONS, None, "c", [b"p"]],
    ],
    ids=repr,
)
def test_a_record_that_cannot_be(record: list[object]) -> None:
    assert refused(raw(record))


BOMBS: dict[str, Callable[[], bytes]] = {
    "a megabyte of maps": lambda: b"\x80" * 2**20,
    "maps in a list": lambda: b"\x91\xdd\x00\x0f\x00\x00" + b"\x80" * 2**20,
    "maps in lists": lambda: b"\x91\x92\x0b" + (b"\xdc\x0f\xff" + b"\x80" * 4095) * 256,
    "maps in lists of lists": lambda: b"\x91\xdc\x01\x01\x63" + (
        b"\xdc\x0f\xff" + b"\x80" * 4095) * 256,
    "a map of maps": lambda: b"\x91\x92\x63\xdf\x00\x03\x00\x00" + b"".join(
        b"\xa4%04x\x80" % (i % 65536) for i in range(200_000)),
    "nested lists": lambda: b"\x91" * 2**20,
    "nested maps": lambda: b"\x91\x92\x63" + b"\x81\xa0" * 2**19,
    "towers": lambda: b"\xdc\x04\x00" + (b"\x92\x63" + b"\x91" * 900 + b"\xc0") * 1024,
    "claims": lambda: b"\xdd\x00\x0f\xff\xff" * 200_000,
    "claims in a record": lambda: b"\x91\x92\x63" + b"\xdd\x00\x0f\xff\xff" * 200_000,
    "lesser claims": lambda: b"\x91\x92\x63" + b"\xdc\x10\x00" * 300_000,
    "a claim of strings": lambda: b"\x91\x92\x63\xdb\xff\xff\xff\xff",
    "a claim of bytes": lambda: b"\x91\x92\x63\xc6\xff\xff\xff\xff",
    "a claim of pairs": lambda: b"\x91\x92\x63\xdf\xff\xff\xff\xff",
    "a claim of records": lambda: b"\xdd\xff\xff\xff\xff",
    "a claim of extension": lambda: b"\x91\x92\x63\xc9\xff\xff\xff\xff\x05",
    "bad text": lambda: b"\x91\x92\x63\xa2\xff\xfe",
    "a surrogate": lambda: b"\x91\x92\x63\xa3\xed\xa0\x80",
    "a map with a map as key": lambda: b"\x91\x92\x63\x81\x80\x01",
    "a map with a number as key": lambda: b"\x91\x92\x63\x81\x01\x01",
    "the byte that is never used": lambda: b"\x91\x92\x63\xc1",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_and_costs_little(bomb: str) -> None:
    """Unbounded, a megabyte of 0x80 takes 73 MB, and nested claims take gigabytes."""
    data = Encoder().header(HEADER) + BOMBS[bomb]()
    tracemalloc.start()
    try:
        assert refused(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 * 2**20


if __name__ == "__main__":
    told = {type(m).__name__: encode(Frame(HEADER, (m,))).hex() for m in EXAMPLES}
    GOLDEN.write_text(json.dumps(told, indent=1) + "\n")
