"""What a node says to members: the half of `Node` that publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crdtpubsub.arguments import check_confirm, check_headers, per_thread
from crdtpubsub.client import Client
from crdtpubsub.crdt.intervals import count
from crdtpubsub.crdt.token import Token
from crdtpubsub.errors import ConfigError, PayloadTooLargeError, QueueFullError
from crdtpubsub.names import DEFAULT_SCOPE, NodeId, check_channel, check_client
from crdtpubsub.runtime import Receipt, Runtime, To
from crdtpubsub.views import Address, Member
from crdtpubsub.waiting import (
    Settled,
    pause,
    wait_for_room,
    wait_until_seen,
    wait_until_seen_here,
)

__all__ = ["Publisher", "excluded"]

_YIELD_EVERY: Final = 128
_AHEAD_MAX: Final = 256


class Publisher:
    """Messages out. `Node` is one; it is no class of its own for users."""

    def __init__(self, runtime: Runtime, scope: str) -> None:
        """Publish through that runtime, in that scope."""
        self._runtime = runtime
        self._scope = scope
        self._published = 0
        self._say = runtime.streams.say
        self._payload_max = runtime.config.payload_bytes_max

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        exclude: Client | Member | None = None,
        confirm: float | None = None,
        after: Token | None = None,
    ) -> Receipt:
        """Send `data` to every member of `channel` that this node knows of.

        At most once, in order per receiving node while its link lives. Waits while a healthy
        peer's outbox is above its high-water mark, up to `Config.publish_wait_max_s`. A peer
        that took nothing for `Config.publish_stall_s` holds nobody any more: it is refused, and
        the receipt says so, until it has drained.

        With `confirm` each owner answers what became of it, and what is lost on the way is said
        again until then: never twice to one client. It evicts nothing: a client whose queue is
        full does not get it. It may arrive behind what is published later.

        Args:
            channel: it need not have members.
            data: None, bool, int, float, str, bytes, list or dict of them; 16 MiB packed.
            headers: str to str, up to 64; travels with the message.
            exclude: one member that shall not get it, usually the publishing client.
            confirm: wait up to so many seconds for the answers of all owners. Publish from many
                tasks at once: up to 4,096 may be unanswered by one owner.
            after: a `Node.token`, of this or another node. Waits until this node has seen it, and
                gives it to every receiver ahead of the message: whoever gets that has seen what
                the token names (of owners that it has met). With `confirm`, or of more than 256
                writes, it waits until every live linked peer has seen it.

        Returns:
            A `Receipt`: members addressed, and per owner what became of it. With `confirm` that
            is `DELIVERED`, with the number of its clients in `Receipt.clients`; refused, for a
            reason; or `UNKNOWN`: it was sent, not answered in time, and may have arrived.

        Raises:
            PayloadError, PayloadTooLargeError, InvalidNameError: nothing was sent.
            ClosedError, ForkedError: nothing was sent.
            QueueFullError: an owner has 4,096 confirmed messages unanswered, or as many bytes as
                an outbox holds; nothing was sent to anybody. Wait for some of them.
            ConfigError: `confirm` is no time.
            NotSeenError: with `after` and `confirm`: not all had seen it in time; nothing was sent.

        If cancelled while it waits, the message was queued; a confirmed one is said again until
        its time is over.
        """
        if after is not None:
            if confirm is not None:
                check_confirm(confirm)
            await wait_until_seen_here(self._runtime, after)
            named = sum([count(part.births) for part in after.writes])
            if confirm is not None or named > _AHEAD_MAX:
                await wait_until_seen(self._runtime, after, timeout_s=confirm, linked_only=True)
                after = None
        if confirm is not None:
            to = To(self._scope, check_channel(channel))
            return await self._confirmed(to, data, headers, excluded(exclude), confirm)
        payload, receipt = per_thread.packer.pack(data), None
        if len(payload) > self._payload_max:
            raise self._too_large(payload)
        if headers is None and exclude is None and after is None:
            receipt = self._say(self._scope, channel, payload)
        if receipt is None:
            receipt, full = self._publish(channel, payload, headers, exclude, after)
            for endpoint in full:
                await wait_for_room(self._runtime, endpoint)
        self._published += 1
        if self._published % _YIELD_EVERY == 0:
            await pause()  # a publisher that never suspends would starve its own loop
        return receipt

    async def send(
        self,
        to: Member | Address,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: float | None = None,
    ) -> Receipt:
        """Send `data` to one client, wherever it lives.

        Args:
            to: a `Member`, which gets it as long as it is a member of that channel; or an
                `Address`, which names a client whatever it is a member of (`Message.channel` is
                then ''). `Address.parse` reads one from a message.
            data: as for `publish`.
            headers: as for `publish`.
            confirm: as for `publish`.

        Returns:
            A `Receipt` with that one owner. One that is down or without a link is refused.

        Raises:
            as `publish`; and ConfigError: `to` is neither.

        Cancelling it does what it does to `publish`.
        """
        if isinstance(to, Member):
            target = To(self._scope, check_channel(to.channel), to.node, check_client(to.id))
        elif isinstance(to, Address):
            target = To(
                DEFAULT_SCOPE,
                "",  # whatever scopes its node has
                to.node,
                check_client(to.client),
            )
        else:
            raise ConfigError(f"cannot send to {to!r:.80}: use a Member, or Address.parse(text)")
        if confirm is not None:
            return await self._confirmed(target, data, headers, None, confirm)
        full: list[str] = []
        payload, said = self._packed(data, headers)
        receipt = self._runtime.asker.send(target, payload, said, full)
        for endpoint in full:
            await wait_for_room(self._runtime, endpoint)
        return receipt

    async def _confirmed(
        self,
        to: To,
        data: object,
        headers: Mapping[str, str] | None,
        exclude: tuple[NodeId, str] | None,
        confirm: float,
    ) -> Receipt:
        check_confirm(confirm)
        payload, said = self._packed(data, headers)
        settled = Settled()
        ticket = self._runtime.asker.confirmed(
            to,
            payload,
            said,
            exclude,
            confirm_s=confirm,
            waker=settled.waker,
            done=settled.done,
        )
        if ticket.open:
            await settled.wait()
        return ticket.receipt()

    def publish_nowait(
        self,
        channel: str,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        exclude: Client | Member | None = None,
    ) -> int:
        """As `publish`, without waiting for anybody.

        Args:
            channel: as for `publish`.
            data: as for `publish`.
            headers: as for `publish`.
            exclude: as for `publish`.

        Returns:
            How many members it was addressed to.

        Raises:
            QueueFullError: no owner could take it: outboxes full, or no link; counted.
            PayloadError, PayloadTooLargeError, InvalidNameError: nothing was sent.
            ClosedError, ForkedError: nothing was sent.
        """
        payload = per_thread.packer.pack(data)
        if len(payload) > self._payload_max:
            raise self._too_large(payload)
        if headers is None and exclude is None:
            short = self._say(self._scope, channel, payload)
            if short is not None:
                return short.members
        receipt, _ = self._publish(channel, payload, headers, exclude)
        if (
            receipt.owners
            and not receipt.members
            and all(outcome.refused for outcome in receipt.owners.values())
        ):
            raise QueueFullError(f"no owner of {channel!r} could take it: {receipt.owners}")
        return receipt.members

    def _publish(
        self,
        channel: str,
        payload: bytes,
        headers: Mapping[str, str] | None,
        exclude: Client | Member | None,
        after: Token | None = None,
    ) -> tuple[Receipt, list[str]]:
        said, but = _checked(headers), excluded(exclude)
        return self._runtime.publish(
            self._scope, check_channel(channel), payload, headers=said, exclude=but, after=after
        )

    def _packed(
        self, data: object, headers: Mapping[str, str] | None
    ) -> tuple[bytes, dict[str, str]]:
        payload = per_thread.packer.pack(data)
        if len(payload) > self._payload_max:
            raise self._too_large(payload)
        return payload, _checked(headers)

    def _too_large(self, payload: bytes) -> PayloadTooLargeError:
        size_bytes, limit_bytes = len(payload), self._payload_max
        return PayloadTooLargeError(what="payload", size_bytes=size_bytes, limit_bytes=limit_bytes)


def _checked(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {} if headers is None else check_headers(headers)


def excluded(who: Client | Member | None) -> tuple[NodeId, str] | None:
    """Who shall not get it: owner and client id."""
    if who is None:
        return None
    if not isinstance(who, Client | Member):
        raise ConfigError(f"exclude={who!r:.80}: use a Client, or one of members()")
    return (who.node.id if isinstance(who, Client) else who.node, who.id)
