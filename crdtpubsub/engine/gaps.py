"""Whose frames went missing: they are told rows at once, and not again for a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from crdtpubsub.engine.peers import Peer
from crdtpubsub.names import NodeId

__all__ = ["GAP_ROWS_S", "Gaps"]

GAP_ROWS_S: Final = 0.25
"""A peer whose frames go missing is told rows at most this often.

Rows in many frames may lose one of their own; its gap brings rows back, and those may lose
another: without a pause that never ends (sim seed 172: 11 million frames in a second).
"""


class Gaps:
    """When to tell whom. Calls `say_rows` for a peer, in every scope that it is in."""

    def __init__(
        self, peer_of: Callable[[NodeId], Peer | None], say_rows: Callable[[Peer], None]
    ) -> None:
        self._peer_of = peer_of
        self.say_rows = say_rows
        self._waiting: set[NodeId] = set()

    def seen(self, peer: Peer, now: float) -> None:
        """Something of it did not arrive."""
        self._waiting.add(peer.node)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Tell those whose pause is over."""
        for life in sorted(self._waiting):
            peer = self._peer_of(life)
            if peer is None or not peer.linked:
                self._waiting.discard(life)  # its next link is compared anyway
            elif now >= peer.gap_rows_at + GAP_ROWS_S:
                self._waiting.discard(life)
                peer.gap_rows_at = now
                self.say_rows(peer)

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        due = float("inf")
        for life in self._waiting:
            peer = self._peer_of(life)
            due = min(due, 0.0 if peer is None else peer.gap_rows_at + GAP_ROWS_S)
        return due
