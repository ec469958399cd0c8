"""The asyncio door: `Node`. Thin: it checks arguments, packs, waits; the runtime does."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Final, Self

from crdtpubsub.client import Client, Subscription
from crdtpubsub.config import Config
from crdtpubsub.engine import events as ev
from crdtpubsub.errors import ClosedError, ConfigError, PayloadTooLargeError, QueueFullError
from crdtpubsub.names import DEFAULT_SCOPE, NodeId, check_channel, check_client, check_label
from crdtpubsub.runtime import Mailbox, Overflow, Receipt, Runtime
from crdtpubsub.transport.base import is_endpoint
from crdtpubsub.waiting import next_signal
from crdtpubsub.wire.payload import PayloadPacker, pack, unpack

__all__ = ["Member", "Node", "Peer", "Stats"]

LOOPBACK: Final = "tcp://127.0.0.1:*"
_LOCAL_HOSTS: Final = ("127.", "[::1]", "localhost")
_MEMBERS_CACHED: Final = 65_536
_YIELD_EVERY: Final = 128
_ASK_AGAIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Member:
    """One client in one channel, wherever it lives.

    Attributes:
        channel: the channel it is in.
        id: the client's id, unique on its node.
        node: the node that owns it; equals that node's `Node.id`.
        meta: what was said with `join` or `update`, or None.
    """

    channel: str
    id: str
    node: NodeId
    meta: object = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, as this one sees it.

    Attributes:
        node: its life; a restart is another one.
        name: its human label.
        endpoint: where it can be dialled.
        state: `alive`, `suspect` (still listed) or `down` (hidden until it answers).
        linked: whether messages can be sent to it directly.
    """

    node: NodeId
    name: str
    endpoint: str
    state: str
    linked: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """An immutable snapshot of a node's counters.

    Attributes:
        counters: every counter by name, from the start of the node.
        peers: peers held, by state.
        channels: channels known here.
    """

    counters: Mapping[str, int]
    peers: Mapping[str, int]
    channels: int


