"""What goes wrong in a random world: one method a kind of accident, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from crdtpubsub.names import NodeId
from crdtpubsub.sim.faults import ALL_FAULTS, CutMode, Fault
from crdtpubsub.sim.summary import Summary
from crdtpubsub.sim.world import World

__all__ = ["SIDE", "Devil"]

SIDE: Final = "side"
"""The second scope, which comes and goes."""

_RUNNING_MIN: Final = 3
_ALWAYS: Final = (Fault.PARTITION, Fault.CUT, Fault.ONE_WAY, Fault.RESET, Fault.LATE)


class Devil:
    """The devil's part in one world."""

    def __init__(self, world: World, dice: Random, summary: Summary) -> None:
        self.world = world
        self.dice = dice
        self.summary = summary
        kinds = dice.sample(ALL_FAULTS, dice.randint(3, len(ALL_FAULTS)))
        if not any(kind in _ALWAYS for kind in kinds):
            # Who can only kill has no victim left before the fifth accident (seed 30).
            kinds.append(dice.choice(_ALWAYS))
        self.kinds = [kind for kind in ALL_FAULTS if kind in kinds]
        self.channels = [f"ch{n}" for n in range(dice.randint(2, 6))]
        self.clients = [f"c{n}" for n in range(dice.randint(3, 12))]
        self.side = dice.random() < 0.4 or Fault.SCOPE in kinds
        self.published = 0
        self.joined = 0
        self.doers: dict[Fault, Callable[[], bool]] = {
            Fault.CRASH: self._crash,
            Fault.VANISH: self._vanish,
            Fault.RESTART: lambda: self._restart(new_port=False),
            Fault.INTRUDER: self._intrude,
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

    def some(self) -> int:
        """A node whose application can call it now."""
        able = [p.index for p in self.world.running() if not p.paused]
        return self.dice.choice(able)

    def able(self) -> bool:
        """Whether any node's application can call it now."""
        return any(not p.paused for p in self.world.running())

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
            self.world.open_scope(i, SIDE)

    def _crash(self) -> bool:
        if (i := self._spare()) is None:
            return False
        self._last_words(i)
        self.world.crash(i)
        return True

    def _vanish(self) -> bool:
        if (i := self._spare()) is None:
            return False
        self._last_words(i)
        self.world.vanish(i)
        return True

    def _goodbye(self) -> bool:
        if (i := self._spare()) is None:
            return False
        self.world.goodbye(i)
        return True

    def _last_words(self, i: int) -> None:
        """Now and then the dying one says something that nobody hears, and something after it.

        So that a gap is left that no survivor can fill.
        """
        world, life = self.world, self.world.slots[i].node
        if self.dice.random() < 0.5:
            return
        others = [p.index for p in world.running() if p.index != i]
        unheard = [(i, j) for j in others if world.network.passes(i, j)]
        world.network.cut(unheard, CutMode.DROP)
        self._join_anew(i, 2)
        world.network.heal(unheard)
        self._join_anew(i, 2)
        world.later(0.5, self._look_for_gap, life)

    def _join_anew(self, i: int, clients: int) -> None:
        """Clients that were never members join, one push each."""
        for _ in range(clients):
            self.joined += 1
            if self.world.slots[i].running:
                channel = self.dice.choice(self.channels)
                self.world.join(i, channel, f"new{self.joined}", meta=bytes(40))
            self.world.run_for(1.1 * self.world.config.push_interval_s)

    def _look_for_gap(self, life: NodeId) -> None:
        self.world.rare["gap_shared"] += self.world.gap_shared(life)

    def _intrude(self) -> bool:
        if (i := self._spare()) is None:
            return False
        self.world.intrude(i)
        self.world.later(self._lasting(), self.world.expel, i)
        return True

    def _restart(self, *, new_port: bool) -> bool:
        world, dice = self.world, self.dice
        i = dice.randrange(len(world.slots))
        process = world.slots[i]
        if process.running and (process.paused or self._spare() is None):
            return False
        if process.running:
            self._last_words(i)
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
        if len(self.world.running()) < 2 or not self.able():
            return False
        i = self.some()
        self.world.lag(i, self.dice.choice([p.index for p in self.world.running() if p.index != i]))
        if self.dice.random() < 0.8:
            self._join_anew(i, 35)  # more than the outbox holds
        self.world.later(self._lasting(), self.world.unlag)
        return True

    def _scope(self) -> bool:
        i = self.some()
        node = self.world.slots[i].node
        if SIDE not in self.world.checks.scopes[node]:
            self.world.open_scope(i, SIDE)
            return True
        if self.dice.random() < 0.5:  # with its push lost
            self.world.partition(i)
            self.world.later(2.0, self._heal)
            others = [p for p in self.world.running() if p.index != i]
            inside = any(SIDE in self.world.checks.scopes[p.node] for p in others)
            self.world.rare["scope_closed_unheard"] += inside
        self.world.close_scope(i, SIDE)
        return True
