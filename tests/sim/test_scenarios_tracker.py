"""S and T: the suites of Phoenix.Tracker, retold in our meaning, on invented time.

Where theirs sends a leave and a join for new metadata, ours says *updated*: nobody is absent for a
moment. Where theirs allows a key twice, ours has one membership per client, channel and owner.
"""

from __future__ import annotations

from crdtpubsub.config import Config
from crdtpubsub.engine.effects import Changed
from crdtpubsub.sim import World

SHORT = Config(forget_after_s=300.0)


def told(world: World, i: int) -> list[tuple[str, str]]:
    """What node `i` was told since the last call: (what, client@owner)."""
    changes: list[Changed] = world.slots[i].changes
    seen = [
        (what, f"{row[1]}@{world.number(change.owner)}")
        for change in changes
        for what in ("left", "joined", "updated")
        for row in getattr(change, what)
    ]
    changes.clear()
    return seen


def holds(world: World, i: int, life: str) -> bool:
    """Whether node `i` holds that life at all, in whatever state."""
    return any(peer.node == life for peer in world.slots[i].engine.peers())


def transfers(world: World) -> list[tuple[int, int, int]]:
    """Of each node: memberships that came, however often; requests and deltas that it sent."""
    return [(p.entries_in, p.sent.get("Pull", 0), p.sent.get("Deltas", 0)) for p in world.slots]


def nothing_more_is_sent(world: World) -> None:
    """A minute of gossip later nobody has asked for anything, and nothing was said twice."""
    before = transfers(world)
    world.run_for(60.0)
    assert transfers(world) == before


# -------------------------------------------------------------------- state_test.exs


def test_s03_users_from_other_servers_merge() -> None:
    world = World(3, nodes=2, settle=True)
    world.join(0, "lobby", "alice")
    world.join(1, "lobby", "bob")
    world.run_until_quiet()
    assert world.views("lobby") == {frozenset({"alice@0", "bob@1"})}
    assert sorted(told(world, 0)) == [("joined", "alice@0"), ("joined", "bob@1")]
    world.run_for(10.0)
    assert told(world, 0) == []  # again: no events
    world.leave(0, "lobby", "alice")
    world.run_until_quiet()
    assert ("left", "alice@0") in told(world, 1)
    world.join(1, "lobby", "carol")
    world.run_until_quiet()
    assert told(world, 0) == [("left", "alice@0"), ("joined", "carol@1")]
    world.update(1, "lobby", "carol", b"\xa4away")
    world.run_until_quiet()
    assert told(world, 0) == [("updated", "carol@1")]  # theirs: a leave and a join


def test_s04_basic_netsplit() -> None:
    world = World(4, nodes=2, settle=True)
    world.join(0, "lobby", "alice")
    world.join(1, "lobby", "bob")
    world.run_until_quiet()
    world.partition(0)
    world.run_until(lambda: "bob@1" not in world.members(0, "lobby"), within=60.0)
    told(world, 0)
    world.join(0, "lobby", "carol")
    world.leave(0, "lobby", "alice")
    world.join(0, "lobby", "david")
    assert world.members(0, "lobby") == {"carol@0", "david@0"}
    world.heal()
    world.run_until_quiet()
    assert world.views("lobby") == {frozenset({"bob@1", "carol@0", "david@0"})}
    assert told(world, 0)[-1] == ("joined", "bob@1")


def test_s05_joins_are_seen_by_way_of_another_node() -> None:
    world = World(5, nodes=3, settle=True)
    world.cut(0, 2)
    world.join(0, "lobby", "alice")
    world.join(0, "lobby", "bob")
    world.run_until(lambda: {"alice@0", "bob@0"} <= world.members(2, "lobby"), within=60.0)


def test_s06_removals_are_seen_by_way_of_another_node() -> None:
    world = World(6, nodes=3, settle=True)
    world.join(0, "lobby", "alice")
    world.join(0, "lobby", "bob")
    world.run_until_quiet()
    world.cut(0, 2)
    world.leave(0, "lobby", "bob")
    world.run_until(lambda: world.members(2, "lobby") == {"alice@0"}, within=60.0)


def test_s07_one_client_is_found_where_it_is_and_nowhere_else() -> None:
    world = World(7, nodes=1)
    assert world.members(0, "lobby") == set()
    world.join(0, "lobby", "ann")
    assert world.members(0, "lobby") == {"ann@0"}
    assert world.members(0, "other") == set()


def test_s08_one_client_id_on_two_nodes_is_two_members() -> None:
    world = World(8, nodes=2, settle=True)
    world.join(0, "lobby", "ann")
    world.join(1, "lobby", "ann")
    world.run_until_quiet()
    assert world.views("lobby") == {frozenset({"ann@0", "ann@1"})}
    assert world.views("other") == {frozenset()}


