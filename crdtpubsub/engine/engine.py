"""The engine: introduces its parts to each other, and is the one place where events branch.

Reading order: `handle` (everything that can happen), then the section of what interests you.
It does no I/O, reads no clock and rolls no dice of its own; remote input never raises here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import assert_never

from crdtpubsub.config import Config
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.answering import Answering
from crdtpubsub.engine.asking import Asking
from crdtpubsub.engine.dice import Dice
from crdtpubsub.engine.effects import Effect, Gap, Replied
from crdtpubsub.engine.introduction import Introduction
from crdtpubsub.engine.inviting import Inviting
from crdtpubsub.engine.knowing import Knowing
from crdtpubsub.engine.liveness import Liveness
from crdtpubsub.engine.picking import Picking
from crdtpubsub.engine.reading import MemberKey, Reading
from crdtpubsub.engine.relay import FullMesh, Relay
from crdtpubsub.engine.replication import Replication
from crdtpubsub.engine.scopes import take_run
from crdtpubsub.engine.slicing import runs, unconfirmed
from crdtpubsub.names import DECLARATION, DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.messages import ANYBODY, Fact, Frame, Goodbye, Message

__all__ = ["Engine", "MemberKey"]

IDLE_TICK_S = 0.5


class Engine(Reading):
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
        self._now = now
        fact = Fact(node, name, endpoint, 0, (DEFAULT_SCOPE,))
        self._replication = Replication(fact, seeds, self.config, dice, now, relay or FullMesh())
        self._knowing = Knowing(self._replication)
        self._cluster = self._replication.cluster
        self._introduction = Introduction(self._cluster, now)
        self._liveness = Liveness(self._cluster, now)
        limits = self.config.outbox_bytes_max, self.config.outboxes_bytes_max
        self._asking = Asking(self._cluster, *limits)
        self._answering = Answering(self._cluster, dice)
        self.inviting = Inviting(self._replication)
        scopes, clock = self._replication.scopes, lambda: self._now
        self.picking = Picking(self._cluster, self._asking, scopes, clock)
        self._cluster.watchers = (self._asking, self._answering)
        self._gone = False
        self._nap_max_s = self.config.suspicion_min_s(1) + IDLE_TICK_S

    # ---------------------------------------------------------------- in and out

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
                self._received(event.frame, event.size_bytes, now)
            case ev.Tick():
                self._tick(now)
            case ev.Join():
                return self._replication.join(event, now)
            case ev.Update():
                return self._replication.update(event, now)
            case ev.Leave():
                return self._replication.leave(event, now)
            case ev.Declare():
                return self._replication.join(ev.Join(event.scope, event.channel, DECLARATION), now)
            case ev.DeleteChannel():
                return self._replication.delete_channel(event, now)
            case ev.Flush():
                self._replication.flush_scope(event.scope, now)
            case ev.OpenScope():
                self._replication.open_scope(event.scope)
            case ev.CloseScope():
                return self._replication.close_scope(event.scope)
            case ev.AskRows():
                return self._knowing.ask_rows(event.scope, now)
            case ev.AskSeen():
                return self._knowing.ask(event.token, event.number, now)
            case ev.LinkUp():
                self._introduction.link_up(event.endpoint, event.link, now)
            case ev.LinkDown():
                self._liveness.link_lost(self._introduction.link_down(event.endpoint, now), now)
            case ev.LinkRefused():
                self._liveness.refused(event.endpoint, now)
            case ev.LinkLagging():
                self._replication.lagging(event.endpoint, lagging=True)
            case ev.LinkDrained():
                self._replication.lagging(event.endpoint, lagging=False)
            case ev.SeedsChanged():
                self._introduction.seeds_changed(event.seeds)
            case ev.SayGoodbye():
                self._say_goodbye(now)
            case _:
                assert_never(event)
        return 0

    def add(
        self, scope: str, channel: str, client: str, group: str, meta: bytes, now: float
    ) -> int:
        """As `handle(Join)` of one that is no member; `Changed` is left to who calls.

        See `Writing.add` for what is returned.
        """
        if self._gone:
            return 0
        self._wake_up(now)
        return self._replication.add(scope, channel, client, group, meta, now)

    def end(self, scope: str, channel: str, client: str, now: float) -> int:
        """As `handle(Leave)` of a client of mine that asks for it itself; else as `add`."""
        if self._gone:
            return 0
        self._wake_up(now)
        return self._replication.end(scope, channel, client, now)

    def next_deadline(self) -> float:
        """When to hand in `Tick`, on the clock of `now`."""
        if self._gone:
            return float("inf")
        if self._replication.busy or self._answering.due:
            return self._now
        return min(
            self._now + IDLE_TICK_S,
            self._introduction.next_deadline(),
            self._liveness.next_deadline(),
            self._replication.next_deadline(),
            self._cluster.inbound.next_due(),
            self._asking.next_deadline(),
            self.picking.next_deadline(),
        )

    # ---------------------------------------------------------------- confirmed publications

    def ask(
        self, message: msg.Counted, owners: Iterable[NodeId], deadline: float, now: float
    ) -> int:
        """Have each of these owners deliver it, and say so, until `deadline`; its counter.

        `Settled` comes once for each owner.

        Raises:
            QueueFullError: one of them has too many unanswered; nobody was asked.
        """
        self._wake_up(now)
        return self._asking.ask(message, owners, deadline, now)

    def terms(self, life: NodeId) -> msg.Terms | None:
        """What every frame to `life` with questions in it begins with; None: ask nothing now."""
        return self._asking.terms(life)

    def answered(self, sender: NodeId, counter: int, *, took: int, full: int) -> None:
        """What became of a `Deliver` with a counter: `took` clients have it, `full` had no room."""
        if sender == self.me:
            self.picking.answered(counter, took=took, full=full)
        else:
            self._answering.answered(sender, counter, took=took, full=full)

    # ---------------------------------------------------------------- deadlines

    def pending(self, scope: str) -> Mapping[NodeId, object]:
        """Writes of mine in that scope that wait to be pushed. Live."""
        return self._replication.scopes[scope].gossip.unpushed

    def next_flush(self) -> float:
        """The same for pushes and questions: all that a local call can bring forward."""
        return min(self._replication.next_flush(), self._asking.next_deadline())

    def _wake_up(self, now: float) -> None:
        """A process that slept longer than a suspicion must not list what it has not verified."""
        asleep_s = now - self._now
        if asleep_s > self._nap_max_s:  # hardly ever: this is asked at every event
            nodes = len(self._cluster.peers) + 1
            if asleep_s > self.config.suspicion_min_s(nodes) + IDLE_TICK_S:
                self.counters["slept"] += 1
                self._liveness.slept(now)
        self._now = now  # last: what breaks into the above has it done again

    def recover(self) -> None:
        """An exception broke into `handle`, or into what the driver did with its effects.

        Caches are dropped, and peers are told where this node stands: what was not pushed, or
        not said, is repaired by rows. The driver performs the effects of this too.
        """
        self._replication.recover()
        self.picking.recover(self._now)

    # ---------------------------------------------------------------- knowing

    def unequal(self, scope: str, since_stamp: int) -> tuple[NodeId, ...]:
        """Live linked peers that have shown no equal rows since `AskRows` gave `since_stamp`."""
        return self._knowing.unequal(scope, since_stamp)

    @property
    def knowing(self) -> Knowing:
        """What peers are known to know: tokens, and the answers to `AskSeen`."""
        return self._knowing

    def watch(self, watched: bool, read: Container[str] = ()) -> None:
        """Whether `Changed` must name all members: when whole nodes come and go, and in any case.

        On by default; a driver without watchers spares itself the lists, but for those of single
        members in the channels `read`.
        """
        self._replication.tell(None if watched else read)

    # ---------------------------------------------------------------- frames in

    def _received(self, frame: Frame, size_bytes: int, now: float) -> None:
        header, cluster = frame.header, self._cluster
        sender = header.sender
        if header.to not in (self.me, ANYBODY):
            self.counters["misdirected"] += 1
            self._correct(sender, now)
            return
        if sender in cluster.left:
            self.counters["after_goodbye"] += 1
            return
        if header.to == ANYBODY:
            late, gap = False, cluster.inbound.greeted(sender, header.link, header.seq)
        else:
            late, gap = cluster.inbound.place(sender, header.link, header.seq, frame.part)
        if late:
            self.counters["late_frame"] += 1
        if not frame.part:
            self._answering.frame()
        for message in runs(frame.messages):
            if isinstance(message, list | msg.Publications):
                if header.to != ANYBODY:
                    take_run(self._replication.scopes, cluster, message, sender, late=late)
            elif isinstance(message, msg.Hello):
                self._introduction.hello(message, sender, now)
            elif header.to != ANYBODY:
                self._message(message, sender, now, late=late, gap_free=not gap and not late)
        if cluster.take_proof() == sender and cluster.inbound.proved(
            sender, header.link, header.seq, now, late=late
        ):
            cluster.send([sender], msg.Taken(header.link, header.seq))
        if header.to != ANYBODY and not late:
            self._account(frame, size_bytes, now, gap=gap and header.seq > 0)
        if gap and header.seq > 0:
            self._replication.gap(sender, now)

    def _account(self, frame: Frame, size_bytes: int, now: float, *, gap: bool) -> None:
        """What of the sender's was taken, and what is missing."""
        header, cluster = frame.header, self._cluster
        sender, inbound = header.sender, cluster.inbound
        held = sender in cluster.peers
        here = unconfirmed(frame.messages)
        lost = inbound.account(sender, header.published, here, frame.part)
        if held:
            self.counters["publications_received"] += here
        else:
            lost += here  # from a stranger: nobody got them
        if lost:
            self.counters["publications_lost"] += lost
            cluster.out.append(Gap(sender, lost))
        if inbound.must_tell(sender, size_bytes, gap=gap):
            cluster.send([sender], msg.Taken(header.link, header.seq))
        elif here and held:
            inbound.owe(sender, now)

    def _tell_taken(self, now: float) -> None:
        for sender in self._cluster.inbound.due(now):
            if (taken := self._cluster.inbound.taken(sender)) is not None:
                self._cluster.send([sender], msg.Taken(*taken))

    def _correct(self, sender: NodeId, now: float) -> None:
        """Somebody takes me for the life that was here before."""
        peer = self._cluster.peers.get(sender)
        if peer is not None and now - peer.greeted_at >= 1.0:
            peer.greeted_at = now
            link = self._cluster.links.get(peer.endpoint)
            if link is not None and link.handshaken:
                hello = msg.Hello(self._cluster.me, link.nonce)
                self._cluster.greet(link.endpoint, ANYBODY, hello)

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
            case msg.Deltas() | msg.Rows() | msg.Pull() | msg.Sums() | msg.Live():
                self._replication.gossip_in(message, sender, now, gap_free=gap_free)
            case msg.Ask():
                self._knowing.on_ask(message, sender)
            case msg.Seen():
                self._knowing.on_seen(message, sender)
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
            case msg.Taken():
                live.on_taken(message, sender, now)
            case msg.Facts():
                self._facts(message, sender, now)
            case msg.Chunk():
                self.counters["chunk_alone"] += 1  # the driver hands in what they make up
            case msg.Publication():
                self._replication.deliver(message, sender, now, late=late)
            case msg.Addressed() | msg.Reply() | msg.Invite():
                self._counted(message, sender, now, late=late)
            case msg.Terms():
                self._answering.terms(message, sender)
            case msg.Answers():
                self._asking.answers(message, sender, now, late=late)
            case msg.Hello() | msg.Publications():
                pass  # taken before
            case _:
                assert_never(message)

    def _counted(self, message: msg.Counted, sender: NodeId, now: float, *, late: bool) -> None:
        if isinstance(message, msg.Addressed) and not message.counter:
            self._replication.deliver(message, sender, now, late=late)
        elif not self._answering.take(message, sender):
            return
        elif isinstance(message, msg.Reply):
            self._cluster.out.append(Replied(sender, message))
        elif isinstance(message, msg.Invite):
            took, full = self.inviting.accept(message, sender, now)
            self.answered(sender, message.counter, took=took, full=full)
        elif not self._replication.deliver(message, sender, now, late=False):
            self.answered(sender, message.counter, took=0, full=0)

    def _facts(self, facts: msg.Facts, sender: NodeId, now: float) -> None:
        for fact in facts.facts:
            peer = self._cluster.peers.get(sender)
            if fact.node == sender and peer is not None:
                self._cluster.learn(peer, fact, now)
                if peer.up:
                    self._liveness.probe(peer, now)
            else:
                self._cluster.hear_of(fact, fact.node, sender, now)

    # ---------------------------------------------------------------- links and life

    def _say_goodbye(self, now: float) -> None:
        self._replication.flush_all(now)
        self._cluster.tell_all(Goodbye())
        self._gone = True

    def _tick(self, now: float) -> None:
        self._introduction.tick(now)
        self._liveness.tick(now)
        self._replication.tick(now)
        self._tell_taken(now)
        self._asking.tick(now)
        self.picking.tick(now)
        self._answering.tick()
