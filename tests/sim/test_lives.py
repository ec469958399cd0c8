"""Lives that end, return, and end again: no ghost, no growth, nothing sent that is known."""

from __future__ import annotations

from random import Random

import pytest

from crdtpubsub.config import Config
from crdtpubsub.engine.inbound import STRANGERS_MAX
from crdtpubsub.sim import World

NODES = 3
QUICK = Config(suspicion_mult=1.0, suspicion_max_mult=1.0, forget_after_s=10.0)


def _tables(world: World, i: int) -> dict[str, int]:
    """How much node `i` keeps of others, by table."""
    cluster = world.slots[i].engine._cluster
    detector = cluster.detector
    members = world.slots[i].engine.set_of("default")
    return {
        "peers": len(cluster.peers),
        "links": len(cluster.links),
        "candidates": len(cluster.candidates),
        "aliases": len(cluster.aliases),
        "owners": len(list(members.owners())),
        "round trips": len(detector._rtt_s),
        "accusers": len(detector._accusers),
        "probing": len(detector._probing),
        "helped": sum(len(p.last_helped) + len(p.refused_by) for p in cluster.peers.values()),
    }


def _moved(world: World) -> int:
    """Memberships that came in deltas, as the receivers count them."""
    return sum(p.entries_in for p in world.lives)


def test_a_fleet_that_restarts_a_thousand_times_leaves_nothing_behind() -> None:
    """Q24: no ghosts, no growth, on whichever port and however it ended."""
    dice = Random(24)
    world = World(24, nodes=NODES, config=QUICK, settle=True)
    for i in range(NODES):
        world.join(i, "room")
    world.run_until_quiet()
    world.run_for(30.0)
    before = [_tables(world, i) for i in range(NODES)]
    for _ in range(1000):
        i = dice.randrange(1, NODES)  # the first one sees them all
        end = dice.choice((world.crash, world.goodbye))
        end(i)
        world.run_for(dice.choice((0.0, 0.05, 0.3)))
        world.restart(i, new_port=dice.random() < 0.3)
        world.join(i, "room")
    world.run_until_quiet()
    assert world.views("room") == {frozenset(f"client-{i}@{i}" for i in range(NODES))}
    world.run_for(QUICK.forget_after_s + 65.0)  # and as long as goodbyes are remembered
    for i in range(NODES):
        tables = _tables(world, i)
        assert {k: (before[i][k], n) for k, n in tables.items() if n > before[i][k] + 5} == {}
        cluster = world.slots[i].engine._cluster
        assert len(cluster.left) == 0
        assert len(cluster.inbound) <= STRANGERS_MAX
        assert len(cluster.book) <= QUICK.address_book_max


@pytest.mark.parametrize("cut_s", [5.0, 300.0])
def test_what_both_sides_know_is_not_sent_again_when_a_cut_heals(cut_s: float) -> None:
    world = World(25, nodes=4, settle=True)  # lives are remembered for 20 minutes
    for i in range(4):
        for n in range(300):
            world.join(i, f"room-{n % 10}", f"c{n}")
    world.run_until_quiet()
    world.partition((0, 1))
    world.run_for(cut_s)
    world.leave(0, "room-0", "c0")
    world.join(3, "room-0", "new")
    world.run_for(5.0)
    before = _moved(world)
    world.heal()
    world.run_until_quiet()
    world.run_for(10.0)
    assert _moved(world) - before <= 2 * 2 * 2  # a join, told to two who had not heard of it
    assert len(world.members(1, "room-0")) == 4 * 30


def test_two_halves_that_forgot_each_other_pull_each_life_once() -> None:
    """Cut for longer than a life is remembered: then it is met as if for the first time.

    Both halves had the same seeds, and these are gone.
    """
    world = World(26, nodes=6, config=QUICK, settle=True)
    for i in range(6):
        for n in range(100):
            world.join(i, f"room-{n % 10}", f"c{n}")
    world.run_until_quiet()
    world.partition((0, 2, 3), (1, 4, 5))
    world.run_for(60.0)
    world.crash(0)
    world.crash(1)  # the seeds
    world.run_for(30.0 + 10 * QUICK.forget_after_s)
    before = _moved(world)
    world.heal()
    world.run_until_quiet()
    world.run_for(10.0)
    assert {len(view) for n in range(10) for view in world.views(f"room-{n}")} == {4 * 10}
    once = 2 * 2 * 2 * 100  # each of the four learns of the two lives beyond, and of no other
    assert once <= _moved(world) - before <= 1.25 * once


def test_a_second_running_node_of_one_name_is_said_and_a_restarted_one_is_not() -> None:
    world = World(27, nodes=3, settle=True)
    world.restart(2)
    world.run_until_quiet()
    notes = [note for p in world.lives for note in p.notes if note.what == "same_name"]
    assert notes == []
    world.add_node("node-2")
    world.run_until_quiet()
    told = {p.index for p in world.running() for note in p.notes if note.what == "same_name"}
    assert told == {0, 1, 2, 3}