def test_s09_a_channel_without_the_members_of_nodes_that_are_down() -> None:
    world = World(9, nodes=3, settle=True)
    for node, client in ((0, "a"), (0, "b"), (1, "c"), (2, "d")):
        world.join(node, "lobby", client)
    world.run_until_quiet()
    assert len(world.members(0, "lobby")) == 4
    world.crash(1)
    world.run_until(lambda: len(world.members(0, "lobby")) == 3, within=60.0)
    world.crash(2)
    world.run_until(lambda: world.members(0, "lobby") == {"a@0", "b@0"}, within=60.0)
    assert world.members(0, "other") == set()


def test_s10_down_keeps_and_forgetting_drops() -> None:
    world = World(10, nodes=2, settle=True, config=SHORT)
    world.join(0, "lobby", "ann")
    world.join(1, "lobby", "bob")
    world.run_until_quiet()
    gone = world.slots[1].node
    world.crash(1)
    world.run_until(lambda: world.members(0, "lobby") == {"ann@0"}, within=60.0)
    assert "bob@1" in world.members(0, "lobby", include_down=True)
    world.run_until(lambda: not holds(world, 0, gone), within=1_200.0)
    assert world.members(0, "lobby", include_down=True) == {"ann@0"}


# -------------------------------------------------------------------- shard_replication_test.exs


def test_t01_a_lone_node_goes_on_and_holds_nobody() -> None:
    world = World(1, nodes=1)
    world.join(0, "lobby", "me")
    world.run_for(30.0)
    assert world.slots[0].engine.next_deadline() > world.now
    assert world.states(0) == {}
    assert world.members(0, "lobby") == {"me@0"}


def test_t02_who_was_not_seen_is_met_and_its_members_are_fetched() -> None:
    world = World(2, nodes=2, settle=True)
    world.pause(0)
    late = world.add_node()
    world.join(late, "lobby", "late")
    world.run_for(0.5)
    world.resume(0)
    world.run_until_quiet()
    assert world.members(0, "lobby") == {f"late@{late}"}
    assert transfers(world)[0] == (1, 1, 0)  # asked once, for the one that it had not
    nothing_more_is_sent(world)
    world.join(late, "lobby", "later")  # pushed, and not asked for
    world.run_until_quiet()
    assert world.members(0, "lobby") == {f"late@{late}", f"later@{late}"}
    assert transfers(world)[0] == (2, 1, 0)
    nothing_more_is_sent(world)


def test_t03_a_deaf_node_gets_all_from_whom_it_asks() -> None:
    """Theirs asks one, who has all. Ours asks for each owner once, and gets each member once."""
    world = World(3, nodes=3, settle=True)
    world.partition(0)
    for node, client in ((1, "a"), (1, "b"), (2, "c")):
        world.join(node, "lobby", client)
    world.run_for(3.0)
    assert world.members(0, "lobby") == set()
    world.heal()
    world.run_until_quiet()
    assert world.members(0, "lobby") == {"a@1", "b@1", "c@2"}
    entries, pulls, deltas = transfers(world)[0]
    assert (entries, deltas) == (3, 0)
    assert 1 <= pulls <= 2
    nothing_more_is_sent(world)


def test_t03_what_waits_for_a_paused_node_is_enough_and_it_asks_nobody() -> None:
    world = World(3, nodes=3, settle=True)
    world.pause(0)
    for node, client in ((1, "a"), (1, "b"), (2, "c")):
        world.join(node, "lobby", client)
    world.run_for(0.5)
    world.resume(0)
    world.run_until_quiet()
    assert world.members(0, "lobby") == {"a@1", "b@1", "c@2"}
    assert transfers(world)[0] == (3, 0, 0)
    nothing_more_is_sent(world)


def test_t04_members_of_an_old_life_are_in_no_view_when_the_node_is_back() -> None:
    world = World(4, nodes=2, settle=True)
    world.join(1, "lobby", "old")
    world.run_until_quiet()
    world.crash(1)
    late = world.add_node()
    world.restart(1)
    world.run_until_quiet()
    assert world.views("lobby") == {frozenset()}
    assert set(world.states(late)) == {0, 1}


def test_t05_paused_resumed_killed_restarted() -> None:
    world = World(5, nodes=2, settle=True, config=SHORT)
    world.join(1, "lobby", "ann")
    world.run_until_quiet()
    first = world.slots[1].node
    world.pause(1)
    world.run_until(lambda: world.members(0, "lobby") == set(), within=60.0)
    assert holds(world, 0, first)
    world.resume(1)
    world.run_until(lambda: world.members(0, "lobby") == {"ann@1"}, within=60.0)
    assert world.slots[1].node == first  # the same life
    world.crash(1)
    world.run_until(lambda: world.members(0, "lobby") == set(), within=60.0)
    world.restart(1)
    world.join(1, "lobby", "new")
    world.run_until_quiet()
    assert world.slots[1].node != first
    assert world.members(0, "lobby") == {"new@1"}
    world.run_until(lambda: not holds(world, 0, first), within=1_200.0)


