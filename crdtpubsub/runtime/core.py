"""What callers and the I/O thread share: the engine, its lock, and how effects are performed."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import RLock
from time import monotonic

from crdtpubsub.config import Config
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.outbox import CONFIRMED, URGENT
from crdtpubsub.names import NodeId
from crdtpubsub.runtime import notices
from crdtpubsub.runtime.bell import Bell
from crdtpubsub.runtime.confirming import Ticket, Waker, tell
from crdtpubsub.runtime.exits import ExitDue, exits_due
from crdtpubsub.runtime.handing import hand_over, hand_over_run
from crdtpubsub.runtime.handover import HandOverLock
from crdtpubsub.runtime.limits import LIMIT_TOLD
from crdtpubsub.runtime.mailbox import Mailbox
from crdtpubsub.runtime.message import Exit, Message
from crdtpubsub.runtime.requests import Requests
from crdtpubsub.runtime.rosters import AllRosters
from crdtpubsub.runtime.sending import Sender
from crdtpubsub.runtime.spreading import Spread
from crdtpubsub.runtime.telling import Teller
from crdtpubsub.runtime.watchers import Watchers, WatchFeed
from crdtpubsub.transport.base import Transport, is_endpoint
from crdtpubsub.wire.messages import Taken

__all__ = ["Core"]

_CLAIMS = ("claimed", "foreign_claim")


class Core:
    """The engine under its lock, and the effects of what it decides.

    Under the lock: no user code, no log, no payload codec, no wake-up, no blocking call. What
    an effect asks of these is noted, and done by `let_go` once the lock is free.
    """

    def __init__(
        self,
        engine: Engine,
        sender: Sender,
        transport: Transport,
        lock: HandOverLock,
        config: Config,
    ) -> None:
        self.engine = engine
        self.sender = sender
        self.transport = transport
        self.lock = lock
        self.config = config
        self.name = engine.fact.name
        sender.sent.on_loss = self._lost
        sender.sent.on_limit = self.limit
        sender.terms = self._terms
        self.tickets: dict[int, Ticket] = {}
        self.requests: Requests  # from `Requests.serve` on
        self._done: list[Ticket] = []  # settled, and who waits is not told yet
        self.counters: Counter[str] = Counter()
        self.mailboxes: dict[str, Mailbox] = {}
        self.spread = Spread(self)
        self.dials: list[ef.Connect | ef.Redial | ef.Disconnect] = []  # for the I/O thread
        self.taken: dict[str, Taken] = {}  # by endpoint: what its peer is to be told
        self.lagging: list[str] = []
        self.overflowed: list[str] = []  # clients that a full queue closed: they leave
        self.lost_in_drain: dict[NodeId, int] | None = None  # from the begin of a drain on
        self.sleeping = False  # the I/O thread polls, and would like to be woken
        self.sleep_until = 0.0
        self.rosters = AllRosters()
        self.bell = Bell()
        self.pulse = False
        self.to_wake: set[Bell] = set()
        self.notes: deque[ef.PeerChanged | ef.Noted] = deque()
        self.teller = Teller(self.name, self.counters, lock)
        self.tallies = self.teller.tallies
        self.watchers = Watchers(engine, self._watcher_behind)
        self.read(self.rosters)
        self._telling = RLock()  # notes are told in their order, whoever lets go

    # ---------------------------------------------------------------- under the lock

    def perform(self, effects: Iterable[ef.Effect]) -> None:
        """Do what the engine asks, or note it for later."""
        sender = self.sender
        for effect in effects:
            match effect:
                case ef.Send():
                    self._say(effect)
                case ef.Release():
                    sender.release(effect.endpoint, effect.link, effect.seq)
                case ef.Deliver():
                    hand_over(self, effect)
                case ef.DeliverRun():
                    hand_over_run(self, effect)
                case ef.Replied():
                    self.requests.on_reply(effect)
                case ef.Settled():
                    self._settled(effect)
                case ef.Changed():
                    self._changed(effect)
                case ef.Exited():
                    closed = effect.cause is ef.Cause.SCOPE_CLOSED
                    mailbox = self.mailboxes.get(effect.client)
                    if mailbox is not None:
                        mailbox.put_exit(Exit(effect.channel, "closed" if closed else "removed"))
                        self.to_wake.add(mailbox.bell)
                case ef.Greet():
                    sender.greet(effect.endpoint, effect.to, sender.encoder.message(effect.message))
                case ef.Bind():
                    self.pulse = True
                    sender.bind(effect.endpoint, effect.life)
                case ef.Connect():
                    self._connect(effect)
                case ef.Redial():
                    self.dials.append(effect)
                case ef.Disconnect():
                    self.dials.append(effect)
                    sender.shut(effect.endpoint)
                case ef.Agreed():
                    self.pulse = True
                case ef.Gap():
                    self.tallies.add(notices.gap, effect.node, effect.publications)
                case ef.Limited():
                    self.limit(effect.what, effect.whom, 1)
                case ef.PeerChanged() | ef.Noted():
                    self.pulse = True
                    self.notes.append(effect)
                    if isinstance(effect, ef.Noted) and effect.what in _CLAIMS:
                        self.tallies.add(notices.claimed, effect.whom, 1, effect.about)
                    elif isinstance(effect, ef.Noted) and effect.what in LIMIT_TOLD:
                        self.limit(effect.what, effect.whom, 1)
                    elif isinstance(effect, ef.PeerChanged):
                        self.requests.moved(effect)

    def _say(self, effect: ef.Send) -> None:
        sender, message = self.sender, effect.message
        if isinstance(message, Taken):
            self.taken.update(dict.fromkeys(effect.endpoints, message))
            return
        record = sender.encoder.message(message)
        if isinstance(message, URGENT):
            for endpoint in effect.endpoints:
                sender.put_urgent(endpoint, record)
        elif isinstance(message, CONFIRMED):
            for endpoint in effect.endpoints:
                sender.put_confirmed(endpoint, record)
        else:
            for endpoint in effect.endpoints:
                self._put_gossip(endpoint, record)

    def say_taken(self) -> None:
        """Tell each peer what was taken of its frames: once a turn, the last of it. Not under the
        lock, by the I/O thread.
        """
        if self.taken:
            with self.lock:
                while self.taken:
                    endpoint, message = self.taken.popitem()
                    self.sender.put_urgent(endpoint, self.sender.encoder.message(message))

    def limit(self, what: str, whom: str, times: int) -> None:
        """Something reached its limit; it is counted elsewhere. Under the lock."""
        self.tallies.add(LIMIT_TOLD[what], whom, times)

    def _lost(self, life: NodeId, unsent: int, unknown: int) -> None:
        if self.lost_in_drain is not None:
            self.lost_in_drain[life] = self.lost_in_drain.get(life, 0) + unsent + unknown
        if unsent:
            self.tallies.add(notices.lost_unsent, life, unsent)
        if unknown:
            self.tallies.add(notices.lost_unknown, life, unknown)

    def _put_gossip(self, endpoint: str, record: bytes) -> None:
        if self.sender.put(endpoint, record, publication=False):
            return
        line = self.sender.line(endpoint)
        if line is not None and line.outbox.lagging and endpoint not in self.lagging:
            self.lagging.append(endpoint)

    def _connect(self, effect: ef.Connect) -> None:
        if is_endpoint(effect.endpoint):
            self.sender.add(effect.endpoint)
            self.dials.append(effect)
        else:
            self.counters["endpoints_refused"] += 1

    def deliver(self, message: Message, clients: tuple[str, ...]) -> None:
        """Queue one message for each of these clients of this node."""
        self.spread.put(clients, message)

    def flush(self, scope: str) -> None:
        """What I wrote before goes out before what I say."""
        if self.engine.pending(scope):
            self.engine.handle(ev.Flush(scope), monotonic())
            self.perform(self.engine.take())

    def _terms(self, life: NodeId) -> bytes | None:
        terms = self.engine.terms(life)
        return None if terms is None else self.sender.encoder.message(terms)

    def _settled(self, effect: ef.Settled) -> None:
        ticket = self.tickets.get(effect.counter)
        if ticket is None:
            self.requests.settled(effect)
            return
        ticket.settle(effect.node, effect.outcome, effect.clients, effect.counter)
        if not ticket.waits_for(effect.counter):
            del self.tickets[effect.counter]
        if not ticket.open:
            self.tell(ticket)

    def tell(self, ticket: Ticket) -> None:
        """Wake who waits for it, once the lock is free."""
        self._done.append(ticket)

    def bury(self, client: str) -> None:
        """A client that its full queue closed is no member any more: nobody shall count on it."""
        mailbox = self.mailboxes.get(client)
        if mailbox is None or not mailbox.closed:
            return  # closed by its user meanwhile
        for channel in sorted(mailbox.channels):
            leave = ev.Leave(mailbox.scope, channel, self.engine.me, client, by_client=True)
            self.engine.handle(leave, monotonic())
        self.perform(self.engine.take())
        self.counters["mailbox_dropped"] += mailbox.dropped
        del self.mailboxes[client]

    def bury_now(self, client: str) -> None:
        """The same if the I/O thread has not come to it yet: its id is wanted."""
        if client in self.overflowed:
            try:
                self.bury(client)
            except BaseException:  # an interrupt: the I/O thread will
                self.recover()
                raise

    def give_up(self) -> None:
        """This node ends: nobody will answer."""
        for ticket in dict.fromkeys(self.tickets.values()):
            ticket.give_up()
            self.tell(ticket)
        self.tickets.clear()
        self.requests.give_up()

    def read(self, rosters: AllRosters) -> None:
        """Keep these as the members are."""
        self.rosters = rosters
        self.watchers.read(rosters)

    def _changed(self, effect: ef.Changed) -> None:
        self.pulse = True
        channels: set[str] | None = None
        if effect.owner == self.engine.me:
            self._mine_changed(effect)
        if not effect.whole:
            channels = {row[0] for row in effect.joined}
            channels.update(row[0] for row in effect.left)
            channels.update(row[0] for row in effect.updated)
            channels.update(effect.channels)
        self.to_wake.update([feed.bell for feed in self.watchers.tell(effect, channels)])
        self.rosters.changed(effect)

    def _mine_changed(self, effect: ef.Changed) -> None:
        mailboxes = self.mailboxes
        if effect.whole:  # the scope was closed
            for mailbox in mailboxes.values():
                if mailbox.scope == effect.scope:
                    mailbox.channels.clear()
            return
        for channel, client, _, _ in effect.left:  # first: it may be back in the same breath
            if client in mailboxes:
                mailboxes[client].channels.discard(channel)
        for channel, client, _, _ in effect.joined:
            if client in mailboxes:
                mailboxes[client].channels.add(channel)

    def _watcher_behind(self, feed: WatchFeed, changes: int) -> None:
        self.counters["watch_resyncs"] += 1
        self.tallies.add(notices.slow_watcher, feed.watched, changes)

    def drops_of(self, client: str) -> Callable[[], None]:
        """What the mailbox of `client` calls, under the lock, for each message it loses."""
        return partial(self.tallies.add, notices.slow_consumer, client)

    def snapshot(self) -> dict[str, int]:
        """Every counter there is. Under the lock."""
        self.spread.settle()
        publications, gossip = self.sender.dropped()
        counters = Counter(self.engine.counters)
        counters.update(self.counters)
        counters.update({f"transport_{k}": v for k, v in self.transport.stats.items()})
        counters["dropped_publications"] += publications
        counters["dropped_gossip"] += gossip
        sent = self.sender.sent
        counters["publications_sent"] = sent.publications
        counters["publications_acknowledged"] = sent.acknowledged
        counters["publications_unacknowledged"] = sent.unknown
        counters["publications_unsent"] = sent.unsent
        counters["outbox_bytes"] = self.sender.queued_bytes()
        counters["outboxes_bytes"] = self.sender.budget.bytes
        counters["outboxes_full"] = self.sender.budget.refused
        counters["dropped_urgent"] = self.sender.dropped_urgent()
        mailboxes = self.mailboxes.values()
        counters["mailbox_dropped"] += sum(m.dropped for m in mailboxes)
        counters["mailbox_bytes"] = sum(m.pending_bytes for m in mailboxes)
        return dict(counters)

    def speak(self) -> bool:
        """Say what is queued, from this thread if it may; whether to wake the I/O thread for it."""
        if not self.sleeping:
            return False
        if self.sender.ready:
            self.sender.send_here(monotonic())
        return self.must_wake()

    def must_wake(self) -> bool:
        """Whether the I/O thread sleeps longer than what was just queued allows."""
        if not self.sleeping:
            return False
        if self.sender.ready or self.dials or self.lagging or self.overflowed:
            return True
        return self.engine.next_flush() < self.sleep_until

    # ---------------------------------------------------------------- when it was broken into

    def exits_due(self, event: ev.Event) -> Sequence[tuple[ExitDue, int]]:
        """Whose `Exit` this write of mine may bring, and how many come to him before it."""
        return exits_due(self.engine, self.mailboxes, event)

    def recover(self, due: Sequence[tuple[ExitDue, int]] = ()) -> None:
        """An exception, a KeyboardInterrupt say, broke into a write: make good what it kept undone.

        The set mends itself (`MemberSet._rebuild`). All that is derived from it is dropped or
        counted anew, peers are told where this node stands, and who is owed an `Exit` gets it.
        What a caller sees is an operation that was done, or not, or for some of the members.
        """
        self.counters["recovered"] += 1
        self.spread.forget()
        self.engine.recover()
        self.perform(self.engine.take())
        self._index()
        for counter, ticket in list(self.tickets.items()):
            if not self.engine.picking.is_open(counter):  # settled, and the word of it is lost
                del self.tickets[counter]
                ticket.give_up()
                self.tell(ticket)
        self.sender.recover()
        self.rosters.lost()
        self.to_wake.update([feed.bell for feed in self.watchers.lose()])
        scopes = self.engine.scopes()
        for exit_due, before in due:
            scope, channel, client = exit_due
            mailbox, closed = self.mailboxes.get(client), scope not in scopes
            if mailbox is None or mailbox.exits_told > before:
                continue
            if closed or client not in self.engine.set_of(scope).clients(self.engine.me, channel):
                mailbox.put_exit(Exit(channel, "closed" if closed else "removed"))

    def _index(self) -> None:
        """The channels of each client of mine, made anew."""
        mailboxes, me = self.mailboxes, self.engine.me
        for mailbox in mailboxes.values():
            mailbox.channels.clear()
        for scope in self.engine.scopes():
            members = self.engine.set_of(scope)
            for channel in members.channels_of(me):
                for client in members.clients(me, channel):
                    if client in mailboxes:
                        mailboxes[client].channels.add(channel)

    def rouse(self) -> None:
        """Whoever waits for anything looks again: an interrupted `let_go` may have forgotten some.

        Not under the lock.
        """
        self.to_wake.update([box.bell for box in [*self.mailboxes.values()]])
        self.to_wake.update([feed.bell for feed in self.watchers.feeds()])
        self.pulse = True
        self.let_go(wake=True)

    # ---------------------------------------------------------------- after the lock

    def let_go(self, *, wake: bool) -> None:
        """What had to wait for the lock to be free: wake-ups and logs."""
        if wake:
            self.sleeping = False
            self.transport.wake()
        with contextlib.suppress(KeyError):  # another thread lets go too
            while self.to_wake:
                self.to_wake.pop().ring()
        while self._done:
            self._tell_done()
        if self.pulse:
            self.pulse = False
            self.bell.ring()
        if self.notes:
            with self._telling:
                while self.notes:
                    self.teller.tell(self.notes.popleft())

    def _tell_done(self) -> None:
        done, self._done = self._done, []  # in one step: no signal and no thread comes between
        try:
            by_waker: dict[Waker, list[Ticket]] = {}
            for ticket in done:
                by_waker.setdefault(ticket.waker, []).append(ticket)
            for waker, tickets in by_waker.items():
                tell(waker, tickets)
        except BaseException:  # an interrupt: they are done, and told so again
            self._done.extend(done)
            raise

    def end(self) -> None:
        """The node has ended: whoever waits hears of it, and all is told that was to be told."""
        with self.lock:
            self.spread.settle()
            for mailbox in self.mailboxes.values():
                mailbox.closed = True
                self.to_wake.add(mailbox.bell)
            self.to_wake.update([feed.bell for feed in self.watchers.feeds()])
            self.pulse = True
            self.give_up()
        self.let_go(wake=False)
        self.teller.tell_due(float("inf"), self.transport.stats)
