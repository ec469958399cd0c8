"""Records cut into chunks come back whole, or not at all; and what is begun is bounded."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.errors import WireError
from crdtpubsub.names import NodeId
from crdtpubsub.wire.codec import Assemblies, Decoder, Encoder, chunk, cluster_tag, frame
from crdtpubsub.wire.messages import Chunk, Frame, Header, Message, Probe, Publication

CLUSTER = cluster_tag("test")
ME, HER, HIM = (NodeId(f"{number:032x}") for number in (1, 2, 3))
MANY = 1 << 30


class Receiver:
    """The receiving end: a decoder and its assemblies, and what they counted."""

    def __init__(self, bytes_max: int = MANY) -> None:
        self.counts: Counter[str] = Counter()
        self.listed = {HER, HIM}
        decoder = Decoder(CLUSTER)
        self.decoder = decoder
        self.assemblies = Assemblies(
            ME,
            decoder,
            bytes_max,
            held=self.listed.__contains__,
            count=lambda what, _sender: self.counts.update((what,)),
        )

    def hears(
        self, *records: bytes, by: NodeId = HER, to: NodeId = ME, link: int = 1
    ) -> tuple[Message, ...]:
        data = frame(Encoder().header(Header(CLUSTER, by, to, link, 0)), records)
        return self.assemblies.take(self.decoder.decode(data)).messages


def said(text: str = "hello " * 10) -> Publication:
    return Publication("s", "c", text.encode())


def cut(message: Message, number: int = 0, *, each: int = 7) -> list[bytes]:
    record = Encoder().message(message)
    return [
        chunk(number, len(record), at, record[at : at + each]) for at in range(0, len(record), each)
    ]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 50))
def test_records_come_back_whole_and_in_order(lengths: list[int], each: int) -> None:
    """Two senders at once, and probes between the chunks."""
    receiver = Receiver()
    heard: dict[NodeId, list[Message]] = {HER: [], HIM: []}
    told = [said(f"{n}" * length) for n, length in enumerate(lengths)]
    parts = [part for n, message in enumerate(told) for part in cut(message, n, each=each)]
    for part in parts:
        for by in (HER, HIM):
            got = receiver.hears(Encoder().message(Probe(1)), part, by=by)
            assert got[0] == Probe(1)
            heard[by] += got[1:]
    assert heard == {HER: told, HIM: told}
    assert (len(receiver.assemblies), receiver.assemblies.bytes, receiver.counts) == (0, 0, {})


@given(st.data())
def test_what_lost_a_chunk_is_lost_and_never_spliced(data: st.DataObject) -> None:
    """Any loss, any repetition: what comes out was said, as it was said, at most as often."""
    receiver = Receiver()
    told = [said(f"{n}" * 20) for n in range(3)]
    parts = [part for n, message in enumerate(told) for part in cut(message, n, each=11)]
    heard: list[Message] = []
    for part in parts:
        for _ in range(data.draw(st.sampled_from([0, 1, 1, 1, 2]))):
            heard += receiver.hears(part)
    assert heard == [message for message in told if message in heard]
    assert len(receiver.assemblies) <= 1


def test_a_new_link_ends_what_was_begun_on_the_old_one() -> None:
    receiver = Receiver()
    first, second, *rest = cut(said())
    assert receiver.hears(first) == ()
    assert receiver.hears(Encoder().message(Probe(1)), link=2) == (Probe(1),)
    assert (len(receiver.assemblies), receiver.assemblies.bytes) == (0, 0)
    assert receiver.counts == {"assemblies_dropped": 1}
    for part in (second, *rest):
        assert receiver.hears(part) == ()
    assert receiver.counts["chunks_orphaned"] == 1 + len(rest)
    whole = [message for part in cut(said(), 1) for message in receiver.hears(part, link=2)]
    assert whole == [said()]


def test_a_late_chunk_of_an_older_link_disturbs_nothing() -> None:
    receiver = Receiver()
    parts = cut(said(), 5)
    for part in parts[:-1]:
        receiver.hears(part, link=2)
    for late in cut(said("late"), 4):
        assert receiver.hears(late, link=1) == ()
    assert receiver.hears(parts[-1], link=2) == (said(),)


def test_what_is_begun_is_bounded_and_the_next_one_passes() -> None:
    receiver = Receiver(bytes_max=150)
    long, short = said("x" * 400), said("y" * 40)
    heard = [m for part in cut(long, 0, each=50) for m in receiver.hears(part)]
    assert heard == []
    assert receiver.counts["chunks_refused"] == 1
    assert receiver.assemblies.bytes == 0
    # What one began leaves room for another, up to the bound for all.
    her, his = cut(short, 1, each=50), cut(long, 0, each=50)
    receiver.hears(his[0], by=HIM)
    assert [m for part in her for m in receiver.hears(part)] == [short]
    assert receiver.assemblies.bytes <= 150


def test_strangers_and_those_who_went_hold_nothing() -> None:
    receiver = Receiver()
    receiver.listed.discard(HIM)
    for part in cut(said()):
        assert receiver.hears(part, by=HIM) == ()
    assert receiver.counts["chunks_refused"] == 1
    receiver.hears(cut(said())[0])
    assert len(receiver.assemblies) == 1
    receiver.listed.discard(HER)
    receiver.assemblies.sweep()
    assert (len(receiver.assemblies), receiver.assemblies.bytes) == (0, 0)


def test_chunks_for_another_life_are_not_mine() -> None:
    receiver = Receiver()
    for part in cut(said()):
        assert receiver.hears(part, to=HIM) == ()
    assert len(receiver.assemblies) == 0


@pytest.mark.parametrize("rubbish", [b"\xc1", b"\x90", Encoder().message(Chunk(1, 9, 0, b"x"))])
def test_chunks_that_make_up_rubbish_are_a_wire_error_and_leave_nothing(rubbish: bytes) -> None:
    receiver = Receiver()
    with pytest.raises(WireError):
        receiver.hears(chunk(0, len(rubbish), 0, rubbish))
    assert (len(receiver.assemblies), receiver.assemblies.bytes) == (0, 0)
    assert receiver.hears(*cut(said())) == (said(),)


def test_a_frame_without_chunks_is_handed_on_as_it_is() -> None:
    receiver = Receiver()
    whole = Frame(Header(CLUSTER, HER, ME, 1, 0), (Probe(1),))
    assert receiver.assemblies.take(whole) is whole
