"""One overlay of a node: its control map, its clients, and what is said in it."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from crdtpubsub.arguments import check_queue, check_timeout
from crdtpubsub.client import Client, Subscription
from crdtpubsub.engine import events as ev
from crdtpubsub.errors import ClosedError, ConfigError, PayloadTooLargeError
from crdtpubsub.names import check_channel, check_client, check_group
from crdtpubsub.requesting import Requester
from crdtpubsub.runtime import MAX_PENDING_BYTES, Mailbox, Overflow
from crdtpubsub.views import Member
from crdtpubsub.waiting import wait_until_seen
from crdtpubsub.wire.payload import pack

if TYPE_CHECKING:
    from crdtpubsub.node import Node

__all__ = ["Overlay"]


class Overlay(Requester):
    """A set of channels and what is said in them. `Node` is one, and each `Scope`."""

    @property
    @abstractmethod
    def node(self) -> Node:
        """The node whose overlay it is."""

    # ---------------------------------------------------------------- the control map

    async def add_channel(self, channel: str) -> None:
        """Let `channel` exist while this node lives, members or not. Idempotent.

        Args:
            channel: 1 to 255 bytes of UTF-8 without control characters.

        Raises:
            InvalidNameError, ClosedError, ForkedError: nothing was changed.
        """
        self._runtime.write(ev.Declare(self._scope, check_channel(channel)))

    async def del_channel(self, channel: str) -> int:
        """End every membership and declaration of `channel` that this node has observed.

        Each client whose membership it ended gets one `Exit`, on whichever node it lives. What
        is joined concurrently elsewhere stays.

        Args:
            channel: any; an unknown one has nothing to end.

        Returns:
            How many memberships it ended. Done here when this returns; others follow.
        """
        return self._runtime.write(ev.DeleteChannel(self._scope, check_channel(channel)))

    async def join(
        self,
        channel: str,
        client: Client | Member,
        *,
        meta: object = None,
        queue: str | None = None,
        wait: Literal["all"] | int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Make a client a member of `channel`: one of this node, or of another.

        Visible here when this returns, and on the others about a millisecond later. Joining
        where it is a member already changes the metadata, if `meta` is given, and its group, if
        `queue` is, and nothing else.

        Another node's client is named by a `Member` of any channel. Its owner is asked, has it
        join as if it had done so itself, and answers: about a round trip.

        Args:
            channel: 1 to 255 bytes of UTF-8 without control characters.
            client: from `Node.client`, of this node; or one of `members()`.
            meta: anything msgpack packs, up to 4 KiB packed; shown by `Member.meta`.
            queue: a queue group, named like a channel: of all members of one group, on all nodes,
                one gets each message, each as many as the next. To leave it, leave the channel.
            wait: "all": return when every live peer lists it, about a round trip later; a
                number: when so many do. None: at once.
            timeout: seconds to wait for them; None waits for ever. The owner of a `Member` has
                so long to answer, and 10 s if None.

        Raises:
            InvalidNameError, PayloadError, PayloadTooLargeError: nothing was changed.
            ConfigError: the client is none, or of another node; or `wait` makes no sense.
            NotSeenError: it is a member, and not all that were waited for are known to know.
            ClosedError: the client or the node is closed.
            UnreachableError: of a `Member`: no link to its owner, nothing was changed; or it did
                not answer, and may have done it.
            QueueFullError: of a `Member`: its owner takes no more just now; nothing was changed.

        If cancelled, it may be a member, or become one.
        """
        if meta is queue is wait is timeout is None and isinstance(client, Client):
            self._enter(channel, client)  # nearly always
            return
        if not isinstance(client, Member):
            self._own(client)
        packed = None if meta is None else self._packed_meta(meta)
        if wait is not None and wait != "all" and (type(wait) is not int or wait < 1):
            raise ConfigError(f"wait={wait!r}: say 'all', or how many peers shall know")
        group = "" if queue is None else check_group(queue)
        check_timeout(timeout)
        check_channel(channel)
        runtime, owner = self._runtime, self._runtime.id
        if isinstance(client, Client):
            runtime.joiner.join(channel, client.id, client._mailbox, group, packed)  # noqa: SLF001
        elif client.node == owner:
            event = ev.Join(self._scope, channel, client.id, group, packed)
            runtime.asker.requests.join_mine(event)
        else:
            owner = client.node
            timeout = await self._invite(channel, client, packed, group, timeout)
        if wait is not None:
            with runtime.core.lock:
                knowing = runtime.core.engine.knowing
                token = knowing.membership(self._scope, channel, owner, client.id)
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
            check_channel(channel)
            return self._runtime.joiner.leave(channel, member.id, member._mailbox)  # noqa: SLF001
        if not isinstance(member, Member):
            raise ConfigError(f"{member!r:.80} is no member; use a Client, or one of members()")
        event = ev.Leave(self._scope, check_channel(channel), member.node, member.id, False)
        return bool(self._runtime.write(event))

    def members(self, channel: str, *, include_down: bool = False) -> tuple[Member, ...]:
        """Everybody in `channel`, on every node that is up, sorted by node and id.

        The list is kept: to read it again costs nothing, and after a change it is mended.

        Args:
            channel: any channel; an unknown one has no members.
            include_down: also those whose node is unreachable, and who come back with it:
                `Member.down` tells them. Who left, or whose node was closed, is in neither.
        """
        if include_down:
            return self._views.members_with_down(channel)
        try:
            return self._views.listed[channel]  # empty, where reads are refused
        except (KeyError, TypeError):
            return self._views.members(channel)

    def local_members(self, channel: str) -> tuple[Member, ...]:
        """Those of the members of `channel` that live on this node."""
        return tuple(m for m in self.members(channel) if m.node == self._runtime.id)

    def count(self, channel: str) -> int:
        """How many members `channel` has."""
        return self._views.count(channel)

    def channels(self, prefix: str = "") -> tuple[str, ...]:
        """Every channel that has a member or was declared by a node that is up, sorted.

        Args:
            prefix: only those that begin with it; "" for all.
        """
        return self._views.channels(prefix)

    def local_channels(self, prefix: str = "") -> tuple[str, ...]:
        """Those in which this node has members or a declaration, sorted.

        Args:
            prefix: as for `channels`.
        """
        return self._views.local_channels(prefix)

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
        mailbox = Mailbox(
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
            overflow=overflow,
            on_drop=self._runtime.core.drops_of(client_id),
            scope=self._scope,
            client=client_id,
            underway=self._runtime.core.spread,
        )
        client = Client(self, client_id, mailbox)
        self._runtime.open_mailbox(client_id, mailbox)
        return client

    def subscribe(
        self,
        *channels: str,
        id: str | None = None,
        meta: object = None,
        queue: str | None = None,
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
        if queue is not None:
            check_group(queue)
        client = self.client(
            id, max_pending=max_pending, max_pending_bytes=max_pending_bytes, overflow=overflow
        )
        return Subscription(client, channels, meta, queue)

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
        event = ev.Update(self._scope, check_channel(channel), client.id, packed)
        if not self._runtime.write(event):
            raise ConfigError(f"{client.id!r} is no member of {channel!r}; join it first")

    def _enter(self, channel: str, client: Client) -> None:
        """Join, and nothing else: no coroutine, since nothing is waited for."""
        mailbox = client._mailbox  # noqa: SLF001  (handles of one family)
        if client._home is not self or mailbox.closed:  # noqa: SLF001
            self._own(client)
        self._runtime.joiner.join(check_channel(channel), client.id, mailbox)

    def _own(self, client: Client) -> None:
        if not isinstance(client, Client):
            raise ConfigError(f"{client!r:.80} is no client; make one: node.client('its id')")
        if client._home._runtime is not self._runtime:  # noqa: SLF001  (handles of one family)
            raise ConfigError(
                f"client {client.id!r} lives on {client.node.name!r}; use that node's join or leave"
            )
        if client._home._scope != self._scope:  # noqa: SLF001
            raise ConfigError(
                f"client {client.id!r} belongs to scope {client._home._scope!r}, "  # noqa: SLF001
                f"not to {self._scope!r}; make one with the client() of this scope"
            )
        if client.closed:
            raise ClosedError(f"client {client.id!r} is closed")

    def _close_client(self, client_id: str, mailbox: Mailbox) -> None:
        mailbox.shut()
        self._runtime.close_mailbox(client_id, mailbox, self._views.channels_of)
        mailbox.wake()
