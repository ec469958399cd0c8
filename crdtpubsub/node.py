"""The asyncio door: `Node`. Thin: it checks arguments, packs, waits; the runtime does."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

from crdtpubsub.arguments import check_bind, check_queue, check_seeds, made_from_environment
from crdtpubsub.client import Client, Subscription
from crdtpubsub.config import Config
from crdtpubsub.engine import events as ev
from crdtpubsub.errors import ClosedError, ConfigError, PayloadTooLargeError
from crdtpubsub.knowing import Knower
from crdtpubsub.names import DEFAULT_SCOPE, NodeId, check_channel, check_client, check_label
from crdtpubsub.runtime import MAX_PENDING_BYTES, Mailbox, Overflow, Runtime
from crdtpubsub.transport import CurveSecurity
from crdtpubsub.views import Member, Peer
from crdtpubsub.waiting import wait_until, wait_until_drained, wait_until_seen
from crdtpubsub.wire.payload import pack

__all__ = ["Node"]

LOOPBACK: Final = "tcp://127.0.0.1:*"


class Node(Knower):
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
        secret: str | Sequence[str] | None = None,
        insecure: bool = False,
        config: Config | None = None,
    ) -> None:
        """Describe a node; nothing happens before `start`.

        Args:
            bind: where to listen, `tcp://host:port` (`*` as port takes a free one) or
                `ipc://path`. None: a free port on 127.0.0.1 if there are `seeds`; else in the
                directory in which the nodes of one user on one host meet, those of one cluster
                name: they find each other by themselves.
            seeds: endpoints of other nodes, `tcp://host:port`, or `dns://name:port` for every
                address that the name has. Names are resolved again every
                `Config.discovery_interval_s`. One that answers is enough; those that do not are
                retried for ever and `start` does not fail for them.
            advertise: the endpoint others shall dial, where it differs from `bind`.
            name: a human label, 1 to 255 bytes; need not be unique.
            cluster: nodes of different clusters never talk, whatever they dial.
            secret: only who holds it can join, and all links are encrypted, on loopback and ipc
                too: SECURITY.md says what that gives. At least 16 characters, not shown again
                anywhere; `crdtpubsub keygen` prints one. To change it, give a list: listen with
                the first, dial with each in turn, admit all. Restart node by node with
                `[old, new]`, then with `[new, old]`, then with `new`. Costs about 50 ms each.
            insecure: allow listening beyond this host without a secret, nothing encrypted or
                authenticated. On loopback without one every local user can join: mind that too.
            config: the knobs.

        Raises:
            ConfigError: an argument makes no sense, or opens this node to the network without
                `secret` or `insecure=True`; or there is a secret, and no CURVE in this libzmq.
            InvalidNameError: `name` or `cluster` is no name.
        """
        check_seeds(seeds)
        if bind is None and (seeds or advertise is not None):
            bind = LOOPBACK
        if bind is not None:
            check_bind(bind, advertise, meant=insecure or secret is not None)
        if name is not None:
            check_label(name)
        runtime = Runtime(
            bind=bind,
            seeds=tuple(seeds),
            advertise=advertise,
            name=name,
            cluster=check_label(cluster),
            config=config or Config(),
            security=None if secret is None else CurveSecurity(secret),
        )
        super().__init__(runtime)
        self._started = False

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """A node as the environment describes it, for containers; nothing happens before `start`.

        Read are `CRDTPUBSUB_BIND`, `_SEEDS` (separated by commas), `_ADVERTISE`, `_NAME`,
        `_CLUSTER` and `_SECRET` (several, for a rotation, separated by commas: a secret with a
        comma in it must be passed as `secret=`). What is not set is as without: see `Node`.

        Args:
            overrides: arguments of `Node`; they win over the environment.

        Raises:
            ConfigError: a value makes no sense; the message names the variable, or the argument.
        """
        return made_from_environment(cls, overrides)

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
            ClosedError: another task closed it meanwhile.

        If cancelled, the node is closed.
        """
        if self._started:
            raise ConfigError(f"node {self.name} was started before; make a new Node")
        self._started = True
        runtime = self._runtime
        try:
            runtime.start()
            await wait_until(runtime.bell, runtime.started)
        except GeneratorExit:  # dropped: there is no more waiting
            runtime.stop()
            raise
        except BaseException:  # cancelled, or interrupted
            await self.close()
            raise
        if runtime.closed:
            raise ClosedError(f"node {self.name} was closed while it started")
        return self

    async def close(self) -> None:
        """Say goodbye (peers drop our members at once), and stop. Idempotent; under a second.

        What is queued for slow peers is dropped after a quarter of a second: see `drain`. Clients
        are closed; what is queued for them can still be read. From any thread and any event loop,
        several at a time, also while the node starts. A cancelled `close` still closes.

        A node that is not closed is closed at the exit of the process, and with a
        `ResourceWarning` when the garbage collector finds it.
        """
        runtime = self._runtime
        runtime.stop()
        await wait_until(runtime.bell, runtime.ended)
        runtime.close()

    async def drain(self, *, timeout: float = 10.0) -> None:
        """Leave, see to it that what was published arrives, and close: for a rolling restart.

        From the call on this node takes nothing new: `publish`, `join`, `client` and `subscribe`
        raise `ClosedError`, in every thread. Its clients leave all channels, without an `Exit`,
        so that nobody sends to them any more; what they have queued can be read, also afterwards.
        Then it waits until each peer has acknowledged every publication that a `Receipt` called
        queued: its node has taken them out of the network and put them into the queues of its
        clients. (`close` drops after a quarter of a second what a slow peer has not taken, and so
        does ZeroMQ's own linger.) Then it says goodbye and closes, whatever happened.

        Args:
            timeout: seconds to wait for the peers.

        Raises:
            DrainError: not everything was acknowledged in time, or a link broke with something
                on its way; it names the peers and counts the publications. The node is closed.
            ClosedError: it does not run, or somebody closed it meanwhile.

        If cancelled, the node is closed, as by `close`.
        """
        self._runtime.check()
        try:
            await wait_until_drained(self._runtime, timeout)
        finally:
            await self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        runtime = getattr(self, "_runtime", None)  # not there if the arguments were refused
        if runtime is not None and runtime.running:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            runtime.stop()

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

    async def join(
        self,
        channel: str,
        client: Client,
        *,
        meta: object = None,
        wait: Literal["all"] | int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Make a client of this node a member of `channel`.

        Visible here when this returns, and on the others about a millisecond later. Joining
        where it is a member already changes the metadata, if `meta` is given, and nothing else.

        Args:
            channel: 1 to 255 bytes of UTF-8 without control characters.
            client: from `Node.client`, of this node.
            meta: anything msgpack packs, up to 4 KiB packed; shown by `Member.meta`.
            wait: "all": return when every live peer lists it, about a round trip later; a
                number: when so many do. None: at once.
            timeout: seconds to wait for them; None waits for ever.

        Raises:
            InvalidNameError, PayloadError, PayloadTooLargeError: nothing was changed.
            ConfigError: the client belongs to another node, or `wait` makes no sense.
            NotSeenError: it is a member, and not all that were waited for are known to know.
            ClosedError: the client or the node is closed.
        """
        self._own(client)
        packed = None if meta is None else self._packed_meta(meta)
        if wait is not None and wait != "all" and (type(wait) is not int or wait < 1):
            raise ConfigError(f"wait={wait!r}: say 'all', or how many peers shall know")
        event = ev.Join(DEFAULT_SCOPE, check_channel(channel), client.id, meta=packed)
        runtime = self._runtime
        runtime.write(event, client._mailbox)  # noqa: SLF001
        if wait is not None:
            with runtime.core.lock:
                knowing = runtime.core.engine.knowing
                token = knowing.membership(DEFAULT_SCOPE, channel, client.id)
            enough = None if wait == "all" else wait
            await wait_until_seen(runtime, token, timeout_s=timeout, enough=enough)

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
            include_down: also those whose node is unreachable, and who come back with it:
                `Member.down` tells them. Who left, or whose node was closed, is in neither.
        """
        if include_down:
            return self._views.members_with_down(channel)
        return self._views.members(channel)

    def local_members(self, channel: str) -> tuple[Member, ...]:
        """Those of them that live on this node."""
        return tuple(m for m in self.members(channel) if m.node == self.id)

    def count(self, channel: str) -> int:
        """How many members `channel` has."""
        return self._views.count(channel)

    def channels(self, prefix: str = "") -> tuple[str, ...]:
        """Every channel that has a member or was declared by a node that is up, sorted."""
        return self._views.channels(prefix)

    def local_channels(self, prefix: str = "") -> tuple[str, ...]:
        """Those in which this node has members or a declaration, sorted."""
        return self._views.local_channels(prefix)

    def peers(self) -> tuple[Peer, ...]:
        """Every other node this one holds, sorted by id."""
        return self._views.peers()

    # ---------------------------------------------------------------- messages

    def client(
        self,
        id: str | None = None,
        *,
        max_pending: int = 1024,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        overflow: Overflow = "drop_oldest",
    ) -> Client:
        """Make a mailbox on this node.

        Args:
            id: unique on this node, 1 to 255 bytes; None draws one.
            max_pending: messages queued before `overflow` acts; at least 1.
            max_pending_bytes: the same in bytes of payload and headers; at least 1. An empty
                queue takes a message of any size.
            overflow: `drop_oldest`, `drop_newest` or `close` (the client).

        Raises:
            ConfigError: a client of this id is open here, or a limit makes no sense.
            InvalidNameError, ClosedError, ForkedError
        """
        self._runtime.check()
        check_queue(max_pending, max_pending_bytes, overflow)
        client_id = f"c-{os.urandom(8).hex()}" if id is None else check_client(id)
        mailbox = self._runtime.mailbox(
            client_id,
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
            overflow=overflow,
        )
        client = Client(self, client_id, mailbox)
        self._runtime.open_mailbox(client_id, mailbox)
        return client

    def subscribe(
        self,
        *channels: str,
        id: str | None = None,
        meta: object = None,
        max_pending: int = 1024,
        max_pending_bytes: int = MAX_PENDING_BYTES,
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
        client = self.client(
            id, max_pending=max_pending, max_pending_bytes=max_pending_bytes, overflow=overflow
        )
        return Subscription(client, channels, meta)

    # ---------------------------------------------------------------- inside

    def _packed_meta(self, meta: object) -> bytes:
        packed = pack(meta)
        limit = self._runtime.config.meta_bytes_max
        if len(packed) > limit:
            raise PayloadTooLargeError(what="metadata", size_bytes=len(packed), limit_bytes=limit)
        return packed

    def _update(self, channel: str, client: Client, meta: object) -> None:
        self._own(client)
        packed = b"" if meta is None else self._packed_meta(meta)
        event = ev.Update(DEFAULT_SCOPE, check_channel(channel), client.id, packed)
        if not self._runtime.write(event):
            raise ConfigError(f"{client.id!r} is no member of {channel!r}; join it first")

    def _own(self, client: Client) -> None:
        if client.node is not self:
            raise ConfigError(
                f"client {client.id!r} lives on {client.node.name!r}; use that node's join or leave"
            )
        if client.closed:
            raise ClosedError(f"client {client.id!r} is closed")

    def _close_client(self, client_id: str, mailbox: Mailbox) -> None:
        mailbox.closed = True
        self._runtime.close_mailbox(client_id, mailbox, self._views.channels_of)
        mailbox.wake()
