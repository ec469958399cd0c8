"""Random worlds: one seed draws a cluster, its weather, its accidents and what its users do."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Final

from crdtpubsub.config import Config
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.sim.checks import Violation
from crdtpubsub.sim.faults import ALL_FAULTS, CutMode, Fault, Weather
from crdtpubsub.sim.summary import Summary
from crdtpubsub.sim.world import World

__all__ = ["Summary", "run_world"]

_OPS_MIN: Final = 200
_FAULTS_MIN: Final = 5
_QUIET_MAX_S: Final = 150.0
_SIDE: Final = "side"
_RUNNING_MIN: Final = 3


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
    )


class _Script:
    """The user's and the devil's part in one world."""

    def __init__(self, world: World, dice: Random, summary: Summary) -> None:
        self.world = world
        self.dice = dice
        self.summary = summary
        kinds = dice.sample(ALL_FAULTS, dice.randint(3, len(ALL_FAULTS)))
        self.kinds = [kind for kind in ALL_FAULTS if kind in kinds]
        self.channels = [f"ch{n}" for n in range(dice.randint(2, 6))]
        self.clients = [f"c{n}" for n in range(dice.randint(3, 12))]
        self.side = dice.random() < 0.4 or Fault.SCOPE in kinds
        self.published = 0
        self.doers: dict[Fault, Callable[[], bool]] = {
            Fault.CRASH: self._crash,
            Fault.VANISH: self._vanish,
            Fault.RESTART: lambda: self._restart(new_port=False),
            Fault.MOVE: lambda: self._restart(new_port=True),
            Fault.GOODBYE: self._goodbye,
            Fault.LATE_JOINER: self._late_joiner,
            Fault.PAUSE: lambda: self._pause(clock_stands=False),
            Fault.SLEEP: lambda: self._pause(clock_stands=True),
            Fault.PARTITION: self._partition,
            Fault.CUT: lambda: self._cut(one_way=False),
            Fault.ONE_WAY: lambda: self._cut(one_way=True),
            Fault.RESET: lambda: self._reset(late_s=0.0),
            Fault.LATE: lambda: self._reset(late_s=dice.uniform(0.2, 3.0)),
            Fault.LAG: self._lag,
            Fault.SCOPE: self._scope,
        }

    # ---------------------------------------------------------------- what users do

    def some(self) -> int:
        """A node whose application can call it now."""
        able = [p.index for p in self.world.running() if not p.paused]
        return self.dice.choice(able)

    def able(self) -> bool:
        """Whether any node's application can call it now."""
        return any(not p.paused for p in self.world.running())

    def operate(self) -> None:
        """One operation somewhere."""
        world, dice = self.world, self.dice
        i = self.some()
        channel = dice.choice(self.channels)
        client = dice.choice(self.clients)
        scope = DEFAULT_SCOPE
        if self.side and _SIDE in world.checks.scopes[world.slots[i].node] and dice.random() < 0.3:
            scope = _SIDE
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

    # ---------------------------------------------------------------- what goes wrong

    def fault(self) -> None:
        """One accident, of a kind that this world knows."""
        kind = self.dice.choice(self.kinds)
        if self.doers[kind]():
            self.summary.faults[kind.value] = self.summary.faults.get(kind.value, 0) + 1

    def faults(self) -> int:
        """How many there were."""
        return sum(self.summary.faults.values())

    def _spare(self) -> int | None:
        able = [p.index for p in self.world.running() if not p.paused]
        return self.dice.choice(able) if len(able) > _RUNNING_MIN else None

    def _open_side(self, i: int) -> None:
        if self.side and self.dice.random() < 0.8:
            self.world.open_scope(i, _SIDE)

    def _crash(self) -> bool:
        if (i := self._spare()) is None:
            return False
        self.world.crash(i)
        return True

    def _vanish(self) -> bool:
        if (i := self._spare()) is None:
            return False
        self.world.vanish(i)
        return True

    def _goodbye(self) -> bool:
        if (i := self._spare()) is None:
            return False
        self.world.goodbye(i)
        return True

    def _restart(self, *, new_port: bool) -> bool:
        world, dice = self.world, self.dice
        i = dice.randrange(len(world.slots))
        process = world.slots[i]
        if process.running and (process.paused or self._spare() is None):
            return False
        if process.running:
            (world.crash if dice.random() < 0.5 else world.vanish)(i)
        world.run_for(dice.choice((0.0, 0.05, 3.0)))
        if world.slots[i].running:
            return False
        world.restart(i, new_port=new_port)
        self._open_side(i)
        return True

    def _late_joiner(self) -> bool:
        if len(self.world.slots) >= 7:
            return False
        self._open_side(self.world.add_node())
        return True

    def _lasting(self) -> float:
        return self.dice.choice((0.3, 1.0, 3.0, 9.0)) * (0.5 + self.dice.random())

    def _pause(self, *, clock_stands: bool) -> bool:
        if (i := self._spare()) is None:
            return False
        self.world.pause(i, clock_stands=clock_stands)
        frames_first = self.dice.random() < 0.5
        self.world.later(self._lasting(), self._resume, self.world.slots[i].node, i, frames_first)
        return True

    def _resume(self, node: str, i: int, frames_first: bool) -> None:
        if self.world.slots[i].node == node:
            self.world.resume(i, frames_first=frames_first)

    def _partition(self) -> bool:
        indexes = list(range(len(self.world.slots)))
        side = self.dice.sample(indexes, self.dice.randint(1, len(indexes) - 1))
        self.world.partition(side, mode=self.dice.choice(list(CutMode)))
        self.world.later(self._lasting(), self._heal)
        return True

    def _heal(self) -> None:
        if not self.summary.topology:  # from then on what is cut stays cut
            self.world.heal()

    def _pair(self) -> tuple[int, int]:
        i, j = self.dice.sample(range(len(self.world.slots)), 2)
        return i, j

    def _cut(self, *, one_way: bool) -> bool:
        i, j = self._pair()
        self.world.cut(i, j, one_way=one_way, mode=self.dice.choice(list(CutMode)))
        self.world.later(self._lasting(), self._heal)
        return True

    def _reset(self, *, late_s: float) -> bool:
        for _ in range(self.dice.randint(1, 6)):
            self.world.reset(*self._pair(), late_s=late_s)
        return True

    def _lag(self) -> bool:
        self.world.lag(*self._pair())
        self.world.later(self._lasting(), self.world.unlag)
        return True

    def _scope(self) -> bool:
        i = self.some()
        node = self.world.slots[i].node
        if _SIDE not in self.world.checks.scopes[node]:
            self.world.open_scope(i, _SIDE)
            return True
        if self.dice.random() < 0.5:  # with its push lost
            self.world.partition(i)
            self.world.later(2.0, self._heal)
        self.world.close_scope(i, _SIDE)
        return True

    # ---------------------------------------------------------------- the story

    def act(self, ops: int, faults: int) -> None:
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
    trace: bool = False,
) -> Summary:
    """Run the world of `seed` to its end; a violation is told in the summary, not raised.

    Args:
        nodes: how many at the start, instead of 4 to 6.
        loss: the loss of frames, instead of what the seed draws.
        until: go on at least until this invented second.
        partition: make sure that partitions are among the faults.
        trace: keep a line for all that happened.
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
        f"--until {until:g}" if until is not None else "",
    ]
    summary.replay = " ".join(["crdtpubsub sim --seed", str(seed), *filter(None, options)])
    world: World | None = None
    try:
        world = World(seed, summary.nodes, weather=weather, config=config, trace=trace)
        script = _Script(world, dice, summary)
        if partition and Fault.PARTITION not in script.kinds:
            script.kinds.append(Fault.PARTITION)
        script.act(ops, faults)
        if until is not None:
            world.run_for(max(0.0, until - world.now))
        if script.able():
            script.exile()
        script.mend()
        summary.converged_after_s = world.run_until_quiet(_QUIET_MAX_S)
        world.run_for(2.0)
        world.checks.final()
        summary.converged = True
    except Violation as violation:
        summary.failure = f"{violation}\nreplay: {summary.replay}"
    if world is not None:
        summary.steps, summary.lasted_s = world.steps, world.now
        summary.counters, summary.digest = world.counters(), world.digest
        summary.trace = world.trace or []
    return summary
