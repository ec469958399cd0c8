"""What was asked and not answered: requests, and clients of others that shall join."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Final

from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.groups import NO_GROUP, InGroup
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.engine.peers import PeerState
from crdtpubsub.errors import ClosedError, ConfigError, PayloadTooLargeError, QueueFullError
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.asked import Asked
from crdtpubsub.runtime.confirming import Ticket
from crdtpubsub.runtime.handing import offer
from crdtpubsub.runtime.message import Message, Replied
from crdtpubsub.wire.limits import U32_MAX
from crdtpubsub.wire.messages import Invite, Reply, Request
from crdtpubsub.wire.payload import check_headers, pack

if TYPE_CHECKING:
    from crdtpubsub.runtime.asking import To
    from crdtpubsub.runtime.core import Core
    from crdtpubsub.runtime.runtime import Runtime

__all__ = ["Question", "Requests"]

REQUESTS_MAX: Final = 16_384
"""Requests of this node that are open at a time."""

REPLY_TRIED_S: Final = 1.0
"""A reply is tried for at least so long, also when the time for it is nearly over."""


class Question(Message):
    """A request, as the client that was asked gets it."""

    __slots__ = ("_requests", "_until", "id", "replied", "scope")

    def __init__(self, said: Request, sender: NodeId, requests: Requests) -> None:
        super().__init__(said.channel, said.payload, sender, said.headers)
        self.id = said.id
        self.scope = said.scope
        self.replied = False
        self._until = monotonic() + said.within_ms / 1000
        self._requests = requests

    @property
    def wants_reply(self) -> bool:
        """See `Message.wants_reply`."""
        return not self.replied and monotonic() < self._until

    @property
    def until(self) -> float:
        """When nobody waits any more, on this host's clock."""
        return self._until

    def reply(self, data: object, *, headers: Mapping[str, str] | None = None) -> Replied:
        """See `Message.reply`."""
        return self._requests.reply(self, data, headers)


class _Nobody:
    """Nobody waits to hear that a reply has arrived; `Node.drain` looks for itself."""

    def call_soon_threadsafe(
        self, callback: Callable[[list[Ticket]], object], tickets: list[Ticket], /
    ) -> None:
        """Nothing."""


_NOBODY: Final = _Nobody()


