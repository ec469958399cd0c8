"""Requests, replies and invitations of a peer that may be wicked: each as the shortest story."""

from __future__ import annotations

import pytest

from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.inviting import INVITE_COST
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.messages import REFUSALS, Frame, Header
from tests.engine.test_stories import HER, ME, engine, linked

NOBODY, FULL = REFUSALS, REFUSALS + 1


def asked_on_terms(node: Engine, seq: int, now: float, *said: msg.Message) -> list[ef.Effect]:
    """She says these on valid terms; what the engine wants done, answers included."""
    table = node._answering._table(HER).id
    header = Header(b"", HER, ME, 1, seq)
    node.handle(ev.Received(Frame(header, (msg.Terms(table, 1), *said)), 100), now)
    node.handle(ev.Tick(), now)
    return node.take()


def answers(effects: list[ef.Effect]) -> list[tuple[int, int, int]]:
    return [
        run
        for effect in effects
        if isinstance(effect, ef.Send) and isinstance(effect.message, msg.Answers)
        for run in effect.message.runs
    ]


def invite(counter: int, client: str = "ann", scope: str = DEFAULT_SCOPE) -> msg.Invite:
    return msg.Invite(counter, scope, f"room-{counter}", client)


@pytest.fixture
def node() -> Engine:
    met = engine()
    linked(met)
    met.inviting.has_client = lambda scope, client: (scope, client) == (DEFAULT_SCOPE, "ann")
    return met


def test_she_may_invite_clients_that_are_there_and_no_others(node: Engine) -> None:
    told = asked_on_terms(
        node, 2, 0.2, invite(1), invite(2, "bob"), invite(3, scope="east"), invite(4, "")
    )
    assert answers(told) == [(1, 1, 1), (2, 3, NOBODY)]
    assert node.members(DEFAULT_SCOPE, "room-1") == ((ME, "ann", 1),)
    assert node.channels(DEFAULT_SCOPE) == ("room-1",)
    assert node.counters["invites_nobody"] == 3
    again = asked_on_terms(node, 3, 0.3, invite(1))
    assert answers(again) == [(1, 1, 1)]
    assert node.set_of(DEFAULT_SCOPE).next_birth == 2, "joined twice"


def test_without_terms_nothing_is_done(node: Engine) -> None:
    said = (invite(1), msg.Reply(2, 1, b""), msg.Request(3, DEFAULT_SCOPE, "", "ann", b"", id=1))
    node.handle(ev.Received(Frame(Header(b"", HER, ME, 1, 2), said), 100), 0.2)
    assert not [e for e in node.take() if isinstance(e, ef.Deliver | ef.Replied)]
    assert not node.channels(DEFAULT_SCOPE)
    assert node.counters["confirmed_without_terms"] == 3


def test_she_cannot_have_mine_join_without_end(node: Engine) -> None:
    (peer,) = node.peers()
    assert peer.allowance.allows(0.2)
    peer.allowance.spend(int(peer.allowance._left) - 10 * INVITE_COST)
    told = answers(asked_on_terms(node, 2, 0.2, *(invite(n) for n in range(1, 101))))
    assert told == [(1, 10, 1), (11, 90, FULL)]
    assert len(node.channels(DEFAULT_SCOPE)) == 10
    assert node.counters["over_budget"] == 90


def test_a_reply_is_handed_over_once_and_answered_by_what_the_driver_says(node: Engine) -> None:
    reply = msg.Reply(1, 7, b"data")
    told = asked_on_terms(node, 2, 0.2, reply, reply)
    assert [e for e in told if isinstance(e, ef.Replied)] == [ef.Replied(HER, reply)]
    assert answers(told) == []  # not known yet
    node.answered(HER, 1, took=0, full=0)
    assert answers(asked_on_terms(node, 3, 0.3, reply)) == [(1, 1, NOBODY)]


def test_a_request_to_nobody_is_refused(node: Engine) -> None:
    request = msg.Request(1, DEFAULT_SCOPE, "room", "ann", b"", id=1, within_ms=1)
    told = asked_on_terms(node, 2, 0.2, request)
    assert answers(told) == [(1, 1, NOBODY)]
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "ann"), 0.3)
    request = msg.Request(2, DEFAULT_SCOPE, "room", "ann", b"", id=2, within_ms=1)
    told = asked_on_terms(node, 3, 0.4, request)
    assert [e for e in told if isinstance(e, ef.Deliver)] == [ef.Deliver(HER, request, ("ann",))]
