"""Who is taken for dead, when, and who never is: SWIM with Lifeguard on invented time."""

from __future__ import annotations

from random import Random

import pytest

from crdtpubsub.sim import CutMode, Weather, World


def _ever_down(world: World) -> int:
    """How often a node held another down: those that are, and those that returned."""
    hidden = sum(len(world.checks.hidden[p.node]) for p in world.running())
    return hidden + world.counters().get("returned", 0)


def _gone_after(world: World, victim: int) -> float:
    """Until nobody lists the member of `victim`, which has just fallen silent."""
    others = [p.index for p in world.running() if p.index != victim]
    start = world.now
    while any(world.members(i, "g") for i in others):
        assert world.now - start < 60.0
        world.run_for(0.01)
    return world.now - start


def _silent_owner(seed: int, nodes: int) -> float:
    world = World(seed, nodes=nodes, settle=True)
    world.join(nodes - 1, "g", "p")
    world.run_until_quiet()
    world.run_for(Random(seed).uniform(3.0, 6.0))
    world.pause(nodes - 1)
    took = _gone_after(world, nodes - 1)
    assert _ever_down(world) == nodes - 1  # the victim, by each of the others
    return took


@pytest.mark.parametrize(("nodes", "within_s"), [(2, 8.0), (5, 5.0), (16, 6.0)])
def test_a_silent_process_is_found(nodes: int, within_s: float) -> None:
    assert max(_silent_owner(seed, nodes) for seed in range(20, 20 + 60 // nodes)) <= within_s


def test_who_spoke_first_confirms_those_who_suspect_after_him() -> None:
    """Accusations heard before the own suspicion were forgotten: it lasted up to 8 s, not 2."""
    took = sorted(_silent_owner(seed, 5) for seed in range(20, 40))
    assert took[len(took) // 2] < 4.0


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_of_all_frames_lost_kills_nobody(seed: int) -> None:
    world = World(seed, nodes=8, settle=True)
    world.network.weather = Weather(delay_s=0.005, jitter_s=0.01, loss=0.1)
    world.run_for(120.0)
    assert _ever_down(world) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_quarter_that_pauses_two_seconds_at_random_kills_nobody(seed: int) -> None:
    dice = Random(seed)
    world = World(seed, nodes=8, settle=True)
    while world.now < 90.0:
        some = dice.sample(range(8), 2)
        for i in some:
            world.pause(i)
        world.run_for(2.0)
        for i in some:
            world.resume(i, frames_first=dice.random() < 0.5)
        world.run_for(dice.uniform(0.0, 3.0))
    assert _ever_down(world) == 0


@pytest.mark.parametrize("nodes", [3, 6])
def test_a_firewall_that_rejects_one_pair_kills_nobody(nodes: int) -> None:
    world = World(nodes, nodes=nodes, settle=True)
    world.join(1, "g", "p")
    world.run_until_quiet()
    world.cut(0, 1, mode=CutMode.REJECT)
    world.run_for(120.0)
    assert _ever_down(world) == 0
    assert world.views("g") == {frozenset({"p@1"})}


def test_a_crash_is_known_before_any_probe_fails() -> None:
    """A reset link, a refused dial of one's own, and a second node that is refused, too."""
    world = World(5, nodes=5, settle=True)
    world.join(4, "g", "p")
    world.run_until_quiet()
    world.crash(4)
    assert _gone_after(world, 4) < 0.1


def test_a_link_that_drops_everything_is_given_up_and_found_again() -> None:
    """Others reach it and I do not: what I publish must not be called queued for ever."""
    world = World(9, nodes=3, settle=True)
    world.join(1, "g", "p")
    world.run_until_quiet()
    world.cut(0, 1)  # frames vanish, and no connection breaks
    world.run_for(15.0)
    assert world.members(0, "g") == {"p@1"}
    assert world.publish(0, "g", b"x") == (0, 1, 0)
    assert world.counters()["redialled"] > 0
    world.heal()
    world.run_until(lambda: world.publish(0, "g", b"y") == (1, 0, 0), within=15.0)
    assert _ever_down(world) == 0


def test_dead_addresses_are_dialled_afresh_ever_less_often() -> None:
    world = World(10, nodes=2, settle=True)
    world.vanish(1)
    world.run_for(600.0)
    assert world.counters()["redialled"] < 20
