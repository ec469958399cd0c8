"""What a node says to members: the half of `Node` that publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from crdtpubsub.arguments import check_headers, packer
from crdtpubsub.client import Client
from crdtpubsub.errors import PayloadTooLargeError, QueueFullError
from crdtpubsub.names import DEFAULT_SCOPE, NodeId, check_channel
from crdtpubsub.runtime import Receipt, Runtime
from crdtpubsub.views import Member
from crdtpubsub.waiting import wait_for_room

__all__ = ["Publisher"]

_YIELD_EVERY: Final = 128


class Publisher:
    """Messages out. `Node` is one; it is no class of its own for users."""

    def __init__(self, runtime: Runtime) -> None:
        """Publish through that runtime."""
        self._runtime = runtime
        self._published = 0

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
            await wait_for_room(self._runtime, endpoint)
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
            QueueFullError: no owner could take it: outboxes full, or no link; counted.
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
        payload = packer().pack(data)
        limit = self._runtime.config.payload_bytes_max
        if len(payload) > limit:
            raise PayloadTooLargeError(what="payload", size_bytes=len(payload), limit_bytes=limit)
        but: tuple[NodeId, str] | None = None
        if isinstance(exclude, Client):
            but = (exclude.node.id, exclude.id)
        elif exclude is not None:
            but = (exclude.node, exclude.id)
        said = check_headers(headers) if headers else {}
        return self._runtime.publish(
            DEFAULT_SCOPE, check_channel(channel), payload, headers=said, exclude=but
        )
