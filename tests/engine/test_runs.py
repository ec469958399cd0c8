"""Publications in a row are delivered as one: the same messages, to the same clients, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.slicing import runs, unconfirmed
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.runtime.mailbox import Mailbox
from crdtpubsub.runtime.message import Message, Run
from crdtpubsub.wire.messages import Addressed, Echo, Publication, Publications
from crdtpubsub.wire.messages import Message as Record
from tests.engine.test_stories import HER, HIM, engine, linked, said

publications = st.builds(
    Publication,
    st.sampled_from(["default", "other"]),
    st.sampled_from(["a", "b"]),
    st.binary(max_size=3),
    exclude=st.sampled_from([None, None, None, (HER, "c")]),
)
together = st.builds(
    Publications,
    st.just("default"),
    st.sampled_from(["a", "b"]),
    st.lists(st.binary(max_size=3), min_size=1, max_size=3).map(tuple),
)
others = st.just(Echo(1)) | st.just(Addressed(0, "default", "a", "", b""))
records = publications | together | others


@given(st.lists(records, max_size=30))
def test_runs_are_the_same_in_order_and_each_of_one_channel(messages: list[Record]) -> None:
    flat: list[Record] = []
    before: tuple[str, str] | None = None
    for one in runs(messages):
        if not isinstance(one, list):
            flat.append(one)
            before = None
            continue
        places = {(each.scope, each.channel, each.exclude) for each in one}
        assert len(places) == 1
        scope, channel, exclude = places.pop()
        assert exclude is None
        assert (scope, channel) != before, "two runs that are one"
        before = (scope, channel)
        flat.extend(one)
    assert flat == messages
    sizes = [len(one.payloads) if isinstance(one, Publications) else 1 for one in messages]
    echoes = sum(isinstance(one, Echo) for one in messages)
    assert unconfirmed(messages) == sum(sizes) - echoes


def test_payloads_in_one_record_are_delivered_as_one_and_counted_one_by_one() -> None:
    node = engine()
    linked(node)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.2)
    three = Publications(DEFAULT_SCOPE, "room", (b"1", b"2", b"3"))
    node.handle(said(HER, three, seq=2, published=2), 0.3)  # two before it were lost
    node.handle(said(HER, three, seq=2, published=2), 0.4)  # late: it was there before
    elsewhere = Publications(DEFAULT_SCOPE, "hall", (b"4", b"5"))
    node.handle(said(HER, elsewhere, seq=3, published=5), 0.5)
    node.handle(said(HIM, three), 0.6)
    effects = node.take()
    runs_taken = [effect for effect in effects if isinstance(effect, ef.DeliverRun)]
    assert runs_taken == [ef.DeliverRun(HER, "room", (b"1", b"2", b"3"), ("alice",))]
    gaps = [effect for effect in effects if isinstance(effect, ef.Gap)]
    assert gaps == [ef.Gap(HER, 2), ef.Gap(HIM, 3)]
    assert node.counters["publications_received"] == 5
    assert node.counters["publications_late"] == 3
    assert node.counters["publications_nobody"] == 2
    assert node.counters["from_stranger"] == 3


@given(
    st.lists(st.binary(max_size=20), max_size=12),
    st.lists(st.binary(max_size=20), min_size=2, max_size=12),
    st.integers(1, 12),
    st.integers(1, 120),
    st.sampled_from(["drop_oldest", "drop_newest", "close"]),
)
def test_a_run_finds_the_room_that_its_messages_find(
    first: list[bytes], then: list[bytes], max_pending: int, max_bytes: int, overflow: str
) -> None:
    """All of it or none: who has no room for all is asked message by message."""
    one, run = (
        Mailbox(max_pending=max_pending, max_pending_bytes=max_bytes, overflow=overflow)  # type: ignore[arg-type]
        for _ in range(2)
    )
    for box in (one, run):
        for payload in first:
            box.put(Message("a", payload, HER, {}))
    several = Run("a", HER, then)
    took = sum([one.put(Message("a", payload, HER, {})) for payload in then])
    if run.put_run(several):
        assert took == len(then)
    else:
        assert sum(map(run.put, several.messages())) == took
    assert (len(run), run.dropped, run.closed) == (len(one), one.dropped, one.closed)
    assert run.pending_bytes == one.pending_bytes
    for left, right in zip(run.take_many(100), one.take_many(100), strict=True):
        assert isinstance(left, Message)
        assert isinstance(right, Message)
        assert (left.payload, left.sender, left.channel) == (right.payload, HER, "a")
        assert (left.headers, left.size_bytes) == ({}, right.size_bytes)
