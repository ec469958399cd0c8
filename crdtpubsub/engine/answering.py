"""Confirmed publications, at the owner: each is delivered once, and its answer kept.

For each life that is held there is a table of answers with a random id. What is asked under another
id was asked of a table that is forgotten: nobody knows any more what of it was delivered, so it is
not delivered, and the id that is valid now is said. In a table an answer, a refusal too, is kept
until its asker says that it needs it no more: there is no time window.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import groupby

from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.dice import Dice
from crdtpubsub.engine.effects import Cause
from crdtpubsub.engine.peers import Peer
from crdtpubsub.names import NodeId
from crdtpubsub.wire.limits import ANSWERS_MAX
from crdtpubsub.wire.messages import REFUSALS, Answers, Counted, Terms

__all__ = ["Answering"]

NOBODY = REFUSALS
FULL = REFUSALS + 1
UNDECIDED = -1
"""Taken in, and not known yet what became of it: never told, never delivered again."""


@dataclass(slots=True)
class _Table:
    """The answers that one asker may still want."""

    id: int
    lowest: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    order: deque[int] = field(default_factory=deque)  # as they came; nearly rising
    fresh: list[int] = field(default_factory=list)  # not told yet
    stamp: int = 0  # of the last `Terms` that wants a reply
    reply: bool = False


class Answering:
    """The answer tables of this life. Answers are gathered, and told at the next tick."""

    def __init__(self, cluster: Cluster, dice: Dice) -> None:
        self._cluster = cluster
        self._dice = dice
        self._tables: dict[NodeId, _Table] = {}
        self._due: dict[NodeId, None] = {}
        self._under: _Table | None = None  # whose terms the frame at hand has

    def frame(self) -> None:
        """Another frame begins: it brings its own terms, or none."""
        self._under = None

    def _table(self, asker: NodeId) -> _Table:
        table = self._tables.get(asker)
        if table is None:
            table = self._tables[asker] = _Table(self._dice.getrandbits(63) | 1)
        return table

    # ---------------------------------------------------------------- questions

    def terms(self, terms: Terms, sender: NodeId) -> None:
        """On which terms the rest of this frame is said."""
        table = self._table(sender)
        if terms.table != table.id:
            self._cluster.count("terms_of_no_table")
            self._due[sender] = None
            return
        self._under = table
        if terms.lowest > table.lowest:
            table.lowest = terms.lowest
            order, answers = table.order, table.answers
            while order and order[0] < terms.lowest:
                del answers[order.popleft()]
        if terms.stamp:
            table.stamp = terms.stamp
            table.reply = True
            self._due[sender] = None

    def take(self, question: Counted, sender: NodeId) -> bool:
        """Whether it is to be delivered now, and answered by `answered`."""
        table, counter = self._under, question.counter
        if table is None:
            self._cluster.count("confirmed_without_terms")
            return False
        if counter < table.lowest:
            self._cluster.count("confirmed_done")
            return False
        if counter in table.answers:
            self._cluster.count("confirmed_repeated")
            table.fresh.append(counter)
            self._due[sender] = None
            return False
        if len(table.answers) >= ANSWERS_MAX:
            self._cluster.limit("confirmed_beyond_limit", whom=sender)
            return False
        table.answers[counter] = UNDECIDED
        table.order.append(counter)
        return True

    def answered(self, sender: NodeId, counter: int, *, took: int, full: int) -> None:
        """`took` clients have it in their queues; the queues of `full` had no room."""
        table = self._tables.get(sender)
        if table is None or counter not in table.answers:
            return
        table.answers[counter] = took or (FULL if full else NOBODY)
        table.fresh.append(counter)
        self._due[sender] = None

    # ---------------------------------------------------------------- answers

    @property
    def due(self) -> bool:
        """Whether answers wait to be told."""
        return bool(self._due)

    def tick(self) -> None:
        """Tell what was gathered."""
        due, self._due = self._due, {}
        for asker in due:
            if (table := self._tables.get(asker)) is not None:
                self._tell(asker, table)

    def _tell(self, asker: NodeId, table: _Table) -> None:
        counters = sorted(table.answers if table.reply else set(table.fresh))
        stamp = table.stamp if table.reply else 0
        table.fresh, table.reply = [], False
        self._cluster.send([asker], Answers(table.id, stamp, _runs(counters, table.answers)))

    # ---------------------------------------------------------------- the cluster tells

    def link_changed(self, peer: Peer, now: float) -> None:
        """What I told it on my old link may be lost: all of it again, and the id of my table."""
        del now
        if peer.linked:
            table = self._table(peer.node)
            table.fresh = list(table.answers)
            self._tell(peer.node, table)

    def replaced(self, life: NodeId) -> None:
        """Another life answers where it was; it may be back."""

    def purged(self, life: NodeId, cause: Cause) -> None:
        """It is forgotten, and what it asked with it."""
        del cause
        self._tables.pop(life, None)
        self._due.pop(life, None)


def _runs(counters: list[int], answers: dict[int, int]) -> tuple[tuple[int, int, int], ...]:
    """The same as runs of counters with one answer."""
    told = [(c, answers[c]) for c in counters if answers.get(c, UNDECIDED) != UNDECIDED]
    runs: list[tuple[int, int, int]] = []
    for (_, answer), group in groupby(enumerate(told), lambda x: (x[1][0] - x[0], x[1][1])):
        first, *rest = [counter for _, (counter, _) in group]
        runs.append((first, 1 + len(rest), answer))
    return tuple(runs)
