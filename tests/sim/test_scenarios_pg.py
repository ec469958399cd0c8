"""P: the suites of Erlang's `pg` and `spg`, retold in our meaning.

Where theirs counts joins we have one membership per client, channel and owner; where theirs
forbids remote joins, anybody may end anybody's membership.
"""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.engine.effects import Changed
from crdtpubsub.names import NodeId
from crdtpubsub.sim import CutMode, World
from crdtpubsub.sim.process import CLUSTER
from crdtpubsub.wire.codec import Encoder, frame
from crdtpubsub.wire.messages import Deltas, Header, Message

Told = list[tuple[str, str, str]]


def _told(world: World, i: int, channel: str | None = None) -> Told:
    """The Changed effects of node `i` since the last call: (what, channel, client@owner)."""
    told: Told = []
    changes: list[Changed] = world.slots[i].changes
    for change in changes:
        who = world.number(change.owner)
        for what in ("left", "joined", "updated"):
            for ch, client, _, _ in getattr(change, what):
                if channel in (None, ch):
                    told.append((what, ch, f"{client}@{who}"))
    changes.clear()
    return told


def _channels(world: World, i: int, scope: str = "default") -> tuple[str, ...]:
    return world.slots[i].engine.channels(scope)


def _local(world: World, i: int, channel: str) -> set[str]:
    return {m for m in world.members(i, channel) if m.endswith(f"@{i}")}


def _inject(world: World, to: int, sender: NodeId, message: Message, seq: int = 10_000) -> None:
    header = Header(CLUSTER, sender, world.slots[to].node, 1, seq)
    world.slots[to].receive(frame(Encoder().header(header), [Encoder().message(message)]))


def test_p01_one_node() -> None:
    world = World(1, nodes=1)
    world.join(0, "g", "me")
    assert world.members(0, "g") == {"me@0"} == _local(world, 0, "g")
    assert _channels(world, 0) == ("g",)
    world.leave(0, "g", "me")
    assert world.members(0, "g") == set()
    assert _channels(world, 0) == ()


def test_p02_scopes_open_and_close() -> None:
    world = World(2, nodes=2, settle=True)
    for scope in ("s1", "s2"):
        world.open_scope(0, scope)
        world.join(0, "g", "me", scope=scope)
    assert _channels(world, 0, "s1") == _channels(world, 0, "s2") == ("g",)
    assert _channels(world, 0) == ()
    world.close_scope(0, "s1")
    world.run_until_quiet()
    assert _channels(world, 0, "s2") == ("g",)


def test_p03_what_is_not_understood_is_ignored() -> None:
    world = World(3, nodes=2, settle=True)
    for data in (b"", b"GET / HTTP/1.1\r\n", bytes(300)):
        world.slots[0].receive(data)
    assert world.slots[0].faulty_frames == 3
    world.join(0, "g", "me")
    world.run_until_quiet()


def test_p04_leave_races_with_the_end() -> None:
    world = World(4, nodes=2, settle=True)
    for n in range(100):
        world.join(0, "g", f"c{n}")
        if n % 2:
            world.leave(0, "g", f"c{n}")
            world.remove(1, "g", world.slots[0].node, f"c{n}")
        else:
            world.remove(1, "g", world.slots[0].node, f"c{n}")
            world.leave(0, "g", f"c{n}")
    world.run_until_quiet()
    assert world.views("g") == {frozenset()}
    assert world.exits("g") == []


def test_p05_single_joined_more_than_once_is_one_member() -> None:
    world = World(5, nodes=1)
    for _ in range(3):
        world.join(0, "g", "me")
    assert world.members(0, "g") == {"me@0"}
    assert world.leave(0, "unknown", "me") == 0
    assert world.leave(0, "g", "me") == 1
    assert world.leave(0, "g", "me") == 0
    world.join(0, "g", "me")
    world.join(0, "g", "p")
    world.leave(0, "g", "p")
    assert world.members(0, "g") == {"me@0"}


def test_p06_the_local_node_is_never_a_peer() -> None:
    """Node 0 is its own seed: it dials itself, and notices."""
    world = World(6, nodes=2, settle=True)
    world.join(0, "g", "me")
    world.run_for(5.0)
    assert world.members(0, "g") == {"me@0"}
    assert list(world.states(0)) == [1]


