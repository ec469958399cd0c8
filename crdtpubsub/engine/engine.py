"""The engine: introduces its parts to each other, and is the one place where events branch.

Reading order: `handle` (everything that can happen), then the section of what interests you.
It does no I/O, reads no clock and rolls no dice of its own; remote input never raises here.
"""

from __future__ import annotations

from collections import Counter
from typing import assert_never

from crdtpubsub.config import Config
from crdtpubsub.crdt.delta import Change
from crdtpubsub.crdt.memberset import Claimed, MemberSet, Owner
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.dice import Dice
from crdtpubsub.engine.effects import Cause, Changed, Deliver, Effect, Exited
from crdtpubsub.engine.introduction import Introduction
from crdtpubsub.engine.liveness import Liveness
from crdtpubsub.engine.peers import Peer
from crdtpubsub.engine.relay import FullMesh, Relay
from crdtpubsub.engine.scopes import ScopeState
from crdtpubsub.names import DECLARATION, DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.messages import ANYBODY, Fact, Frame, Goodbye, Message

__all__ = ["Engine", "MemberKey"]

MemberKey = tuple[NodeId, str, int]
"""`(owner, client id, birth)` of one member of a channel known from context."""

IDLE_TICK_S = 0.5


class Engine:
    """One life's part in the cluster. Not thread-safe: the driver holds one lock around it."""

    def __init__(
        self,
        node: NodeId,
        *,
        name: str,
        endpoint: str,
        seeds: tuple[str, ...] = (),
        config: Config | None = None,
        dice: Dice,
        now: float,
        relay: Relay | None = None,
    ) -> None:
        """A life that begins at `now` with the default scope open.

        Args:
            node: this life. Drawn anew at each start.
            name: its human label.
            endpoint: where others can dial it.
            seeds: endpoints to dial for ever.
            config: the knobs.
            dice: chance; `random.Random` will do.
            now: monotonic seconds; never a wall clock.
            relay: who gets pushes directly.
        """
        self.me = node
        self.config = config or Config()
        self.watched = True
        """Whether `Changed` must list members when whole nodes come and go: a driver without
        watchers spares itself that."""
        self._dice = dice
        self._now = now
        self._relay: Relay = relay or FullMesh()
        fact = Fact(node, name, endpoint, 0, (DEFAULT_SCOPE,))
        self._cluster = Cluster(fact, seeds, self.config, dice, self)
        self._introduction = Introduction(self._cluster, now)
        self._liveness = Liveness(self._cluster, now)
        self._scopes: dict[str, ScopeState] = {}
        self._next_births: dict[str, int] = {}  # of closed scopes: a life never mints twice
        self._sweeping: list[tuple[MemberSet, Owner]] = []
        self._gone = False
        self._last_stamp = 0
        self._open(DEFAULT_SCOPE)
        self._gossip_at = now + self._gossip_pause_s()

    # ---------------------------------------------------------------- the door

    @property
    def counters(self) -> Counter[str]:
        """How often each rare path was taken."""
        return self._cluster.counters

    def take(self) -> list[Effect]:
        """The effects since the last time, in order."""
        taken, self._cluster.out = self._cluster.out, []
        return taken

    def handle(self, event: ev.Event, now: float) -> int:
        """Let something happen. For local writes: how many memberships it began or ended."""
        if self._gone:
            return 0
        self._wake_up(now)
        match event:
            case ev.Received():
                self._received(event.frame, now)
            case ev.Tick():
                self._tick(now)
            case ev.Join():
                return self._join(event, now)
            case ev.Leave():
                return self._leave(event, now)
            case ev.Declare():
                return self._join(ev.Join(event.scope, event.channel, DECLARATION), now)
            case ev.DeleteChannel():
                return self._delete_channel(event, now)
            case ev.Flush():
                if (state := self._scopes.get(event.scope)) is not None:
                    self._flush(state, now)
            case ev.OpenScope():
                self._open_scope(event.scope)
            case ev.CloseScope():
                return self._close_scope(event.scope)
            case ev.AskRows():
                return self._ask_rows(event.scope, now)
            case ev.LinkUp():
                self._introduction.link_up(event.endpoint, event.link, now)
            case ev.LinkDown():
                self._liveness.link_lost(self._introduction.link_down(event.endpoint, now), now)
            case ev.LinkRefused():
                self._liveness.refused(event.endpoint, now)
            case ev.LinkLagging():
                self._lagging(event.endpoint, True, now)
            case ev.LinkDrained():
                self._lagging(event.endpoint, False, now)
            case ev.SayGoodbye():
                self._say_goodbye(now)
            case _:
                assert_never(event)
        return 0

    def next_deadline(self) -> float:
        """When to hand in `Tick`, on the clock of `now`."""
        if self._gone:
            return float("inf")
        if self._sweeping:
            return self._now
        flushes = [s.flush_at for s in self._scopes.values() if s.gossip.pending]
        return min(
            self._gossip_at,
            self._now + IDLE_TICK_S,
            self._introduction.next_deadline(),
            self._liveness.next_deadline(),
            *flushes,
        )

    def _wake_up(self, now: float) -> None:
        """A process that slept longer than a suspicion must not list what it has not verified."""
        asleep_s, self._now = now - self._now, now
        nodes = len(self._cluster.peers) + 1
        if asleep_s > self.config.suspicion_min_s(nodes) + IDLE_TICK_S:
            self.counters["slept"] += 1
            self._liveness.slept(now)

    # ---------------------------------------------------------------- reading

    @property
    def fact(self) -> Fact:
        """What this life says of itself."""
        return self._cluster.me

    def set_of(self, scope: str) -> MemberSet:
        """The set itself. KeyError if the scope is not open."""
        return self._scopes[scope].members

    def scopes(self) -> tuple[str, ...]:
        """The open scopes, sorted."""
        return self._cluster.me.scopes

    def listed(self, life: NodeId) -> bool:
        """Whether the members of that life are shown."""
        return self._cluster.listed(life)

    def peers(self) -> tuple[Peer, ...]:
        """Every other life held, sorted by id. Live objects: copy what you keep."""
        return tuple(peer for _, peer in sorted(self._cluster.peers.items()))

    def members(
        self, scope: str, channel: str, *, include_down: bool = False
    ) -> tuple[MemberKey, ...]:
        """The members of a channel, sorted."""
        state = self._scopes.get(scope)
        if state is None:
            return ()
        found = [
            (owner, client, birth)
            for owner, clients in state.members.by_owner(channel).items()
            if include_down or self._cluster.listed(owner)
            for client, birth in clients.items()
            if client != DECLARATION
        ]
        return tuple(sorted(found))

    def channels(self, scope: str) -> tuple[str, ...]:
        """Every channel that has a listed member or was declared by a listed life, sorted."""
        state = self._scopes.get(scope)
        if state is None:
            return ()
        listed, by_owner = self._cluster.listed, state.members.by_owner
        names = state.members.channel_names()
        return tuple(sorted(name for name in names if any(map(listed, by_owner(name)))))

    def route(self, scope: str, channel: str) -> Route:
        """Where a publication to `channel` goes."""
        return self._scopes[scope].router.route(channel)

    def unequal(self, scope: str, since_stamp: int) -> tuple[NodeId, ...]:
        """Live linked peers of the scope that have not shown equal rows since `AskRows` said so."""
        state = self._scopes[scope]
        lives = self._view(state)
        return tuple(x for x in lives if state.equal_stamp.get(x, -1) < since_stamp)

    # ---------------------------------------------------------------- local writes

    def _join(self, event: ev.Join, now: float) -> int:
        state = self._scopes[event.scope]
        change, births = state.members.join(
            event.channel, event.client, group=event.group, meta=event.meta
        )
        self._written(state, change, births, now)
        return len(change.joined)

    def _leave(self, event: ev.Leave, now: float) -> int:
        state = self._scopes[event.scope]
        birth = state.members.clients(event.owner, event.channel).get(event.client)
        if birth is None:
            return 0
        change, births = state.members.remove(event.owner, (birth, birth + 1))
        self._written(state, change, births, now, by_client=event.by_client)
        return len(change.removed)

    def _delete_channel(self, event: ev.DeleteChannel, now: float) -> int:
        state = self._scopes[event.scope]
        ended = 0
        for owner, births in state.observed(event.channel):
            change, removed = state.members.remove(owner, births)
            self._written(state, change, removed, now)
            ended += len(change.removed)
        return ended

    def _written(
        self,
        state: ScopeState,
        change: Change,
        births: tuple[int, ...],
        now: float,
        *,
        by_client: bool = False,
    ) -> None:
        self._apply(state, change, by_client=by_client)
        state.gossip.push(change.owner, births)
        if now >= state.flush_at:
            self._flush(state, now)

    def _apply(self, state: ScopeState, change: Change, *, by_client: bool = False) -> None:
        """After every write and every merge: who must be told, whatever way the news came."""
        if not change.touched:
            return
        owner = change.owner
        state.router.touched(row[0] for row in change.joined)
        state.router.touched(row[0] for row in change.removed)
        if owner == self.me and not by_client:
            for channel, client, _, _ in change.removed:
                self._cluster.out.append(Exited(state.scope, channel, client, Cause.OP))
        if self._cluster.listed(owner):
            if change:
                self._cluster.out.append(
                    Changed(
                        state.scope,
                        owner,
                        tuple(change.joined),
                        tuple(change.removed),
                        tuple(change.updated),
                        Cause.OP,
                    )
                )
        elif change.removed:
            # Nobody hears of it from its owner: see to it that all agree before it returns.
            state.gossip.dirty(owner, self._view(state))

    # ---------------------------------------------------------------- scopes

    def _open(self, scope: str) -> ScopeState:
        state = self._scopes[scope] = ScopeState(
            scope,
            MemberSet(self.me, first_birth=self._next_births.get(scope, 1)),
            self._cluster,
            self._dice,
        )
        return state

    def _open_scope(self, scope: str) -> None:
        if scope in self._scopes:
            return
        state = self._open(scope)
        for peer in self._cluster.peers.values():
            if scope in peer.fact.scopes:
                state.members.hold(peer.node)
        self._cluster.raise_incarnation(scopes=tuple(sorted(self._scopes)))
        for peer in self._cluster.reachable():
            if scope in peer.fact.scopes:
                self._say_rows(state, peer)

    def _close_scope(self, scope: str) -> int:
        state = self._scopes.pop(scope, None)
        if state is None:
            return 0
        rows = tuple(state.members.rows(self.me))
        for channel, client, _, _ in rows:
            self._cluster.out.append(Exited(scope, channel, client, Cause.SCOPE_CLOSED))
        self._cluster.out.append(Changed(scope, self.me, (), rows, (), Cause.SCOPE_CLOSED))
        self._next_births[scope] = state.members.next_birth
        self._cluster.raise_incarnation(scopes=tuple(sorted(self._scopes)))
        return len(rows)

    def _view(self, state: ScopeState) -> list[NodeId]:
        """The peers that can be told something of this scope, sorted."""
        return [p.node for p in self._cluster.reachable() if state.scope in p.fact.scopes]

    def _covered(self, state: ScopeState) -> list[NodeId]:
        """The lives whose rows count: up, and in this scope; mine among them. Sorted."""
        up = [x for x in self._cluster.up() if state.members.holds(x)]
        return sorted([*up, self.me])

    # ---------------------------------------------------------------- gossip out

    def _flush(self, state: ScopeState, now: float) -> None:
        """Push what is pending: the first at once, then at most every push interval."""
        if not state.gossip.pending:
            return
        state.flush_at = now + self.config.push_interval_s
        view = [x for x in self._view(state) if not self._cluster.peers[x].lagging]
        targets = self._relay.targets(self.me, view)
        for message in state.gossip.flush():
            self._cluster.send(targets, message)

    def _say_rows(self, state: ScopeState, peer: Peer, *, stamp: int = 0) -> None:
        """Deltas go out before the rows that count them."""
        self._flush(state, self._now)
        also = state.gossip.dirty_for(peer.node)
        rows = state.gossip.say(self._covered(state), also=also, reply=False, stamp=stamp)
        self._cluster.send([peer.node], rows)

    def _gossip_pause_s(self) -> float:
        return self.config.gossip_interval_s * (0.8 + 0.4 * self._dice.random())

    def _gossip_round(self, now: float) -> None:
        self._gossip_at = now + self._gossip_pause_s()
        for _, state in sorted(self._scopes.items()):
            view = [x for x in self._view(state) if not self._cluster.peers[x].lagging]
            if view:
                self._flush(state, now)
                peer = self._dice.choice(view)
                rows = state.gossip.round(self._covered(state), peer)
                self._cluster.send([peer], rows)

    def _ask_rows(self, scope: str, now: float) -> int:
        state = self._scopes[scope]
        self._last_stamp += 1
        self._flush(state, now)
        rows = state.gossip.say(self._covered(state), reply=False, stamp=self._last_stamp)
        self._cluster.send(self._view(state), rows)
        return self._last_stamp

    # ---------------------------------------------------------------- frames in

    def _received(self, frame: Frame, now: float) -> None:
        header, cluster = frame.header, self._cluster
        sender = header.sender
        if header.to not in (self.me, ANYBODY):
            self.counters["misdirected"] += 1
            self._correct(sender, now)
            return
        if sender in cluster.left:
            self.counters["after_goodbye"] += 1
            return
        late, gap = cluster.inbound.place(sender, header.link, header.seq, frame.part)
        if late:
            self.counters["late_frame"] += 1
        for message in frame.messages:
            if isinstance(message, msg.Hello):
                self._introduction.hello(message, sender, now)
            elif header.to != ANYBODY:
                self._message(message, sender, now, late=late, gap_free=not gap and not late)
        if gap and header.seq > 0:
            self._gap(sender)

    def _correct(self, sender: NodeId, now: float) -> None:
        """Somebody takes me for the life that was here before."""
        peer = self._cluster.peers.get(sender)
        if peer is not None and now - peer.greeted_at >= 1.0:
            peer.greeted_at = now
            link = self._cluster.links.get(peer.endpoint)
            if link is not None and link.handshaken:
                hello = msg.Hello(self._cluster.me, link.nonce)
                self._cluster.greet(link.endpoint, ANYBODY, hello)

    def _gap(self, sender: NodeId) -> None:
        """Something that was sent did not arrive: do not wait for the next round."""
        peer = self._cluster.peers.get(sender)
        if peer is None or not peer.linked:
            return
        self.counters["gap_link"] += 1
        for _, state in sorted(self._scopes.items()):
            if state.scope in peer.fact.scopes:
                self._say_rows(state, peer)

    def _message(
        self, message: Message, sender: NodeId, now: float, *, late: bool, gap_free: bool
    ) -> None:
        live, intro = self._liveness, self._introduction
        held = sender in self._cluster.peers
        match message:
            case msg.Welcome():
                intro.welcome(message, sender, now)
            case msg.Echo():
                intro.echo(message.echo, sender, now)
            case msg.Goodbye():
                self._cluster.goodbye(sender, now)
            case _ if not held:
                self.counters["from_stranger"] += 1
            case msg.Probe():
                live.on_probe(message, sender, now)
            case msg.Ack():
                live.on_ack(message, sender, now)
            case msg.ProbeFor():
                live.on_probe_for(message, sender, now)
            case msg.RelayedAck():
                live.on_relayed_ack(message, sender, now)
            case msg.Accuse():
                live.on_accuse(message, sender, now)
            case msg.Facts():
                self._facts(message, sender, now)
            case msg.Publication():
                self._deliver(message, sender, late=late)
            case msg.Hello():
                pass  # taken before
            case msg.Deltas() | msg.Rows() | msg.Pull() | msg.Sums() | msg.Live():
                self._gossip_in(message, sender, now, gap_free=gap_free)
            case _:
                assert_never(message)

    def _facts(self, facts: msg.Facts, sender: NodeId, now: float) -> None:
        for fact in facts.facts:
            peer = self._cluster.peers.get(sender)
            if fact.node == sender and peer is not None:
                self._cluster.learn(peer, fact, now)
                if peer.up:
                    self._liveness.probe(peer, now)
            else:
                self._cluster.hear_of(fact, fact.node, sender, now)

    def _deliver(self, publication: msg.Publication, sender: NodeId, *, late: bool) -> None:
        state = self._scopes.get(publication.scope)
        if late or state is None:
            self.counters["publications_late"] += late
            return
        exclude = publication.exclude
        but = exclude[1] if exclude is not None and exclude[0] == self.me else None
        clients = state.router.local(publication.channel, but)
        if clients:
            self._cluster.out.append(Deliver(sender, publication, clients))
        else:
            self.counters["publications_nobody"] += 1

    def _gossip_in(
        self,
        message: msg.Deltas | msg.Rows | msg.Pull | msg.Sums | msg.Live,
        sender: NodeId,
        now: float,
        *,
        gap_free: bool,
    ) -> None:
        state = self._scopes.get(message.scope)
        if state is None:
            self.counters["scope_not_open"] += 1
            return
        gossip = state.gossip
        match message:
            case msg.Deltas():
                for delta in message.deltas:
                    try:
                        change = state.members.merge(delta)
                    except Claimed as claim:
                        self._cluster.noted("claimed", f"{sender} asserts {claim}")
                        continue
                    self.counters["births_met"] += change.births_met
                    self._apply(state, change)
                if message.answers:
                    self._answer(sender, gossip.answered(message, sender, now))
            case msg.Rows():
                self._rows_in(state, message, sender, now, gap_free=gap_free)
            case msg.Pull():
                self._flush(state, now)
                self._answer(sender, gossip.answer(message))
            case msg.Sums():
                self._answer(sender, gossip.on_sums(message))
            case msg.Live():
                try:
                    change, replies = gossip.on_live(message, sender, now)
                except Claimed as claim:
                    self._cluster.noted("claimed", f"{sender} asserts {claim}")
                    return
                self._apply(state, change)
                self._answer(sender, replies)
            case _:
                assert_never(message)

    def _rows_in(
        self, state: ScopeState, rows: msg.Rows, sender: NodeId, now: float, *, gap_free: bool
    ) -> None:
        gossip, covered = state.gossip, self._covered(state)
        if rows.rows is None:
            if rows.root != gossip.root(covered) or gossip.is_dirty_for(sender):
                self._say_rows(state, self._cluster.peers[sender])
            return
        compared = gossip.compare(rows, sender, covered, now, gap_free=gap_free)
        for life in compared.strangers:
            self._cluster.hear_of(None, life, sender, now)
        if rows.reply and rows.stamp and compared.equal:
            state.equal_stamp[sender] = rows.stamp
        self._answer(sender, list(compared.messages))
        if not rows.reply:
            self._flush(state, now)
            named = [row.owner for row in rows.rows]
            reply = gossip.say(covered, also=named, reply=True, stamp=rows.stamp)
            self._cluster.send([sender], reply)

    def _answer(self, peer: NodeId, replies: list[Message]) -> None:
        for message in replies:
            self._cluster.send([peer], message)

    # ---------------------------------------------------------------- links and life

    def _lagging(self, endpoint: str, lagging: bool, now: float) -> None:
        del now
        for peer in self._cluster.peers.values():
            if peer.endpoint != endpoint or peer.lagging == lagging:
                continue
            peer.lagging = lagging
            if not lagging and peer.linked:
                self.counters["lagging_repaired"] += 1
                for _, state in sorted(self._scopes.items()):
                    if state.scope in peer.fact.scopes:
                        self._say_rows(state, peer)

    def _say_goodbye(self, now: float) -> None:
        for _, state in sorted(self._scopes.items()):
            self._flush(state, now)
        self._cluster.tell_all(Goodbye())
        self._gone = True

    def _tick(self, now: float) -> None:
        self._introduction.tick(now)
        self._liveness.tick(now)
        for _, state in sorted(self._scopes.items()):
            if state.gossip.pending and now >= state.flush_at:
                self._flush(state, now)
            for peer, message in state.gossip.moved(now, self._view(state)):
                self._cluster.send([peer], message)
        if now >= self._gossip_at:
            self._gossip_round(now)
        self._sweep()

    def _sweep(self) -> None:
        """One slice of the memory of lives that were purged."""
        if self._sweeping:
            members, gone = self._sweeping[-1]
            if members.sweep(gone, self.config.slice_births):
                self._sweeping.pop()

    # ---------------------------------------------------------------- the cluster tells

    def admitted(self, peer: Peer) -> None:
        """A life is held from now on."""
        for state in self._scopes.values():
            if state.scope in peer.fact.scopes:
                state.members.hold(peer.node)

    def state_changed(self, peer: Peer, *, was_up: bool, cause: Cause) -> None:
        """It is listed now, or hidden: its members come and go as one."""
        for _, state in sorted(self._scopes.items()):
            if not state.members.holds(peer.node):
                continue
            state.router.clear()
            if was_up:
                state.gossip.lost(peer.node)
            rows = tuple(state.members.rows(peer.node)) if self.watched else ()
            joined, left = ((), rows) if was_up else (rows, ())
            self._cluster.out.append(Changed(state.scope, peer.node, joined, left, (), cause))

    def link_changed(self, peer: Peer, now: float) -> None:
        """A new link is compared at once: what was in flight on the old one may be lost."""
        for _, state in sorted(self._scopes.items()):
            state.router.clear()
            if peer.linked and state.scope in peer.fact.scopes:
                self._say_rows(state, peer)
        peer.lagging = False
        del now

    def fact_changed(self, peer: Peer, old: Fact, now: float) -> None:
        """Scopes it opened are pulled, those it closed are purged."""
        del now
        for _, state in sorted(self._scopes.items()):
            is_open = state.scope in peer.fact.scopes
            if is_open and not state.members.holds(peer.node):
                state.members.hold(peer.node)
                if peer.linked:
                    self._say_rows(state, peer)
            elif not is_open and state.members.holds(peer.node):
                self._purge(state, peer.node, Cause.SCOPE_CLOSED, listed=peer.up)
        del old

    def purged(self, life: NodeId, cause: Cause) -> None:
        """Forget what it was in, everywhere."""
        for state in self._scopes.values():
            self._purge(state, life, cause, listed=False)

    def _purge(self, state: ScopeState, life: NodeId, cause: Cause, *, listed: bool) -> None:
        if listed and state.members.holds(life):
            rows = tuple(state.members.rows(life))
            self._cluster.out.append(Changed(state.scope, life, (), rows, (), cause))
        state.gossip.forget(life)
        state.equal_stamp.pop(life, None)
        state.router.clear()
        gone = state.members.detach(life)
        if gone is not None:
            self._sweeping.append((state.members, gone))
