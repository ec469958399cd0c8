"""Whose `Exit` a write may bring: asked before it, and again if it was broken into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.runtime.mailbox import Mailbox

__all__ = ["ExitDue", "exits_due"]


class ExitDue(NamedTuple):
    """A client of this node that is a member, and would be told of its end."""

    scope: str
    channel: str
    client: str


def exits_due(
    engine: Engine, mailboxes: Mapping[str, Mailbox], event: ev.Event
) -> Sequence[tuple[ExitDue, int]]:
    """Whose `Exit` this write of mine may bring, in order, and how many come to him before it."""
    match event:
        case ev.Leave(by_client=False) if event.owner == engine.me:
            due = [(event.channel, event.client)]
        case ev.DeleteChannel():
            clients = engine.set_of(event.scope).clients(engine.me, event.channel)
            due = [(event.channel, client) for client in clients]
        case ev.CloseScope() if event.scope in engine.scopes():
            due = [row[:2] for row in engine.set_of(event.scope).roll(engine.me)]
        case _:
            return ()
    members, told = engine.set_of(event.scope), Counter[str]()
    found: list[tuple[ExitDue, int]] = []
    for channel, client in due:
        mailbox = mailboxes.get(client)
        if mailbox is not None and client in members.clients(engine.me, channel):
            before = mailbox.exits_told + told[client]
            found.append((ExitDue(event.scope, channel, client), before))
            told[client] += 1
    return found