def test_p07_nobody_joins_in_anothers_name() -> None:
    """Only the owner adds: births that somebody asserts of my own life are not believed.

    They are passed over: where the lie was heard too, they would be taken for removed.
    """
    world = World(7, nodes=2, settle=True)
    me, other = world.slots[0].node, world.slots[1].node
    world.join(0, "g", "me")
    world.run_until_quiet()
    claim = Delta(me, (2, 9), {"g": {"forged": 5}})
    journal = world.checks.journal.life("default", me)
    journal.added |= (1 << 9) - (1 << 2)
    journal.removed |= (1 << 9) - (1 << 2)
    _inject(world, 0, other, Deltas("default", (claim,)))
    assert world.members(0, "g") == {"me@0"}
    world.run_for(5.0)
    assert world.members(0, "g") == {"me@0"}
    world.join(0, "g", "late")
    world.run_until_quiet()
    assert world.members(1, "g") == {"me@0", "late@0"}


def test_p08_a_scope_closed_at_the_peer_stays_closed() -> None:
    world = World(8, nodes=2, settle=True)
    for i in range(2):
        world.open_scope(i, "s")
        world.join(i, "g", f"c{i}", scope="s")
    world.run_until_quiet()
    other = world.slots[1].node
    world.close_scope(1, "s")
    world.run_until_quiet()
    assert world.members(0, "g", scope="s") == {"c0@0"}
    late = Deltas("s", (Delta(other, (1, 4), {"g": {"late": 2, "later": 3}}),))
    _inject(world, 0, other, late)
    world.run_for(3.0)
    assert world.members(0, "g", scope="s") == {"c0@0"}


def test_p09_two() -> None:
    world = World(9, nodes=2, settle=True)
    world.join(0, "g", "p")
    world.run_until_quiet()
    assert world.members(1, "g") == {"p@0"}
    assert _local(world, 1, "g") == set()
    world.leave(0, "g", "p")
    world.run_until_quiet()
    assert world.members(1, "g") == set()
    world.join(1, "g", "p2")
    world.join(1, "g", "p3")
    world.run_until_quiet()
    assert world.members(0, "g") == {"p2@1", "p3@1"}
    world.crash(1)
    world.run_until_quiet()
    assert world.members(0, "g") == set()


def test_p10_no_empty_channel_is_left_by_a_remote_leave() -> None:
    world = World(10, nodes=2, settle=True)
    for order in (("r", "r2"), ("r2", "r")):
        for client in order:
            world.join(1, "g", client)
        world.run_until_quiet()
        assert world.members(0, "g") == {"r@1", "r2@1"}
        for client in order[::-1]:
            world.leave(1, "g", client)
        world.run_until_quiet()
        assert _channels(world, 0) == ()
        assert list(world.slots[0].engine.set_of("default").channel_names()) == []


def test_p11_thundering_herd() -> None:
    """A peer that says the same thing 2,000 times costs nothing but its bytes."""
    world = World(11, nodes=2, settle=True)
    world.join(1, "g", "r")
    world.run_until_quiet()
    other = world.slots[1].node
    same = Deltas("default", (Delta(other, (1, 2), {"g": {"r": 1}}),))
    _told(world, 0)
    for n in range(2000):
        _inject(world, 0, other, same, 10_000 + n)
    assert _told(world, 0) == []
    world.join(0, "g", "me")
    assert world.members(0, "g") == {"me@0", "r@1"}
    world.run_until_quiet()


def test_p12_initial() -> None:
    world = World(12, nodes=1)
    world.join(0, "g", "p")
    late = world.add_node()
    world.run_until_quiet()
    assert world.members(late, "g") == {"p@0"}
    assert _local(world, late, "g") == set()
    world.leave(0, "g", "p")
    world.run_until_quiet()
    assert world.members(late, "g") == set()


def test_p13_netsplit() -> None:
    world = World(13, nodes=2, settle=True)
    world.join(1, "invisible", "old")
    world.run_until_quiet()
    world.partition(0)
    world.run_for(30.0)
    assert world.members(0, "invisible") == set()
    world.join(1, "g", "new")
    world.leave(1, "invisible", "old")
    world.join(1, "visible", "old")
    world.join(0, "g", "l")
    world.heal()
    world.run_until_quiet()
    assert world.views("g") == {frozenset({"new@1", "l@0"})}
    assert world.members(0, "visible") == {"old@1"}
    assert "invisible" not in _channels(world, 0)


def test_p14_trisplit() -> None:
    world = World(14, nodes=2, settle=True)
    world.join(1, "three", "p")
    world.run_until_quiet()
    world.partition(0)
    world.run_for(0.2)
    world.heal()
    world.reset(0, 1)
    world.reset(1, 0)
    world.join(1, "one", "p")
    third = world.add_node()
    world.run_until_quiet()
    assert world.members(third, "one") == {"p@1"}