def test_t06_joins_and_leaves_of_here_and_there_are_told() -> None:
    world = World(6, nodes=2, settle=True)
    for node, client in ((0, "a"), (0, "b"), (1, "c")):
        world.join(node, "lobby", client)
    world.run_until_quiet()
    assert {who for what, who in told(world, 0) if what == "joined"} == {"a@0", "b@0", "c@1"}
    world.leave(0, "lobby", "a")
    assert told(world, 0) == [("left", "a@0")]
    world.leave(1, "lobby", "c")
    world.run_until_quiet()
    assert told(world, 0) == [("left", "c@1")]


def test_t07_a_node_that_dies_is_told_and_kept_until_forgotten() -> None:
    world = World(7, nodes=2, settle=True, config=SHORT)
    world.join(1, "lobby", "ann")
    world.run_until_quiet()
    told(world, 0)
    world.crash(1)
    world.run_until(lambda: told(world, 0) == [("left", "ann@1")], within=60.0)
    assert world.members(0, "lobby") == set()
    assert world.members(0, "lobby", include_down=True) == {"ann@1"}
    world.run_until(lambda: world.members(0, "lobby", include_down=True) == set(), within=1_200.0)


def test_t08_leaving_where_one_is_not_changes_nothing() -> None:
    world = World(8, nodes=1)
    assert world.leave(0, "lobby", "nobody") == 0
    assert told(world, 0) == []


def test_t09_leaving_one_channel_leaves_the_other() -> None:
    world = World(9, nodes=1)
    world.join(0, "one", "ann")
    world.join(0, "two", "ann")
    assert world.leave(0, "one", "ann") == 1
    assert not world.members(0, "one")
    assert world.members(0, "two") == {"ann@0"}


def test_t10_leaving_all_leaves_nothing() -> None:
    world = World(10, nodes=2, settle=True)
    for channel in ("one", "two"):
        world.join(0, channel, "ann")
    world.run_until_quiet()
    for channel in ("one", "two"):
        world.leave(0, channel, "ann")
    world.run_until_quiet()
    assert world.views("one") == world.views("two") == {frozenset()}
    assert world.slots[1].engine.channels("default") == ()


def test_t11_an_update_is_told_as_one_and_nobody_is_absent() -> None:
    world = World(11, nodes=2, settle=True)
    world.join(0, "lobby", "ann", meta=b"\x01")
    world.run_until_quiet()
    told(world, 1)
    world.update(0, "lobby", "ann", b"\x02")
    world.run_until_quiet()
    assert told(world, 1) == [("updated", "ann@0")]


def test_t12_an_update_leaves_other_channels_as_they_are() -> None:
    world = World(12, nodes=2, settle=True)
    for channel in ("one", "two"):
        world.join(0, channel, "ann", meta=b"\x01")
    world.run_until_quiet()
    world.update(0, "one", "ann", b"\x02")
    world.run_until_quiet()
    set_there, owner = world.slots[1].engine.set_of("default"), world.slots[0].node
    metas = {
        channel: set_there.extra(owner, birth)[2]
        for channel in ("one", "two")
        for _, _, birth in world.slots[1].engine.members("default", channel)
    }
    assert metas == {"one": b"\x02", "two": b"\x01"}


def test_t14_joining_twice_is_an_update_and_another_channel_a_membership() -> None:
    """Theirs refuses with `already_tracked`; ours keeps one membership."""
    world = World(14, nodes=1)
    world.join(0, "lobby", "ann")
    world.join(0, "lobby", "ann")
    world.join(0, "other", "ann")
    world.join(0, "lobby", "bob")
    assert world.members(0, "lobby") == {"ann@0", "bob@0"}
    assert world.members(0, "other") == {"ann@0"}


def test_t15_a_goodbye_is_final_at_once() -> None:
    world = World(15, nodes=2, settle=True)
    world.join(1, "lobby", "ann")
    world.run_until_quiet()
    gone = world.slots[1].node
    world.goodbye(1)
    world.run_until(lambda: world.members(0, "lobby") == set(), within=2.0)
    world.run_until(lambda: not holds(world, 0, gone), within=2.0)
    assert world.members(0, "lobby", include_down=True) == set()


def test_t16_a_rolling_update_brings_nothing_old_to_the_new_node() -> None:
    world = World(16, nodes=2, settle=True)
    world.join(0, "lobby", "stays")
    world.join(1, "lobby", "goes")
    world.run_until_quiet()
    world.crash(1)
    late = world.add_node()
    world.run_until(lambda: world.members(late, "lobby") == {"stays@0"}, within=60.0)
    assert transfers(world)[late] == (1, 1, 0)  # once, and nothing of who is gone
    nothing_more_is_sent(world)  # while the old node is down, and not forgotten yet
    assert world.members(late, "lobby") == {"stays@0"}
