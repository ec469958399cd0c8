"""Queue groups while everything breaks: no job is done twice, none is lost without a word."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.sim import World
from crdtpubsub.sim.faults import CutMode, Weather
from crdtpubsub.wire.messages import Addressed
from tests.sim.confirmed import QUICK

GROUP = "workers"
Asked = dict[str, tuple[int, int]]
"""Job -> which life asked, and the number under which it is settled."""


def done(world: World) -> Counter[str]:
    """How often each job was handed to a worker, on any life."""
    return Counter(
        payload.decode()
        for process in world.lives
        for client, channel, payload in process.delivered
        if channel == "jobs" and client.startswith("w")
    )


def ask(world: World, i: int, job: str, confirm_s: float) -> tuple[int, int]:
    message = Addressed(0, DEFAULT_SCOPE, "jobs", "", job.encode(), group=GROUP)
    process = world.slots[i]
    return world.lives.index(process), process.ask_one(message, confirm_s)


def crew(nodes: int, seed: int, *, each: int = 1, weather: Weather | None = None) -> World:
    """Each node has so many workers, and everybody knows."""
    world = World(seed=seed, nodes=nodes, weather=weather or Weather(), config=QUICK)
    for i in range(nodes):
        for n in range(each):
            world.join(i, "jobs", f"w{n}", group=GROUP)
    world.run_until_quiet()
    return world


def wake(world: World, i: int, node: object) -> None:
    """Unless it is another life meanwhile."""
    if world.slots[i].node == node and world.slots[i].paused:
        world.resume(i)


def back(world: World, i: int) -> None:
    """Its worker joins again, if it has left and there is a life to join."""
    process = world.slots[i]
    if process.running and not process.paused and f"w0@{i}" not in world.members(i, "jobs"):
        world.join(i, "jobs", "w0", group=GROUP)


def storm(seed: int, jobs: int) -> tuple[World, Asked]:
    """Everybody asks, confirmed, while links break, nodes pause, restart and workers leave."""
    dice = Random(seed)
    nodes = dice.randint(2, 4)
    loss, repeated = dice.choice((0.0, 0.05, 0.2)), dice.choice((0.0, 0.05))
    weather = Weather(loss=loss, duplicate=repeated)
    world = crew(nodes, seed, each=dice.randint(1, 2), weather=weather)
    asked: Asked = {}
    for number in range(jobs):
        i = dice.randrange(nodes)
        if world.slots[i].running and not world.slots[i].paused:
            job = f"job-{number}"
            asked[job] = ask(world, i, job, dice.choice((0.05, 0.5, 3.0, 20.0)))
        world.run_for(dice.choice((0.0, 0.0002, 0.003, 0.05)))
        j, k = dice.sample(range(nodes), 2)
        match dice.choice(
            (*[""] * 12, "reset", "late", "cut", "pause", "restart", "leave", "full")
        ):
            case "reset":
                world.reset(j, k)
            case "late":
                world.reset(j, k, late_s=dice.choice((0.01, 0.3, 2.0)))
            case "cut":
                how = dice.choice(list(CutMode))
                world.cut(j, k, one_way=dice.random() < 0.6, mode=how)
                world.later(dice.choice((0.1, 1.0, 5.0)), world.heal)
            case "pause" if world.slots[j].running and not world.slots[j].paused:
                world.pause(j)
                world.later(dice.choice((0.1, 1.0, 5.0)), wake, world, j, world.slots[j].node)
            case "restart" if world.slots[j].running and not world.slots[j].paused:
                world.restart(j)
                world.join(j, "jobs", "w0", group=GROUP)
            case "leave" if world.slots[j].running and not world.slots[j].paused:
                world.leave(j, "jobs", "w0")
                world.later(0.5, back, world, j)
            case "full":
                world.slots[j].full = set(dice.sample(("w0", "w1"), dice.randint(0, 2)))
            case _:
                pass
    world.heal()
    world.network.calm()
    for i in range(nodes):
        if world.slots[i].paused:
            world.resume(i)
    world.run_for(30.0)
    world.run_until_quiet()
    return world, asked


def judge(world: World, asked: Asked) -> Counter[Outcome]:
    """Every job was done at most once, and what its publisher was told is true."""
    times, told = done(world), Counter[Outcome]()
    assert not [job for job, n in times.items() if n > 1]
    for job, (asker, number) in asked.items():
        process = world.lives[asker]
        settled = process.settled[number]
        if not process.running:
            continue  # nobody is told
        ((outcome, clients),) = settled.values()
        told[outcome] += 1
        if outcome is Outcome.DELIVERED:
            assert (times[job], clients) == (1, 1), job
        elif outcome.refused:
            assert times[job] == 0, (job, outcome)
    return told


@pytest.mark.parametrize("first", [0, 10])
def test_no_job_is_done_twice_whatever_breaks(first: int) -> None:
    told: Counter[Outcome] = Counter()
    seen: Counter[str] = Counter()
    for seed in range(first, first + 10):
        world, asked = storm(seed, 60)
        told.update(judge(world, asked))
        seen.update(world.counters())
    assert told[Outcome.DELIVERED] > 150, told
    assert told[Outcome.UNKNOWN], told
    assert seen["picked_again"], seen


def test_each_publication_goes_to_one_and_all_get_as_many() -> None:
    world = crew(4, 5)
    world.join(1, "jobs", "plain")
    world.run_until_quiet()
    for n in range(40):
        world.publish(0, "jobs", f"job-{n}".encode())
        world.run_for(0.01)
    world.run_for(1.0)
    assert done(world) == Counter({f"job-{n}": 1 for n in range(40)})
    each = [sum(c == "w0" for c, _, _ in process.delivered) for process in world.slots]
    assert each == [10, 10, 10, 10]
    assert sum(client == "plain" for client, _, _ in world.slots[1].delivered) == 40


def test_under_loss_an_unconfirmed_job_is_done_once_or_told_as_lost() -> None:
    world = crew(3, 6)
    world.network.weather = Weather(loss=0.2)
    for n in range(300):
        world.publish(0, "jobs", f"job-{n}".encode())
        world.run_for(0.005)
    world.network.calm()
    world.run_for(5.0)
    world.run_until_quiet()
    times = done(world)
    assert set(times.values()) == {1}
    lost = sum(process.gaps.get(world.slots[0].node, 0) for process in world.slots)
    assert len(times) + lost == 300
    assert lost > 20


def test_a_worker_whose_node_is_killed_or_cut_off_is_passed_over() -> None:
    world = crew(4, 7)
    world.crash(3)
    world.partition({2}, {0, 1, 3})
    world.run_for(20.0)
    asked = {f"job-{n}": ask(world, 0, f"job-{n}", 2.0) for n in range(20)}
    world.run_for(5.0)
    assert judge(world, asked) == {Outcome.DELIVERED: 20}
    each = [sum(c == "w0" for c, _, _ in process.delivered) for process in world.slots]
    assert each == [10, 10, 0, 0]


def test_with_nobody_in_reach_it_waits_for_a_link_and_then_is_refused() -> None:
    world = crew(2, 8)
    world.leave(0, "jobs", "w0")
    world.run_until_quiet()
    world.partition({0}, {1})
    world.run_for(0.001)
    numbers = ask(world, 0, "late", 0.3), ask(world, 0, "in time", 60.0)
    world.run_for(1.0)
    world.heal()
    world.run_for(30.0)
    asked = dict(zip(("late", "in time"), numbers, strict=True))
    told = judge(world, asked)
    assert told[Outcome.DELIVERED] >= 1