def test_p15_foursplit() -> None:
    world = World(15, nodes=2, settle=True)
    world.join(0, "one", "p")
    world.join(0, "two", "p")
    world.leave(0, "one", "p")
    assert world.leave(0, "three", "p") == 0
    world.run_until_quiet()
    world.partition(0)
    world.run_for(30.0)
    assert world.leave(0, "three", "p") == 0
    world.heal()
    world.run_until_quiet()
    assert world.views("one") == {frozenset()}
    assert world.views("two") == {frozenset({"p@0"})}


def test_p16_exchange() -> None:
    world = World(16, nodes=3, settle=True)
    for n in range(10):
        world.join(1, "g", f"b{n}")
    for n in range(3):
        world.leave(1, "g", f"b{n}")
    world.run_until_quiet()
    world.partition(0)
    world.run_until(lambda: not world.members(0, "g"), within=30.0)
    for n in range(10):
        world.join(2, "g", f"c{n}")
        world.join(1, "second", f"d{n}")
        world.join(1, "third", f"d{n}")
    world.heal()
    world.run_until_quiet()
    assert world.members(0, "g") == {f"b{n}@1" for n in range(3, 10)} | {
        f"c{n}@2" for n in range(10)
    }
    assert len(world.members(0, "second")) == len(world.members(0, "third")) == 10
    for n in range(3):
        world.leave(1, "third", f"d{n}")
    world.run_until_quiet()
    assert len(world.members(0, "third")) == 7
    assert world.leave(1, "third", "d0") == 0
    world.del_channel(0, "third")
    world.run_until_quiet()
    assert world.views("third") == {frozenset()}


def test_p17_what_is_remote_is_not_local() -> None:
    world = World(17, nodes=2, settle=True)
    world.join(1, "g", "r")
    world.join(1, "g", "r")
    world.run_until_quiet()
    assert _local(world, 0, "g") == set()
    assert world.publish(0, "g", b"x") == (1, 0, 0)


def test_p18_joined_twice_around_a_start() -> None:
    world = World(18, nodes=1)
    world.join(0, "g", "p")
    late = world.add_node()
    world.join(0, "g", "p")
    world.run_until_quiet()
    assert world.members(0, "g") == world.members(late, "g") == {"p@0"}


def test_p19_a_scope_opened_again_remembers_no_members_of_its_own() -> None:
    world = World(19, nodes=2, settle=True)
    for i in range(2):
        world.open_scope(i, "s")
    world.join(0, "g", "p", scope="s")
    world.join(1, "g", "r", scope="s")
    world.run_until_quiet()
    world.close_scope(0, "s")
    world.run_for(1.0)
    world.open_scope(0, "s")
    world.run_until_quiet()
    assert world.views("g", scope="s") == {frozenset({"r@1"})}
    world.join(0, "g", "p", scope="s")
    world.run_until_quiet()
    assert world.views("g", scope="s") == {frozenset({"p@0", "r@1"})}


def test_p20_a_scope_that_one_node_lacks_lives_among_the_others() -> None:
    world = World(20, nodes=3, settle=True)
    for i in (0, 1):
        world.open_scope(i, "s")
        world.join(i, "g", f"c{i}", scope="s")
    world.run_until_quiet()
    assert world.members(0, "g", scope="s") == {"c0@0", "c1@1"}
    assert set(world.states(2).values()) == {"alive"}


def test_p21_started_while_disconnected() -> None:
    world = World(21, nodes=2, settle=True)
    world.partition(1)
    world.restart(1)
    world.join(1, "g", "lonely")
    world.run_for(20.0)
    assert world.members(1, "g") == {"lonely@1"}
    world.heal()
    world.run_until_quiet()
    assert world.views("g") == {frozenset({"lonely@1"})}


