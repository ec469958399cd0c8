"""Who gets a push directly. A policy of its own, so that the simulator can compare several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crdtpubsub.names import NodeId

__all__ = ["FullMesh", "Relay"]


class Relay(Protocol):
    """Chooses, of the peers that could take a push, those that get it from here."""

    def targets(self, writer: NodeId, view: Sequence[NodeId]) -> Sequence[NodeId]:
        """Some of `view` (sorted), for a push of something `writer` wrote."""


class FullMesh:
    """Everybody, from the writer itself. Right up to some 64 nodes."""

    def targets(self, writer: NodeId, view: Sequence[NodeId]) -> Sequence[NodeId]:
        """All of them."""
        del writer
        return view
