"""Whether somebody was given up too early: what a node holds of others, against what befell them.

Each running life has the shortest suspicion to answer. Only these are held down sooner: a life
that died, one that two nodes were refused by (or one, if it has nobody to ask), one at whose
endpoint another life answers, and whomever a node knew before it slept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtpubsub.engine.effects import PeerChanged
from crdtpubsub.names import NodeId

if TYPE_CHECKING:
    from crdtpubsub.sim.ether import Ether
    from crdtpubsub.sim.process import Process

__all__ = ["Suspicions"]


class Suspicions:
    """Since when whom is suspected where, and who was refused by whom."""

    def __init__(self, world: Ether) -> None:
        self._world = world
        self._since: dict[tuple[NodeId, NodeId], float] = {}  # (observer, suspect)
        self._refused: dict[NodeId, set[NodeId]] = {}  # whom the ground refused, dialling whom

    def refused(self, observer: NodeId, life: NodeId) -> None:
        """The ground told `observer` that nobody listens where it was linked to `life`."""
        self._refused.setdefault(life, set()).add(observer)

    def changed(self, process: Process, effect: PeerChanged) -> str | None:
        """What is wrong with what a node holds of a life from now on, if anything."""
        pair, now = (process.node, effect.node), self._world.now
        if effect.state == "suspect":
            self._since[pair] = now
            return None
        since = self._since.pop(pair, now)
        if effect.state != "down" or now - since >= process.config.suspicion_min_s(1) - 1e-6:
            return None
        if self._excused(process, effect.node):
            return None
        return (
            f"node {process.index} gives up {effect.node[:6]}, which runs, "
            f"after a suspicion of {now - since:.3f} s"
        )

    def _excused(self, process: Process, life: NodeId) -> bool:
        accused = next((p for p in self._world.lives if p.node == life), None)
        if accused is None or not accused.running or process.resumed_at == self._world.now:
            return True
        if any(p is not accused and p.endpoint == accused.endpoint for p in self._world.lives):
            return True
        refused = self._refused.get(life, set())
        asked = [p for p in process.engine.peers() if p.up and p.linked and p.node != life]
        return len(refused) > 1 or (process.node in refused and not asked)
