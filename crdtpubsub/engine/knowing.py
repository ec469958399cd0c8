"""Knowing that others know: who has seen what, by their own word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from crdtpubsub.crdt import token as tokens
from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.intervals import EMPTY, intersection
from crdtpubsub.crdt.token import Token, Writes
from crdtpubsub.engine.effects import Agreed
from crdtpubsub.engine.replication import Replication
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Ask, Deltas, Seen

__all__ = ["NO_LINK", "Knowing"]

NO_LINK: Final = "alive, and no link to it: it cannot be asked"

ASKED_MAX: Final = 1024
"""Questions that are open at a time; of more the oldest are asked anew by who still waits."""


@dataclass(slots=True)
class _Asked:
    token: Token
    seen_by: set[NodeId] = field(default_factory=set)


class Knowing:
    """What this life has asked its peers, and who has answered.

    A question follows what it asks about on the same link, so that usually it is answered yes at
    once. Who says not yet, since something was lost, is told where I stand, and asked again by
    whoever waits.
    """

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._last_stamp = 0
        self._asked: dict[int, _Asked] = {}
        self._last_id = 0

    # ---------------------------------------------------------------- equal rows

    def ask_rows(self, scope: str, now: float) -> int:
        """Ask everybody for rows; the stamp of the question."""
        replication = self._replication
        state = replication.scopes[scope]
        self._last_stamp += 1
        replication.flush(state, now)
        rows = state.gossip.say(replication.covered(state), reply=False, stamp=self._last_stamp)
        replication.cluster.send(replication.view(state), rows)
        return self._last_stamp

    def unequal(self, scope: str, since_stamp: int) -> tuple[NodeId, ...]:
        """Live linked peers of the scope that have not shown equal rows since that stamp."""
        state = self._replication.scopes[scope]
        lives = self._replication.view(state)
        return tuple(x for x in lives if state.equal_stamp.get(x, -1) < since_stamp)

    # ---------------------------------------------------------------- tokens

    def token(self, scope: str) -> Token | None:
        """My writes that somebody may not have; None if they are more than a token can say."""
        state = self._replication.scopes[scope]
        state.settle()
        if state.ledger.full:
            return None
        members = state.members
        return Token(scope, state.ledger.token(members.me, members.next_birth))

    def membership(self, scope: str, channel: str, owner: NodeId, client: str) -> Token:
        """One membership, as it is now; nothing, if there is none."""
        members = self._replication.scopes[scope].members
        birth = members.clients(owner, channel).get(client)
        if birth is None:
            return Token(scope, ())
        version = members.live(owner, (birth, birth + 1))[1][birth]
        updates = ((birth, version),) if version else ()
        return Token(scope, (Writes(owner, 1, (birth, birth + 1), EMPTY, updates),))

    def seen(self, token: Token) -> bool:
        """Whether this node has seen it."""
        state = self._replication.scopes.get(token.scope)
        if state is None:
            return False
        left = self._replication.cluster.left  # who said goodbye is in nothing any more
        writes = tuple([part for part in token.writes if part.owner not in left])
        return tokens.seen(writes, state.members)

    def deltas(self, token: Token) -> tuple[Delta, ...]:
        """What this node knows of all that is named there."""
        members = self._replication.scopes[token.scope].members
        deltas = [members.delta(part.owner, part.births) for part in token.writes]
        return tuple([delta for delta in deltas if delta.runs])

    # ---------------------------------------------------------------- asking

    def ask(self, token: Token, number: int, now: float) -> int:
        """Ask every live peer that has not said yes; the number of the question.

        `number` 0: a new one.
        """
        replication = self._replication
        state = replication.scopes.get(token.scope)
        if not number:
            number = self._last_id = self._last_id % 0xFFFFFFFF + 1
        asked = self._asked.get(number)
        if asked is None:
            if len(self._asked) >= ASKED_MAX:
                del self._asked[next(iter(self._asked))]
            asked = self._asked[number] = _Asked(token)
        if state is not None:
            replication.flush(state, now)
            lives = [x for x in replication.view(state) if x not in asked.seen_by]
            replication.cluster.send(lives, Ask(token.scope, number, token.writes))
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for that question any more."""
        self._asked.pop(number, None)

    def answers(self, token: Token, number: int) -> tuple[list[NodeId], dict[NodeId, str]]:
        """Live peers of the scope: who has seen it, and why of the others it is not known."""
        asked = self._asked.get(number)
        seen_by = set[NodeId]() if asked is None else asked.seen_by
        peers = self._replication.cluster.peers
        up = [x for x in self._replication.cluster.up() if token.scope in peers[x].fact.scopes]
        missing = {
            life: "it has not answered yes yet" if peers[life].linked else NO_LINK
            for life in up
            if life not in seen_by
        }
        return [life for life in up if life in seen_by], missing

    def on_ask(self, ask: Ask, sender: NodeId) -> None:
        """A peer wants to know."""
        if ask.scope in self._replication.scopes:
            seen = self.seen(Token(ask.scope, ask.writes))
            self._replication.cluster.send([sender], Seen(ask.scope, ask.id, seen))

    def on_seen(self, answer: Seen, sender: NodeId) -> None:
        """It says."""
        asked = self._asked.get(answer.id)
        state = self._replication.scopes.get(answer.scope)
        if asked is None or state is None or asked.token.scope != answer.scope:
            return
        if answer.seen:
            asked.seen_by.add(sender)
            self._replication.cluster.out.append(Agreed(answer.scope, sender))
            return
        self._replication.cluster.counters["asked_too_early"] += 1
        # A removal of somebody else's member is hearsay in my rows: say it outright. The rest
        # is about myself, and rows are believed.
        for part in asked.token.writes:
            runs = intersection(part.removed, state.members.seen(part.owner))
            if runs and part.owner != state.members.me:
                delta = state.members.delta(part.owner, runs)
                self._replication.cluster.send([sender], Deltas(answer.scope, (delta,)))
        self._replication.say_rows(state, self._replication.cluster.peers[sender])
