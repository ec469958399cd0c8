"""An exception anywhere in what the engine does with an event: `recover` makes it whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crdtpubsub.crdt.memberset import MemberSet
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
