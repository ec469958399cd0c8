"""Z: what nobody else tests, on invented time."""

from __future__ import annotations

from itertools import permutations

import pytest

from crdtpubsub.config import Config
from crdtpubsub.sim import CutMode, Weather, World
from crdtpubsub.sim.checks import Violation


def test_z01_delete_here_and_join_there_while_split() -> None:
    world = World(1, nodes=3, settle=True)
    world.join(0, "room", "ann")
    world.join(1, "room", "bob")
    world.join(2, "room", "cid")
    world.run_until_quiet()
    world.partition(1)
    world.run_for(20.0)
    assert world.del_channel(0, "room") == 3  # bob is down here, and observed
    world.join(1, "room", "new")
    world.run_for(5.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("room") == {frozenset({"new@1"})}
    assert world.exits("room") == ["ann@0", "bob@1", "cid@2"]


def test_z02_delete_on_both_sides_is_one_exit_each() -> None:
    world = World(2, nodes=4, settle=True)
    for i in range(4):
        world.join(i, "room", f"c{i}")
    world.run_until_quiet()
    world.partition((0, 1))
    world.del_channel(0, "room")
    world.del_channel(3, "room")
    world.run_for(10.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("room") == {frozenset()}
    assert world.exits("room") == ["c0@0", "c1@1", "c2@2", "c3@3"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_z03_add_delete_add_in_every_order_of_arrival(order: tuple[int, ...]) -> None:
    """Three nodes write, and their news reaches the fourth in each order."""
    world = World(3, nodes=4, settle=True)
    world.add_channel(0, "room")
    world.run_until_quiet()
    world.partition(3)
    world.del_channel(1, "room")
    world.run_for(1.0)
    world.add_channel(2, "room")
    world.run_for(1.0)
    for i in order:
        world.network.heal([(i, 3), (3, i)])
        world.run_for(3.0)
    world.run_until_quiet()
    for process in world.running():
        assert process.engine.channels("default") == ("room",)


def test_z04_an_old_delete_does_not_remove_a_new_membership() -> None:
    world = World(4, nodes=3, settle=True)
    world.join(0, "room", "ann")
    world.run_until_quiet()
    world.partition(0)
    world.del_channel(1, "room")
    world.leave(0, "room", "ann")
    world.join(0, "room", "ann")
    world.run_for(10.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("room") == {frozenset({"ann@0"})}
    assert world.exits("room") == []


@pytest.mark.parametrize("new_port", [False, True])
def test_z05_a_restarted_owner_is_another_life(new_port: bool) -> None:
    world = World(5, nodes=3, settle=True)
    world.join(0, "room", "old")
    world.join(1, "room", "bob")
    world.run_until_quiet()
    world.restart(0, new_port=new_port)
    world.run_until_quiet()
    assert world.views("room") == {frozenset({"bob@1"})}
    sent, unlinked, local = world.publish(1, "room", b"x")
    assert (sent, unlinked, local) == (0, 0, 1)
    world.run_for(1.0)
    assert world.slots[0].delivered == []


@pytest.mark.parametrize("mode", list(CutMode))
def test_z06_membership_travels_by_the_bridge_and_messages_say_so(mode: CutMode) -> None:
    world = World(6, nodes=3, settle=True)
    world.cut(0, 2, mode=mode)
    world.join(0, "room", "ann")
    world.join(2, "room", "cid")
    world.run_for(30.0)
    world.run_until_quiet()
    assert world.views("room") == {frozenset({"ann@0", "cid@2"})}
    sent, unlinked, local = world.publish(0, "room", b"x")
    world.run_for(2.0)
    assert world.slots[2].delivered == []
    assert local == 1
    if mode is not CutMode.DROP:  # a firewall that drops leaves a link that only probes disprove
        assert (sent, unlinked) == (0, 1)
    world.run_for(30.0)
    before = [len(p.changes) for p in world.slots]
    world.run_for(60.0)
    assert [len(p.changes) for p in world.slots] == before, "listed without a flap"


@pytest.mark.parametrize("seed", range(5))
def test_z08_repeated_reordered_and_lost_frames(seed: int) -> None:
    world = World(seed, nodes=4, weather=Weather(loss=0.1, duplicate=0.2, shuffle=0.2))
    world.run_for(5.0)
    for n in range(60):
        world.join(n % 4, f"room{n % 3}", f"c{n % 7}")
        if n % 4 == 0:
            world.del_channel(n % 3, f"room{n % 3}")
        world.publish(n % 4, f"room{n % 3}", b"%d" % n)
        world.run_for(0.1)
    world.network.calm()
    world.run_until_quiet()
    world.checks.final()  # among the rest: nobody got a publication twice


def test_z09_clocks_that_have_nothing_in_common_kill_nobody() -> None:
    """Every node's clock has its own origin, up to days apart; only a stall moves one."""
    world = World(9, nodes=5, settle=True)
    world.run_for(60.0)
    for i in range(5):
        assert set(world.states(i).values()) == {"alive"}
    assert not any("down" in line for line in world.trace or [])


def _lossy_weather_and_short_frames() -> float:
    """Rows in many frames, one of ten lost: how many invented seconds until all agree."""
    world = World(172, nodes=6, config=Config(frame_bytes=128), settle=True)
    world.network.weather = Weather(loss=0.1, shuffle=0.05)
    for i in range(6):
        world.open_scope(i, "side")
        for n in range(8):
            world.join(i, f"room-{n}", "c")
            world.join(i, f"room-{n}", "c", scope="side")
    world.run_for(20.0)
    world.network.calm()
    return world.run_until_quiet()


def test_rows_that_lose_a_frame_of_their_own_do_not_ask_for_rows_for_ever() -> None:
    """Random world 172 hung: each gap brought rows, whose gap brought rows back: a storm."""
    assert _lossy_weather_and_short_frames() < 10.0


def test_the_same_without_a_pause_is_seen_to_be_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crdtpubsub.engine.gaps.GAP_ROWS_S", 0.0)
    with pytest.raises(Violation, match="a storm"):
        _lossy_weather_and_short_frames()
