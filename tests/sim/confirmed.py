"""Worlds of confirmed publications, and their checker."""

from __future__ import annotations

from random import Random

from crdtpubsub.config import Config
from crdtpubsub.sim import World
from crdtpubsub.sim.faults import CutMode, Weather
from crdtpubsub.sim.queues import QueueCheck, Verdict

QUICK = Config(
    probe_interval_s=0.2,
    probe_timeout_max_s=0.1,
    probe_timeout_min_s=0.05,
    suspicion_mult=2.0,
    suspicion_max_mult=2.0,
    forget_after_s=8.0,
)
"""Deaths are found, and forgotten, within seconds of invented time."""


class Confirmed:
    """A world in which everybody asks everybody, and a journal of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.check = QueueCheck()
        self.open: list[tuple[int, int, str]] = []  # which life asked, counter, what
        self.asked = 0

    def join(self, *members: int, clients: int = 1) -> None:
        """These nodes own members of the room, and everybody knows."""
        for i in members:
            for n in range(clients):
                self.world.join(i, "room", f"c{n}")
        self.world.run_until_quiet()

    def ask(self, i: int, *, confirm_s: float) -> None:
        """Node `i` publishes to the room."""
        if not self.world.slots[i].running or self.world.slots[i].paused:
            return
        what = f"m{self.asked}"
        self.asked += 1
        counter, owners = self.world.ask(i, "room", what.encode(), confirm_s=confirm_s)
        process = self.world.slots[i]
        self.open.append((self.world.lives.index(process), counter, what))
        for owner in owners:
            self.check.asked(what, self.life(owner))

    def life(self, node: object) -> int:
        """Lives as numbers."""
        return next(n for n, p in enumerate(self.world.lives) if p.node == node)

    def verdict(self) -> Verdict:
        """What came of all that was asked by lives that still run."""
        dead: set[str] = set()
        for asker, counter, what in self.open:
            process = self.world.lives[asker]
            if not process.running:
                dead.add(what)  # nobody is told
            for owner, (outcome, clients) in process.settled[counter].items():
                self.check.settled(what, self.life(owner), outcome, clients)
        for n, process in enumerate(self.world.lives):
            for client, channel, payload in process.delivered:
                assert channel == "room"
                self.check.received(payload.decode(), n, client)
        return self.check.verdict(given_up=dead)


def storm(seed: int, *, messages: int = 200) -> tuple[Confirmed, Verdict]:
    """Loss, resets with late frames, cuts each way, pauses, restarts; then calm, and a verdict."""
    dice = Random(seed)
    weather = Weather(
        loss=dice.choice((0.0, 0.0, 0.05, 0.2)),
        duplicate=dice.choice((0.0, 0.05)),
        shuffle=dice.choice((0.0, 0.05)),
    )
    nodes = dice.randint(2, 4)
    world = World(seed=seed, nodes=nodes, weather=weather, config=QUICK)
    confirmed = Confirmed(world)
    confirmed.join(*range(nodes), clients=dice.randint(1, 2))
    for _ in range(messages):
        for _ in range(dice.choice((0, 1, 1, 5))):
            confirmed.ask(dice.randrange(nodes), confirm_s=dice.choice((0.05, 0.5, 3.0, 20.0)))
        world.run_for(dice.choice((0.0, 0.0002, 0.003, 0.05)))
        if dice.random() < 0.02:
            world.run_for(dice.choice((1.0, 5.0, 15.0)))
        if dice.random() < 0.12:
            _accident(world, dice, nodes)
        if dice.random() < 0.05:
            process = dice.choice(world.slots)
            process.full = set(dice.sample(("c0", "c1"), dice.randint(0, 2)))
    world.heal()
    world.unlag()
    world.network.calm()
    for i in range(nodes):
        world.resume(i)
    world.run_for(60.0)
    world.run_until_quiet()
    return confirmed, confirmed.verdict()


def _accident(world: World, dice: Random, nodes: int) -> None:
    i, j = dice.sample(range(nodes), 2)
    match dice.choice(("reset", "reset", "late", "cut", "cut", "sleep", "pause", "restart", "lag")):
        case "reset":
            world.reset(i, j)
            world.reset(j, i)
        case "late":
            world.reset(i, j, late_s=dice.choice((0.01, 0.3, 2.0, 12.0)))
        case "cut":
            one_way = dice.random() < 0.6
            world.cut(i, j, one_way=one_way, mode=dice.choice(list(CutMode)))
            world.later(dice.choice((0.1, 1.0, 5.0, 15.0)), world.heal)
        case "lag":
            world.lag(i, j)
            world.later(dice.choice((0.2, 2.0)), world.unlag)
        case "restart":
            if dice.random() < 0.3 and world.slots[i].running and not world.slots[i].paused:
                world.restart(i, new_port=dice.random() < 0.3)
                for client in ("c0", "c1"):
                    world.join(i, "room", client)
        case how if world.slots[i].running and not world.slots[i].paused:
            world.pause(i, clock_stands=how == "sleep")
            seconds = dice.choice((0.1, 1.0, 5.0, 20.0))
            node = world.slots[i].node

            def wake(i: int = i) -> None:
                if world.slots[i].node == node:
                    world.resume(i, frames_first=dice.random() < 0.5)

            world.later(seconds, wake)