class Node:
    """This process in the cluster: `async with Node(...)`.

    Runs a thread of its own, so that a busy event loop does not make it look dead. Methods are
    safe to call from any thread and any event loop; reads never wait for the network. A node
    belongs to the process that started it and is started once.
    """

    def __init__(
        self,
        bind: str | None = None,
        *,
        seeds: Sequence[str] = (),
        advertise: str | None = None,
        name: str | None = None,
        cluster: str = "default",
        insecure: bool = False,
        config: Config | None = None,
    ) -> None:
        """Describe a node; nothing happens before `start`.

        Args:
            bind: where to listen, `tcp://host:port` (`*` as port takes a free one) or
                `ipc://path`. None: a free port on 127.0.0.1.
            seeds: endpoints of other nodes, `tcp://host:port`. One that answers is enough;
                those that do not are retried for ever and `start` does not fail for them.
            advertise: the endpoint others shall dial, where it differs from `bind`.
            name: a human label, 1 to 255 bytes; need not be unique.
            cluster: nodes of different clusters never talk, whatever they dial.
            insecure: allow listening beyond this host although nothing is encrypted or
                authenticated. On loopback every local user can join: mind that too.
            config: the knobs.

        Raises:
            ConfigError: an argument makes no sense, or opens this node to the network without
                `insecure=True`.
            InvalidNameError: `name` or `cluster` is no name.
        """
        bind = LOOPBACK if bind is None else bind
        _check_bind(bind, advertise, insecure=insecure)
        _check_seeds(seeds)
        if name is not None:
            check_label(name)
        self._runtime = Runtime(
            bind=bind,
            seeds=tuple(seeds),
            advertise=advertise,
            name=name,
            cluster=check_label(cluster),
            config=config or Config(),
        )
        self._started = False
        self._members: dict[str, tuple[Member, ...]] = {}
        self._published = 0

    def __repr__(self) -> str:
        state = "closed" if self._runtime.closed else "running" if self._started else "not started"
        return f"Node({self.name!r} at {self.endpoint or self._runtime.id[:8]}, {state})"

    # ---------------------------------------------------------------- life

    @property
    def id(self) -> NodeId:
        """This life; drawn anew for each `Node`."""
        return self._runtime.id

    @property
    def name(self) -> str:
        """Its human label."""
        return self._runtime.name

    @property
    def endpoint(self) -> str:
        """What peers dial; empty before `start`."""
        return self._runtime.endpoint

    async def start(self) -> Self:
        """Listen, and begin to look for the seeds. Returns when this node can be dialled.

        Raises:
            BindError: it cannot listen there. The node is closed.
            ConfigError: started before; a node runs once.
        """
        if self._started:
            raise ConfigError(f"node {self.name} was started before; make a new Node")
        self._started = True
        self._runtime.on_change(self._forget_members)
        started = self._runtime.start()
        try:
            await asyncio.wrap_future(started)
        except asyncio.CancelledError:
            await self.close()
            raise
        atexit.register(self._runtime.close)
        return self

    async def close(self) -> None:
        """Say goodbye (peers drop our members at once), and stop. Idempotent; under a second.

        Clients are closed: what is queued can still be read. A cancelled `close` still closes.
        """
        atexit.unregister(self._runtime.close)
        if self._started:
            await asyncio.shield(asyncio.to_thread(self._runtime.close))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # ---------------------------------------------------------------- the control map

    async def add_channel(self, channel: str) -> None:
        """Let `channel` exist while this node lives, members or not. Idempotent.

        Raises:
            InvalidNameError, ClosedError, ForkedError: nothing was changed.
        """
        self._runtime.write(ev.Declare(DEFAULT_SCOPE, check_channel(channel)))

    async def del_channel(self, channel: str) -> int:
        """End every membership and declaration of `channel` that this node has observed.

        Each client whose membership it ended gets one `Exit`, on whichever node it lives. What
        is joined concurrently elsewhere stays.

        Returns:
            How many memberships it ended. Done here when this returns; others follow.
        """
        return self._runtime.write(ev.DeleteChannel(DEFAULT_SCOPE, check_channel(channel)))

    async def join(self, channel: str, client: Client, *, meta: object = None) -> None:
        """Make a client of this node a member of `channel`.

        Visible here when this returns, and on the others about a millisecond later. Joining
        where it is a member already changes the metadata, if `meta` is given, and nothing else.

        Args:
            channel: 1 to 255 bytes of UTF-8 without control characters.
            client: from `Node.client`, of this node.
            meta: anything msgpack packs, up to 4 KiB packed; shown by `Member.meta`.

        Raises:
            InvalidNameError, PayloadError, PayloadTooLargeError: nothing was changed.
            ConfigError: the client belongs to another node.
            ClosedError: the client or the node is closed.
        """
        self._own(client)
        packed = None if meta is None else pack(meta)
        limit = self._runtime.config.meta_bytes_max
        if packed is not None and len(packed) > limit:
            raise PayloadTooLargeError(what="metadata", size_bytes=len(packed), limit_bytes=limit)
        self._runtime.write(ev.Join(DEFAULT_SCOPE, check_channel(channel), client.id, meta=packed))

    async def leave(self, channel: str, member: Client | Member) -> bool:
        """End one membership; False if there was none.

        Args:
            channel: the channel.
            member: a `Client` of this node (it gets no `Exit`: it asked), or any `Member`,
                wherever it lives, reachable or not (its client gets an `Exit`).
        """
        if isinstance(member, Client):
            self._own(member)
            owner, by_client = self.id, True
        else:
            owner, by_client = member.node, False
        event = ev.Leave(DEFAULT_SCOPE, check_channel(channel), owner, member.id, by_client)
        return bool(self._runtime.write(event))

    def members(self, channel: str, *, include_down: bool = False) -> tuple[Member, ...]:
        """Everybody in `channel`, on every node that is up, sorted by node and id.

        From a cache that every change of the channel drops: reading it again costs nothing.

        Args:
            channel: any channel; an unknown one has no members.
            include_down: also those whose node is down, and may come back.
        """
        if not include_down and (known := self._members.get(channel)) is not None:
            self._runtime.check()
            return known
        self._runtime.check()
        with self._runtime.lock:
            engine = self._runtime.engine
            extra = engine.set_of(DEFAULT_SCOPE).extra
            keys = engine.members(DEFAULT_SCOPE, channel, include_down=include_down)
            members = tuple(
                Member(channel, client, owner, _unpack_meta(extra(owner, birth)[2]))
                for owner, client, birth in keys
            )
            if not include_down:
                if len(self._members) >= _MEMBERS_CACHED:
                    self._members.clear()
                self._members[channel] = members
        return members

    def local_members(self, channel: str) -> tuple[Member, ...]:
        """Those of them that live on this node."""
        return tuple(m for m in self.members(channel) if m.node == self.id)

    def count(self, channel: str) -> int:
        """How many members `channel` has."""
        if (known := self._members.get(channel)) is not None:
            return len(known)
        self._runtime.check()
        with self._runtime.lock:
            return self._runtime.engine.route(DEFAULT_SCOPE, channel).members

    def channels(self, prefix: str = "") -> tuple[str, ...]:
        """Every channel that has a member or was declared by a node that is up, sorted."""
        self._runtime.check()
        with self._runtime.lock:
            names = self._runtime.engine.channels(DEFAULT_SCOPE)
        return tuple(name for name in names if name.startswith(prefix))

    def local_channels(self, prefix: str = "") -> tuple[str, ...]:
        """Those in which this node has members or a declaration, sorted."""
        self._runtime.check()
        with self._runtime.lock:
            names = sorted(self._runtime.engine.set_of(DEFAULT_SCOPE).channels_of(self.id))
        return tuple(name for name in names if name.startswith(prefix))

    def peers(self) -> tuple[Peer, ...]:
        """Every other node this one holds, sorted by id."""
        self._runtime.check()
        with self._runtime.lock:
            return tuple(
                Peer(p.node, p.name, p.endpoint, str(p.state), p.linked)
                for p in self._runtime.engine.peers()
            )

    # ---------------------------------------------------------------- messages

    def client(
        self, id: str | None = None, *, max_pending: int = 1024, overflow: Overflow = "drop_oldest"
    ) -> Client:
        """Make a mailbox on this node.

        Args:
            id: unique on this node, 1 to 255 bytes; None draws one.
            max_pending: messages queued before `overflow` acts; at least 1.
            overflow: `drop_oldest`, `drop_newest` or `close` (the client).

        Raises:
            ConfigError: a client of this id is open here, or a limit makes no sense.
            InvalidNameError, ClosedError, ForkedError
        """
        self._runtime.check()
        if overflow not in ("drop_oldest", "drop_newest", "close"):
            raise ConfigError(f"overflow={overflow!r}: use drop_oldest, drop_newest or close")
        if max_pending < 1:
            raise ConfigError(f"max_pending={max_pending!r} must be at least 1")
        client_id = f"c-{os.urandom(8).hex()}" if id is None else check_client(id)
        mailbox = Mailbox(max_pending=max_pending, overflow=overflow)
        with self._runtime.lock:
            if client_id in self._runtime.mailboxes:
                raise ConfigError(f"client {client_id!r} is open on this node; close it first")
            self._runtime.mailboxes[client_id] = mailbox
        return Client(self, client_id, mailbox)

    def subscribe(
        self,
        *channels: str,
        id: str | None = None,
        meta: object = None,
        max_pending: int = 1024,
        overflow: Overflow = "drop_oldest",
    ) -> Subscription:
        """A client that joins `channels` and yields their messages.

        `async with node.subscribe("room") as messages: async for message in messages: ...`,
        or `await` it to join now and close it yourself. Arguments as for `client` and `join`.
        """
        if not channels:
            raise ConfigError("subscribe to at least one channel")
        for channel in channels:
            check_channel(channel)
        return Subscription(
            self.client(id, max_pending=max_pending, overflow=overflow), channels, meta
        )

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        exclude: Client | Member | None = None,
    ) -> Receipt:
        """Send `data` to every member of `channel` that this node knows of.

        At most once, in order per receiving node while its link lives. Waits while a healthy
        peer's outbox is above its high-water mark, up to `Config.publish_wait_max_s`. A peer
        that took nothing for `Config.publish_stall_s` holds nobody any more: it is refused, and
        the receipt says so, until it has drained.

        Args:
            channel: it need not have members.
            data: None, bool, int, float, str, bytes, list or dict of them; 16 MiB packed.
            headers: str to str, up to 64; travels with the message.
            exclude: one member that shall not get it, usually the publishing client.

        Returns:
            A `Receipt`: members addressed, and per owner what became of it.

        Raises:
            PayloadError, PayloadTooLargeError, InvalidNameError: nothing was sent.
            ClosedError, ForkedError: nothing was sent.

        If cancelled while it waits, the message was queued.
        """
        receipt, full = self._publish(channel, data, headers, exclude)
        for endpoint in full:
            await self._room(endpoint)
        self._published += 1
        if self._published % _YIELD_EVERY == 0:
            await asyncio.sleep(0)  # a publisher that never suspends would starve its own loop
        return receipt

    def publish_nowait(
        self,
        channel: str,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        exclude: Client | Member | None = None,
    ) -> int:
        """The same without waiting for anybody; returns the members addressed.

        Raises:
            QueueFullError: there are owners, and the outbox of each of them is full or without
                a link; counted.
        """
        receipt, _ = self._publish(channel, data, headers, exclude)
        if (
            receipt.owners
            and not receipt.members
            and all(outcome.startswith("refused") for outcome in receipt.owners.values())
        ):
            raise QueueFullError(f"no owner of {channel!r} could take it: {receipt.owners}")
        return receipt.members

    def _publish(
        self,
        channel: str,
        data: object,
        headers: Mapping[str, str] | None,
        exclude: Client | Member | None,
    ) -> tuple[Receipt, list[str]]:
        payload = _packer().pack(data)
        limit = self._runtime.config.payload_bytes_max
        if len(payload) > limit:
            raise PayloadTooLargeError(what="payload", size_bytes=len(payload), limit_bytes=limit)
        but: tuple[NodeId, str] | None = None
        if isinstance(exclude, Client):
            but = (exclude.node.id, exclude.id)
        elif exclude is not None:
            but = (exclude.node, exclude.id)
        said = _check_headers(headers) if headers else {}
        return self._runtime.publish(
            DEFAULT_SCOPE, check_channel(channel), payload, headers=said, exclude=but
        )

    async def _room(self, endpoint: str) -> None:
        """Wait while that outbox is above its mark; a link without progress holds nobody."""
        runtime = self._runtime
        config = runtime.config
        asked_at = monotonic()
        while (progress_at := runtime.room_at(endpoint)) is not None:
            now = monotonic()
            left_s = max(asked_at, progress_at) + config.publish_stall_s - now
            if left_s <= 0:
                runtime.stall(endpoint)
                return
            if now - asked_at >= config.publish_wait_max_s:
                return
            await next_signal(runtime.once, lambda: runtime.room_at(endpoint) is None, left_s)

    # ---------------------------------------------------------------- knowing

    async def wait_for(
        self, channel: str, count: int = 1, *, timeout: float | None = None
    ) -> tuple[Member, ...]:
        """Wait until `channel` has at least `count` members, and return them.

        Raises:
            TimeoutError: it had fewer after `timeout` seconds; the message says how many.
        """
        check_channel(channel)
        await self._until(
            lambda: self.count(channel) >= count,
            timeout,
            lambda: f"{channel!r} has {self.count(channel)} members after {timeout} s, not {count}",
        )
        return self.members(channel)

    async def converged(self, *, timeout: float | None = None) -> None:
        """Wait until every live linked peer has shown rows equal to ours since the call.

        About one round trip when all is quiet. Peers that are alive without a link to us are
        not asked.

        Raises:
            TimeoutError: somebody has not; the message names them.
        """
        runtime = self._runtime
        first = runtime.write(ev.AskRows(DEFAULT_SCOPE))
        asked_at = monotonic()

        def lagging() -> tuple[NodeId, ...]:
            runtime.check()
            with runtime.lock:
                return runtime.engine.unequal(DEFAULT_SCOPE, first)

        until = None if timeout is None else monotonic() + timeout
        while who := lagging():
            now = monotonic()
            if until is not None and now >= until:
                names = ", ".join(p.name for p in self.peers() if p.node in who)
                raise TimeoutError(f"not converged with {names} after {timeout} s")
            if now - asked_at >= _ASK_AGAIN_S:
                runtime.write(ev.AskRows(DEFAULT_SCOPE))
                asked_at = now
            left_s = _ASK_AGAIN_S if until is None else min(_ASK_AGAIN_S, until - now)
            await next_signal(runtime.once, lambda: not lagging(), left_s)

    def stats(self) -> Stats:
        """An immutable snapshot of every counter."""
        self._runtime.check()
        counters = self._runtime.snapshot()
        states: dict[str, int] = {}
        for peer in self.peers():
            states[peer.state] = states.get(peer.state, 0) + 1
        return Stats(counters, states, len(self.channels()))

    # ---------------------------------------------------------------- inside

    async def _until(
        self, holds: Callable[[], bool], timeout: float | None, complaint: Callable[[], str]
    ) -> None:
        until = None if timeout is None else monotonic() + timeout
        while not holds():
            left_s = None if until is None else until - monotonic()
            if left_s is not None and left_s <= 0:
                raise TimeoutError(complaint())
            await next_signal(self._runtime.once, holds, left_s)

    def _own(self, client: Client) -> None:
        if client.node is not self:
            raise ConfigError(
                f"client {client.id!r} lives on {client.node.name!r}; use that node's join or leave"
            )
        if client.closed:
            raise ClosedError(f"client {client.id!r} is closed")

    def _channels_of(self, client_id: str) -> tuple[str, ...]:
        if self._runtime.closed:
            return ()
        self._runtime.check()
        with self._runtime.lock:
            members = self._runtime.engine.set_of(DEFAULT_SCOPE)
            mine = members.channels_of(self.id)
            return tuple(sorted(c for c in mine if client_id in members.clients(self.id, c)))

    def _close_client(self, client_id: str, mailbox: Mailbox) -> None:
        mailbox.closed = True
        runtime = self._runtime
        if runtime.mailboxes.get(client_id) is mailbox:
            for channel in self._channels_of(client_id):
                runtime.write(ev.Leave(DEFAULT_SCOPE, channel, self.id, client_id, by_client=True))
            runtime.mailboxes.pop(client_id, None)
        mailbox.wake()

    def _forget_members(self, channels: set[str] | None) -> None:
        if channels is None:
            self._members.clear()
        else:
            for channel in channels:
                self._members.pop(channel, None)


