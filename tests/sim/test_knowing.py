"""Q19, and what a publication after a token promises: on invented time, in bad weather.

The oracle is a list of what the script did, made before anybody is asked. It looks at the sets of
the others, and never at a token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, Final

import pytest

from crdtpubsub.config import Config
from crdtpubsub.crdt import token as tokens
from crdtpubsub.crdt.token import Token, Writes
from crdtpubsub.engine import ledger
from crdtpubsub.engine.effects import Deliver, Effect
from crdtpubsub.engine.events import AskSeen, Flush
from crdtpubsub.engine.knowing import NO_LINK, Knowing
from crdtpubsub.engine.ledger import Ledger
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.sim import CutMode, World
from crdtpubsub.sim.process import Process
from crdtpubsub.wire.messages import Ask, Publication

WAIT_S: Final = 60.0
CHANNELS: Final = ("room", "hall", "lobby")


@dataclass
class Question:
    """What node `process` has written when it asks, by the script's own account."""

    process: Process
    token: Token
    number: int
    joined: dict[int, int]  # births live then, with their versions
    removed: list[tuple[NodeId, int]]  # what it has removed itself


class Script:
    """Random writes, with a note of each."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = Random(seed)
        self.removed: dict[NodeId, list[tuple[NodeId, int]]] = {}

    def step(self, i: int) -> None:
        world, dice = self.world, self.dice
        process = world.slots[i]
        channel = dice.choice(CHANNELS)
        client = f"c{dice.randrange(4)}"
        members = process.engine.set_of(DEFAULT_SCOPE)
        note = self.removed.setdefault(process.node, [])
        match dice.randrange(6):
            case 0 | 1 | 2:
                world.join(i, channel, client, meta=bytes([dice.randrange(256)]))
            case 3:
                if (birth := members.clients(process.node, channel).get(client)) is not None:
                    note.append((process.node, birth))
                    world.leave(i, channel, client)
            case 4:
                others = [o for o in members.by_owner(channel) if members.clients(o, channel)]
                if others:
                    owner = dice.choice(sorted(others))
                    client, birth = dice.choice(sorted(members.clients(owner, channel).items()))
                    note.append((owner, birth))
                    world.remove(i, channel, owner, client)
            case _:
                for owner, clients in members.by_owner(channel).items():
                    note.extend((owner, birth) for birth in clients.values())
                world.del_channel(i, channel)

    def ask(self, i: int) -> Question:
        process = self.world.slots[i]
        members = process.engine.set_of(DEFAULT_SCOPE)
        births = members.live(process.node, members.seen(process.node))[1]
        token = process.engine.knowing.token(DEFAULT_SCOPE)
        assert token is not None
        number = process.feed(AskSeen(Token.parse(str(token))))
        removed = list(self.removed.get(process.node, ()))
        return Question(process, token, number, births, removed)

    def answered(self, question: Question) -> bool:
        _, missing = question.process.engine.knowing.answers(question.token, question.number)
        return not missing

    def wait(self, question: Question, *, busy: bool = False) -> None:
        """Until every live peer has seen it; asked anew each 100 ms, as `synced` does."""
        until = self.world.now + WAIT_S
        while not self.answered(question):
            assert self.world.now < until, question.process.engine.knowing.answers(
                question.token, question.number
            )
            for _ in range(10):
                self.world.run_for(0.01)
                if self.answered(question):
                    break
            else:
                question.process.feed(AskSeen(question.token, question.number))
                if busy:
                    self.step(self.dice.choice([p.index for p in self.world.running()]))

    def check(self, question: Question) -> None:
        """Every live peer lists what nobody has removed since, and nothing that was removed."""
        me = question.process.node
        gone = self.world.checks.journal.life(DEFAULT_SCOPE, me).removed
        up = set(question.process.engine._cluster.up())
        for peer in self.world.running():
            if peer.node not in up:
                continue
            held = peer.engine.set_of(DEFAULT_SCOPE)
            live = held.live(me, held.seen(me))[1]
            for birth, version in question.joined.items():
                if not gone >> birth & 1:
                    assert live.get(birth, -1) >= version, (peer.index, birth, version, live)
            for owner, birth in question.removed:
                assert birth not in held.live(owner, (birth, birth + 1))[1], (peer.index, birth)


def in_bad_weather(seed: int, *, questions: int = 6) -> None:
    """Writes, loss, cuts, restarts; in between somebody asks, and what it hears must be so."""
    world = World(seed, nodes=5, loss=0.1, settle=True, config=Config(forget_after_s=600.0))
    script = Script(world, seed)
    dice = script.dice
    for number in range(questions):
        fault = dice.randrange(4)
        i, j = dice.sample(range(5), 2)
        if fault == 0:
            world.partition({i}, {j}, mode=CutMode.DROP)
        elif fault == 1:
            world.partition({i})
        elif fault == 2:
            world.restart(j)
        for _ in range(dice.randrange(4, 15)):
            script.step(dice.choice([i, dice.randrange(5)]))
            if dice.random() < 0.3:
                world.run_for(dice.uniform(0.0, 0.5))
        question = script.ask(i)
        world.run_for(dice.choice([0.0, dice.uniform(0.0, 6.0)]))
        world.heal()
        script.wait(question, busy=number % 2 == 0)
        script.check(question)
    world.run_until_quiet()


@pytest.mark.parametrize("seed", range(12))
def test_q19_what_was_synced_is_listed_by_every_live_peer(seed: int) -> None:
    in_bad_weather(seed)


def test_one_round_trip_when_all_is_quiet() -> None:
    world = World(1, nodes=5, settle=True)
    script = Script(world, 1)
    for _ in range(30):
        script.step(0)
    question = script.ask(0)
    asked = world.now
    while not script.answered(question):
        world.run_for(0.001)
    assert world.now - asked < 0.05
    assert world.slots[0].sent["Ask"] == 1
    script.check(question)


def test_who_has_not_answered_is_said_with_the_reason_and_who_is_down_is_not_waited_for() -> None:
    world = World(2, nodes=4, settle=True)
    script = Script(world, 2)
    world.crash(3)
    world.run_until(lambda: world.states(0)[3] == "down", within=30.0)
    world.partition({0}, {2}, mode=CutMode.REJECT)
    peer = world.slots[0].engine._cluster.peers[world.slots[2].node]
    world.run_until(lambda: not peer.linked, within=30.0)
    world.slots[1].paused = True
    world.join(0, "room", "ann")
    question = script.ask(0)
    _, missing = world.slots[0].engine.knowing.answers(question.token, question.number)
    assert missing[world.slots[2].node] == NO_LINK
    assert "not answered" in missing[world.slots[1].node]
    assert world.slots[3].node not in missing
    world.resume(1)
    world.heal()
    script.wait(question)
    script.check(question)


def test_a_token_stays_small_since_what_all_have_is_not_named_again() -> None:
    world = World(3, nodes=4, settle=True)
    script = Script(world, 3)
    sizes = []
    for _ in range(40):
        for _ in range(20):
            script.step(0)
        world.run_for(20.0)
        token = world.slots[0].engine.knowing.token(DEFAULT_SCOPE)
        assert token is not None
        sizes.append(tokens.numbers(token.writes))
    assert sizes[-1] == 0
    assert max(sizes) < 200


@pytest.mark.parametrize("owner", [0, 2])
def test_what_a_peer_that_is_down_has_not_confirmed_stays_in_the_token(owner: int) -> None:
    world = World(4, nodes=3, settle=True)
    script = Script(world, 4)
    world.join(owner, "room", "ann")
    world.run_until_quiet()
    world.partition({2})
    world.run_until(lambda: world.states(0)[2] == "down", within=30.0)
    script.removed[world.slots[0].node] = [(world.slots[owner].node, 1)]
    world.remove(0, "room", world.slots[owner].node, "ann")
    world.run_for(60.0)  # the third has confirmed it many times
    question = script.ask(0)
    assert any(part.removed for part in question.token.writes)
    world.heal()
    world.run_until(lambda: world.states(0)[2] == "alive", within=30.0)
    script.wait(question)
    script.check(question)


def test_more_than_a_token_can_say_is_no_token_until_all_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "_PAGE_NUMBERS_MAX", 40)
    world = World(5, nodes=2, settle=True)
    world.partition({0})
    for n in range(300):
        world.join(0, f"c{n % 150}", f"ann{n}")
        if n % 2:
            world.leave(0, f"c{n % 150}", f"ann{n}")
    assert world.slots[0].engine.knowing.token(DEFAULT_SCOPE) is None
    world.heal()
    world.run_until_quiet()
    world.run_for(20.0)
    token = world.slots[0].engine.knowing.token(DEFAULT_SCOPE)
    assert token is not None
    assert tokens.numbers(token.writes) == 0


# ---------------------------------------------------------------- publications after a token


def third_parties(seed: int, patch: pytest.MonkeyPatch) -> int:
    """Node 0 writes and tells node 1 by other ways; node 1 publishes; 2 must know what 0 wrote."""
    world = World(seed, nodes=4, loss=0.2, config=Config(forget_after_s=600.0))
    world.run_for(30.0)
    world.join(2, "ears", "bob")
    world.run_until(lambda: world.members(1, "ears") == {"bob@2"}, within=30.0)
    world.partition({0}, {2})
    script = Script(world, seed)
    ears = world.slots[1].engine.knowing
    known: list[tuple[set[str], set[str]]] = []  # what 2 must list, and must not, by then
    delivered = 0

    def deliver(self: Process, effect: Effect, touched: Any) -> None:
        nonlocal delivered
        plain(self, effect, touched)
        if isinstance(effect, Deliver) and self.index == 2:
            delivered += 1
            there, gone = known[int.from_bytes(effect.publication.payload) - 1]
            held = self.engine.set_of(DEFAULT_SCOPE).clients(world.slots[0].node, "news")
            assert there <= held.keys()
            assert gone.isdisjoint(held)

    plain = Process._perform_one
    patch.setattr(Process, "_perform_one", deliver)
    for n in range(30):
        world.join(0, "news", f"c{n}", meta=b"x")
        if n % 3 == 2:
            world.leave(0, "news", f"c{n - 1}")
        token = world.slots[0].engine.knowing.token(DEFAULT_SCOPE)
        assert token is not None
        process = world.slots[1]
        world.run_until(partial(ears.seen, token), within=60.0, what="seen there")
        own = set(world.slots[0].engine.set_of(DEFAULT_SCOPE).clients(world.slots[0].node, "news"))
        known.append((own, {f"c{m}" for m in range(n)} - own))
        process.feed(Flush(DEFAULT_SCOPE))
        ahead = process.engine.knowing.deltas(token)
        route = process.engine.route(DEFAULT_SCOPE, "ears")
        payload = len(known).to_bytes(2)
        process.publish(route, Publication(DEFAULT_SCOPE, "ears", payload, after=ahead))
        if script.dice.random() < 0.2:
            world.reset(1, 2)
    world.run_for(5.0)
    return delivered


@pytest.mark.parametrize("seed", range(4))
def test_whoever_hears_a_message_after_a_token_has_what_it_names(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert third_parties(seed, monkeypatch) > 5


# ---------------------------------------------------------------- planted bugs


def many(world: Callable[[int], object], seeds: int) -> None:
    for seed in range(seeds):
        world(seed)


def tokens_with(patch: pytest.MonkeyPatch, **fields: Any) -> None:
    real = Ledger.token

    def token(self: Ledger, me: NodeId, next_birth: int) -> tuple[Writes, ...]:
        return tuple([replace(part, **fields) for part in real(self, me, next_birth)])

    patch.setattr(Ledger, "token", token)


def removals_not_asked(patch: pytest.MonkeyPatch) -> None:
    tokens_with(patch, removed=())


def versions_not_asked(patch: pytest.MonkeyPatch) -> None:
    tokens_with(patch, updates=())


def joins_not_asked(patch: pytest.MonkeyPatch) -> None:
    tokens_with(patch, top=1, written=())


def always_yes(patch: pytest.MonkeyPatch) -> None:
    real = Knowing.on_ask

    def on_ask(self: Knowing, ask: Ask, sender: NodeId) -> None:
        real(self, replace(ask, writes=()), sender)

    patch.setattr(Knowing, "on_ask", on_ask)


def confirmed_by_anybody(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.equal

    def equal(self: Ledger, peer: NodeId, held: Any, compared: Any) -> None:
        real(self, peer, [peer], compared)

    patch.setattr(Ledger, "equal", equal)


@pytest.mark.parametrize(
    "plant",
    [removals_not_asked, versions_not_asked, always_yes, joins_not_asked],
)
def test_a_planted_bug_is_noticed(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        many(in_bad_weather, 12)


def test_a_ledger_that_believes_one_peer_for_all_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confirmed_by_anybody(monkeypatch)
    with pytest.raises(AssertionError):
        test_what_a_peer_that_is_down_has_not_confirmed_stays_in_the_token(0)


def test_a_message_without_what_it_follows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Knowing, "deltas", lambda self, token: ())
    with pytest.raises(AssertionError):
        many(partial(third_parties, patch=monkeypatch), 4)
