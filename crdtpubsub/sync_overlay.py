"""What the blocking doors share: the twin of `Overlay`, and `SyncScope`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeVar

from crdtpubsub.blocking import explained, run
from crdtpubsub.client import Client
from crdtpubsub.crdt.token import Token
from crdtpubsub.overlay import Overlay
from crdtpubsub.reading import SyncClient, SyncEvents, SyncSubscription, SyncWatch
from crdtpubsub.runtime import MAX_PENDING_BYTES, Message, Overflow, Receipt
from crdtpubsub.scope import Scope
from crdtpubsub.views import Address, Member, Peer, Stats

if TYPE_CHECKING:
    from crdtpubsub.sync import SyncNode

__all__ = ["SyncOverlay", "SyncScope"]


@explained(Overlay)
class SyncOverlay:
    """A set of channels and what is said in them. `SyncNode` is one, and each `SyncScope`."""

    def __init__(self, overlay: Overlay) -> None:
        """The twin of that one."""
        self._overlay = overlay

    @property
    @abstractmethod
    def node(self) -> SyncNode:
        """The node whose overlay it is."""

    # ---------------------------------------------------------------- the control map

    def add_channel(self, channel: str) -> None:
        """As `Node.add_channel`, blocking."""
        run(self._overlay.add_channel(channel))

    def del_channel(self, channel: str) -> int:
        """As `Node.del_channel`, blocking."""
        return run(self._overlay.del_channel(channel))

    def join(
        self,
        channel: str,
        client: SyncClient | Member,
        *,
        meta: object = None,
        queue: str | None = None,
        wait: Literal["all"] | int | None = None,
        timeout: float | None = None,
    ) -> None:
        """As `Node.join`, blocking."""
        joining = self._overlay.join(
            channel, _plain(client), meta=meta, queue=queue, wait=wait, timeout=timeout
        )
        run(joining)

    def leave(self, channel: str, member: SyncClient | Member) -> bool:
        """As `Node.leave`, blocking."""
        return run(self._overlay.leave(channel, _plain(member)))

    def members(self, channel: str, *, include_down: bool = False) -> tuple[Member, ...]:
        """As `Node.members`."""
        return self._overlay.members(channel, include_down=include_down)

    def local_members(self, channel: str) -> tuple[Member, ...]:
        """As `Node.local_members`."""
        return self._overlay.local_members(channel)

    def count(self, channel: str) -> int:
        """As `Node.count`."""
        return self._overlay.count(channel)

    def channels(self, prefix: str = "") -> tuple[str, ...]:
        """As `Node.channels`."""
        return self._overlay.channels(prefix)

    def local_channels(self, prefix: str = "") -> tuple[str, ...]:
        """As `Node.local_channels`."""
        return self._overlay.local_channels(prefix)

    # ---------------------------------------------------------------- messages

    def client(
        self,
        id: str | None = None,
        *,
        max_pending: int = 1024,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        overflow: Overflow = "drop_oldest",
    ) -> SyncClient:
        """As `Node.client`."""
        client = self._overlay.client(
            id, max_pending=max_pending, max_pending_bytes=max_pending_bytes, overflow=overflow
        )
        return SyncClient(self.node, client)

    def subscribe(
        self,
        *channels: str,
        id: str | None = None,
        meta: object = None,
        queue: str | None = None,
        max_pending: int = 1024,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        overflow: Overflow = "drop_oldest",
    ) -> SyncSubscription:
        """As `await Node.subscribe`: it has joined when this returns."""
        subscription = self._overlay.subscribe(
            *channels,
            id=id,
            meta=meta,
            queue=queue,
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
            overflow=overflow,
        )
        return SyncSubscription(self.node, run(subscription.__aenter__()))

    def publish(
        self,
        channel: str,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        exclude: SyncClient | Member | None = None,
        confirm: float | None = None,
        after: Token | None = None,
    ) -> Receipt:
        """As `Node.publish`, blocking."""
        but = _plain(exclude)
        publishing = self._overlay.publish(
            channel, data, headers=headers, exclude=but, confirm=confirm, after=after
        )
        return run(publishing)

    def publish_nowait(
        self,
        channel: str,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        exclude: SyncClient | Member | None = None,
    ) -> int:
        """As `Node.publish_nowait`."""
        return self._overlay.publish_nowait(channel, data, headers=headers, exclude=_plain(exclude))

    def send(
        self,
        to: Member | Address,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: float | None = None,
    ) -> Receipt:
        """As `Node.send`, blocking."""
        return run(self._overlay.send(to, data, headers=headers, confirm=confirm))

    def request(
        self,
        to: str | Member | Address,
        data: object,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        exclude: SyncClient | Member | None = None,
    ) -> Message:
        """As `Node.request`, blocking."""
        but = _plain(exclude)
        asking = self._overlay.request(to, data, timeout=timeout, headers=headers, exclude=but)
        return run(asking)

    # ---------------------------------------------------------------- knowing

    def watch(self, channel: str | None = None, *, prefix: str | None = None) -> SyncWatch:
        """As `Node.watch`; a blocking iterator."""
        return SyncWatch(self._overlay.watch(channel, prefix=prefix))

    def wait_for(
        self, channel: str, count: int = 1, *, timeout: float | None = None
    ) -> tuple[Member, ...]:
        """As `Node.wait_for`, blocking."""
        return run(self._overlay.wait_for(channel, count, timeout=timeout))

    def token(self) -> Token:
        """As `Node.token`."""
        return self._overlay.token()

    def synced(self, token: Token | None = None, *, timeout: float | None = None) -> None:
        """As `Node.synced`, blocking."""
        run(self._overlay.synced(token, timeout=timeout))

    def converged(self, *, timeout: float | None = None) -> tuple[Peer, ...]:
        """As `Node.converged`, blocking."""
        return run(self._overlay.converged(timeout=timeout))

    def events(self) -> SyncEvents:
        """As `Node.events`; a blocking iterator."""
        return SyncEvents(self._overlay.events())

    def stats(self) -> Stats:
        """As `Node.stats`."""
        return self._overlay.stats()


@explained(Scope)
class SyncScope(SyncOverlay):
    """The blocking twin of `Scope`: channels of their own. Made by `SyncNode.scope`.

    For many threads at once. A `KeyboardInterrupt` leaves a call that waits at once.

    Raises, from any call, with nothing changed:
        ClosedError: the scope was closed, or its node does not run.
        ForkedError: the node was made before `os.fork`, in the parent of this process.
        InvalidNameError: what shall be a name is none: 1 to 255 bytes of UTF-8, no controls.
        ConfigError: an argument makes no sense; the message names it, and the remedy.
    """

    def __init__(self, node: SyncNode, scope: Scope) -> None:
        """Use `SyncNode.scope` instead."""
        super().__init__(scope)
        self._scope = scope
        self._node = node

    def __repr__(self) -> str:
        return f"Sync{self._scope!r}"

    @property
    def name(self) -> str:
        """What it was opened by."""
        return self._scope.name

    @property
    def node(self) -> SyncNode:
        """The node it was opened on."""
        return self._node

    def close(self) -> None:
        """As `Scope.close`, blocking."""
        run(self._scope.close())


T = TypeVar("T")


def _plain(who: SyncClient | T) -> Client | T:
    return who._client if isinstance(who, SyncClient) else who  # noqa: SLF001  (our own twin)
