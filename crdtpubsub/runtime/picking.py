"""Messages for one member of each queue group: who is tried, and what the receipt says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.groups import InGroup
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.handing import deliver_one
from crdtpubsub.runtime.mailbox import Message
from crdtpubsub.runtime.sending import Receipt, receipt_of
from crdtpubsub.wire.messages import Addressed

if TYPE_CHECKING:
    from crdtpubsub.crdt.memberset import MemberSet
    from crdtpubsub.runtime.core import Core

__all__ = ["pick"]


def pick(
    core: Core, route: Route, said: Addressed, refused: dict[NodeId, Outcome], full: list[str]
) -> Receipt:
    """Queue `said` for one member of each group of the route; the receipt of all of it.

    Members without a group have it already, but for those of the owners in `refused`. Under the
    lock. Links above high water are noted in `full`.
    """
    engine = core.engine
    members = engine.set_of(said.scope)
    plain = receipt_of(engine.me, route, refused, _plain(members, said))
    owners, taken = dict(plain.owners), plain.members
    groups: dict[str, Outcome] = {}
    for group, candidates in route.groups:
        if said.exclude is not None:
            candidates = tuple([(c, o) for c, o in candidates if (o, c) != said.exclude])
            if not candidates:
                continue
        owner, outcome = _one(core, replace(said, group=group), candidates, refused, full)
        groups[group] = outcome
        if outcome is Outcome.REFUSED_NOBODY:  # a client of mine that a full queue has closed
            owners.setdefault(owner, outcome)
        elif outcome.refused:
            refused.setdefault(owner, outcome)
            owners.setdefault(owner, outcome)
        else:
            taken += 1
            owners[owner] = outcome
    return Receipt(taken, owners, groups=groups)


def _plain(members: MemberSet, said: Addressed) -> tuple[NodeId, str] | None:
    """Who is left out of the count of those without a group: one who is among them."""
    if said.exclude is None:
        return None
    owner, client = said.exclude
    there = client in members.clients(owner, said.channel)
    grouped = client in members.grouped(owner, said.channel)
    return said.exclude if there and not grouped else None


def _one(
    core: Core,
    said: Addressed,
    candidates: tuple[InGroup, ...],
    refused: dict[NodeId, Outcome],
    full: list[str],
) -> tuple[NodeId, Outcome]:
    """The owner whose member has it, or the first one, and why nobody has."""
    engine, sender = core.engine, core.sender
    turns = engine.picking.turns(said.scope)
    high_water_bytes = core.config.outbox_high_water_bytes

    def slow(member: InGroup) -> bool:
        client, owner = member
        if owner == engine.me:
            mailbox = core.mailboxes.get(client)
            return mailbox is None or not mailbox.has_room(len(said.payload))
        line = sender.line(engine.link_of(owner) or "")
        return line is None or line.outbox.queued_bytes > line.outbox.mark_bytes(high_water_bytes)

    outcome = Outcome.REFUSED_NO_LINK
    for member in turns.order(said.channel, said.group, candidates, slow=slow):
        client, owner = member
        if owner == engine.me:
            message = Message(said.channel, said.payload, owner, said.headers)
            done = deliver_one(core, message, (client,))
        elif owner in refused:
            done = False
        else:
            record = sender.encoder.message(replace(said, client=client))
            done = sender.publish(engine.link_of(owner) or "", record, full)
        if done:
            turns.took(said.channel, said.group, member)
            return owner, Outcome.DELIVERED if owner == engine.me else Outcome.QUEUED
        outcome = Outcome.REFUSED_NOBODY if owner == engine.me else Outcome.REFUSED_LAGGING
    return candidates[0][1], outcome
