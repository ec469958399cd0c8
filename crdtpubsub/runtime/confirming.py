"""Confirmed publications on their way, and who waits for what became of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Protocol

from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.sending import Receipt

__all__ = ["Ticket", "Waker", "tell"]


class Waker(Protocol):
    """Runs something in the thread of who waits. An asyncio event loop is one."""

    def call_soon_threadsafe(
        self, callback: Callable[[list[Ticket]], object], tickets: list[Ticket], /
    ) -> object:
        """Call `callback(tickets)` there, soon. RuntimeError if nobody is there any more."""


class Ticket:
    """One confirmed publication: changed under the lock, read when nobody is waited for."""

    __slots__ = ("clients", "done", "owners", "waiting", "waker")

    def __init__(self, waker: Waker, done: Callable[[], object]) -> None:
        self.waker = waker
        self.done = done  # called by the waker, when every owner is settled
        self.waiting: set[NodeId] = set()
        self.owners: dict[NodeId, Outcome] = {}
        self.clients: dict[NodeId, int] = {}

    def ask(self, owners: Iterable[NodeId]) -> None:
        """These were asked."""
        self.waiting.update(owners)

    def settle(self, owner: NodeId, outcome: Outcome, clients: int) -> bool:
        """What became of it at one owner; True with the last."""
        self.owners[owner] = outcome
        if clients:
            self.clients[owner] = clients
        self.waiting.discard(owner)
        return not self.waiting

    def receipt(self) -> Receipt:
        """What became of it everywhere."""
        return Receipt(sum(self.clients.values()), self.owners, self.clients)


def tell(waker: Waker, tickets: list[Ticket]) -> None:
    """Tell one who waits of all that is done: one wake-up, however many. Not under the lock."""
    with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits there
        waker.call_soon_threadsafe(_done, tickets)


def _done(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.done()
