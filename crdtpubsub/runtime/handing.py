"""Publications on the last step: into the queues of this node's clients. Under the lock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crdtpubsub.engine.effects import Deliver, DeliverRun
from crdtpubsub.runtime.message import Message, Run
from crdtpubsub.wire.messages import Addressed, Request

if TYPE_CHECKING:
    from crdtpubsub.runtime.core import Core

__all__ = ["deliver_one", "hand_over", "hand_over_run", "offer"]


def hand_over(core: Core, effect: Deliver) -> None:
    """Queue what came for these clients of mine, and answer if an answer is wanted."""
    said = effect.publication
    message = Message(said.channel, said.payload, effect.sender, said.headers)
    if not isinstance(said, Addressed):
        core.deliver(message, effect.clients)
    elif said.counter:
        if isinstance(said, Request):
            message = core.requests.question(said, effect.sender)
        took, full = (_offer_one if said.group else offer)(core, message, effect.clients)
        core.engine.answered(effect.sender, said.counter, took=took, full=full)
        if effect.sender == core.engine.me:  # picked here: what comes of it is known at once
            core.perform(core.engine.take())
    elif said.group:
        deliver_one(core, message, effect.clients)
    else:
        core.deliver(message, effect.clients)


def hand_over_run(core: Core, effect: DeliverRun) -> None:
    """Queue several for the same clients; each is asked once where it has room for all."""
    run = Run(effect.channel, effect.sender, effect.payloads, effect.headers)
    core.spread.put_run(effect.clients, run)


def offer(core: Core, message: Message, clients: Iterable[str]) -> tuple[int, int]:
    """Queue a confirmed message, which evicts nothing: how many took it, and had no room."""
    took = full = 0
    for client in clients:
        if (mailbox := core.mailboxes.get(client)) is not None and not mailbox.closed:
            if mailbox.offer(message):
                took += 1
                core.to_wake.add(mailbox.bell)
            else:
                full += 1
                core.limit("confirmed_full", client, 1)
    core.counters["delivered"] += took
    core.counters["confirmed_full"] += full
    return took, full


def _offer_one(core: Core, message: Message, clients: Iterable[str]) -> tuple[int, int]:
    """The same for the first of them that has room."""
    full = 0
    for client in clients:
        took, no_room = offer(core, message, (client,))
        if took:
            return 1, 0
        full += no_room
    return 0, full


def deliver_one(core: Core, message: Message, clients: tuple[str, ...]) -> bool:
    """Queue a message for the first of these that has room; if none has, for the first there is.

    False: none of them is there. What a full queue does with it, its client has chosen.
    """
    there = [m for c in clients if (m := core.mailboxes.get(c)) is not None and not m.closed]
    for mailbox in there:
        if mailbox.offer(message):
            core.to_wake.add(mailbox.bell)
            core.counters["delivered"] += 1
            return True
    if there:
        core.deliver(message, (there[0].client,))
    return bool(there)
