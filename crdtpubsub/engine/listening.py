"""What the cluster tells its listener and its watchers of links and lives."""

from __future__ import annotations

from typing import Protocol

from crdtpubsub.engine.effects import Cause
from crdtpubsub.engine.peers import Peer
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Fact

__all__ = ["Listener", "Watcher"]


class Listener(Protocol):
    """What the engine wants to know."""

    def admitted(self, peer: Peer) -> None:
        """A life is held from now on, and listed."""

    def state_changed(self, peer: Peer, *, was_up: bool, cause: Cause) -> None:
        """Its state moved; it may be listed now, or hidden."""

    def link_changed(self, peer: Peer, now: float) -> None:
        """My link to it came up or went."""

    def fact_changed(self, peer: Peer, old: Fact, now: float) -> None:
        """It said something new of itself."""

    def purged(self, life: NodeId, cause: Cause) -> None:
        """It is forgotten, as if never met."""


class Watcher(Protocol):
    """Who depends on links and lives besides the listener."""

    def link_changed(self, peer: Peer, now: float) -> None:
        """My link to it came up or went."""

    def replaced(self, life: NodeId) -> None:
        """Another life answers at its endpoint."""

    def purged(self, life: NodeId, cause: Cause) -> None:
        """It is forgotten, as if never met."""
