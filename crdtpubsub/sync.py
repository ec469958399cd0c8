"""The blocking door: `SyncNode`, the twin of `Node`. It has no logic of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from crdtpubsub.arguments import made_from_environment
from crdtpubsub.blocking import explained, run
from crdtpubsub.client import Client
from crdtpubsub.config import Config
from crdtpubsub.crdt.token import Token
from crdtpubsub.names import NodeId
from crdtpubsub.node import Node
from crdtpubsub.reading import SyncClient, SyncEvents, SyncSubscription, SyncWatch
from crdtpubsub.runtime import MAX_PENDING_BYTES, Overflow, Receipt
from crdtpubsub.views import Address, Member, Peer, Stats

__all__ = ["SyncNode"]


@explained(Node)
class SyncNode:
    """This process in the cluster, for blocking code: `with SyncNode(...)`.

    The same names as `Node` without `await`. Every method is safe to call from many threads at
    once. In a thread that runs an event loop a call blocks that loop, and nothing more: the node
    lives in a thread of its own. In asyncio use `Node`, or `asyncio.to_thread`. A
    `KeyboardInterrupt` leaves a call that waits at once; nothing that came is lost by it.

    A node belongs to the process that started it and is started once: a server that forks its
    workers starts one in each.
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
        """Describe a node; nothing happens before `start`. Arguments and errors as for `Node`."""
        self._node = Node(
            bind,
            seeds=seeds,
            advertise=advertise,
            name=name,
            cluster=cluster,
            secret=secret,
            insecure=insecure,
            config=config,
        )

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """As `Node.from_env`."""
        return made_from_environment(cls, overrides)

    def __repr__(self) -> str:
        return f"Sync{self._node!r}"

    # ---------------------------------------------------------------- life

    @property
    def id(self) -> NodeId:
        """This life; drawn anew for each node."""
        return self._node.id

    @property
    def name(self) -> str:
        """Its human label."""
        return self._node.name

    @property
    def endpoint(self) -> str:
        """What peers dial; empty before `start`."""
        return self._node.endpoint

    def start(self) -> Self:
        """As `Node.start`, blocking."""
        run(self._node.start())
        return self

    def close(self) -> None:
        """As `Node.close`, blocking."""
        run(self._node.close())

    def drain(self, *, timeout: float = 10.0) -> None:
        """As `Node.drain`, blocking."""
        run(self._node.drain(timeout=timeout))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- the control map

    def add_channel(self, channel: str) -> None:
        """As `Node.add_channel`, blocking."""
        run(self._node.add_channel(channel))

    def del_channel(self, channel: str) -> int:
        """As `Node.del_channel`, blocking."""
        return run(self._node.del_channel(channel))

    def join(
        self,
        channel: str,
        client: SyncClient,
        *,
        meta: object = None,
        wait: Literal["all"] | int | None = None,
        timeout: float | None = None,
    ) -> None:
        """As `Node.join`, blocking."""
        run(self._node.join(channel, _plain(client), meta=meta, wait=wait, timeout=timeout))

    def leave(self, channel: str, member: SyncClient | Member) -> bool:
        """As `Node.leave`, blocking."""
        return run(self._node.leave(channel, _plain(member)))

    def members(self, channel: str, *, include_down: bool = False) -> tuple[Member, ...]:
        """As `Node.members`."""
        return self._node.members(channel, include_down=include_down)

    def local_members(self, channel: str) -> tuple[Member, ...]:
        """As `Node.local_members`."""
        return self._node.local_members(channel)

    def count(self, channel: str) -> int:
        """As `Node.count`."""
        return self._node.count(channel)

    def channels(self, prefix: str = "") -> tuple[str, ...]:
        """As `Node.channels`."""
        return self._node.channels(prefix)

    def local_channels(self, prefix: str = "") -> tuple[str, ...]:
        """As `Node.local_channels`."""
        return self._node.local_channels(prefix)

    def peers(self) -> tuple[Peer, ...]:
        """As `Node.peers`."""
        return self._node.peers()

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
        client = self._node.client(
            id, max_pending=max_pending, max_pending_bytes=max_pending_bytes, overflow=overflow
        )
        return SyncClient(self, client)

    def subscribe(
        self,
        *channels: str,
        id: str | None = None,
        meta: object = None,
        max_pending: int = 1024,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        overflow: Overflow = "drop_oldest",
    ) -> SyncSubscription:
        """As `await Node.subscribe`: it has joined when this returns."""
        subscription = self._node.subscribe(
            *channels,
            id=id,
            meta=meta,
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
            overflow=overflow,
        )
        return SyncSubscription(self, run(subscription.__aenter__()))

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
        publishing = self._node.publish(
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
        return self._node.publish_nowait(channel, data, headers=headers, exclude=_plain(exclude))

    def send(
        self,
        to: Member | Address,
        data: object,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: float | None = None,
    ) -> Receipt:
        """As `Node.send`, blocking."""
        return run(self._node.send(to, data, headers=headers, confirm=confirm))

    # ---------------------------------------------------------------- knowing

    def watch(self, channel: str | None = None, *, prefix: str | None = None) -> SyncWatch:
        """As `Node.watch`; a blocking iterator."""
        return SyncWatch(self._node.watch(channel, prefix=prefix))

    def wait_for(
        self, channel: str, count: int = 1, *, timeout: float | None = None
    ) -> tuple[Member, ...]:
        """As `Node.wait_for`, blocking."""
        return run(self._node.wait_for(channel, count, timeout=timeout))

    def token(self) -> Token:
        """As `Node.token`."""
        return self._node.token()

    def synced(self, token: Token | None = None, *, timeout: float | None = None) -> None:
        """As `Node.synced`, blocking."""
        run(self._node.synced(token, timeout=timeout))

    def converged(self, *, timeout: float | None = None) -> tuple[Peer, ...]:
        """As `Node.converged`, blocking."""
        return run(self._node.converged(timeout=timeout))

    def events(self) -> SyncEvents:
        """As `Node.events`; a blocking iterator."""
        return SyncEvents(self._node.events())

    def stats(self) -> Stats:
        """As `Node.stats`."""
        return self._node.stats()


T = TypeVar("T")


def _plain(who: SyncClient | T) -> Client | T:
    return who._client if isinstance(who, SyncClient) else who  # noqa: SLF001  (our own twin)
