"""The queue of a client against a naive model, and the bell that wakes its readers."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub import Exit, Message, NodeId, PayloadError
from crdtpubsub.runtime import Bell, Mailbox, Overflow
from crdtpubsub.runtime.message import Run
from tests.interrupts import interrupted

SENDER = NodeId("0" * 32)


def said(number: int) -> Message:
    return Message("room", str(number).encode(), SENDER, {})


@dataclass
class Model:
    """What a bounded queue means, with nothing clever in it."""

    max_pending: int
    max_pending_bytes: int
    overflow: Overflow
    items: list[Message | Exit] = field(default_factory=list)
    dropped: int = 0
    closed: bool = False

    def put(self, message: Message) -> bool:
        if self.closed:
            return False
        while self.messages() and (
            len(self.messages()) == self.max_pending
            or self.size_bytes() + len(message.payload) > self.max_pending_bytes
        ):
            self.dropped += 1
            if self.overflow == "close":
                self.closed = True
            if self.overflow != "drop_oldest":
                return False
            self.items.remove(self.messages()[0])
        self.items.append(message)
        return True

    def messages(self) -> list[Message]:
        return [item for item in self.items if isinstance(item, Message)]

    def size_bytes(self) -> int:
        return sum(len(message.payload) for message in self.messages())

    def put_exit(self, notice: Exit) -> None:
        if not self.closed:
            self.items.append(notice)

    def take(self) -> Message | Exit | None:
        return self.items.pop(0) if self.items else None

    def take_many(self, at_most: int) -> list[Message | Exit]:
        taken = self.items[:at_most]
        del self.items[:at_most]
        return taken


@given(
    max_pending=st.integers(1, 4),
    max_pending_bytes=st.integers(1, 9),
    overflow=st.sampled_from(get_args(Overflow)),
    script=st.lists(
        st.sampled_from(["message", "run", "run", "long", "exit", "take", "many", "some"]),
        max_size=60,
    ),
)
def test_a_mailbox_is_its_model(
    max_pending: int, max_pending_bytes: int, overflow: Overflow, script: list[str]
) -> None:
    mailbox = Mailbox(
        max_pending=max_pending, max_pending_bytes=max_pending_bytes, overflow=overflow
    )
    model = Model(max_pending, max_pending_bytes, overflow)
    for number, step in enumerate(script):
        if step in ("message", "long"):
            message = said(number * 1000 if step == "long" else number)
            assert mailbox.put(message) == model.put(message)
        elif step == "run":
            messages = [said(number * 10 + n) for n in range(3)]
            if not mailbox.put_run(Run.of(messages)):
                for message in messages:
                    mailbox.put(message)
            for message in messages:
                model.put(message)
        elif step == "exit":
            notice = Exit(f"room-{number}", "removed")
            mailbox.put_exit(notice)
            model.put_exit(notice)
        elif step == "take":
            assert mailbox.take() is model.take()
        else:
            at_most = 100 if step == "many" else 2
            assert mailbox.take_many(at_most) == model.take_many(at_most)
        assert len(mailbox) == len(model.items)
        assert (mailbox.dropped, mailbox.closed) == (model.dropped, model.closed)
        assert mailbox.pending_bytes == model.size_bytes()
    while (item := model.take()) is not None:
        assert mailbox.take() is item
    assert mailbox.take() is None


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_an_exit_is_never_dropped(overflow: Overflow) -> None:
    mailbox = Mailbox(max_pending=1, overflow=overflow)
    for number in range(100):
        mailbox.put(said(number))
        mailbox.put_exit(Exit(f"room-{number}", "removed"))
    taken = [mailbox.take() for _ in range(len(mailbox))]
    there = [item.channel for item in taken if isinstance(item, Exit)]
    assert there == [f"room-{number}" for number in range(100)]
    assert mailbox.dropped == 99


@pytest.mark.parametrize("at_most", [100, 2])
def test_an_interrupt_while_much_is_taken_loses_and_doubles_nothing(at_most: int) -> None:
    run = [said(3), said(4), said(5)]
    items: list[Message | Exit] = [said(0), Exit("room", "removed"), *run, said(1), said(2)]
    for place in range(1000):
        mailbox = Mailbox(max_pending=9, overflow="drop_oldest")
        for item in items:
            if isinstance(item, Exit):
                mailbox.put_exit(item)
            elif item is run[0]:
                mailbox.put_run(Run.of(run))
            elif item not in run:
                mailbox.put(item)
        taken: list[Message | Exit] = []

        def take(mailbox: Mailbox = mailbox, taken: list[Message | Exit] = taken) -> None:
            taken += mailbox.take_many(at_most)

        broken = interrupted(place, take)
        exits = sum(isinstance(item, Exit) for item in mailbox._items)
        assert (mailbox._exits, mailbox.pending_bytes) == (exits, len(mailbox) - exits)
        assert taken + mailbox.take_many(100) == items, place
        assert (len(mailbox), mailbox.pending_bytes) == (0, 0)
        if not broken:
            break
    assert place >= 3


def test_headers_count_and_an_empty_queue_takes_any_size() -> None:
    mailbox = Mailbox(max_pending=9, max_pending_bytes=10, overflow="drop_newest")
    assert mailbox.put(Message("room", bytes(100), SENDER, {}))
    assert not mailbox.put(said(1))
    assert mailbox.take() is not None
    assert mailbox.put(Message("room", b"1", SENDER, {"trace": "1234"}))
    assert mailbox.pending_bytes == 10
    assert not mailbox.put(said(1))
    assert mailbox.dropped == 2


def test_data_that_does_not_unpack_raises_there_and_again() -> None:
    message = Message("room", b"\xc1", SENDER, {})
    for _ in range(2):
        with pytest.raises(PayloadError):
            _ = message.data
    assert message.payload == b"\xc1"


def test_a_bell_rings_each_waker_once() -> None:
    bell, rung = Bell(), list[str]()
    bell.subscribe(lambda: rung.append("a"))
    bell.ring()
    bell.ring()
    assert rung == ["a"]


def test_a_waker_that_gave_up_is_not_rung_and_not_kept() -> None:
    bell, rung = Bell(), list[str]()

    def waker() -> None:
        rung.append("a")

    bell.subscribe(waker)
    bell.unsubscribe(waker)
    bell.unsubscribe(waker)
    bell.ring()
    assert rung == []
    assert len(bell) == 0


def test_a_waker_may_subscribe_again_while_it_is_rung() -> None:
    bell, rung = Bell(), list[int]()

    def waker() -> None:
        rung.append(1)
        bell.subscribe(waker)

    bell.subscribe(waker)
    bell.ring()
    assert len(rung) == 1
    bell.ring()
    assert len(rung) == 2


def test_a_ring_between_asking_how_to_subscribe_and_doing_it_loses_nobody() -> None:
    """The wakers were a list that a ring swapped for a new one. A reader that had `append` of
    the old one in its hand was never woken again, and its `get` hung."""
    mailbox = Mailbox(max_pending=1, overflow="drop_oldest")
    rung = list[str]()
    subscribe = mailbox.bell.subscribe
    mailbox.wake()
    subscribe(lambda: rung.append("a"))
    mailbox.wake()
    assert rung == ["a"]


def test_no_ring_is_lost_among_threads() -> None:
    bell, rounds = Bell(), 1000
    given = threading.Semaphore(0)
    stop = threading.Event()

    def ring() -> None:
        while not stop.is_set():
            bell.ring()

    ringers = [threading.Thread(target=ring) for _ in range(2)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for ringer in ringers:
        ringer.start()
    try:
        for _ in range(rounds):
            # A fresh function each time, as a waiter has it.
            bell.subscribe(lambda: given.release())  # noqa: PLW0108
            assert given.acquire(timeout=10), "never rung"
    finally:
        stop.set()
        sys.setswitchinterval(interval_s)
        for ringer in ringers:
            ringer.join()
    assert not given.acquire(blocking=False), "rung twice"
