"""The blocking door: `SyncNode`, the twin of `Node`. It has no logic of its own."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from crdtpubsub.arguments import made_from_environment
from crdtpubsub.blocking import explained, run
from crdtpubsub.config import Config
from crdtpubsub.names import NodeId
from crdtpubsub.node import Node
from crdtpubsub.sync_overlay import SyncOverlay, SyncScope
from crdtpubsub.views import Peer

__all__ = ["SyncNode"]


@explained(Node)
class SyncNode(SyncOverlay):
    """This process in the cluster, for blocking code: `with SyncNode(...)`.

    The same names as `Node` without `await`. Every method is safe to call from many threads at
    once. In a thread that runs an event loop a call blocks that loop, and nothing more: the node
    lives in a thread of its own. In asyncio use `Node`, or `asyncio.to_thread`. A
    `KeyboardInterrupt` leaves a call that waits at once; nothing that came is lost by it.

    A node belongs to the process that started it and is started once: a server that forks its
    workers starts one in each.

    Raises, from any call, with nothing changed:
        ClosedError: the node does not run, or not any more.
        ForkedError: it was made before `os.fork`, in the parent of this process.
        InvalidNameError: what shall be a name is none: 1 to 255 bytes of UTF-8, no controls.
        ConfigError: an argument makes no sense; the message names it, and the remedy.
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
        """Describe a node; nothing happens before `start`. Arguments and errors as for `Node`.

        Raises:
            ConfigError, InvalidNameError: as for `Node`.
        """
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
        super().__init__(self._node)

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

    # ---------------------------------------------------------------- others

    def peers(self) -> tuple[Peer, ...]:
        """As `Node.peers`."""
        return self._node.peers()

    def scope(self, name: str) -> SyncScope:
        """As `Node.scope`."""
        return SyncScope(self, self._node.scope(name))

    @property
    def node(self) -> Self:
        """Itself."""
        return self
