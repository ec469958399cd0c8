"""The queue of one link: what is cut, in which order it leaves, and how much is under way."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.engine.outbox import URGENT_MAX, WIDE_FRAME_BYTES, WINDOW_MIN_BYTES, Outbox
from crdtpubsub.names import NodeId

HER = NodeId("02" * 16)
MIB = 1024 * 1024


def cut(number: int, size: int, at: int, data: memoryview) -> bytes:
    """A chunk in words, so that a test can read it."""
    return b"%d:%d:%d:" % (number, size, at) + bytes(data)


def outbox(bytes_max: int = 64 * MIB) -> Outbox:
    box = Outbox(bytes_max, MIB, cut)
    box.connected(1)
    box.bind(HER)
    return box


class Line:
    """A link of `bytes_per_s` to a peer that says after each 16 KiB what it took."""

    def __init__(self, box: Outbox, bytes_per_s: float, rtt_s: float = 0.001) -> None:
        self.box, self.bytes_per_s, self.rtt_s = box, bytes_per_s, rtt_s
        self.now = self.free_at = 0.0
        self.told: list[tuple[float, int]] = []  # when A hears of it, and which frame
        self.untold = 0
        self.longest_s = 0.0

    def run(self, until: float) -> list[bytes]:
        records: list[bytes] = []
        while self.now < until:
            while self.told and self.told[0][0] <= self.now:
                self.box.release(1, self.told.pop(0)[1], self.now)
            drawn = self.box.draw(64 * 1024, self.now)
            if drawn is None:
                if not self.told:
                    break
                self.now = self.told[0][0]
                continue
            seq, size = self.box.number(), sum(map(len, drawn[1]))
            self.free_at = max(self.free_at, self.now) + size / self.bytes_per_s
            self.longest_s = max(self.longest_s, self.free_at - self.now)
            self.untold += size
            if self.untold >= 16 * 1024:
                self.untold = 0
                self.told.append((self.free_at + self.rtt_s, seq))
            records += drawn[1]
        return records


def test_on_a_slow_line_little_is_under_way() -> None:
    """At 1 Mbit a megabyte in flight kept answers back for 8 s: their node was taken for down."""
    box = outbox()
    box.put(bytes(2 * MIB), publication=True)
    line = Line(box, 125_000)
    line.run(until=8.0)
    assert box.window_bytes <= 3 * WINDOW_MIN_BYTES
    assert line.longest_s < 1.0


def test_on_a_fast_line_the_credit_is_used_at_once() -> None:
    box = outbox()
    box.put(bytes(16 * MIB), publication=True)
    line = Line(box, 500 * MIB)
    line.run(until=0.2)
    assert not box.queued_bytes
    assert box.window_bytes == MIB


def test_on_a_long_line_the_time_it_always_takes_is_no_waiting() -> None:
    box = outbox()
    box.put(bytes(16 * MIB), publication=True)
    Line(box, 500 * MIB, rtt_s=0.3).run(until=9.0)
    assert box.window_bytes == MIB


@given(st.lists(st.integers(0, 3000), max_size=12), st.randoms(use_true_random=False))
def test_what_is_cut_is_whole_in_order_and_probes_pass_between(
    sizes: list[int], dice: random.Random
) -> None:
    box = outbox()
    told = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    for record in told:
        assert box.put(record, publication=True)
    heard: list[bytes] = []
    open_id, begun = -1, b""
    while box:
        if dice.random() < 0.5:
            box.put_urgent(b"urgent")
        drawn = box.draw(200, 0.0)
        assert drawn is not None
        box.release(1, box.number(), 0.0)
        records = drawn[1]
        assert sum(len(record) for record in records) < 200 + 30
        if b"urgent" in records:
            assert records.pop(0) == b"urgent"
        for record in records:
            number, size, at, data = (record.split(b":", 3) + [b""] * 3)[:4]
            if not at:
                assert not begun, "a whole record between the chunks of another"
                heard.append(record)
                continue
            if int(at) == 0:
                assert not begun
                assert int(number) > open_id
                open_id = int(number)
            assert (int(number), int(at)) == (open_id, len(begun))
            begun += data
            if len(begun) == int(size):
                heard.append(begun)
                begun = b""
    assert heard == told
    assert (box.queued_bytes, box.in_flight_bytes) == (0, 0)


def test_a_cut_record_that_is_given_up_leaves_no_rest() -> None:
    """Its gossip is dropped while the first half is out: the next record starts afresh."""
    box = outbox(bytes_max=1000)
    box.put(b"a" * 900, publication=False)
    assert box.draw(300, 0.0) == (HER, [b"0:900:0:" + b"a" * 300], 0)
    assert box.queued_bytes == 600
    box.put(b"c" * 400, publication=True)
    assert not box.put(b"b" * 900, publication=False)  # lagging: gossip goes, publications stay
    assert (box.lagging, box.queued_bytes) == (True, 400)
    assert box.draw(300, 0.0) == (HER, [b"1:400:0:" + b"c" * 300], 0)
    box.connected(2)
    box.bind(HER)
    box.put(b"d" * 400, publication=True)
    assert box.draw(300, 0.0) == (HER, [b"2:400:0:" + b"d" * 300], 0)


def test_what_is_urgent_is_bounded_and_counted() -> None:
    box = outbox()
    for number in range(URGENT_MAX + 5):
        box.put_urgent(b"%d" % number)
    assert box.dropped_urgent == 5
    drawn = box.draw(1000, 0.0)
    assert drawn is not None
    assert drawn[1][0] == b"5"
    assert sum(map(len, drawn[1])) < 1010  # the rest is for the next frame


def test_what_is_confirmed_is_none_of_the_publications_a_drain_waits_for() -> None:
    """It has an answer of its own; each was named twice by `DrainError`."""
    box = outbox()
    box.put_confirmed(b"asked")
    assert (box.has_publications, box.unacknowledged) == (False, 0)
    box.put(b"said", publication=True)
    assert (box.has_publications, box.unacknowledged) == (True, 1)
    assert box.draw(1000, 0.0) is not None
    assert (box.has_publications, box.unacknowledged) == (True, 1)


def test_many_publications_in_one_record_go_whole_where_much_may_be_under_way() -> None:
    box = outbox()
    record = bytes(WIDE_FRAME_BYTES)
    box.window_bytes = MIB
    assert box.room_bytes(64 * 1024, MIB) == WIDE_FRAME_BYTES
    box.put(b"before", publication=True)
    box.add(record, 30)
    box.add(record, 30)  # an interrupt came after the first time
    assert (box.queued_bytes, box.unacknowledged) == (6 + len(record), 31)
    assert box.draw(64 * 1024, 0.0) == (HER, [b"before"], 0)
    assert box.draw(64 * 1024, 0.0) == (HER, [record], 1)
    assert box.sent.to(HER) == 31
    assert (box.queued_bytes, box.in_flight_publications, box.unacknowledged) == (0, 31, 31)
    box.release(1, 1, 0.0)
    assert (box.sent.acknowledged, box.has_publications) == (31, False)


def test_many_publications_in_one_record_are_cut_where_the_line_has_become_slow() -> None:
    """And what of them is queued when the link breaks is counted one by one."""
    box = outbox()
    assert box.room_bytes(64 * 1024, MIB) == WINDOW_MIN_BYTES // 2
    box.add(bytes(3 * WINDOW_MIN_BYTES // 4), 30)
    drawn = box.draw(64 * 1024, 0.0)
    assert drawn is not None
    assert sum(map(len, drawn[1])) < WINDOW_MIN_BYTES // 2 + 30
    assert (box.sent.to(HER), box.unacknowledged) == (0, 30)
    box.clear()
    assert (box.sent.unsent, box.dropped_publications) == (30, 30)
