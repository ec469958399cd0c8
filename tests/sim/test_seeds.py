"""Seeds that come and go, and that lead elsewhere than they did."""

from __future__ import annotations

from crdtpubsub.engine.events import SeedsChanged
from crdtpubsub.sim import World
from crdtpubsub.sim.process import Process

NAME = "tcp://seed:7400"
NOBODY = "tcp://10.9.9.9:7400"


class Named(World):
    """Everybody's only seed is a name; where it leads is up to the test."""

    def _seeds(self) -> tuple[str, ...]:
        return (NAME,)

    def lead(self, process: Process) -> None:
        self.listening[NAME] = process


def test_a_new_seed_is_dialled_at_once() -> None:
    world = Named(seed=1, nodes=2)
    world.run_for(5.0)
    assert world.states(0) == {}  # the name leads nowhere
    world.slots[0].feed(SeedsChanged((world.slots[1].endpoint,)))
    world.run_until(lambda: world.states(0) == {1: "alive"}, within=1.0)
    world.run_until(lambda: world.states(1) == {0: "alive"}, within=1.0)


def test_a_seed_that_is_gone_is_dropped_unless_somebody_lives_there() -> None:
    world = Named(seed=1, nodes=2)
    process, other = world.slots[0], world.slots[1].endpoint
    process.feed(SeedsChanged((other, NOBODY)))
    world.run_until(lambda: world.states(0) == {1: "alive"}, within=5.0)
    assert set(process.links) == {other, NOBODY}
    process.engine.counters["seeds_gone"] = 0
    process.feed(SeedsChanged(()))
    assert set(process.links) == {other}
    assert process.engine.counters["seeds_gone"] == 2
    world.run_for(30.0)
    assert world.states(0) == {1: "alive"}


def test_a_seed_leads_to_the_successor_of_who_is_down() -> None:
    """It was not dialled again before that one was forgotten: 20 minutes alone."""
    world = Named(seed=1, nodes=2)
    world.lead(world.slots[0])
    world.run_until(lambda: world.states(1) == {0: "alive"}, within=5.0)
    assert NAME not in world.slots[1].links  # its own address is enough
    del world.listening[NAME]
    world.vanish(0)
    world.run_until(lambda: world.states(1) == {0: "down"}, within=30.0)
    world._ports[0] += 1
    world.slots[0] = world._start(0)
    world.lead(world.slots[0])
    world.run_until(lambda: world.states(1).get(0) == "alive", within=10.0)


def test_a_seed_that_led_to_myself_is_tried_again() -> None:
    """A balancer, or a name with several addresses, leads elsewhere the next time."""
    world = Named(seed=1, nodes=2)
    world.lead(world.slots[0])
    world.slots[1].feed(SeedsChanged(()))
    world.run_for(3.0)
    assert world.slots[0].engine.counters["self_dial"] == 1
    world.lead(world.slots[1])
    world.run_until(lambda: world.states(0) == {1: "alive"}, within=40.0)
