"""Confirmed publications on their way, and who waits for what became of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.receipts import Receipt

__all__ = ["Ticket", "Waker", "tell"]


class Waker(Protocol):
    """Runs something in the thread of who waits. An asyncio event loop is one."""

    def call_soon_threadsafe(
        self, callback: Callable[[list[Ticket]], object], tickets: list[Ticket], /
    ) -> object:
        """Call `callback(tickets)` there, soon. RuntimeError if nobody is there any more."""


_WEIGHT: Final = {Outcome.UNKNOWN: 2, Outcome.DELIVERED: 1}
"""Of several parts that one owner was sent, the heaviest outcome says what became of it there."""


class Ticket:
    """One confirmed publication: changed under the lock, read when nobody is waited for."""

    __slots__ = ("clients", "counter", "done", "groups", "owners", "picks", "waiting", "waker")

    def __init__(self, waker: Waker, done: Callable[[], object]) -> None:
        self.waker = waker
        self.done = done  # called by the waker, when every owner is settled
        self.counter = 0  # under which the owners of members without a group were asked
        self.waiting: set[NodeId] = set()  # those of them that have not answered
        self.picks: dict[int, str] = {}  # counter -> queue group of which one member was asked
        self.owners: dict[NodeId, Outcome] = {}
        self.clients: dict[NodeId, int] = {}
        self.groups: dict[str, Outcome] = {}

    def ask(self, owners: Iterable[NodeId], counter: int) -> None:
        """These were asked."""
        self.counter = counter
        self.waiting.update(owners)

    @property
    def open(self) -> bool:
        """Whether something is not settled."""
        return bool(self.waiting or self.picks)

    def waits_for(self, counter: int) -> bool:
        """Whether something that was asked under that counter is not settled."""
        return counter in self.picks or (counter == self.counter and bool(self.waiting))

    def settle(self, owner: NodeId, outcome: Outcome, clients: int, counter: int = 0) -> None:
        """What became of it at one owner, or at the one member of a group."""
        group = self.picks.pop(counter, None)
        if group is None:
            self.waiting.discard(owner)
        else:
            self.groups[group] = outcome
        known = self.owners.get(owner)
        if known is None or _WEIGHT.get(outcome, 0) > _WEIGHT.get(known, 0):
            self.owners[owner] = outcome
        if clients:
            self.clients[owner] = self.clients.get(owner, 0) + clients

    def give_up(self) -> None:
        """Nobody will answer any more."""
        for owner in list(self.waiting):
            self.settle(owner, Outcome.UNKNOWN, 0)
        self.groups.update(dict.fromkeys(self.picks.values(), Outcome.UNKNOWN))
        self.picks.clear()

    def receipt(self) -> Receipt:
        """What became of it everywhere."""
        return Receipt(sum(self.clients.values()), self.owners, self.clients, self.groups)


def tell(waker: Waker, tickets: list[Ticket]) -> None:
    """Tell one who waits of all that is done: one wake-up, however many. Not under the lock."""
    with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits there
        waker.call_soon_threadsafe(_done, tickets)


def _done(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.done()
