"""Requests, replies and invitations, while everything breaks: each once, or a word that says no."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.sim import CutMode, World
from crdtpubsub.sim.faults import Weather
from crdtpubsub.wire.messages import Invite, Reply, Request
from tests.sim.confirmed import QUICK


def request(number: int, wait_s: float) -> Request:
    payload = str(number).encode()
    within_ms = int(wait_s * 1000)
    return Request(0, DEFAULT_SCOPE, "work", "ann", payload, id=number, within_ms=within_ms)


def answer_all(world: World, i: int, done: Counter[tuple[int, int]]) -> None:
    """Node `i` answers each request that it has got, once."""
    process = world.slots[i]
    if not process.running or process.paused:
        return
    life = world.lives.index(process)
    for asker, said in process.asked[done[life, -1] :]:
        done[life, -1] += 1
        done[life, said.id] += 1
        if process.engine.listed(asker):
            process.ask(Reply(0, said.id, b"re " + said.payload), (asker,), 5.0)


def accident(world: World, dice: Random) -> None:
    match dice.randrange(40):
        case 0:
            world.reset(0, 1)
            world.reset(1, 0)
        case 1:
            world.reset(2, 0, late_s=0.3)
        case 2:
            world.cut(0, 2, one_way=True, mode=dice.choice(list(CutMode)))
            world.later(1.0, world.heal)
        case 3:
            world.restart(1)
            world.join(1, "work", "ann")


@pytest.mark.parametrize("seed", range(6))
def test_one_answer_or_none_whatever_breaks(seed: int) -> None:
    """Node 0 asks the others while links break, frames are lost, and owners are killed."""
    dice = Random(seed)
    weather = Weather(loss=dice.choice((0.0, 0.05, 0.2)), duplicate=0.05, shuffle=0.05)
    world = World(seed=seed, nodes=3, weather=weather, config=QUICK)
    for i in (1, 2):
        world.join(i, "work", "ann")
    world.run_until_quiet()
    asker = world.slots[0]
    asked: dict[int, tuple[int, int, NodeId]] = {}  # id -> counter, life asked
    done: Counter[tuple[int, int]] = Counter()
    for number in range(1, 101):
        owner = world.slots[dice.choice((1, 2))]
        if owner.running and asker.engine.link_of(owner.node) is not None:
            counter = asker.ask(request(number, 4.0), (owner.node,), 4.0)
            asked[number] = counter, world.lives.index(owner), owner.node
        world.run_for(dice.choice((0.0, 0.001, 0.05)))
        for i in (1, 2):
            if dice.random() < 0.7:
                answer_all(world, i, done)
        accident(world, dice)
    world.heal()
    world.network.calm()
    for _ in range(100):
        for i in (1, 2):
            answer_all(world, i, done)
        world.run_for(0.1)
    world.run_until_quiet()

    replies = Counter(reply.id for _, reply in asker.replies)
    assert len(asked) > 20
    assert replies
    assert max(replies.values()) == 1, "two answers to one request"
    assert replies.keys() <= asked.keys()
    for sender, reply in asker.replies:
        assert sender == asked[reply.id][2], "somebody else answered"
        assert reply.payload == f"re {reply.id}".encode()
    for number, (counter, life, node) in asked.items():
        outcome, clients = asker.settled[counter][node]  # always settled
        times = done[life, number]
        assert times <= 1, "a request was handled twice"
        if outcome is Outcome.DELIVERED:
            assert clients == 1
            got = [said for _, said in world.lives[life].asked if said.id == number]
            assert len(got) == 1
        elif outcome.refused:
            assert not times, "refused, and handled"
        if replies[number]:
            assert times == 1


def invited(world: World, i: int) -> set[str]:
    return {channel for channel in (f"room-{n}" for n in range(40)) if world.members(i, channel)}


def test_invitations_through_loss_are_joins() -> None:
    world = World(seed=5, nodes=3, weather=Weather(loss=0.2, duplicate=0.1), config=QUICK)
    world.run_until_quiet()
    here, there = world.slots[0], world.slots[1]
    inviting = there.engine.inviting
    inviting.has_client = lambda _scope, client: client == "ann"
    accept = inviting.accept

    def journalled(invite: Invite, sender: NodeId, now: float) -> tuple[int, int]:
        if invite.client != "ann":
            return accept(invite, sender, now)
        with world.checks.joining(there, invite.scope, invite.channel, invite.client):
            return accept(invite, sender, now)

    inviting.accept = journalled  # type: ignore[method-assign]
    sent = {}
    for n in range(40):
        invite = Invite(0, DEFAULT_SCOPE, f"room-{n}", "ann" if n % 4 else "bob")
        sent[n] = here.ask(invite, (there.node,), 30.0)
        world.run_for(0.01)
    world.run_for(20.0)
    world.network.calm()
    world.run_until_quiet()
    expected = {f"room-{n}" for n in range(40) if n % 4}
    for n, counter in sent.items():
        wanted = (Outcome.DELIVERED, 1) if n % 4 else (Outcome.REFUSED_NOBODY, 0)
        assert here.settled[counter][there.node] == wanted
    for i in range(3):
        assert invited(world, i) == expected
    assert there.engine.set_of(DEFAULT_SCOPE).size(there.node) == len(expected)
    assert world.counters()["invites_accepted"] == len(expected), "one was done twice"
