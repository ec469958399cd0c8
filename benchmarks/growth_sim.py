"""Growth on invented time: more nodes than a machine has cores for, and cuts of half an hour.

The engines and the codec are those of production, the bytes are those of its frames; time, and
with it every CPU and latency figure of a network, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import process_time
from typing import Any, Final

from crdtpubsub.config import Config
from crdtpubsub.sim import World
from crdtpubsub.sim.network import Link

__all__ = ["CUTS", "against_simulated_nodes", "cut"]

IDLE_S: Final = 10.0
JOINS: Final = 20
MET_S: Final = 120.0

CUTS: Final = {
    "cut of 15 min": (15.0, Config()),
    "cut of 30 min": (30.0, Config()),
    "cut of 30 min, remembered for an hour": (30.0, Config(forget_after_s=3600.0)),
}
"""Minutes, and the configuration: by default a life that is down is forgotten after 20 min."""


class Counting(World):
    """A world that counts the bytes of its frames."""

    sent_bytes = 0

    def send(self, link: Link, data: bytes) -> None:
        self.sent_bytes += len(data)
        super().send(link, data)

    def met(self) -> bool:
        """Whether everybody holds everybody else for alive."""
        others = len(self.slots) - 1
        return all(
            sum(str(peer.state) == "alive" for peer in process.engine.peers()) >= others
            for process in self.slots
        )


def against_simulated_nodes(sizes: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
    """What forming, idling and joining costs among so many, in bytes and in work."""
    rows = []
    for nodes in sizes:
        cpu_at = process_time()
        world = Counting(1, nodes=nodes)
        formed_s = world.run_until(world.met, within=MET_S, what="all met")
        formed_bytes = world.sent_bytes
        world.run_for(5.0)  # what forming left behind
        before = world.sent_bytes
        world.run_for(IDLE_S)
        idle_per_s = (world.sent_bytes - before) / IDLE_S
        before, at = world.sent_bytes, world.now
        for n in range(JOINS):
            world.join(0, f"channel-{n:05}", f"client-{n:06}")
            world.run_for(0.05)
        world.run_for(1.0)
        joined = world.sent_bytes - before - idle_per_s * (world.now - at)
        seen = {len(world.members(i, f"channel-{JOINS - 1:05}")) for i in range(nodes)}
        rows.append(
            (
                f"simulated nodes {nodes}",
                {
                    "simulated_nodes": nodes,
                    "formed_s": round(formed_s, 2),
                    "formed_bytes_node": round(formed_bytes / nodes),
                    "idle_bytes_per_s_node": round(idle_per_s / nodes, 1),
                    "idle_bytes_per_s_link": round(idle_per_s / nodes / (nodes - 1), 2),
                    "join_bytes": round(joined / JOINS, 1),
                    "join_bytes_link": round(joined / JOINS / (nodes - 1), 2),
                    "seen_by_all": seen == {1},
                    "took_cpu_s": round(process_time() - cpu_at, 1),
                },
            )
        )
    return rows


def cut(name: str, memberships: int) -> tuple[str, dict[str, Any]]:
    """Two halves apart for long, 1 % changed meanwhile: memberships sent until all are equal."""
    minutes, config = CUTS[name]
    nodes = 4
    each = memberships // nodes
    world = Counting(2, nodes=nodes, config=config, settle=True)
    for i in range(nodes):
        for n in range(each):
            world.join(i, f"room-{n % 10}", f"client-{n:06}")
    world.run_until_quiet()
    whole_bytes = world.sent_bytes
    world.run_for(IDLE_S)
    idle_per_s = (world.sent_bytes - whole_bytes) / IDLE_S
    world.partition((0, 1))
    world.run_for(minutes * 60.0)
    changes = memberships // 100
    for n in range(changes):
        world.join(n % nodes, f"changed-{n % 10}", f"client-{n:06}")
    world.run_for(5.0)
    before, moved, at = world.sent_bytes, _moved(world), world.now
    world.heal()
    healed_s = world.run_until_quiet(within=600.0)
    world.run_for(5.0)
    across = changes * 2  # each change is news to the two nodes on the other side
    return (
        name,
        {
            "memberships": each * nodes,
            "changes": changes,
            "resent": max(0, _moved(world) - moved - across),
            "heal_s": round(healed_s, 2),
            "heal_bytes": round(world.sent_bytes - before - idle_per_s * (world.now - at)),
            "whole_bytes": whole_bytes,
        },
    )


def _moved(world: World) -> int:
    """Memberships that came in deltas, as the receivers count them."""
    return sum(process.entries_in for process in world.lives)
