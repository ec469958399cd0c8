"""Confirmed publications, at the publisher: asked until answered, and never answered twice.

ask             one counter for each, over all owners; to each owner it is said at once, or when
                there is a link and its answer table is known
Answers         settle what they name
no answer       after `POLL_S`, or on a new link: Terms with a stamp. They stand behind what was
                asked before, so the reply tells what of that is lost: only this is said again
another table   it has forgotten what it answered: what was said to it is unknown
life ended      said to it: unknown. Never said: refused
deadline        the same
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.effects import Cause, Send, Settled
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.engine.peers import Peer
from crdtpubsub.errors import QueueFullError
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import REFUSALS, Answers, Counted, Terms

__all__ = ["OPEN_MAX", "Asking"]

OPEN_MAX: Final = 4096
"""Publications asked of one owner since the oldest it has not answered."""

POLL_S: Final = 1.0
POLL_MAX_S: Final = 8.0
"""An owner that answers nothing is asked again after the one, twice as long each time, up to
the other. A link that breaks is noticed by itself: this is for what gets lost otherwise."""

REASONS: Final = {0: Outcome.REFUSED_NOBODY, 1: Outcome.REFUSED_FULL}
_COUNTERS: Final = {outcome: f"confirmed_{outcome.split(':')[0]}" for outcome in Outcome}
NEVER: Final = float("inf")
UNSAID: Final = -1


@dataclass(slots=True)
class _Open:
    """What one owner has not answered."""

    message: Counted
    deadline: float
    said_at: float = NEVER
    stamp: int = UNSAID  # of the last poll before it was said


@dataclass(slots=True)
class _Owner:
    """What was asked of one life."""

    table: int = 0  # 0: not known yet
    stamp: int = 0
    bytes: int = 0
    poll_at: float = NEVER
    poll_s: float = POLL_S
    open: dict[int, _Open] = field(default_factory=dict)  # by counter, rising
    asked: deque[int] = field(default_factory=deque)  # counters since the lowest that is open


class Asking:
    """What this life has asked and was not answered. Its counters are never used again."""

    def __init__(self, cluster: Cluster, bytes_max: int, all_bytes_max: int) -> None:
        """At most `bytes_max` of payloads are open at one owner, `all_bytes_max` in all."""
        self._cluster = cluster
        self._bytes_max = bytes_max
        self._all_bytes_max = all_bytes_max
        self._bytes = 0  # a payload that several owners are asked to take counts once
        self._asked: dict[int, int] = {}  # counter -> at how many owners it is open
        self._owners: dict[NodeId, _Owner] = {}
        self._next = 1
        self._deadline = NEVER  # not later than any that is open
        self._poll_at = NEVER
        self.on_settled: Callable[[Settled], bool] = lambda _settled: False  # True: tell nobody

    # ---------------------------------------------------------------- asking

    def mint(self) -> int:
        """A counter that nobody else gets."""
        self._next += 1
        return self._next - 1

    def _room(self, owners: tuple[NodeId, ...], size_bytes: int) -> None:
        if self._bytes and self._bytes + size_bytes > self._all_bytes_max:
            raise QueueFullError(
                f"{len(self._asked)} confirmed publications of {self._bytes} bytes are unanswered; "
                "nothing was sent: wait for answers, or publish less"
            )
        for life in owners:
            owner = self._owners.get(life)
            if owner is None or not owner.asked:
                continue
            if len(owner.asked) >= OPEN_MAX or owner.bytes + size_bytes > self._bytes_max:
                raise QueueFullError(
                    f"node {life[:8]} has not answered {len(owner.open)} confirmed publications "
                    f"of {owner.bytes} bytes; nothing was sent: wait for answers, or publish less"
                )

    def ask(self, message: Counted, owners: Iterable[NodeId], deadline: float, now: float) -> int:
        """Ask each of them; the counter, under which each is settled once.

        Raises:
            QueueFullError: one of them has too much open; nobody was asked.
        """
        owners = tuple(owners)
        self._room(owners, len(message.payload))
        counter = self.mint()
        message = replace(message, counter=counter)
        if owners:
            self._asked[counter] = len(owners)
            self._bytes += len(message.payload)
        endpoints: list[str] = []
        for life in owners:
            owner = self._owners.setdefault(life, _Owner())
            question = _Open(message, deadline)
            owner.open[counter] = question
            owner.asked.append(counter)
            owner.bytes += len(message.payload)
            endpoint = self._cluster.link_of(life)
            if endpoint is None:
                continue
            self._poll_in(owner, now)
            if owner.table:
                question.said_at, question.stamp = now, owner.stamp
                endpoints.append(endpoint)
            elif len(owner.open) == 1:
                self._poll(life, owner)
        if endpoints:
            self._cluster.out.append(Send(tuple(sorted(endpoints)), message))
        self._deadline = min(self._deadline, deadline)
        return counter

    def terms(self, life: NodeId) -> Terms | None:
        """What a frame with questions to that life begins with; None if there are none."""
        owner = self._owners.get(life)
        if owner is None or not owner.table:
            return None
        return Terms(owner.table, self._lowest(owner))

    def _lowest(self, owner: _Owner) -> int:
        return owner.asked[0] if owner.asked else self._next

    def _say(self, life: NodeId, owner: _Owner, questions: Iterable[_Open], now: float) -> None:
        endpoint = self._cluster.link_of(life)
        if endpoint is None or not owner.table:
            return
        for question in questions:
            question.said_at, question.stamp = now, owner.stamp
            self._cluster.out.append(Send((endpoint,), question.message))
        self._poll_in(owner, now)

    def _poll(self, life: NodeId, owner: _Owner) -> None:
        owner.stamp += 1
        self._cluster.send([life], Terms(owner.table, self._lowest(owner), owner.stamp))

    def _poll_in(self, owner: _Owner, now: float) -> None:
        if owner.poll_at == NEVER:
            owner.poll_at = now + owner.poll_s
            self._poll_at = min(self._poll_at, owner.poll_at)

    # ---------------------------------------------------------------- answers

    def answers(self, answers: Answers, sender: NodeId, now: float, *, late: bool) -> None:
        """What became of what was asked."""
        owner = self._owners.get(sender)
        if owner is None:
            owner = self._owners[sender] = _Owner()
        changed = answers.table != owner.table
        if changed:
            if late or not answers.table:
                return  # from before it forgot; what it says now comes, or has come, by itself
            if owner.table:
                self._cluster.count("answers_forgotten")
            for counter in [c for c, question in owner.open.items() if question.stamp != UNSAID]:
                self._settle(sender, owner, counter, Outcome.UNKNOWN)
            owner.table = answers.table
        for first, count, answer in answers.runs:
            for counter in range(first, first + count):
                if counter in owner.open:
                    owner.poll_s = POLL_S
                    if answer < REFUSALS:
                        self._settle(sender, owner, counter, Outcome.DELIVERED, answer)
                    else:
                        why = REASONS.get(answer - REFUSALS, Outcome.REFUSED_NOBODY)
                        self._settle(sender, owner, counter, why)
        if changed or answers.stamp:
            again = [q for q in owner.open.values() if q.stamp < answers.stamp]  # the unsaid too
            lost = sum(question.stamp != UNSAID for question in again)
            self._cluster.counters["confirmed_said_again"] += lost
            self._say(sender, owner, again, now)

    def _settle(
        self, life: NodeId, owner: _Owner, counter: int, outcome: Outcome, clients: int = 0
    ) -> None:
        question = owner.open.pop(counter)
        size_bytes = len(question.message.payload)
        owner.bytes -= size_bytes
        self._asked[counter] -= 1
        if not self._asked[counter]:
            del self._asked[counter]
            self._bytes -= size_bytes
        while owner.asked and owner.asked[0] not in owner.open:
            owner.asked.popleft()
        self._cluster.count(_COUNTERS[outcome])
        settled = Settled(counter, life, outcome, clients)
        if not self.on_settled(settled):
            self._cluster.out.append(settled)

    def _settle_all(self, life: NodeId, said: Outcome, unsaid: Outcome) -> None:
        owner = self._owners[life]
        for counter, question in list(owner.open.items()):
            self._settle(life, owner, counter, unsaid if question.stamp == UNSAID else said)

    # ---------------------------------------------------------------- time

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return min(self._deadline, self._poll_at)

    def tick(self, now: float) -> None:
        """Give up what nobody answered in time; ask again what nobody answers."""
        if now >= self._deadline:
            self._deadline = NEVER
            for life, owner in sorted(self._owners.items()):
                self._expire(life, owner, now)
        if now >= self._poll_at:
            self._poll_at = NEVER
            for life, owner in sorted(self._owners.items()):
                self._poll_if_due(life, owner, now)

    def _expire(self, life: NodeId, owner: _Owner, now: float) -> None:
        # A new link to one that is stopped, say: it is not said before its answer table is known.
        linked = self._cluster.link_of(life) is not None
        unsaid = Outcome.REFUSED_SILENT if linked else Outcome.REFUSED_NO_LINK
        for counter, question in list(owner.open.items()):
            if question.deadline <= now:
                outcome = unsaid if question.stamp == UNSAID else Outcome.UNKNOWN
                self._settle(life, owner, counter, outcome)
            else:
                self._deadline = min(self._deadline, question.deadline)

    def _poll_if_due(self, life: NodeId, owner: _Owner, now: float) -> None:
        if now >= owner.poll_at:
            owner.poll_at = NEVER
            oldest = owner.open[owner.asked[0]] if owner.asked else None
            if oldest is None or self._cluster.link_of(life) is None:
                return
            if oldest.said_at + owner.poll_s > now and oldest.said_at != NEVER:
                owner.poll_at = oldest.said_at + owner.poll_s
            else:
                self._poll(life, owner)
                owner.poll_s = min(2 * owner.poll_s, POLL_MAX_S)
                owner.poll_at = now + owner.poll_s
        self._poll_at = min(self._poll_at, owner.poll_at)

    # ---------------------------------------------------------------- when it was broken into

    def is_open(self, counter: int) -> bool:
        """Whether somebody has not answered it."""
        return counter in self._asked

    def recover(self, now: float) -> None:
        """Something broke into `ask`: what it has noted is open, whatever it had still to do.

        All that is derived from it is made anew, and each owner is asked what it has got.
        """
        self._bytes, self._asked, self._deadline = 0, {}, NEVER
        for life, owner in sorted(self._owners.items()):
            owner.bytes = 0
            for counter, question in owner.open.items():
                size_bytes = len(question.message.payload)
                owner.bytes += size_bytes
                self._bytes += 0 if counter in self._asked else size_bytes
                self._asked[counter] = self._asked.get(counter, 0) + 1
                self._deadline = min(self._deadline, question.deadline)
                if not owner.asked or counter > owner.asked[-1]:
                    owner.asked.append(counter)
            while owner.asked and owner.asked[0] not in owner.open:
                owner.asked.popleft()
            if owner.open and self._cluster.link_of(life) is not None:
                self._poll(life, owner)
                self._poll_in(owner, now)
            self._poll_at = min(self._poll_at, owner.poll_at)

    # ---------------------------------------------------------------- the cluster tells

    def link_changed(self, peer: Peer, now: float) -> None:
        """On a new link: ask what of the old one has arrived, and say what never was said."""
        owner = self._owners.get(peer.node)
        if owner is None or not owner.open or not peer.linked:
            return
        owner.poll_s = POLL_S
        if not owner.table or any(q.stamp != UNSAID for q in owner.open.values()):
            self._poll(peer.node, owner)
        self._say(peer.node, owner, [q for q in owner.open.values() if q.stamp == UNSAID], now)
        self._poll_in(owner, now)

    def replaced(self, life: NodeId) -> None:
        """Another life answers where it was: its clients are gone with it.

        What it was told it may have delivered just before (chaos seed 21: delivered, and the
        goodbye overtook the answer), so only what was never said is refused.
        """
        if life in self._owners:
            self._settle_all(life, Outcome.UNKNOWN, Outcome.REFUSED_RESTARTED)

    def purged(self, life: NodeId, cause: Cause) -> None:
        """It is forgotten. Cause OP: it said goodbye."""
        if life in self._owners:
            if cause is Cause.OP:
                self._settle_all(life, Outcome.UNKNOWN, Outcome.REFUSED_LEFT)
            else:
                self._settle_all(life, Outcome.UNKNOWN, Outcome.REFUSED_NO_LINK)
            del self._owners[life]
