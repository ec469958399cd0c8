"""A cluster on invented time: the production engine and codec, no sockets, no clock.

For tests of applications too: `World(seed=1, nodes=3)`, `world.join(0, "room", "ann")`,
`world.run_for(1.0)`, `world.members(2, "room")`.
"""

from crdtpubsub.sim.checks import Violation
from crdtpubsub.sim.faults import CALM, CutMode, Fault, Weather
from crdtpubsub.sim.script import run_world
from crdtpubsub.sim.summary import Summary
from crdtpubsub.sim.world import World

__all__ = ["CALM", "CutMode", "Fault", "Summary", "Violation", "Weather", "World", "run_world"]
