"""Confirmed publications to queue groups, at the publisher: who refuses has it not, so ask another.

Only what certainly was not delivered is given to another member: what was said to a life that did
not answer is *unknown*, and stays so, since it may have arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from crdtpubsub.engine.asking import Asking
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.effects import Deliver, Settled
from crdtpubsub.engine.groups import InGroup, Turns
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.errors import QueueFullError
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Addressed

if TYPE_CHECKING:
    from crdtpubsub.engine.scopes import ScopeState

__all__ = ["Picking"]

NEVER: Final = float("inf")


@dataclass(slots=True)
class _Pick:
    """One confirmed publication to one member of a group."""

    number: int
    message: Addressed
    deadline: float
    tried: set[NodeId] = field(default_factory=set)  # none is asked twice


class Picking:
    """Confirmed publications to groups: who refuses certainly has it not, so another is asked."""

    def __init__(
        self,
        cluster: Cluster,
        asking: Asking,
        scopes: Mapping[str, ScopeState],
        clock: Callable[[], float],
    ) -> None:
        """`clock` tells the time of what happens now."""
        self._cluster = cluster
        self._asking = asking
        self._scopes = scopes
        self._clock = clock
        self._asked: dict[int, _Pick] = {}  # by the counter under which an owner was asked
        self._mine: dict[int, _Pick] = {}  # by their number: handed to a client of mine
        asking.on_settled = self._settled

    def turns(self, scope: str) -> Turns:
        """Whose turn it is in that scope: in its groups, and to be asked in its channels."""
        return self._scopes[scope].router.turns

    def everybody(self, scope: str, channel: str) -> tuple[InGroup, ...]:
        """The members of a channel of which a request asks one, in turn: as a group `NO_GROUP`."""
        return self._scopes[scope].router.everybody(channel)

    def ask(self, message: Addressed, deadline: float, now: float) -> int:
        """Have one member of `message.group` get it; the number under which that is settled.

        Raises:
            QueueFullError: all that can be asked have too much open; nobody was asked.
        """
        pick = _Pick(self._asking.mint(), message, deadline)
        full = self._try(pick, now)
        if full is not None:
            raise full
        return pick.number

    def _try(self, pick: _Pick, now: float) -> QueueFullError | None:
        """Ask the next one; why nobody could be asked, if there was anybody."""
        message, full = pick.message, None
        state = self._scopes.get(message.scope)
        route = None if state is None else state.router.route(message.channel)
        members = () if route is None else dict(route.groups).get(message.group, ())
        me = self._cluster.me.node
        if state is None:
            return None
        turns, channel, group = state.router.turns, message.channel, message.group
        for member in turns.order(channel, group, members, unlinked=True):
            client, owner = member
            if owner in pick.tried or (owner, client) == message.exclude:
                continue
            pick.tried.add(owner)
            said = replace(message, client=client)
            if owner == me:
                said = replace(said, counter=pick.number)
                self._mine[pick.number] = pick
                self._cluster.out.append(Deliver(me, said, state.clients_for(said)))
            else:
                try:
                    counter = self._asking.ask(said, (owner,), pick.deadline, now)
                except QueueFullError as error:
                    full = error
                    continue
                self._asked[counter] = pick
            turns.took(channel, group, member)
            return None
        if full is None:
            self._say(pick, me, Outcome.REFUSED_NOBODY)
        return full

    def _say(self, pick: _Pick, owner: NodeId, outcome: Outcome, clients: int = 0) -> None:
        self._cluster.out.append(Settled(pick.number, owner, outcome, clients))

    def _settled(self, settled: Settled) -> bool:
        """Whether that was a pick, and not for others to hear."""
        pick = self._asked.pop(settled.counter, None)
        if pick is not None:
            self._answer(pick, settled.node, settled.outcome, settled.clients)
        return pick is not None

    def answered(self, number: int, *, took: int, full: int) -> None:
        """What became of one that I handed to a client of mine."""
        pick = self._mine.pop(number, None)
        if pick is not None:
            none = Outcome.REFUSED_FULL if full else Outcome.REFUSED_NOBODY
            outcome = Outcome.DELIVERED if took else none
            self._answer(pick, self._cluster.me.node, outcome, took)

    def _answer(self, pick: _Pick, owner: NodeId, outcome: Outcome, clients: int) -> None:
        now = self._clock()
        if outcome.refused and now < pick.deadline and self._others(pick):
            self._cluster.count("picked_again")
            if self._try(pick, now) is None:
                return
        self._say(pick, owner, outcome, clients)

    def _others(self, pick: _Pick) -> bool:
        state = self._scopes.get(pick.message.scope)
        if state is None:
            return False
        groups = dict(state.router.route(pick.message.channel).groups)
        return any(
            owner not in pick.tried and (owner, client) != pick.message.exclude
            for client, owner in groups.get(pick.message.group, ())
        )

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return min([pick.deadline for pick in self._mine.values()], default=NEVER)

    def tick(self, now: float) -> None:
        """An interrupt may have come between handing over and answering: it is not for ever."""
        for number, pick in list(self._mine.items()):
            if pick.deadline <= now:
                del self._mine[number]
                self._say(pick, self._cluster.me.node, Outcome.UNKNOWN)

    # ---------------------------------------------------------------- when it was broken into

    def is_open(self, number: int) -> bool:
        """Whether something that was asked under that number, of groups or not, is not settled."""
        if number in self._mine or self._asking.is_open(number):
            return True
        return any(pick.number == number for pick in self._asked.values())

    def recover(self, now: float) -> None:
        """Something broke into asking, or into what was to follow: see `Asking.recover`.

        What was on its way to a client of mine may have come to it, and nobody will answer.
        """
        for number in list(self._mine):
            self._say(self._mine.pop(number), self._cluster.me.node, Outcome.UNKNOWN)
        self._asking.recover(now)
