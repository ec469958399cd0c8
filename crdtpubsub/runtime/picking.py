"""Messages for one member of each queue group: who is tried, and what the receipt says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.groups import InGroup
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.handing import deliver_one
from crdtpubsub.runtime.message import Message
from crdtpubsub.runtime.receipts import Receipt, receipt_of
from crdtpubsub.wire.messages import Addressed

if TYPE_CHECKING:
    from crdtpubsub.crdt.memberset import MemberSet
    from crdtpubsub.runtime.core import Core

__all__ = ["pick"]


def pick(
    core: Core,
    route: Route,
    said: Addressed,
    ahead: tuple[Delta, ...],
    refused: dict[NodeId, Outcome],
    full: list[str],
) -> Receipt:
    """Queue `said`, behind `ahead`, for one member of each group of the route; the whole receipt.

    Members without a group have it already, but for those of the owners in `refused`. Under the
    lock. Links above high water are noted in `full`.
    """
    owners: dict[NodeId, Outcome] = {}
    taken = 0
    if route.counts:
        left_out = said.exclude and _plain(core.engine.set_of(said.scope), said)
        plain = receipt_of(core.engine.me, route, refused, left_out)
        owners, taken = dict(plain.owners), plain.members
    groups: dict[str, Outcome] = {}
    for group, candidates in route.groups:
        if said.exclude is not None:
            candidates = tuple([(c, o) for c, o in candidates if (o, c) != said.exclude])
            if not candidates:
                continue
        owner, outcome = _Pick(core, said, ahead, full).one(group, candidates, refused)
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


class _Pick:
    """One publication on its way to one member."""

    __slots__ = ("_ahead", "_core", "_full", "_said")

    def __init__(
        self, core: Core, said: Addressed, ahead: tuple[Delta, ...], full: list[str]
    ) -> None:
        self._core = core
        self._said = said
        self._ahead = ahead
        self._full = full

    def one(
        self, group: str, candidates: tuple[InGroup, ...], refused: dict[NodeId, Outcome]
    ) -> tuple[NodeId, Outcome]:
        """The owner whose member has it, or the first one, and why nobody has."""
        me, channel = self._core.engine.me, self._said.channel
        turns = self._core.engine.picking.turns(self._said.scope)
        outcome = Outcome.REFUSED_NO_LINK
        for member in turns.order(channel, group, candidates, slow=self._slow):
            owner = member[1]
            if owner == me:
                message = Message(channel, self._said.payload, me, self._said.headers)
                done = deliver_one(self._core, message, member[:1])
            else:
                done = owner not in refused and self._sent(group, member)
            if done:
                turns.took(channel, group, member)
                return owner, Outcome.DELIVERED if owner == me else Outcome.QUEUED
            outcome = Outcome.REFUSED_NOBODY if owner == me else Outcome.REFUSED_LAGGING
        return candidates[0][1], outcome

    def _slow(self, member: InGroup) -> bool:
        core, (client, owner) = self._core, member
        if owner == core.engine.me:
            mailbox = core.mailboxes.get(client)
            return mailbox is None or not mailbox.has_room(len(self._said.payload))
        line = core.sender.line(core.engine.link_of(owner) or "")
        if line is None:
            return True
        queued_bytes, mark_bytes = line.outbox.queued_bytes, core.config.outbox_high_water_bytes
        return queued_bytes > 0 and queued_bytes > line.outbox.mark_bytes(mark_bytes)

    def _sent(self, group: str, member: InGroup) -> bool:
        core = self._core
        record = core.sender.encoder.picked(self._said, group, member[0], self._ahead)
        return core.sender.publish(core.engine.link_of(member[1]) or "", record, self._full)