class _PerThread(threading.local):
    packer: PayloadPacker | None = None


_per_thread = _PerThread()


def _packer() -> PayloadPacker:
    packer = _per_thread.packer
    if packer is None:
        packer = _per_thread.packer = PayloadPacker()
    return packer


def _unpack_meta(packed: bytes) -> object:
    return unpack(packed) if packed else None


def _check_seeds(seeds: Sequence[str]) -> None:
    if isinstance(seeds, str):
        raise ConfigError(f"seeds must be a list of endpoints; write seeds=[{seeds!r}]")
    for seed in seeds:
        if not is_endpoint(seed):
            raise ConfigError(f"seed {seed!r} cannot be dialled; write tcp://host:port")


def _check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    said = dict(headers)
    parts: list[object] = [*said, *said.values()]  # unchecked callers exist
    sizes = [len(p.encode("utf-8", "surrogatepass")) for p in parts if isinstance(p, str)]
    if len(sizes) != len(parts) or len(said) > 64 or max(sizes, default=0) > 4096:
        raise ConfigError("headers: at most 64, str to str, each at most 4096 bytes")
    return said


def _check_bind(bind: str, advertise: str | None, *, insecure: bool) -> None:
    scheme, _, rest = bind.partition("://")
    if scheme not in ("tcp", "ipc") or not rest:
        raise ConfigError(f"bind={bind!r}: write tcp://host:port, tcp://host:* or ipc://path")
    if advertise is not None and not is_endpoint(advertise):
        raise ConfigError(f"advertise={advertise!r}: write tcp://host:port as others dial it")
    if scheme == "ipc" or rest.startswith(_LOCAL_HOSTS):
        return
    if not insecure:
        raise ConfigError(
            f"bind={bind!r} opens this node to the network without encryption or a secret; pass "
            "insecure=True if that is meant, or bind to 127.0.0.1"
        )
    if advertise is None and rest.startswith(("0.0.0.0:", "*:", "[::]:")):
        raise ConfigError(
            f"bind={bind!r} listens everywhere, which nobody can dial; add "
            "advertise='tcp://this-host:port'"
        )
