"""The open scopes: local writes, gossip out and in, and what the cluster's life means for them."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, assert_never

from crdtpubsub.config import Config
from crdtpubsub.crdt.memberset import Claimed, MemberSet, Owner
from crdtpubsub.engine.allowance import cost
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.dice import Dice
from crdtpubsub.engine.effects import Agreed, Cause, Changed, Deliver, Exited
from crdtpubsub.engine.gaps import Gaps
from crdtpubsub.engine.peers import Peer
from crdtpubsub.engine.relay import Relay
from crdtpubsub.engine.scopes import OpenScopes, ScopeState
from crdtpubsub.engine.writing import Writing
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.messages import Fact, Message

__all__ = ["Replication"]

_NEVER: Final = float("inf")


class Replication(Writing):
    """Every open scope of this life, and who must hear of what in it."""

    def __init__(
        self,
        fact: Fact,
        seeds: tuple[str, ...],
        config: Config,
        dice: Dice,
        now: float,
        relay: Relay,
    ) -> None:
        self.me = fact.node
        self.config = config
        self.cluster = Cluster(fact, seeds, config, dice, self)
        self.scopes = OpenScopes()
        self._dice = dice
        self._relay = relay
        self._next_births: dict[str, int] = {}  # of closed scopes: a life never mints twice
        self._sweeping: list[tuple[MemberSet, Owner]] = []
        self._now = now
        self.told: Container[str] | None = None
        self._open(DEFAULT_SCOPE)
        self._gossip_at = now + self._gossip_pause_s()
        self._gaps = Gaps(self.cluster.peers.get, self._say_all_rows)

    # ---------------------------------------------------------------- time

    @property
    def busy(self) -> bool:
        """Whether the memory of purged lives waits to be freed."""
        return bool(self._sweeping)

    def tick(self, now: float) -> None:
        """Pushes that are due, pulls that got stuck, a round, a slice of sweeping."""
        self._now = now
        for _, state in sorted(self.scopes.items()):
            if state.gossip.pending and now >= state.flush_at:
                self.flush(state, now)
            if state.gossip.pulling:
                for peer, message in state.gossip.moved(now, self.view(state)):
                    self.cluster.send([peer], message)
        self._gaps.tick(now)
        if now >= self._gossip_at:
            self._gossip_round(now)
        self._sweep()

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return min(self._gossip_at, self.next_flush(), self._gaps.next_deadline())

    def next_flush(self) -> float:
        """When the next push is due."""
        due = _NEVER
        for state in self.scopes.values():
            if state.gossip.pending and state.flush_at < due:
                due = state.flush_at
        return due

    # ---------------------------------------------------------------- scopes

    def _open(self, scope: str) -> ScopeState:
        state = self.scopes[scope] = ScopeState(
            scope,
            MemberSet(self.me, first_birth=self._next_births.get(scope, 1)),
            self.cluster,
            self._dice,
        )
        state.members.told = self.told
        return state

    def tell(self, channels: Container[str] | None) -> None:
        """Whom `Changed` names: members of these channels, or, None, all."""
        self.told = channels
        for state in self.scopes.values():
            state.members.told = channels

    def open_scope(self, scope: str) -> None:
        """Take part in an overlay."""
        if scope in self.scopes:
            return
        self.scopes.check_room(scope)
        state = self._open(scope)
        for peer in self.cluster.peers.values():
            if scope in peer.fact.scopes:
                state.members.hold(peer.node)
        self.cluster.raise_incarnation(scopes=tuple(sorted(self.scopes)))
        for peer in self.cluster.reachable():
            if scope in peer.fact.scopes:
                self.say_rows(state, peer)

    def close_scope(self, scope: str) -> int:
        """Leave an overlay; how many memberships ended."""
        if (state := self.scopes.get(scope)) is None:
            return 0
        state.router.clear()  # who keeps a route of it sees that it ended
        rows, closed = state.members.roll(self.me), Cause.SCOPE_CLOSED
        said: list[Exited | Changed] = [Exited(scope, row[0], row[1], closed) for row in rows]
        for owner in sorted(filter(self.cluster.listed, state.members.owners())):
            left = state.members.roll(owner)  # of others: watchers see them no more
            said.append(Changed(scope, owner, (), left, (), closed, whole=True))
        self._next_births[scope] = state.members.next_birth
        del self.scopes[scope]  # what comes between this and the end, `recover` makes good
        self.cluster.out += said
        self.cluster.raise_incarnation(scopes=tuple(sorted(self.scopes)))
        return len(rows)

    def view(self, state: ScopeState) -> list[NodeId]:
        """The peers that can be told something of this scope, sorted."""
        return [p.node for p in self.cluster.reachable() if state.scope in p.fact.scopes]

    def covered(self, state: ScopeState) -> list[NodeId]:
        """The lives whose rows count: up, and in this scope; mine among them. Sorted."""
        up = [x for x in self.cluster.up() if state.members.holds(x)]
        return sorted([*up, self.me])

    # ---------------------------------------------------------------- gossip out

    def flush_scope(self, scope: str, now: float) -> None:
        """Push what is pending in one scope."""
        if (state := self.scopes.get(scope)) is not None:
            self.flush(state, now)

    def flush_all(self, now: float) -> None:
        """Push everything that is pending."""
        for _, state in sorted(self.scopes.items()):
            self.flush(state, now)

    def flush(self, state: ScopeState, now: float) -> None:
        """Push what is pending: the first at once, then at most every push interval."""
        if not state.gossip.pending:
            return
        state.settle()
        state.flush_at = now + self.config.push_interval_s
        view = [x for x in self.view(state) if not self.cluster.peers[x].lagging]
        targets = self._relay.targets(self.me, view)
        for message in state.gossip.flush():
            self.cluster.send(targets, message)

    def say_rows(self, state: ScopeState, peer: Peer) -> None:
        """Deltas go out before the rows that count them."""
        self.flush(state, self._now)
        also = state.gossip.dirty_for(peer.node)
        rows = state.gossip.say(self.covered(state), also=also, reply=False)
        peer.allowance.spend(cost([rows]))
        self.cluster.send([peer.node], rows)

    def _gossip_pause_s(self) -> float:
        return self.config.gossip_interval_s * (0.8 + 0.4 * self._dice.random())

    def _gossip_round(self, now: float) -> None:
        self._gossip_at = now + self._gossip_pause_s()
        for _, state in sorted(self.scopes.items()):
            view = [x for x in self.view(state) if not self.cluster.peers[x].lagging]
            if view:
                self.flush(state, now)
                peer = self._dice.choice(view)
                rows = state.gossip.round(self.covered(state), peer)
                self.cluster.send([peer], rows)

    def recover(self) -> None:
        """Something broke into a write: forget what may be wrong, and compare with everybody."""
        self.cluster.recount()
        if (scopes := tuple(sorted(self.scopes))) != self.cluster.me.scopes:
            self.cluster.raise_incarnation(scopes=scopes)
        for _, state in sorted(self.scopes.items()):
            state.router.clear()
            for owner in [x for x in state.members.owners() if not self.cluster.listed(x)]:
                state.gossip.dirty(owner, self.view(state))
            for peer in map(self.cluster.peers.__getitem__, self.view(state)):
                if not peer.lagging:
                    self.say_rows(state, peer)

    # ---------------------------------------------------------------- gossip in

    def gossip_in(
        self,
        message: msg.Deltas | msg.Rows | msg.Pull | msg.Sums | msg.Live,
        sender: NodeId,
        now: float,
        *,
        gap_free: bool,
    ) -> None:
        """What somebody says about a scope."""
        state = self.scopes.get(message.scope)
        if state is None:
            self.cluster.counters["scope_not_open"] += 1
            return
        gossip = state.gossip
        if not isinstance(message, msg.Deltas) and not self.cluster.allows(sender, now):
            return
        match message:
            case msg.Deltas():
                for delta in message.deltas:
                    if state.beyond(delta, self.config.owner_members_max):
                        self.cluster.noted("owner_full", state.scope, whom=delta.owner)
                        continue
                    try:
                        change = state.members.merge(delta)
                    except Claimed as claim:
                        state.told_lies(claim.beyond, sender, now)
                        continue
                    if change.births_met:
                        self.cluster.counters["births_met"] += change.births_met
                    self._apply(state, change)
                if message.answers:
                    self._answer(sender, gossip.answered(message, sender, now))
            case msg.Rows():
                self._rows_in(state, message, sender, now, gap_free=gap_free)
            case msg.Pull():
                self.flush(state, now)
                self._answer(sender, gossip.answer(message))
            case msg.Sums():
                self._answer(sender, gossip.on_sums(message))
            case msg.Live():
                change, replies = gossip.on_live(message, sender, now)
                self._apply(state, change)
                self._answer(sender, replies)
            case _:
                assert_never(message)

    def _rows_in(
        self, state: ScopeState, rows: msg.Rows, sender: NodeId, now: float, *, gap_free: bool
    ) -> None:
        gossip, covered = state.gossip, self.covered(state)
        if rows.root == gossip.root(covered):
            state.agreed(sender, self.cluster.peers.values(), covered)
        if rows.rows is None:
            if rows.root != gossip.root(covered) or gossip.is_dirty_for(sender):
                self.say_rows(state, self.cluster.peers[sender])
            return
        compared = gossip.compare(rows, sender, covered, now, gap_free=gap_free)
        if compared.claimed > state.members.next_birth:
            state.told_lies(compared.claimed, sender, now)
        for life in compared.strangers:
            self.cluster.hear_of(None, life, sender, now)
        if rows.reply and rows.stamp and compared.equal:
            state.equal_stamp[sender] = rows.stamp
            self.cluster.out.append(Agreed(state.scope, sender))
        self._answer(sender, list(compared.messages))
        if not rows.reply:
            self.flush(state, now)
            named = [row.owner for row in rows.rows]
            reply = gossip.say(covered, also=named, reply=True, stamp=rows.stamp)
            self._answer(sender, [reply])

    def _answer(self, peer: NodeId, replies: list[Message]) -> None:
        self.cluster.peers[peer].allowance.spend(cost(replies))
        for message in replies:
            self.cluster.send([peer], message)

    def deliver(
        self, said: msg.Publication | msg.Addressed, sender: NodeId, now: float, *, late: bool
    ) -> bool:
        """A publication for clients of mine; False if there are none, or it comes too late."""
        if said.after:
            self.gossip_in(msg.Deltas(said.scope, said.after), sender, now, gap_free=False)
        state = None if late else self.scopes.get(said.scope)
        clients = () if state is None else state.clients_for(said)
        if clients:
            self.cluster.out.append(Deliver(sender, said, clients))
        else:
            self.cluster.counters["publications_late" if late else "publications_nobody"] += 1
        return bool(clients)

    def gap(self, sender: NodeId, now: float) -> None:
        """Something that was sent did not arrive: do not wait for the next round."""
        peer = self.cluster.peers.get(sender)
        if peer is not None and peer.linked:
            self.cluster.counters["gap_link"] += 1
            self._gaps.seen(peer, now)

    def _say_all_rows(self, peer: Peer) -> None:
        for _, state in sorted(self.scopes.items()):
            if state.scope in peer.fact.scopes:
                self.say_rows(state, peer)

    def lagging(self, endpoint: str, *, lagging: bool) -> None:
        """A slow peer gets no pushes, and rows once it has drained."""
        for peer in self.cluster.peers.values():
            if peer.endpoint != endpoint or peer.lagging == lagging:
                continue
            peer.lagging = lagging
            if not lagging and peer.linked:
                self.cluster.counters["lagging_repaired"] += 1
                self._say_all_rows(peer)

    def _sweep(self) -> None:
        """One slice of the memory of lives that were purged."""
        if self._sweeping:
            members, gone = self._sweeping[-1]
            if members.sweep(gone, self.config.slice_births):
                self._sweeping.pop()

    # ---------------------------------------------------------------- the cluster tells

    def admitted(self, peer: Peer) -> None:
        """A life is held from now on."""
        for state in self.scopes.values():
            if state.scope in peer.fact.scopes:
                state.members.hold(peer.node)

    def state_changed(self, peer: Peer, *, was_up: bool, cause: Cause) -> None:
        """It is listed now, or hidden: its members come and go as one."""
        for _, state in sorted(self.scopes.items()):
            if not state.members.holds(peer.node):
                continue
            state.router.clear()
            if was_up:
                state.gossip.lost(peer.node)
            rows = state.members.roll(peer.node) if self.told is None else ()
            joined, left = ((), rows) if was_up else (rows, ())
            changed = Changed(state.scope, peer.node, joined, left, (), cause, whole=True)
            self.cluster.out.append(changed)

    def link_changed(self, peer: Peer, now: float) -> None:
        """A new link is compared at once: what was in flight on the old one may be lost."""
        for _, state in sorted(self.scopes.items()):
            state.router.clear()
            if peer.linked and state.scope in peer.fact.scopes:
                self.say_rows(state, peer)
        peer.lagging = False
        del now

    def fact_changed(self, peer: Peer, old: Fact, now: float) -> None:
        """Scopes it opened are pulled, those it closed are purged."""
        del now, old
        for _, state in sorted(self.scopes.items()):
            is_open = state.scope in peer.fact.scopes
            if is_open and not state.members.holds(peer.node):
                state.members.hold(peer.node)
                if peer.linked:
                    self.say_rows(state, peer)
            elif not is_open and state.members.holds(peer.node):
                self._purge(state, peer.node, Cause.SCOPE_CLOSED, listed=peer.up)

    def purged(self, life: NodeId, cause: Cause) -> None:
        """Forget what it was in, everywhere."""
        for state in self.scopes.values():
            self._purge(state, life, cause, listed=False)

    def _purge(self, state: ScopeState, life: NodeId, cause: Cause, *, listed: bool) -> None:
        if listed and state.members.holds(life):
            rows = state.members.roll(life)
            self.cluster.out.append(Changed(state.scope, life, (), rows, (), cause, whole=True))
        state.gossip.forget(life)
        state.equal_stamp.pop(life, None)
        state.router.clear()
        gone = state.members.detach(life)
        if gone is not None:
            self._sweeping.append((state.members, gone))
