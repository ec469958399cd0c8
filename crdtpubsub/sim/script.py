"""Random worlds: one seed draws a cluster, its weather, its accidents and what its users do."""

from __future__ import annotations

from itertools import combinations
from random import Random
from typing import Final

from crdtpubsub.config import Config
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.sim.checks import Violation
from crdtpubsub.sim.devil import SIDE, Devil
from crdtpubsub.sim.faults import CutMode, Fault, Weather
from crdtpubsub.sim.summary import Summary
from crdtpubsub.sim.work import Work
from crdtpubsub.sim.world import World

__all__ = ["Summary", "run_world"]

_OPS_MIN: Final = 200
_FAULTS_MIN: Final = 5
_QUIET_MAX_S: Final = 150.0
_WORK_IN: Final = 6  # one of so many worlds shares work too


def _draw_config(dice: Random) -> Config:
    mult = dice.choice((1.0, 2.0, 4.0))
    return Config(
        suspicion_mult=mult,
        suspicion_max_mult=2.0,
        # 10 s is less than the longest partition: lives are purged, and return.
        forget_after_s=dice.choice((10.0 * mult, 10.0 * mult, 1200.0)),
        slice_births=dice.choice((2, 16, 256)),
        transfer_births=dice.choice((1, 4, 1500)),
        push_interval_s=dice.choice((0.005, 0.005, 0.05)),
        sums_births=dice.choice((8, 4096)),
        frame_bytes=128 if mult == 2.0 else 65_536,  # nearly everything is cut into chunks
    )


class _Script(Devil):
    """The users' part beside the devil's, and how a world begins and ends."""

    # ---------------------------------------------------------------- what users do

    def operate(self) -> None:
        """One operation somewhere."""
        world, dice = self.world, self.dice
        i = self.some()
        channel = dice.choice(self.channels)
        client = dice.choice(self.clients)
        scope = DEFAULT_SCOPE
        if self.side and SIDE in world.checks.scopes[world.slots[i].node] and dice.random() < 0.3:
            scope = SIDE
        roll = dice.random()
        if roll < 0.45:
            meta = dice.randbytes(3) if dice.random() < 0.3 else None
            world.join(i, channel, client, meta=meta, scope=scope)
        elif roll < 0.62:
            world.leave(i, channel, client, scope=scope)
        elif roll < 0.78:
            members = world.slots[i].engine.members(scope, channel, include_down=True)
            if members:
                owner, client, *_ = dice.choice(members)
                world.remove(i, channel, owner, client, scope=scope)
        elif roll < 0.84:
            world.del_channel(i, channel, scope=scope)
        elif roll < 0.88:
            world.add_channel(i, channel, scope=scope)
        elif roll < 0.93:  # joined and gone within one flush
            world.join(i, channel, client, scope=scope)
            world.leave(i, channel, client, scope=scope)
        else:
            self.published += 1
            world.publish(i, channel, b"%d" % self.published, scope=scope)
        self.summary.ops += 1

    # ---------------------------------------------------------------- the story

    def act(self, ops: int, faults: int, work: Work | None) -> None:
        """Users and the devil take turns."""
        world, dice = self.world, self.dice
        for i in range(len(world.slots)):
            self._open_side(i)
        pace_s = dice.choice((0.01, 0.03, 0.06))
        when = sorted(dice.randrange(ops) for _ in range(faults))
        world.run_for(dice.choice((0.0, 0.5, 3.0)))
        while self.summary.ops < ops:
            world.run_for(dice.expovariate(1.0 / pace_s))
            while when and when[0] <= self.summary.ops:
                when.pop(0)
                self.fault()
            if self.able():
                self.operate()
                if work is not None:
                    work.operate()
        while self.faults() < _FAULTS_MIN:
            self.fault()
            world.run_for(0.2)

    def exile(self) -> None:
        """Now and then somebody is away for so long that he is forgotten, and returns."""
        forgotten_s = self.world.config.forget_after_s
        if forgotten_s <= 10.0 and self.dice.random() < 0.5:
            self.world.partition(self.some(), mode=self.dice.choice(list(CutMode)))
            self.world.run_for(forgotten_s + 8.0)

    def mend(self) -> None:
        """All faults stop, but the topology may stay poor."""
        world, dice = self.world, self.dice
        world.network.calm()
        for i in sorted(world.intruders):
            world.expel(i)
        for process in world.running():
            world.resume(process.index)
        world.unlag()
        indexes = [p.index for p in world.running()]
        cut: list[tuple[int, int]] = []
        kind = self.summary.topology = dice.choice(("mesh", "mesh", "bridge", "tree"))
        if kind == "bridge":
            i, j = dice.sample(indexes, 2)
            cut = [(i, j)]
        elif kind == "tree":
            order = dice.sample(indexes, len(indexes))
            edges = {
                tuple(sorted((child, dice.choice(order[:n])))) for n, child in enumerate(order) if n
            }
            cut = [pair for pair in combinations(sorted(indexes), 2) if pair not in edges]
            self._introduce(sorted(edges))
        world.heal()
        for i, j in cut:
            world.cut(i, j, mode=dice.choice(list(CutMode)))
        if cut:
            # Until everybody has noticed: a probe, and the longest suspicion.
            world.run_for(3.0 + 2.0 * world.config.suspicion_max_s(len(indexes)))

    def _introduce(self, edges: list[tuple[int, ...]]) -> None:
        """Nobody can dial an address that it never heard of and that no seed can tell it."""
        slots = self.world.slots
        if any(
            slots[j].endpoint not in slots[i].links and slots[i].endpoint not in slots[j].links
            for i, j in edges
        ):
            self.world.heal()
            self.world.run_for(10.0)


