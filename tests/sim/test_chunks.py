"""Long messages on invented time: cut, lost, repeated and overtaken, and never spliced."""

from __future__ import annotations

import pytest

from crdtpubsub.config import Config
from crdtpubsub.sim import CALM, Weather, World

SMALL_FRAMES = Config(frame_bytes=64)


def payloads(world: World, i: int, client: str) -> list[bytes]:
    return [data for who, _, data in world.slots[i].delivered if who == client]


def test_a_long_message_arrives_whole_and_before_what_was_said_after_it() -> None:
    world = World(1, nodes=3, config=SMALL_FRAMES, settle=True)
    world.join(1, "room", "bob")
    world.join(2, "room", "cid")
    world.run_until_quiet()
    told = [bytes(range(256)) * 6, b"short", b"x" * 300]
    for payload in told:
        world.publish(0, "room", payload)
    world.run_for(1.0)
    assert payloads(world, 1, "bob") == told == payloads(world, 2, "cid")
    counters = world.counters()
    assert not counters.get("chunks_orphaned")
    assert not counters.get("assemblies_dropped")


@pytest.mark.parametrize("seed", range(6))
def test_in_bad_weather_what_arrives_was_said_and_comes_once(seed: int) -> None:
    weather = Weather(loss=0.05, duplicate=0.1, shuffle=0.05)
    world = World(seed, nodes=2, weather=weather, config=SMALL_FRAMES)
    world.run_until(lambda: len(world.states(0)) == 1, within=60.0)
    world.join(1, "room", "bob")
    world.run_until(lambda: world.members(0, "room") == {"bob@1"}, within=60.0)
    told = [bytes([n]) * (40 + 97 * n % 500) for n in range(60)]
    for number, payload in enumerate(told):
        world.publish(0, "room", payload)
        if number % 20 == 7:
            world.reset(0, 1, late_s=0.05)
        world.run_for(0.3)
    world.run_for(5.0)
    heard = payloads(world, 1, "bob")
    assert len(heard) == len(set(heard)) > 5
    assert heard == [payload for payload in told if payload in heard]
    assert world.counters()["chunks_orphaned"] > 0
    assert len(world.slots[1].assemblies) <= 1


def test_members_with_long_metadata_travel_in_chunks_too() -> None:
    world = World(3, nodes=3, weather=CALM, config=SMALL_FRAMES, settle=True)
    for n in range(10):
        world.join(0, "room", f"c{n}", meta=bytes([n]) * 4096)
    world.run_until_quiet()
    assert world.views("room") == {frozenset(f"c{n}@0" for n in range(10))}


def test_an_answer_of_many_parts_gets_through_an_outbox_that_holds_one() -> None:
    """Each part that found no room took the one before it along: no pull was ever answered."""
    world = World(5, nodes=2, settle=True)
    world.partition((0,))
    for n in range(3000):
        world.join(0, f"room-{n}", "c")
    world.run_for(1.0)
    world.heal()
    world.run_until_quiet(60.0)
