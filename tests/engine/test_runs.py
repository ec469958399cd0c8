"""Publications in a row are delivered as one: the same messages, to the same clients, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.engine.slicing import runs, unconfirmed
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.mailbox import Mailbox, Message
from crdtpubsub.wire.messages import Addressed, Echo, Publication
from crdtpubsub.wire.messages import Message as Record

HER = NodeId("02" * 16)

publications = st.builds(
    Publication,
    st.sampled_from(["default", "other"]),
    st.sampled_from(["a", "b"]),
    st.binary(max_size=3),
    exclude=st.sampled_from([None, None, None, (HER, "c")]),
)
records = publications | st.just(Echo(1)) | st.just(Addressed(0, "default", "a", "", b""))


@given(st.lists(records, max_size=30))
def test_runs_are_the_same_in_order_and_each_of_one_channel(messages: list[Record]) -> None:
    flat: list[Record] = []
    before: tuple[str, str] | None = None
    for said in runs(messages):
        if not isinstance(said, list):
            flat.append(said)
            before = None
            continue
        places = {(one.scope, one.channel, one.exclude) for one in said}
        assert len(places) == 1
        scope, channel, exclude = places.pop()
        assert exclude is None
        assert (scope, channel) != before, "two runs that are one"
        before = (scope, channel)
        flat.extend(said)
    assert flat == messages
    assert unconfirmed(messages) == sum(not isinstance(one, Echo) for one in messages)


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
    messages = [Message("a", payload, HER, {}) for payload in then]
    took = sum(map(one.put, messages))
    if run.put_run(messages, sum(map(len, then))):
        assert took == len(messages)
    else:
        assert sum(map(run.put, messages)) == took
    assert list(run._items)[-took:] == list(one._items)[-took:] if took else True
    assert (len(run), run.dropped, run.closed) == (len(one), one.dropped, one.closed)
    assert run.pending_bytes == one.pending_bytes
