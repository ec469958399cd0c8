"""The protocol's properties: Q10-Q18, Q21, Q23, Q27-Q29 (Q30: determinism)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import msgpack
import pytest

from crdtpubsub.config import Config
from crdtpubsub.names import NodeId
from crdtpubsub.sim import Weather, World
from crdtpubsub.sim.network import Link
from crdtpubsub.sim.process import CLUSTER
from crdtpubsub.wire.codec import Decoder, Encoder, frame
from crdtpubsub.wire.messages import Deltas, Fact, Facts, Header, Message

QUICK = Config(suspicion_mult=1.0, suspicion_max_mult=2.0, forget_after_s=20.0)


def _spy(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    said: list[Message] = []
    plain = Encoder.message

    def message(self: Encoder, m: Message) -> bytes:
        said.append(m)
        return plain(self, m)

    monkeypatch.setattr(Encoder, "message", message)
    return said


def _inject(world: World, to: int, sender: NodeId, seq: int, *records: bytes) -> None:
    header = Header(CLUSTER, sender, world.slots[to].node, 1, seq)
    world.slots[to].receive(frame(Encoder().header(header), list(records)))


def test_q10_convergence_without_another_write() -> None:
    world = World(10, nodes=5, settle=True)
    world.network.weather = replace(world.network.weather, loss=0.5)
    for n in range(40):
        world.join(n % 5, "room", f"c{n}")
        world.run_for(0.05)
    world.network.calm()
    assert world.run_until_quiet() < 30.0
    assert len(world.members(0, "room")) == 40


def test_q11_total_isolation_and_return() -> None:
    world = World(11, nodes=4, settle=True)
    for i in range(4):
        world.join(i, "room")
    world.run_until_quiet()
    for i in range(4):
        world.partition(i)
    world.run_for(60.0)
    for i in range(4):
        assert world.members(i, "room") == {f"client-{i}@{i}"}
    world.heal()
    world.run_until_quiet()
    assert len(world.members(0, "room")) == 4


def test_q12_hearsay_lists_nobody() -> None:
    """A life that nobody ever met is named, and probed, and never listed."""
    world = World(12, nodes=3, settle=True)
    ghost = NodeId("f" * 32)
    fact = Fact(ghost, "ghost", "tcp://10.9.9.9:7400", 1, ("default",))
    _inject(world, 0, world.slots[1].node, 10_000, Encoder().message(Facts((fact,))))
    world.run_for(30.0)
    for process in world.slots:
        assert ghost not in [peer.node for peer in process.engine.peers()]


@pytest.mark.parametrize("how", ["crash", "vanish"])
def test_q12_a_dead_owner_leaves_the_view(how: str) -> None:
    world = World(12, nodes=4, settle=True)
    for i in range(4):
        world.join(i, "room")
    world.run_until_quiet()
    getattr(world, how)(3)
    took = world.run_until(
        lambda: all(len(world.members(i, "room")) == 3 for i in range(3)), within=20.0
    )
    assert how == "vanish" or took <= 1.0  # a refused connection is seen at once


@pytest.mark.parametrize("seed", range(4))
def test_q13_purged_at_different_times_and_never_learned_from_hearsay(seed: int) -> None:
    world = World(seed, nodes=4, config=QUICK, settle=True)
    for i in range(4):
        world.join(i, "room")
    world.run_until_quiet()
    world.cut(0, 3)
    world.run_for(8.0)
    world.cut(1, 3)
    world.run_for(8.0)
    world.crash(3)
    world.run_for(90.0)
    for i in range(3):
        members = world.slots[i].engine.set_of("default")
        assert not members.holds(world.slots[3].node)
    world.heal()
    world.run_until_quiet()
    assert len(world.members(0, "room")) == 3


def test_q14_cut_off_for_longer_than_anybody_remembers() -> None:
    world = World(14, nodes=4, config=QUICK, settle=True)
    for i in range(4):
        world.join(i, "room")
    world.run_until_quiet()
    world.partition(3)
    world.run_for(300.0)
    assert world.members(3, "room") == {"client-3@3"}
    world.heal()
    world.run_until_quiet()
    assert len(world.members(0, "room")) == 4


def test_q14_two_halves_meet_again_with_all_seeds_gone() -> None:
    world = World(14, nodes=6, config=QUICK, settle=True)
    for i in range(6):
        world.join(i, "room")
    world.run_until_quiet()
    world.partition((0, 2, 3), (1, 4, 5))
    world.run_for(60.0)
    world.crash(0)
    world.crash(1)
    world.run_for(200.0)
    world.heal()
    world.run_until_quiet()
    assert world.views("room") == {frozenset(f"client-{i}@{i}" for i in range(2, 6))}


@pytest.mark.parametrize("clock_stands", [True, False])
def test_q14_a_sleeper(clock_stands: bool) -> None:
    world = World(15, nodes=4, config=QUICK, settle=True)
    for i in range(4):
        world.join(i, "room")
    world.run_until_quiet()
    world.pause(2, clock_stands=clock_stands)
    world.run_for(120.0)
    assert world.members(0, "room") == {"client-0@0", "client-1@1", "client-3@3"}
    world.resume(2)
    world.run_until_quiet()
    assert len(world.members(2, "room")) == 4


def test_q15_three_lives_of_one_name() -> None:
    world = World(15, nodes=4, config=QUICK, settle=True)
    for life in range(3):
        world.join(0, "room", f"life{life}")
        world.cut(0, 1 + life)
        world.run_for(3.0)
        if life < 2:
            world.restart(0)
    world.heal()
    world.run_until_quiet()
    assert world.views("room") == {frozenset({"life2@0"})}
    for i in range(1, 4):
        assert world.states(i)[0] == "alive"


def test_q15_two_running_nodes_with_one_name_are_two_nodes() -> None:
    world = World(15, nodes=0)
    for i in range(3):
        world.join(world.add_node("twin"), "room", f"c{i}")
    world.run_until_quiet()
    assert world.views("room") == {frozenset({"c0@0", "c1@1", "c2@2"})}


def test_q16_batching_changes_traffic_and_never_results() -> None:
    views = set()
    for config in (
        Config(),
        Config(push_interval_s=0.2),
        Config(slice_births=1, transfer_births=1),
        Config(frame_bytes=512),
    ):
        world = World(16, nodes=4, config=config, settle=True)
        for n in range(80):
            world.join(n % 4, f"room{n % 3}", f"c{n % 9}")
            if n % 3 == 0:
                world.leave(n % 4, f"room{(n + 1) % 3}", f"c{n % 9}")
            world.run_for(0.01)
        world.run_until_quiet()
        views.add(tuple(tuple(sorted(world.members(0, f"room{r}"))) for r in range(3)))
    assert len(views) == 1


def test_q17_old_frames_are_harmless_at_any_later_moment() -> None:
    world = World(17, nodes=3, settle=True)
    kept: list[tuple[int, bytes]] = []
    plain = world.send

    def send(link: Link, data: bytes) -> None:
        assert link.peer is not None
        kept.append((link.peer.index, data))
        plain(link, data)

    world.send = send  # type: ignore[method-assign]
    dice = Random(17)
    for n in range(60):
        world.join(n % 3, "room", f"c{n % 5}")
        world.run_for(0.05)
        if n % 4 == 0:
            world.del_channel((n + 1) % 3, "room")
        for to, data in dice.sample(kept, min(len(kept), 3)):
            world.slots[to].receive(data)
    world.run_until_quiet()
    world.checks.final()


@pytest.mark.parametrize("births", [1, 3, 1000])
def test_q18_a_transfer_in_any_bites_cut_anywhere(births: int) -> None:
    config = Config(slice_births=births, transfer_births=births)
    world = World(18, nodes=3, config=config, settle=True)
    for n in range(60):
        world.join(0, f"room{n}", "ann")
        world.join(1, f"room{n}", "bob")
    world.run_until_quiet()
    late = world.add_node()
    for _ in range(20):
        world.run_for(0.05)
        world.reset(world.dice.randrange(3), late)
    world.crash(1)
    world.run_until_quiet()
    assert all(world.members(late, f"room{n}") == {"ann@0"} for n in range(60))


@pytest.mark.parametrize("with_a_down_peer", [False, True])
def test_q21_an_equal_cluster_transfers_nothing(with_a_down_peer: bool) -> None:
    world = World(21, nodes=4, settle=True)
    for n in range(100):
        world.join(n % 4, f"room{n}", "ann")
    world.run_until_quiet()
    if with_a_down_peer:
        world.vanish(3)
    world.run_for(30.0)
    for process in world.running():
        process.sent.clear()
        process.bytes_sent = 0
    world.run_for(60.0)
    for process in world.running():
        assert not {"Deltas", "Pull", "Live", "Sums"} & set(process.sent), process.sent
        assert process.bytes_sent < 60 * 3000


def test_q23_garbage_is_counted_and_nothing_more() -> None:
    world = World(23, nodes=3, settle=True)
    kept: list[bytes] = []
    plain = world.send

    def send(link: Link, data: bytes) -> None:
        kept.append(data)
        plain(link, data)

    world.send = send  # type: ignore[method-assign]
    world.join(0, "room", "ann")
    world.run_for(3.0)
    dice = Random(23)
    target = world.slots[1]
    for data in kept:
        broken = bytearray(data)
        for _ in range(dice.randint(1, 3)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        world.checks.after = lambda *_, **__: None  # type: ignore[method-assign]
        target.receive(data[: dice.randrange(len(data))])
        target.receive(dice.randbytes(dice.randrange(200)))
    assert target.faulty_frames > 50
    world.run_for(5.0)
    assert world.views("room") == {frozenset({"ann@0"})}


def test_q27_what_is_said_is_what_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _spy(monkeypatch)
    world = World(27, nodes=4, weather=Weather(loss=0.1))
    for n in range(60):
        world.join(n % 4, f"r{n % 3}", f"c{n % 5}", meta=b"%d" % n)
        world.remove((n + 1) % 4, f"r{n % 3}", world.slots[n % 4].node, f"c{n % 5}")
        world.publish(n % 4, f"r{n % 2}", b"x")
        world.run_for(0.2)
    kinds = {type(message).__name__ for message in said}
    assert {"Hello", "Welcome", "Probe", "Ack", "Deltas", "Rows", "Pull"} <= kinds
    header = Encoder().header(Header(CLUSTER, NodeId("a" * 32), NodeId("b" * 32), 1, 0))
    for message in list(said):
        data = frame(header, [Encoder().message(message)])
        assert Decoder(CLUSTER).decode(data).messages == (message,)


def test_q27_an_unknown_kind_of_record_is_skipped() -> None:
    world = World(27, nodes=2, settle=True)
    record = msgpack.packb([251, "from the future", {}])
    before = world.slots[0].faulty_frames
    _inject(world, 0, world.slots[1].node, 10_000, record)
    assert world.slots[0].faulty_frames == before
    world.join(1, "room", "ann")
    world.run_until_quiet()


def test_q28_one_exit_however_the_news_came() -> None:
    """The remover cannot speak to the owner: a third node brings the removal."""
    world = World(28, nodes=3, settle=True)
    world.join(0, "room", "ann")
    world.run_until_quiet()
    world.cut(1, 0)
    world.remove(1, "room", world.slots[0].node, "ann")
    world.run_for(20.0)
    assert world.exits("room") == ["ann@0"]
    world.heal()
    world.run_until_quiet()
    assert world.exits("room") == ["ann@0"]


def test_q28_one_exit_when_the_push_is_lost() -> None:
    world = World(28, nodes=2, settle=True)
    world.join(0, "room", "ann")
    world.run_until_quiet()
    world.network.weather = replace(world.network.weather, loss=1.0)
    world.remove(1, "room", world.slots[0].node, "ann")
    world.run_for(0.1)
    world.network.calm()
    world.run_until_quiet()
    assert world.exits("room") == ["ann@0"]


def test_q29_joined_and_gone_within_one_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(29, nodes=2, config=Config(push_interval_s=0.05), settle=True)
    world.run_for(1.0)
    said = _spy(monkeypatch)
    world.join(0, "room", "first")  # goes out at once, and opens the interval
    world.join(0, "room", "blink")
    world.leave(0, "room", "blink")
    world.run_until_quiet()
    deltas = [d for m in said if isinstance(m, Deltas) for d in m.deltas]
    assert deltas
    assert not any("blink" in clients for d in deltas for clients in d.entries.values())


def test_a_lost_removal_in_a_long_history_is_found_by_sums() -> None:
    world = World(30, nodes=1)
    for n in range(4200):
        world.join(0, "room", f"c{n}")
        if n % 100:
            world.leave(0, "room", f"c{n}")
    late = world.add_node()
    world.run_until_quiet()
    world.network.weather = replace(world.network.weather, loss=1.0)
    world.remove(late, "room", world.slots[0].node, "c100")
    world.run_for(0.1)
    world.network.calm()
    world.run_until_quiet()
    assert world.counters()["sums"] > 0
    assert world.exits("room") == ["c100@0"]