def test_p22_an_extra_transfer_changes_nothing() -> None:
    world = World(22, nodes=2, settle=True)
    world.join(0, "one", "p")
    world.join(1, "one", "r")
    world.run_until_quiet()
    world.partition(0)
    world.run_for(30.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("one") == {frozenset({"p@0", "r@1"})}
    _told(world, 0)
    members = world.slots[1].engine.set_of("default")
    other = world.slots[1].node
    whole = Deltas("default", (members.delta(other, members.seen(other)),))
    for n in range(3):
        _inject(world, 0, other, whole, 20_000 + n)
    assert _told(world, 0) == []


def test_p23_leaves_of_some_of_many() -> None:
    world = World(23, nodes=2, settle=True)
    for n in range(16):
        world.join(1, "g", f"r{n}")
    for n in range(4):
        world.leave(1, "g", f"r{n}")
    world.run_until_quiet()
    assert len(world.members(0, "g")) == 12
    world.goodbye(1)
    world.run_for(2.0)
    assert world.members(0, "g") == set()
    assert world.states(0).get(1, "left") == "left"


def test_p24_a_snapshot_of_a_scope_that_is_not_empty() -> None:
    world = World(24, nodes=2, settle=True)
    world.join(0, "one", "p")
    world.join(1, "one", "r")
    world.run_until_quiet()
    assert _channels(world, 0) == ("one",)
    assert world.members(0, "one") == world.members(0, "one") == {"p@0", "r@1"}


def test_p25_the_changes_of_a_scope_in_their_order() -> None:
    world = World(25, nodes=2, settle=True)
    told: Told = []
    for step in (
        lambda: world.join(0, "g", "me"),
        lambda: world.join(1, "g", "r"),
        lambda: world.join(1, "g", "r"),
        lambda: world.leave(0, "g", "me"),
        lambda: world.leave(1, "g", "r"),
        lambda: world.join(1, "g", "r"),
        lambda: world.crash(1),
    ):
        step()
        world.run_for(2.0)
        told += _told(world, 0)
    assert told == [
        ("joined", "g", "me@0"),
        ("joined", "g", "r@1"),
        ("left", "g", "me@0"),
        ("left", "g", "r@1"),
        ("joined", "g", "r@1"),
        ("left", "g", "r@1"),
    ]


def test_p26_the_changes_of_one_channel() -> None:
    world = World(26, nodes=2, settle=True)
    for channel in ("g", "h"):
        world.join(0, channel, "me")
        world.join(1, channel, "r")
    world.run_for(2.0)
    world.leave(1, "g", "r")
    world.run_for(2.0)
    assert _told(world, 0, "g") == [
        ("joined", "g", "me@0"),
        ("joined", "g", "r@1"),
        ("left", "g", "r@1"),
    ]


def test_p27_a_watcher_that_is_a_member_and_ends() -> None:
    world = World(27, nodes=2, settle=True)
    world.join(0, "g", "me")
    world.leave(0, "g", "me")
    assert _told(world, 0) == [("joined", "g", "me@0"), ("left", "g", "me@0")]
    world.run_until_quiet()


def test_p28_each_change_is_told_once() -> None:
    world = World(28, nodes=2, settle=True)
    world.join(1, "one", "me")
    world.join(1, "two", "me")
    world.run_for(20.0)
    assert sorted(_told(world, 0)) == [("joined", "one", "me@1"), ("joined", "two", "me@1")]


def test_p29_capabilities_of_the_future_are_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """A HELLO with bits nobody knows yet is answered like any other."""
    from dataclasses import replace  # noqa: PLC0415

    from crdtpubsub.wire.messages import Hello  # noqa: PLC0415

    plain = Encoder.message

    def message(self: Encoder, m: Message) -> bytes:
        if isinstance(m, Hello) and m.fact.name == "node-1":
            m = replace(m, capabilities=1 << 20)
        return plain(self, m)

    monkeypatch.setattr(Encoder, "message", message)
    world = World(29, nodes=2, settle=True)
    world.join(1, "g", "r")
    world.run_until_quiet()
    assert world.members(0, "g") == {"r@1"}


@pytest.mark.parametrize("seed", range(12))
def test_p31_a_random_walk_against_the_model(seed: int) -> None:
    """The local view equals the model at once; the global one when things are quiet."""
    dice = Random(seed)
    world = World(seed, nodes=4, settle=True)
    model: dict[NodeId, set[tuple[str, str]]] = {p.node: set() for p in world.slots}
    for _ in range(120):
        i = dice.randrange(4)
        process = world.slots[i]
        roll = dice.random()
        if roll < 0.08 and process.running and len(world.running()) > 2:
            world.crash(i)
        elif roll < 0.16 and not process.running:
            world.restart(i)
            model[world.slots[i].node] = set()
        elif roll < 0.2:
            world.cut(i, dice.randrange(4))
        elif roll < 0.3:
            world.heal()
        elif process.running:
            channel, client = f"g{dice.randrange(4)}", f"c{dice.randrange(4)}"
            mine = model[process.node]
            if roll < 0.7:
                world.join(i, channel, client)
                mine.add((channel, client))
            else:
                left = world.leave(i, channel, client)
                assert left == ((channel, client) in mine)
                mine.discard((channel, client))
            assert _local(world, i, channel) == {f"{c}@{i}" for g, c in mine if g == channel}
        world.run_for(dice.choice((0.0, 0.05, 1.0)))
    world.heal()
    world.run_until_quiet()
    for n in range(4):
        expected = {
            f"{c}@{p.index}" for p in world.running() for g, c in model[p.node] if g == f"g{n}"
        }
        assert world.views(f"g{n}") == {frozenset(expected)}


@pytest.mark.parametrize("seed", range(12))
def test_p31_the_view_is_the_connected_component(seed: int) -> None:
    """Links are transitive: after any cuts each lists whom it reaches, through however many."""
    dice = Random(seed)
    count = dice.randint(6, 10)
    world = World(seed, nodes=count, settle=True)
    for i in range(count):
        world.join(i, "g", "p")
    world.run_until_quiet()
    pairs = list(combinations(range(count), 2))
    left = dice.sample(pairs, dice.randint(count // 2, count))  # few enough for long ways
    for i, j in pairs:
        if (i, j) not in left:
            world.cut(i, j, mode=dice.choice(list(CutMode)))
    reached = {i: set(world.network.hops(i, range(count))) for i in range(count)}

    def listed(channel: str, client: str) -> bool:
        return all(
            world.members(i, channel) == {f"{client}@{j}" for j in reached[i]} for i in reached
        )

    world.run_until(lambda: listed("g", "p"), within=60.0)
    for i in range(count):  # and news goes all the way
        world.leave(i, "g", "p")
        world.join(i, "h", "q")
    world.run_until(lambda: listed("h", "q") and world.views("g") == {frozenset()}, within=60.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("h") == {frozenset(f"q@{i}" for i in range(count))}


def test_p31_a_chain_of_twelve() -> None:
    """An answer is passed on by ten helpers; when the far end dies, nobody lists it any more."""
    world = World(31, nodes=12, settle=True)
    for i, j in combinations(range(12), 2):
        if j - i > 1:
            world.cut(i, j)
    for i in range(12):
        world.join(i, "g", "p")
    everybody = frozenset(f"p@{i}" for i in range(12))
    world.run_until(lambda: world.views("g") == {everybody}, within=120.0)
    calm = [len(p.changes) for p in world.slots]
    world.run_for(60.0)
    assert [len(p.changes) for p in world.slots] == calm  # and nobody flaps
    world.crash(11)
    world.run_until(lambda: world.views("g") == {everybody - {"p@11"}}, within=60.0)
    assert world.counters()["relayed_on"] > 0


def test_two_helpers_that_take_each_other_for_the_way_do_not_pass_a_request_for_ever() -> None:
    """0 and 1 reach 3 by 2 alone; then 2 dies, and each may think that the other knows a way."""
    world = World(4, nodes=4, settle=True)
    for i in (0, 1):
        world.cut(i, 3)
    world.join(3, "g", "p")
    world.run_until(lambda: world.views("g") == {frozenset({"p@3"})}, within=30.0)
    for process, other in ((world.slots[0], world.slots[1]), (world.slots[1], world.slots[0])):
        (far,) = [p for p in process.engine.peers() if p.node == world.slots[3].node]
        far.relayed_by = other.node
    world.crash(2)
    before = sum(p.sent.get("ProbeFor", 0) for p in world.slots)
    world.run_for(10.0)
    assert world.members(0, "g") == world.members(1, "g") == set()
    asked = sum(p.sent.get("ProbeFor", 0) for p in world.slots) - before
    assert asked < 100, asked


def test_p32_the_channels_of_a_dead_node_are_gone() -> None:
    world = World(32, nodes=4, settle=True)
    for i in range(4):
        world.join(i, f"member-{i}", "p")
    world.run_until_quiet()
    world.crash(3)
    world.run_until_quiet()
    for i in range(3):
        assert _channels(world, i) == ("member-0", "member-1", "member-2")


def test_p32_the_last_remote_member_leaves_and_its_node_ends() -> None:
    world = World(32, nodes=4, settle=True)
    for i in range(4):
        world.join(i, f"member-{i}", "p")
    world.run_until_quiet()
    world.leave(3, "member-3", "p")
    world.goodbye(3)
    world.run_for(3.0)
    for i in range(3):
        assert _channels(world, i) == ("member-0", "member-1", "member-2")
