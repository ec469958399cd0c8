"""An overlay beside the node's own: `Scope`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtpubsub.engine import events as ev
from crdtpubsub.overlay import Overlay
from crdtpubsub.views import Views

if TYPE_CHECKING:
    from crdtpubsub.node import Node

__all__ = ["Scope"]


class Scope(Overlay):
    """Channels of their own, among the nodes that opened the same scope. Made by `Node.scope`.

    Has the control map, clients and messages of a `Node`, and shares nothing with it but links
    and threads: a channel of the same name is another one. A client belongs to the scope it was
    made in; its id is unique on its node all the same, and its `Client.address` is reached by
    `send` of any node, whatever scopes that has open. `events` and `stats` are the node's. For any
    thread and any event loop.

    Raises, from any call, with nothing changed:
        ClosedError: the scope was closed, or its node does not run.
        ForkedError: the node was made before `os.fork`, in the parent of this process.
        InvalidNameError: what shall be a name is none: 1 to 255 bytes of UTF-8, no controls.
        ConfigError: an argument makes no sense; the message names it, and the remedy.
    """

    def __init__(self, node: Node, name: str, views: Views) -> None:
        """Use `Node.scope` instead."""
        super().__init__(node._runtime, name, views)  # noqa: SLF001  (a door and its own handle)
        self._node = node

    def __repr__(self) -> str:
        return f"Scope({self.name!r} of {self._node.name!r})"

    @property
    def name(self) -> str:
        """What it was opened by."""
        return self._scope

    @property
    def node(self) -> Node:
        """The node it was opened on."""
        return self._node

    async def close(self) -> None:
        """Leave: our memberships and declarations there end, on every node. Idempotent.

        Each membership of a client of ours gets an `Exit` with the reason `closed`; clients stay
        open, what they have queued can be read. `Node.scope` opens it again, as good as new.
        What others say there meanwhile does not reach this node.

        Raises:
            ForkedError: the node runs in the parent of this process.
        """
        if not self._runtime.closed:
            self._runtime.write(ev.CloseScope(self._scope))
