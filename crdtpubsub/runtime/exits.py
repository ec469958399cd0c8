"""Whose `Exit` a write may bring: asked before it, and again if it was broken into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """Whose `Exit` this write of mine may bring, and how many that mailbox has had."""
    match event:
        case ev.Leave(by_client=False) if event.owner == engine.me:
            clients: Iterable[str] = (event.client,)
        case ev.DeleteChannel():
            clients = engine.set_of(event.scope).clients(engine.me, event.channel)
        case _:
            return ()
    there = engine.set_of(event.scope).clients(engine.me, event.channel)
    return [
        (ExitDue(event.scope, event.channel, client), mailbox.exits_told)
        for client in clients
        if client in there and (mailbox := mailboxes.get(client)) is not None
    ]