def run_world(
    seed: int,
    *,
    nodes: int | None = None,
    loss: float | None = None,
    until: float | None = None,
    partition: bool = False,
    work: bool = False,
    trace: bool = False,
    world_type: type[World] = World,
) -> Summary:
    """Run the world of `seed` to its end; a violation is told in the summary, not raised.

    Args:
        nodes: how many at the start, instead of 4 to 6.
        loss: the loss of frames, instead of what the seed draws.
        until: go on at least until this invented second.
        partition: make sure that partitions are among the faults.
        work: make sure that users share work, as they do in every sixth world.
        trace: keep a line for all that happened.
        world_type: a `World` that also watches.
    """
    dice = Random(seed)
    config = _draw_config(dice)
    weather = Weather.draw(dice, loss=loss)
    drawn = dice.randint(4, 6)
    ops = dice.randint(_OPS_MIN, _OPS_MIN + 40)
    faults = dice.randint(_FAULTS_MIN, 9)
    summary = Summary(seed, nodes or drawn)
    options = [
        f"--nodes {nodes}" if nodes else "",
        f"--loss {loss}" if loss is not None else "",
        "--partition" if partition else "",
        "--work" if work else "",
        f"--until {until:g}" if until is not None else "",
    ]
    summary.replay = " ".join(["crdtpubsub sim --seed", str(seed), *filter(None, options)])
    world: World | None = None
    try:
        world = world_type(seed, summary.nodes, weather=weather, config=config, trace=trace)
        script = _Script(world, dice, summary)
        if partition and Fault.PARTITION not in script.kinds:
            script.kinds.append(Fault.PARTITION)
        shared = Work(world, seed) if work or seed % _WORK_IN == 2 else None
        script.act(ops, faults, shared)
        if until is not None:
            world.run_for(max(0.0, until - world.now))
        if script.able():
            script.exile()
        script.mend()
        summary.converged_after_s = world.run_until_quiet(_QUIET_MAX_S)
        if shared is None:
            world.run_for(2.0)
        else:
            shared.last_round()
        world.checks.final()
        summary.converged = True
    except Violation as violation:
        summary.failure = f"{violation}\nreplay: {summary.replay}"
    if world is not None:
        summary.steps, summary.lasted_s = world.steps, world.now
        summary.counters, summary.digest = world.counters(), world.digest
        summary.trace = world.trace or []
    return summary
