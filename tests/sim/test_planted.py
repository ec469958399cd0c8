"""Planted bugs: each is put into the engine on purpose, and the worlds must notice.

A bug that no world notices is a hole in the oracle, not a harmless bug. What does harm only
where worlds rarely come has a story of its own, which holds, and fails with the bug in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from crdtpubsub.config import Config
from crdtpubsub.crdt import memberset
from crdtpubsub.crdt.delta import Change, Delta
from crdtpubsub.crdt.intervals import Runs, top, union
from crdtpubsub.crdt.memberset import RUNS_MAX, MemberSet, Owner
from crdtpubsub.engine.antientropy import AntiEntropy
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.liveness import Liveness
from crdtpubsub.engine.peers import Peer, Sign
from crdtpubsub.engine.replication import Replication
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.sim import CutMode, World, run_world
from crdtpubsub.sim.checks import Checks
from crdtpubsub.wire.messages import Accuse, Deltas, Fact, Live, Message, Row

Plant = Callable[[pytest.MonkeyPatch], None]

WORLDS: Final = 40


def context_ignored_on_insert(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memberset, "contains", lambda runs, birth: False)


def context_wider_than_the_entries(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet.delta

    def delta(self: MemberSet, owner: NodeId, runs: Runs) -> Delta:
        return replace(plain(self, owner, runs), runs=self.seen(owner))

    patch.setattr(MemberSet, "delta", delta)


def entry_dropped_from_a_chunk(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet.delta

    def delta(self: MemberSet, owner: NodeId, runs: Runs) -> Delta:
        made = plain(self, owner, runs)
        if len(made.entries) > 1:
            made.entries.popitem()
        return made

    patch.setattr(MemberSet, "delta", delta)


def seen_before_the_entries_are_in(patch: pytest.MonkeyPatch) -> None:
    plain = AntiEntropy._pull

    def pull(
        self: AntiEntropy, owner: NodeId, runs: Runs, peer: NodeId, now: float
    ) -> list[Message]:
        asked = plain(self, owner, runs, peer, now)
        held = self.members.hold(owner)
        held.seen = union(held.seen, runs)
        return asked

    patch.setattr(AntiEntropy, "_pull", pull)


def unobserved_dots_removed(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet.remove

    def remove(self: MemberSet, owner: NodeId, runs: Runs) -> tuple[Change, Runs]:
        change, ended = plain(self, owner, runs)
        if ended and owner != self.me:
            beyond = (top(self.seen(owner)), top(self.seen(owner)) + 1)
            self.merge(Delta(owner, beyond, {}))
            ended = union(ended, beyond)
        return change, ended

    patch.setattr(MemberSet, "remove", remove)


def live_beyond_its_runs(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet.live

    def live(self: MemberSet, owner: NodeId, runs: Runs) -> tuple[Runs, dict[int, int]]:
        said, births = plain(self, owner, runs)
        return union(said, (1, top(said) + 2)), births

    patch.setattr(MemberSet, "live", live)


def live_without_exit(patch: pytest.MonkeyPatch) -> None:
    plain = AntiEntropy.on_live

    def on_live(
        self: AntiEntropy, live: Live, sender: NodeId, now: float
    ) -> tuple[Change, list[Message]]:
        change, messages = plain(self, live, sender, now)
        return replace(change, removed=[]), messages

    patch.setattr(AntiEntropy, "on_live", on_live)


def version_ignored(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet._reversion

    def reversion(self: MemberSet, held: Owner, *args: Any) -> None:
        if held.node == self.me:
            plain(self, held, *args)

    patch.setattr(MemberSet, "_reversion", reversion)


def hidden_owner_still_listed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cluster, "listed", lambda self, life: life == self.me.node or life in self.peers)


def update_as_a_new_birth(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet.join

    def join(self: MemberSet, channel: str, client: str, **kwargs: Any) -> tuple[Change, Runs]:
        birth = self.clients(self.me, channel).get(client)
        if birth is not None:
            self.remove(self.me, (birth, birth + 1))
        return plain(self, channel, client, **kwargs)

    patch.setattr(MemberSet, "join", join)


def birth_reused(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet.remove

    def remove(self: MemberSet, owner: NodeId, runs: Runs) -> tuple[Change, Runs]:
        answer = plain(self, owner, runs)
        if owner == self.me and answer[1] and top(answer[1]) == self._next:
            self._next -= 1
            self.hold(owner).seen = (1, self._next) if self._next > 1 else ()
        return answer

    patch.setattr(MemberSet, "remove", remove)


def digest_without_the_sum(patch: pytest.MonkeyPatch) -> None:
    plain = AntiEntropy.row

    def row(self: AntiEntropy, owner: NodeId) -> Row:
        return replace(plain(self, owner), count=0, sum=0)

    patch.setattr(AntiEntropy, "row", row)


def pull_mark_never_cleared(patch: pytest.MonkeyPatch) -> None:
    def answered(self: AntiEntropy, deltas: Deltas, sender: NodeId, now: float) -> list[Message]:
        return []

    patch.setattr(AntiEntropy, "answered", answered)
    patch.setattr(AntiEntropy, "moved", lambda self, now, live: [])


def live_purged_before_seen(patch: pytest.MonkeyPatch) -> None:
    plain = MemberSet.hold
    kept: dict[tuple[int, NodeId], Runs] = {}
    detach = MemberSet.detach

    def forgetful(self: MemberSet, owner: NodeId) -> Owner | None:
        kept[id(self), owner] = self.seen(owner)
        return detach(self, owner)

    def hold(self: MemberSet, owner: NodeId) -> Owner:
        held = plain(self, owner)
        held.seen = held.seen or kept.pop((id(self), owner), ())
        return held

    patch.setattr(MemberSet, "detach", forgetful)
    patch.setattr(MemberSet, "hold", hold)


def admitted_on_hearsay(patch: pytest.MonkeyPatch) -> None:
    def hear_of(
        self: Cluster, fact: Fact | None, node: NodeId, said_by: NodeId, now: float
    ) -> None:
        if fact is not None and node not in self.peers and node != self.me.node:
            self.verified(fact, now, relayed_by=said_by)

    patch.setattr(Cluster, "hear_of", hear_of)


def hearsay_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cluster, "hear_of", lambda self, fact, node, said_by, now: None)


def accusation_adopted(patch: pytest.MonkeyPatch) -> None:
    plain = Liveness.on_accuse

    def on_accuse(self: Liveness, accuse: Accuse, sender: NodeId, now: float) -> None:
        plain(self, accuse, sender, now)
        peer = self._cluster.peers.get(accuse.target)
        if peer is not None:
            self._cluster.move(peer, Sign.PROBE_FAILED, now)
            self._cluster.move(peer, Sign.EXPIRED, now)
            self._cluster.candidates.clear()

    patch.setattr(Liveness, "on_accuse", on_accuse)


def foreign_process_is_final(patch: pytest.MonkeyPatch) -> None:
    plain = Cluster.move

    def move(self: Cluster, peer: Peer, sign: Sign, now: float) -> None:
        plain(self, peer, sign, now)
        if sign is Sign.REPLACED:
            self.left[peer.node] = float("inf")

    patch.setattr(Cluster, "move", move)


def one_refusal_kills(patch: pytest.MonkeyPatch) -> None:
    plain = Peer.sign

    def sign(self: Peer, sign: Sign) -> bool:
        return plain(self, Sign.REFUSED_TWICE if sign is Sign.REFUSED else sign)

    patch.setattr(Peer, "sign", sign)


def _without_flush(patch: pytest.MonkeyPatch, method: str) -> None:
    plain = getattr(Replication, method)

    def unflushed(self: Replication, *args: Any, **kwargs: Any) -> None:
        self.__dict__["flush"] = lambda *_: None
        try:
            plain(self, *args, **kwargs)
        finally:
            del self.__dict__["flush"]

    patch.setattr(Replication, method, unflushed)


def round_before_the_deltas(patch: pytest.MonkeyPatch) -> None:
    _without_flush(patch, "_gossip_round")


def rows_before_the_deltas(patch: pytest.MonkeyPatch) -> None:
    _without_flush(patch, "say_rows")


def reply_before_the_deltas(patch: pytest.MonkeyPatch) -> None:
    _without_flush(patch, "_rows_in")


def gap_blocks_repair(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AntiEntropy, "_compare_common", lambda *_: [])


PLANTS: Final[tuple[Plant, ...]] = (
    context_ignored_on_insert,
    context_wider_than_the_entries,
    entry_dropped_from_a_chunk,
    seen_before_the_entries_are_in,
    unobserved_dots_removed,
    live_beyond_its_runs,
    live_without_exit,
    version_ignored,
    hidden_owner_still_listed,
    update_as_a_new_birth,
    birth_reused,
    digest_without_the_sum,
    pull_mark_never_cleared,
    live_purged_before_seen,
    admitted_on_hearsay,
    hearsay_ignored,
    accusation_adopted,
    foreign_process_is_final,
    one_refusal_kills,
    rows_before_the_deltas,
    reply_before_the_deltas,
    round_before_the_deltas,
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_noticed(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(WORLDS):
        try:
            if not run_world(seed).converged:
                return
        except AssertionError:
            return  # an assertion of the engine's own was quicker
    pytest.fail(f"{WORLDS} worlds did not notice {plant.__name__} in scope {DEFAULT_SCOPE}")


def a_gap_that_nobody_can_fill() -> None:
    """The owner died; each survivor holds as many runs of its births as it may, others each.

    Their runs can never be equal. A removal of what both have seen must be repaired all the same.
    """
    world = World(3, nodes=3, settle=True)
    for n in range(4):
        world.join(0, "room", f"both{n}")
    world.run_until_quiet()
    world.cut((1, 2), 0, one_way=True)  # 0 speaks, and is asked for nothing again
    world.cut(1, 2)
    for n in range(4 * RUNS_MAX + 8):
        hears = 0 if n % 2 else 1 + (n > 2 * RUNS_MAX)
        deaf = [(0, i) for i in (1, 2) if i != hears]
        world.network.cut(deaf, CutMode.DROP)
        world.join(0, "room", f"c{n}")
        world.run_for(0.006)
        world.network.heal(deaf)
    dead = world.slots[0].node
    world.vanish(0)
    world.heal()
    held_down = ({1: "alive", 0: "down"}, {2: "alive", 0: "down"})
    world.run_until(lambda: (world.states(2), world.states(1)) == held_down, within=60.0)
    world.run_for(5.0)  # what can be filled is filled
    world.cut(1, 2, one_way=True)
    assert world.remove(1, "room", dead, "both1") == 1
    world.run_for(0.05)
    assert "both1@0" in world.members(2, "room", include_down=True)
    world.heal()
    world.run_until(
        lambda: "both1@0" not in world.members(2, "room", include_down=True),
        within=40.0,
        what="the lost removal reaches the other survivor",
    )
    mine, theirs = (world.slots[i].engine.set_of(DEFAULT_SCOPE).seen(dead) for i in (1, 2))
    assert mine != theirs, "they became equal: the scenario does not ask what it should"


def writers_ask_for_nothing() -> None:
    """On links that lose nothing nobody ever pulls: what a row counts was pushed before it."""
    world = World(4, nodes=4, settle=True, config=Config(push_interval_s=0.05))
    for n in range(1000):
        world.join(n % 4, "room", f"c{n}")
        world.run_for(0.006)
    world.run_until_quiet()
    assert len(world.members(0, "room")) == 1000
    pulls = [process.sent.get("Pull", 0) for process in world.running()]
    assert pulls == [0] * 4, f"Pull: {pulls}"


SCENARIOS: Final[tuple[tuple[Plant, Callable[[], None], str], ...]] = (
    (gap_blocks_repair, a_gap_that_nobody_can_fill, "the lost removal reaches"),
    (rows_before_the_deltas, writers_ask_for_nothing, "Pull"),
)


@pytest.mark.parametrize(
    ("plant", "story", "complaint"), SCENARIOS, ids=[plant.__name__ for plant, *_ in SCENARIOS]
)
def test_a_planted_bug_is_noticed_by_a_story(
    plant: Plant, story: Callable[[], None], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story()
    plant(monkeypatch)
    monkeypatch.setattr(Checks, "_rows_said", lambda *_: None)  # the worlds' way to notice it
    with pytest.raises(AssertionError, match=complaint):
        story()
