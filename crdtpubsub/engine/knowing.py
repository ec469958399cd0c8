"""Knowing that others know: who has shown that it holds what this life holds."""

from __future__ import annotations

from crdtpubsub.engine.replication import Replication
from crdtpubsub.names import NodeId

__all__ = ["Knowing"]


class Knowing:
    """What this life has asked its peers, and who has answered."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._last_stamp = 0

    # ---------------------------------------------------------------- equal rows

    def ask_rows(self, scope: str, now: float) -> int:
        """Ask everybody for rows; the stamp of the question."""
        replication = self._replication
        state = replication.scopes[scope]
        self._last_stamp += 1
        replication.flush(state, now)
        rows = state.gossip.say(replication.covered(state), reply=False, stamp=self._last_stamp)
        replication.cluster.send(replication.view(state), rows)
        return self._last_stamp

    def unequal(self, scope: str, since_stamp: int) -> tuple[NodeId, ...]:
        """Live linked peers of the scope that have not shown equal rows since that stamp."""
        state = self._replication.scopes[scope]
        lives = self._replication.view(state)
        return tuple(x for x in lives if state.equal_stamp.get(x, -1) < since_stamp)
