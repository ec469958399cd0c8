"""An exception anywhere in what the engine does with an event: `recover` makes it whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.wire import messages as msg
from tests.engine.test_stories import HER, ME, engine, linked, said
from tests.interrupts import interrupted

SPARED = frozenset({"_rebuild"})


def hers() -> MemberSet:
    """What she has: two members that are new, and the end of one that was known."""
    members = MemberSet(HER)
    for client in ("old", "new", "newer"):
        members.join("room", client, meta=b"m")
    return members


def acquainted() -> Engine:
    """This node, which knows one member of hers and has two of its own."""
    node = engine()
    linked(node)
    her = MemberSet(HER)
    her.join("room", "old", meta=b"m")
    delta = her.delta(HER, her.seen(HER))
    node.handle(said(HER, msg.Deltas(DEFAULT_SCOPE, (delta,)), seq=2), 0.2)
    for client in ("ann", "bob"):
        node.handle(ev.Join(DEFAULT_SCOPE, "room", client), 0.2)
    node.take()
    return node


def _received() -> ev.Event:
    her = hers()
    her.remove(HER, (1, 2))
    return said(HER, msg.Deltas(DEFAULT_SCOPE, (her.delta(HER, her.seen(HER)),)), seq=3)


EVENTS: dict[str, Callable[[], ev.Event]] = {
    "join": lambda: ev.Join(DEFAULT_SCOPE, "room", "cid", meta=b"m"),
    "update": lambda: ev.Join(DEFAULT_SCOPE, "room", "ann", meta=b"m"),
    "leave": lambda: ev.Leave(DEFAULT_SCOPE, "room", ME, "ann", by_client=True),
    "removal": lambda: ev.Leave(DEFAULT_SCOPE, "room", HER, "old", by_client=False),
    "end of the channel": lambda: ev.DeleteChannel(DEFAULT_SCOPE, "room"),
    "merge": _received,
}


SHORT: dict[str, tuple[ev.Event, Callable[[Engine, float], int]]] = {
    "join": (
        ev.Join(DEFAULT_SCOPE, "room", "cid", "", b"m"),
        lambda node, now: node.add(DEFAULT_SCOPE, "room", "cid", "", b"m", now),
    ),
    "leave": (
        ev.Leave(DEFAULT_SCOPE, "room", ME, "ann", by_client=True),
        lambda node, now: node.end(DEFAULT_SCOPE, "room", "ann", now),
    ),
}


def told(node: Engine) -> list[object]:
    """What goes out for what was written so far, and what a token says of it."""
    node.handle(ev.Flush(DEFAULT_SCOPE), 9.0)
    pushed = [effect.message for effect in node.take() if isinstance(effect, ef.Send)]
    return [*pushed, node.knowing.token(DEFAULT_SCOPE), node.members(DEFAULT_SCOPE, "room")]


@pytest.mark.parametrize("what", SHORT)
def test_the_short_way_of_a_write_comes_to_the_same(what: str) -> None:
    event, act = SHORT[what]
    long, short = acquainted(), acquainted()
    long.route(DEFAULT_SCOPE, "room"), short.route(DEFAULT_SCOPE, "room")
    assert long.handle(event, 0.2001) == 1
    assert act(short, 0.2001) == 2, "the first: its driver may sleep beyond the push"
    assert long.route(DEFAULT_SCOPE, "room") == short.route(DEFAULT_SCOPE, "room")
    assert act(short, 0.2001) == 0, "done once, it is nothing"
    assert short.pending(DEFAULT_SCOPE)
    assert told(long) == told(short)
    assert not short.pending(DEFAULT_SCOPE)
    row = [short.add(DEFAULT_SCOPE, "room", client, "", b"", 9.001) for client in "xyz"]
    assert row == [2, 1, 1], "one wake-up for a row of joins"
    assert short.end(DEFAULT_SCOPE, "room", "y", 9.002) == 2
    assert short.end(DEFAULT_SCOPE, "room", "x", 9.1) == 2, "a push is due"
    row = [short.end(DEFAULT_SCOPE, "room", client, 9.101) for client in ("z", "bob", "bob")]
    assert row == [2, 1, 0]


@pytest.mark.parametrize("what", SHORT)
def test_an_interrupt_anywhere_in_the_short_way(what: str) -> None:
    event, act = SHORT[what]
    whole = acquainted()
    whole.handle(event, 0.2)
    at = 0
    while True:
        node = acquainted()
        broken = interrupted(at, lambda: act(node, 0.2), spared=SPARED)  # noqa: B023
        if broken:
            node.recover()
        act(node, 0.2)
        node.set_of(DEFAULT_SCOPE).check()
        assert node.route(DEFAULT_SCOPE, "room") == whole.route(DEFAULT_SCOPE, "room")
        assert {m[:2] for m in node.members(DEFAULT_SCOPE, "room")} == {
            m[:2] for m in whole.members(DEFAULT_SCOPE, "room")
        }
        token = node.knowing.token(DEFAULT_SCOPE)
        assert token is not None
        assert node.knowing.seen(token)
        if not broken:
            assert at > 10
            return
        at += 1


@pytest.mark.parametrize("what", EVENTS)
def test_an_interrupt_anywhere_in_an_event(what: str) -> None:
    whole = acquainted()
    before = set(whole.members(DEFAULT_SCOPE, "room"))
    whole.handle(EVENTS[what](), 0.3)
    after = set(whole.members(DEFAULT_SCOPE, "room"))
    at = 0
    while True:
        node, event = acquainted(), EVENTS[what]()
        broken = interrupted(at, lambda: node.handle(event, 0.3), spared=SPARED)  # noqa: B023
        node.recover()
        node.set_of(DEFAULT_SCOPE).check()
        seen = set(node.members(DEFAULT_SCOPE, "room"))
        assert before & after <= seen <= before | after, at
        route = node.route(DEFAULT_SCOPE, "room")
        assert set(route.clients) == {client for owner, client, _ in seen if owner == ME}
        node.handle(EVENTS[what](), 0.4)  # and once more: whatever was missing is there
        if what == "merge":
            her = hers()
            her.remove(HER, (1, 2))
            repair = msg.Deltas(DEFAULT_SCOPE, (her.delta(HER, her.seen(HER)),))
            node.handle(said(HER, repair, seq=4), 0.5)
        assert {m[:2] for m in node.members(DEFAULT_SCOPE, "room")} == {m[:2] for m in after}
        node.set_of(DEFAULT_SCOPE).check()
        if not broken:
            assert at > 10
            return
        at += 1
