"""What callers ask of a running node: confirmed publications, and messages to one client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from crdtpubsub.crdt.token import Token
from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.errors import QueueFullError
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.confirming import Ticket, Waker
from crdtpubsub.runtime.handing import offer
from crdtpubsub.runtime.message import Message
from crdtpubsub.runtime.picking import pick
from crdtpubsub.runtime.receipts import Receipt
from crdtpubsub.runtime.requests import Requests
from crdtpubsub.wire.messages import Addressed

if TYPE_CHECKING:
    from crdtpubsub.runtime.runtime import Runtime

__all__ = ["Asker", "To"]


class To(NamedTuple):
    """Whom a message is for: every member of a channel, one member, or one client.

    `owner` None: every member. `channel` '': that client, whatever it is a member of.
    """

    scope: str
    channel: str
    owner: NodeId | None = None
    client: str = ""


class Asker:
    """The calls that are not the hot path. Each hops in under the lock, and out again."""

    def __init__(self, runtime: Runtime) -> None:
        """For that runtime."""
        self._runtime = runtime
        self.requests = Requests(runtime)

    def confirmed(
        self,
        to: To,
        payload: bytes,
        headers: dict[str, str],
        exclude: tuple[NodeId, str] | None,
        *,
        confirm_s: float,
        waker: Waker,
        done: Callable[[], object],
    ) -> Ticket:
        """Have it delivered and answered within that time. `done` is called if anybody waits.

        Raises:
            QueueFullError: an owner has too many unanswered; nothing was sent to anybody.
        """
        message = Addressed(0, to.scope, to.channel, to.client, payload, headers, exclude)
        ticket = Ticket(waker, done)
        self._runtime.locked(lambda: self._confirmed(to, message, ticket, confirm_s))
        return ticket

    def _confirmed(self, to: To, message: Addressed, ticket: Ticket, confirm_s: float) -> None:
        core, me = self._runtime.core, self._runtime.id
        self._runtime.core.flush(to.scope)
        owners, mine = self._targets(to, ticket, message.exclude)
        now = monotonic()
        if owners:
            counter = core.engine.ask(message, owners, now + confirm_s, now)
            ticket.ask(owners, counter)
            core.tickets[counter] = ticket
        if to.owner is None:
            self._ask_groups(core.engine.route(to.scope, to.channel), message, ticket, confirm_s)
        core.perform(core.engine.take())
        if mine is not None:
            took, full = offer(
                core, Message(to.channel, message.payload, me, message.headers), mine
            )
            none = Outcome.REFUSED_FULL if full else Outcome.REFUSED_NOBODY
            ticket.settle(me, Outcome.DELIVERED if took else none, took)
        core.counters["confirmed"] += 1

    def _ask_groups(
        self, route: Route, message: Addressed, ticket: Ticket, confirm_s: float
    ) -> None:
        core, now = self._runtime.core, monotonic()
        for group, members in route.groups:
            if all((owner, client) == message.exclude for client, owner in members):
                continue
            one = replace(message, group=group)
            try:
                counter = core.engine.picking.ask(one, now + confirm_s, now)
            except QueueFullError:
                if not (ticket.counter or ticket.picks or route.clients or len(route.groups) > 1):
                    raise  # nothing was sent to anybody
                ticket.groups[group] = Outcome.REFUSED_LAGGING
                ticket.owners.setdefault(members[0][1], Outcome.REFUSED_LAGGING)
                continue
            ticket.picks[counter] = group
            core.tickets[counter] = ticket

    def _targets(
        self, to: To, ticket: Ticket, exclude: tuple[NodeId, str] | None
    ) -> tuple[tuple[NodeId, ...], tuple[str, ...] | None]:
        """The other nodes to ask, and my own clients; None if I am no owner at all."""
        engine, me = self._runtime.core.engine, self._runtime.id
        if to.owner is None:
            route = engine.route(to.scope, to.channel)
            but = exclude[1] if exclude is not None and exclude[0] == me else None
            mine = tuple(client for client in route.clients if client != but)
            owners = (*(owner for owner, _ in route.links), *route.unlinked)
            return owners, mine if route.clients else None
        if to.owner == me:
            return (), self.mine(to)
        if not engine.listed(to.owner):
            ticket.settle(to.owner, Outcome.REFUSED_NO_LINK, 0)
            return (), None
        return (to.owner,), None

    def mine(self, to: To) -> tuple[str, ...]:
        """My own client that is meant, if it is a member where it must be. Under the lock."""
        there = self._runtime.core.engine.set_of(to.scope).clients(self._runtime.id, to.channel)
        return (to.client,) if not to.channel or to.client in there else ()

    def pick(
        self,
        route: Route,
        message: Addressed,
        refused: dict[NodeId, Outcome],
        full: list[str],
        after: Token | None,
    ) -> Receipt:
        """Queue it for one member of each group of the route; see `picking.pick`."""
        ahead = () if after is None else self._runtime.core.engine.knowing.deltas(after)
        receipt = pick(self._runtime.core, route, message, ahead, refused, full)
        self._runtime.tally(refused)
        return receipt

    def send(self, to: To, payload: bytes, headers: dict[str, str], full: list[str]) -> Receipt:
        """Queue a message for one client, unconfirmed; links above high water go to `full`."""
        assert to.owner is not None
        receipt: Receipt = self._runtime.locked(lambda: self._send(to, payload, headers, full))
        return receipt

    def _send(self, to: To, payload: bytes, headers: dict[str, str], full: list[str]) -> Receipt:
        core, owner = self._runtime.core, to.owner
        assert owner is not None
        if owner == self._runtime.id:
            mine = tuple([client for client in self.mine(to) if client in core.mailboxes])
            core.deliver(Message(to.channel, payload, owner, headers), mine)
            outcome = Outcome.DELIVERED if mine else Outcome.REFUSED_NOBODY
            return Receipt(len(mine), {owner: outcome})
        self._runtime.core.flush(to.scope)
        endpoint = core.engine.link_of(owner)
        if endpoint is None:
            outcome = Outcome.REFUSED_NO_LINK
        else:
            message = Addressed(0, to.scope, to.channel, to.client, payload, headers)
            record = core.sender.encoder.message(message)
            queued = core.sender.publish(endpoint, record, full)
            outcome = Outcome.QUEUED if queued else Outcome.REFUSED_LAGGING
        if outcome is not Outcome.QUEUED:
            self._runtime.tally({owner: outcome})
        return Receipt(int(outcome is Outcome.QUEUED), {owner: outcome})
