"""Publications are accounted for one by one, whatever breaks: sent = received + reported."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.inbound import ACK_LATEST_S, Inbound
from crdtpubsub.engine.outbox import Outbox, Sent
from crdtpubsub.names import NodeId
from crdtpubsub.wire import messages as msg
from tests.engine.test_stories import HER, HIM, ME, engine, linked, publication, said

STEPS = st.lists(
    st.sampled_from(["put", "put", "put", "draw", "draw", "arrive", "arrive", "ack", "reset"])
    | st.tuples(st.just("late"), st.integers(0, 5)),
    max_size=120,
)


def cut(number: int, size: int, at: int, data: memoryview) -> bytes:
    raise AssertionError("nothing here is too long for a frame")


@dataclass
class Pair:
    """A sender's outbox, a receiver's account, and what is between them."""

    outbox: Outbox = field(default_factory=lambda: Outbox(60, 1000, cut, Sent()))
    inbound: Inbound = field(default_factory=Inbound)
    way: list[tuple[int, int, int, int]] = field(default_factory=list)
    stray: list[tuple[int, int, int, int]] = field(default_factory=list)
    links: int = 0
    queued: int = 0
    refused: int = 0
    received: int = 0
    gaps: int = 0

    def put(self) -> None:
        taken = self.outbox.put(b"publication", publication=True)
        self.queued += taken
        self.refused += not taken

    def draw(self) -> None:
        if (drawn := self.outbox.draw(20, 0.0)) is not None:
            _, records, published = drawn
            here = records.count(b"publication")
            self.way.append((self.outbox.link, self.outbox.number(), published, here))

    def say(self) -> None:
        self.outbox.put(b"gossip", publication=False)
        self.draw()

    def arrive(self) -> None:
        if self.way:
            self.take(*self.way.pop(0))

    def take(self, link: int, seq: int, published: int, here: int) -> None:
        late, _ = self.inbound.place(HER, link, seq, 0)
        if not late:
            self.gaps += self.inbound.account(HER, published, here, 0)
            self.received += here

    def ack(self) -> None:
        if (taken := self.inbound.taken(HER)) is not None:
            self.outbox.release(*taken, 0.0)

    def reset(self) -> None:
        self.links += 1
        self.outbox.connected(self.links)
        self.outbox.bind(ME)
        self.stray += self.way
        self.way = []

    def late(self, number: int) -> None:
        if number < len(self.stray):
            self.take(*self.stray.pop(number))

    def settle(self) -> None:
        while self.outbox:
            self.draw()
            while self.way:
                self.arrive()
            self.ack()
        self.say()  # any frame will do
        while self.way:
            self.arrive()


def told(node: Engine) -> list[msg.Message]:
    """What was taken, as this node says it."""
    sends = [effect for effect in node.take() if isinstance(effect, ef.Send)]
    return [send.message for send in sends if isinstance(send.message, msg.Taken)]


@given(STEPS)
def test_what_was_queued_was_received_or_reported_whatever_broke(
    steps: list[str | tuple[str, int]],
) -> None:
    pair = Pair()
    pair.reset()
    for step in steps:
        if isinstance(step, tuple):
            pair.late(step[1])
        else:
            getattr(pair, step)()
        sent = pair.outbox.sent
        assert sent.unsent + pair.received + pair.gaps <= pair.queued
        in_flight = pair.outbox.in_flight_publications
        assert sent.publications == sent.acknowledged + sent.unknown + in_flight
    pair.settle()
    sent = pair.outbox.sent
    assert sent.publications == pair.received + pair.gaps  # the receiver's account is exact
    assert pair.queued == sent.publications + sent.unsent  # and so is this part of the sender's
    assert pair.gaps <= sent.unknown  # the rest of it never says less than the truth
    assert pair.outbox.dropped_publications == pair.refused + sent.unsent


def test_a_sender_that_forgot_me_counts_anew_and_invents_no_losses() -> None:
    inbound = Inbound()
    assert inbound.account(HER, 0, 7, 0) == 0
    inbound.forget(HER)  # purged: it may return
    assert inbound.account(HER, 9, 1, 0) == 2
    assert inbound.account(HER, 0, 0, 0) == 0  # its table was full of others
    assert inbound.account(HER, 0, 3, 0) == 0
    assert inbound.account(HER, 4, 0, 0) == 1


def test_lives_long_gone_are_forgotten_by_the_sender() -> None:
    sent = Sent()
    for n in range(3 * Sent.LIVES_MAX):
        sent.add(NodeId(f"{n + 16:032x}"), 1)
        sent.add(HIM, 1)
    assert sent.to(HIM) == 3 * Sent.LIVES_MAX
    assert len(sent._to) == Sent.LIVES_MAX


def test_a_publication_is_acknowledged_within_a_tenth_of_a_second_and_silence_is_not() -> None:
    node = engine()
    linked(node)
    node.handle(said(HER, publication(1), seq=2), 0.2)
    node.handle(said(HER, publication(2), seq=3), 0.25)
    assert node.next_deadline() <= 0.2 + ACK_LATEST_S
    node.take()
    node.handle(ev.Tick(), 0.2 + ACK_LATEST_S)
    assert told(node) == [msg.Taken(1, 3)]
    node.handle(said(HER, msg.Facts(()), seq=4), 0.31)
    node.take()
    for tenth in range(4, 20):
        node.handle(ev.Tick(), tenth / 10)
        assert told(node) == []


def test_what_is_missing_is_told_by_whatever_frame_comes_next() -> None:
    node = engine()
    linked(node)
    node.handle(said(HER, publication(1), seq=2, published=4), 0.2)
    node.handle(said(HER, msg.Facts(()), seq=9, published=5), 0.3)
    node.handle(said(HER, msg.Facts(()), link=2, seq=1, published=8), 0.4)
    gaps = [effect for effect in node.take() if isinstance(effect, ef.Gap)]
    assert gaps == [ef.Gap(HER, 4), ef.Gap(HER, 3)]
    assert node.counters["publications_lost"] == 7
    assert node.counters["publications_received"] == 1


def test_what_a_stranger_publishes_is_told_as_lost() -> None:
    node = engine()
    node.handle(said(HIM, publication(1)), 0.2)
    assert ef.Gap(HIM, 1) in node.take()
