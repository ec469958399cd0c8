"""K and N05: the suite of `delta_crdt_ex`, retold: a key is a client, a value its metadata.

Its storage backend (K09, K10) is what we do not have: a life that ends is gone, and comes back as
another. Its one-way neighbours (K07) are, for us, a link that works one way.
"""

from __future__ import annotations

from crdtpubsub.sim import World


def metas(world: World, i: int, channel: str = "map") -> dict[str, bytes]:
    """client -> metadata, as node `i` sees them."""
    engine = world.slots[i].engine
    extra = engine.set_of("default").extra
    return {
        client: extra(owner, birth)[2]
        for owner, client, birth in engine.members("default", channel)
    }


def trio(seed: int) -> World:
    return World(seed, nodes=3, settle=True)


def test_k01_what_was_put_is_read_here() -> None:
    world = World(1, nodes=1)
    world.join(0, "map", "a", meta=b"1")
    world.join(0, "map", "b", meta=b"2")
    assert metas(world, 0) == {"a": b"1", "b": b"2"}


def test_k02_many_at_once_are_seen_there() -> None:
    world = trio(2)
    for n in range(50):
        world.join(0, "map", f"k{n}")
    world.run_until(lambda: len(world.members(1, "map")) == 50, within=1.0)


def test_k03_many_dropped_there_are_gone_here() -> None:
    world = trio(3)
    for n in range(10):
        world.join(0, "map", f"k{n}")
    world.run_until_quiet()
    for n in range(10):
        world.remove(1, "map", world.slots[0].node, f"k{n}")
    world.run_until_quiet()
    assert world.views("map") == {frozenset()}
    assert len(world.exits("map")) == 10


def test_k04_of_three_puts_the_last_wins_everywhere() -> None:
    world = trio(4)
    for value in (b"1", b"2", b"3"):
        world.join(0, "map", "a", meta=value)
    world.run_until_quiet()
    assert [metas(world, i) for i in range(3)] == [{"a": b"3"}] * 3


def test_k05_a_put_beside_a_delete_wins() -> None:
    """A new join wins; an update of what was there would lose to the removal."""
    world = trio(5)
    world.join(0, "map", "a")
    world.run_until_quiet()
    world.partition(0)
    world.leave(0, "map", "a")
    world.join(0, "map", "a", meta=b"2")
    world.remove(1, "map", world.slots[0].node, "a")
    world.heal()
    world.run_until_quiet()
    assert [metas(world, i) for i in range(3)] == [{"a": b"2"}] * 3


def test_k06_put_seen_and_deleted_is_gone_everywhere() -> None:
    world = trio(6)
    world.join(0, "map", "a")
    world.run_until_quiet()
    world.remove(2, "map", world.slots[0].node, "a")
    world.run_until_quiet()
    assert world.views("map") == {frozenset()}


def test_k07_a_way_that_works_in_one_direction_only_needs_another_way() -> None:
    world = trio(7)
    world.cut(1, 0, one_way=True)
    world.join(1, "map", "b")
    world.run_until(lambda: "b@1" in world.members(2, "map"), within=60.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("map") == {frozenset({"b@1"})}


def test_k08_a_name_is_a_label_and_two_may_share_it() -> None:
    world = World(8, nodes=1)
    for _ in range(2):
        world.add_node("twin")
    world.run_until_quiet()
    world.join(1, "map", "a")
    world.join(2, "map", "a")
    world.run_until_quiet()
    assert world.views("map") == {frozenset({"a@1", "a@2"})}


def test_k09_what_the_others_hold_is_read_by_a_newcomer() -> None:
    """They write to a storage and read it back; for us, the other nodes are where it lies."""
    world = trio(9)
    world.join(0, "map", "a", meta=b"1")
    world.run_until_quiet()
    late = world.add_node()
    world.run_until_quiet()
    assert metas(world, late) == {"a": b"1"}


def test_k10_after_a_crash_the_members_of_others_are_back_and_its_own_are_not() -> None:
    world = trio(10)
    world.join(0, "map", "own")
    world.join(1, "map", "other")
    world.run_until_quiet()
    world.crash(0)
    world.restart(0)
    world.run_until_quiet()
    assert world.views("map") == {frozenset({"other@1"})}


def test_k11_a_neighbour_that_comes_later_gets_all() -> None:
    world = World(11, nodes=1)
    world.join(0, "map", "a")
    world.run_for(10.0)
    late = world.add_node()
    world.run_until_quiet()
    assert world.members(late, "map") == {"a@0"}


def test_k12_adds_and_a_delete_made_while_cut_reach_the_other_side() -> None:
    world = trio(12)
    world.join(0, "map", "old")
    world.run_until_quiet()
    world.partition(0)
    world.leave(0, "map", "old")
    world.join(0, "map", "new")
    world.join(1, "map", "there")
    world.run_for(20.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("map") == {frozenset({"new@0", "there@1"})}


def test_k13_both_put_one_key_and_one_deletes_only_its_own_goes() -> None:
    """Theirs: gone on both. Ours is the opposite: one client id on two nodes is two members."""
    world = trio(13)
    world.join(0, "map", "a", meta=b"1")
    world.join(1, "map", "a", meta=b"1")
    world.run_until_quiet()
    world.leave(0, "map", "a")
    world.run_until_quiet()
    assert world.views("map") == {frozenset({"a@1"})}
    world.del_channel(2, "map")  # what anybody may: all that it has seen
    world.run_until_quiet()
    assert world.views("map") == {frozenset()}


def test_k14_one_channel_is_read_alone() -> None:
    world = World(14, nodes=1)
    world.join(0, "one", "a")
    world.join(0, "two", "b")
    assert world.members(0, "one") == {"a@0"}


def test_k15_some_channels_are_read_by_prefix() -> None:
    world = World(15, nodes=1)
    for channel in ("x.1", "x.2", "y.1"):
        world.join(0, channel, "a")
    known = world.slots[0].engine.channels("default")
    assert [name for name in known if name.startswith("x.")] == ["x.1", "x.2"]


def test_n05_two_nodes_with_much_before_they_meet_lose_nothing() -> None:
    world = World(5, nodes=2, settle=True)
    world.partition(0)
    for n in range(1_000):
        world.join(0, f"c{n % 50}", f"a{n}")
        world.join(1, f"c{n % 50}", f"b{n}")
    world.run_for(1.0)
    world.heal()
    world.run_until_quiet()
    for i in range(2):
        assert sum(len(world.members(i, f"c{n}")) for n in range(50)) == 2_000