class Requests:
    """The table of what is open, the requests that come, and the replies to them.

    Made before its node runs; `serve` tells it the core. What has no other word is under the lock.
    """

    def __init__(self, runtime: Runtime) -> None:
        """For that runtime."""
        self._runtime = runtime
        self._core: Core
        self._open: dict[int, Asked] = {}
        self._by_counter: dict[int, Asked] = {}
        self._last = 0

    def serve(self, core: Core) -> None:
        """From now on it runs."""
        self._core = core
        core.requests = self
        core.engine.inviting.has_client = self.has_client

    def has_client(self, scope: str, client: str) -> bool:
        """Whether others may have that client join."""
        mailbox = self._core.mailboxes.get(client)
        if mailbox is None or mailbox.closed or self._core.lost_in_drain is not None:
            return False
        return mailbox.scope == scope

    # ---------------------------------------------------------------- asking; for callers

    def ask(
        self, asked: Asked, to: To, payload: bytes, headers: dict[str, str], timeout_s: float
    ) -> None:
        """Ask that client for a reply. `forget` it, whatever comes.

        Raises:
            QueueFullError: too much is open; nothing was sent.
        """
        self._runtime.locked(lambda: self._ask(asked, to, payload, headers, timeout_s))

    def ask_one(
        self,
        asked: Asked,
        to: To,
        but: Container[InGroup],
        payload: bytes,
        headers: dict[str, str],
        timeout_s: float,
    ) -> int | None:
        """Ask the member of that channel whose turn it is, but for those; then as `ask`.

        Returns:
            None: `asked` says who it is. Else how many members there are, but for those: none of
            them can be reached.

        Raises:
            QueueFullError: too much is open, here or at each that can be asked; nothing was sent.
        """
        return self._runtime.locked(
            lambda: self._ask_one(asked, to, but, payload, headers, timeout_s)
        )

    def _ask_one(
        self,
        asked: Asked,
        to: To,
        but: Container[InGroup],
        payload: bytes,
        headers: dict[str, str],
        timeout_s: float,
    ) -> int | None:
        picking, full = self._core.engine.picking, None
        turns, everybody = picking.turns(to.scope), picking.everybody(to.scope, to.channel)
        for member in turns.order(to.channel, NO_GROUP, everybody):
            if member in but:
                continue
            one = to._replace(client=member[0], owner=member[1])
            try:
                self._ask(asked, one, payload, headers, timeout_s)
            except QueueFullError as error:
                if len(self._open) >= REQUESTS_MAX:
                    raise
                full = error
                continue
            turns.took(to.channel, NO_GROUP, member)
            return None
        if full is not None:
            raise full
        return sum([member not in but for member in everybody])

    def _ask(
        self, asked: Asked, to: To, payload: bytes, headers: dict[str, str], timeout_s: float
    ) -> None:
        core = self._core
        asked.to(to)
        if len(self._open) >= REQUESTS_MAX:
            core.counters["requests_full"] += 1
            core.limit("requests_full", "", 1)
            raise QueueFullError(
                f"{REQUESTS_MAX} requests of this node are open; nothing was sent: wait for some"
            )
        core.flush(to.scope)
        within_ms = min(int(timeout_s * 1000) + 1, U32_MAX)
        number = self._last = self._last + 1  # first: what is broken into has used it up
        said = Request(
            0, to.scope, to.channel, to.client, payload, headers, id=number, within_ms=within_ms
        )
        if asked.owner == self._runtime.id:
            took, full = offer(
                core, Question(said, asked.owner, self), self._runtime.asker.mine(to)
            )
            none = Outcome.REFUSED_FULL if full else Outcome.REFUSED_NOBODY
            asked.outcome = Outcome.DELIVERED if took else none
        elif core.engine.link_of(asked.owner) is None:
            asked.outcome = Outcome.REFUSED_NO_LINK
        else:
            now = monotonic()
            asked.counter = core.engine.ask(said, (asked.owner,), now + timeout_s, now)
            self._by_counter[asked.counter] = asked
        asked.id = number
        self._open[number] = asked
        core.counters["requests"] += 1
        core.perform(core.engine.take())

    def invite(
        self, asked: Asked, to: To, meta: bytes | None, group: str, timeout_s: float
    ) -> None:
        """Have that client, of whichever node, join. `forget` it, whatever comes.

        Raises:
            QueueFullError: too much is open; nothing was sent.
        """
        self._runtime.locked(lambda: self._invite(asked, to, meta, group, timeout_s))

    def _invite(
        self, asked: Asked, to: To, meta: bytes | None, group: str, timeout_s: float
    ) -> None:
        core, now = self._core, monotonic()
        asked.to(to)
        core.flush(to.scope)
        if core.engine.link_of(asked.owner) is None:
            asked.outcome = Outcome.REFUSED_NO_LINK
            return
        said = Invite(0, to.scope, to.channel, to.client, meta, group)
        asked.counter = core.engine.ask(said, (asked.owner,), now + timeout_s, now)
        self._by_counter[asked.counter] = asked
        core.perform(core.engine.take())

    def join_mine(self, join: ev.Join) -> None:
        """A client of this node, named by its id alone, joins.

        Raises:
            ClosedError: none of that id is open in that scope; nothing was changed.
        """
        self._runtime.check()
        mailbox = self._core.mailboxes.get(join.client)
        if mailbox is None or mailbox.scope != join.scope:
            raise ClosedError(f"no client {join.client!r} is open here; nothing was changed")
        join_it = self._runtime.joiner.join
        join_it(join.channel, join.client, mailbox, join.group, join.meta)

    def forget(self, asked: Asked) -> None:
        """Nobody waits for it any more: a reply that comes now is late. Not under the lock."""
        if not asked.id and not asked.counter:
            return  # it was refused: in the child of a fork nobody may let go of that lock
        with self._core.lock:
            self._open.pop(asked.id, None)
            self._by_counter.pop(asked.counter, None)

    def name_of(self, life: NodeId) -> str:
        """What an error calls that node."""
        if life == self._runtime.id:
            return f"{self._runtime.name!r} (this node)"
        with self._core.lock:
            names = {peer.node: peer.name for peer in self._core.engine.peers()}
        return f"node {names.get(life, life[:8])!r}"

    def membership(self, to: To) -> tuple[int, int, bytes] | None:
        """Birth, version and metadata of a membership, as this node knows it."""
        assert to.owner is not None
        with self._core.lock:
            members = self._core.engine.set_of(to.scope)
            birth = members.clients(to.owner, to.channel).get(to.client)
            if birth is None:
                return None
            version, _, meta = members.extra(to.owner, birth)  # noqa: S610  (no Django)
            return birth, version, meta

    # ---------------------------------------------------------------- what becomes of it

    def settled(self, effect: ef.Settled) -> None:
        """What became of the question itself; who was asked may have more to say."""
        asked = self._by_counter.pop(effect.counter, None)
        if asked is None:
            return
        asked.outcome = effect.outcome
        if not asked.id or effect.outcome.refused:
            self._core.tell(asked)
        elif effect.outcome is Outcome.UNKNOWN and not self._core.engine.listed(asked.owner):
            asked.gone = True
            self._core.tell(asked)

    def moved(self, peer: ef.PeerChanged) -> None:
        """A node came, or went: who waits for one that went need not wait longer."""
        if peer.state not in (PeerState.DOWN, PeerState.LEFT):
            return
        for asked in {**self._open, **{-n: a for n, a in self._by_counter.items()}}.values():
            if asked.owner == peer.node and asked.reply is None:
                asked.gone = True
                self._core.tell(asked)

    def on_reply(self, effect: ef.Replied) -> None:
        """A reply came over the wire."""
        took = self._take(effect.sender, effect.reply)
        self._core.engine.answered(effect.sender, effect.reply.counter, took=int(took), full=0)

    def _take(self, sender: NodeId, reply: Reply) -> bool:
        asked = self._open.get(reply.id)
        if asked is None or asked.owner != sender or asked.reply is not None:
            self._core.counters["replies_late"] += 1
            return False
        asked.reply = Message(asked.channel, reply.payload, sender, reply.headers)
        self._core.counters["replies"] += 1
        self._core.tell(asked)
        return True

    def give_up(self) -> None:
        """This node ends: nobody will answer."""
        for asked in {*self._open.values(), *self._by_counter.values()}:
            asked.ended = True
            self._core.tell(asked)

    # ---------------------------------------------------------------- answering

    def question(self, said: Request, sender: NodeId) -> Message:
        """A request came: what the client gets."""
        self._core.counters["requests_received"] += 1
        return Question(said, sender, self)

    def reply(self, question: Question, data: object, headers: Mapping[str, str] | None) -> Replied:
        """See `Message.reply`. For callers."""
        payload, said = pack(data), check_headers(headers) if headers else {}
        limit = self._runtime.config.payload_bytes_max
        if len(payload) > limit:
            raise PayloadTooLargeError(what="payload", size_bytes=len(payload), limit_bytes=limit)
        sent = self._runtime.locked(lambda: self._reply(question, payload, said), draining=True)
        if sent is None:
            raise ConfigError("this request was answered before; nothing was sent")
        return Replied(sent)

    def _reply(self, question: Question, payload: bytes, headers: dict[str, str]) -> bool | None:
        core, owner, now = self._core, question.sender, monotonic()
        if question.replied:
            return None
        if now >= question.until or not core.engine.listed(owner):
            core.counters["replies_for_nobody"] += 1
            return False
        reply = Reply(0, question.id, payload, headers)
        if owner == self._runtime.id:
            question.replied = True
            return self._take(owner, reply)
        if question.scope in core.engine.scopes():
            core.flush(question.scope)
        until = max(question.until, now + REPLY_TRIED_S)
        counter = core.engine.ask(reply, (owner,), until, now)
        ticket = core.tickets[counter] = Ticket(_NOBODY, lambda: None)
        ticket.ask((owner,), counter)
        question.replied = True
        core.perform(core.engine.take())
        core.counters["replies_sent"] += 1
        return True
