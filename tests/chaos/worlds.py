"""The set-full checker over simulated worlds: what the script does, journalled as for real nodes.

The simulator's own checks ask more, after every step, and know what is inside; this one knows only
calls and reads, and judges by the same rules as a run on real processes.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from crdtpubsub.names import DECLARATION, DEFAULT_SCOPE, NodeId
from crdtpubsub.sim import Summary, World, run_world
from crdtpubsub.sim.process import Process
from tests.chaos import setfull
from tests.chaos.history import Began, Ended, Entry, Forgot, Join, Read, Removal

__all__ = ["Recorded", "judge_world", "judge_worlds"]


class Recorded(World):
    """A world that reads some node after every operation, and all of them at the end.

    It reads with dice of its own, and changes nothing: the digest stays what it was.
    """

    def __init__(self, seed: int, nodes: int, **more: Any) -> None:
        self.history: list[Entry] = []
        self._ticks = 0
        self._eyes = Random(f"reads {seed}")
        self._serials: dict[tuple[NodeId, int], int] = {}
        self._channels: set[str] = set()
        self._watching = False
        super().__init__(seed, nodes, **more)
        latest.clear()
        latest.append(self)

    def _at(self) -> float:
        """Invented time, and an order within one moment."""
        self._ticks += 1
        return self.now + self._ticks * 1e-9

    def _serial(self, owner: NodeId, birth: int) -> int:
        return self._serials.setdefault((owner, birth), len(self._serials) + 1)

    # ---------------------------------------------------------------- lives

    def _start(self, index: int, name: str | None = None) -> Process:
        if not self._watching:
            self._watching = True
            forgets = self.checks.journal.forgets

            def forgets_too(scope: str, observer: NodeId, owner: NodeId | None = None) -> None:
                forgets(scope, observer, owner)
                if scope == DEFAULT_SCOPE and owner is not None:
                    self.history.append(Forgot(self._at(), observer, owner))

            self.checks.journal.forgets = forgets_too  # type: ignore[method-assign]
        process = super()._start(index, name)
        self.history.append(Began(self._at(), process.node, f"node-{index}"))
        return process

    def _stop(self, i: int, how: str) -> Process:
        self.history.append(Ended(self._at(), self.slots[i].node, how))
        return super()._stop(i, how)

    # ---------------------------------------------------------------- what applications do

    def join(self, i: int, channel: str, client: str | None = None, **more: Any) -> int:
        client = f"client-{i}" if client is None else client
        if more.get("scope", DEFAULT_SCOPE) != DEFAULT_SCOPE:
            return super().join(i, channel, client, **more)
        process, began = self.slots[i], self._at()
        members = process.engine.set_of(DEFAULT_SCOPE)
        birth = members.next_birth
        done = super().join(i, channel, client, **more)
        if members.next_birth != birth:
            serial = self._serial(process.node, birth)
            self._channels.add(channel)
            self.history.append(Join(began, self._at(), process.node, channel, client, serial))
        self._glance()
        return done

    def leave(self, i: int, channel: str, client: str | None = None, **more: Any) -> int:
        client = f"client-{i}" if client is None else client
        if more.get("scope", DEFAULT_SCOPE) != DEFAULT_SCOPE:
            return super().leave(i, channel, client, **more)
        owner = self.slots[i].node
        seen, began = self._seen(i, channel, owner, client), self._at()
        done = super().leave(i, channel, client, **more)
        self._removed(began, i, channel, seen, own=True)
        return done

    def remove(self, i: int, channel: str, owner: NodeId, client: str, **more: Any) -> int:
        if more.get("scope", DEFAULT_SCOPE) != DEFAULT_SCOPE:
            return super().remove(i, channel, owner, client, **more)
        seen, began = self._seen(i, channel, owner, client), self._at()
        done = super().remove(i, channel, owner, client, **more)
        self._removed(began, i, channel, seen)
        return done

    def del_channel(self, i: int, channel: str, **more: Any) -> int:
        if more.get("scope", DEFAULT_SCOPE) != DEFAULT_SCOPE:
            return super().del_channel(i, channel, **more)
        seen, began = self._seen(i, channel), self._at()
        done = super().del_channel(i, channel, **more)
        self._removed(began, i, channel, seen)
        return done

    def _seen(
        self, i: int, channel: str, owner: NodeId | None = None, client: str | None = None
    ) -> tuple[int, ...]:
        """What node `i` holds of a channel: of one client, or all."""
        by_owner = self.slots[i].engine.set_of(DEFAULT_SCOPE).by_owner(channel)
        return tuple(
            self._serial(life, birth)
            for life, clients in sorted(by_owner.items())
            for who, birth in sorted(clients.items())
            if who != DECLARATION and owner in (None, life) and client in (None, who)
        )

    def _removed(
        self, began: float, i: int, channel: str, seen: tuple[int, ...], *, own: bool = False
    ) -> None:
        life = self.slots[i].node
        self.history.append(Removal(began, self._at(), life, channel, seen, exact=True, own=own))
        self._glance()

    # ---------------------------------------------------------------- reads

    def _glance(self) -> None:
        running = self.running()
        self._read(running[self._eyes.randrange(len(running))])

    def _read(self, process: Process, settled: int | None = None) -> None:
        began, engine = self._at(), process.engine
        listed: list[int] = []
        hidden: list[int] = []
        for channel in sorted(self._channels):
            up = {tuple(m)[:3] for m in engine.members(DEFAULT_SCOPE, channel)}
            for member in engine.members(DEFAULT_SCOPE, channel, include_down=True):
                owner, _client, birth, *_ = member
                into = listed if tuple(member)[:3] in up else hidden
                into.append(self._serial(owner, birth))
        self.history.append(
            Read(began, self._at(), process.node, tuple(listed), tuple(hidden), (), settled)
        )

    def run_until_quiet(self, within: float = 120.0) -> float:
        took_s = super().run_until_quiet(within)
        for process in self.running():
            self._read(process, settled=0)
        return took_s


latest: list[Recorded] = []
"""The world of the last `run_world` in this process."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One world, by the simulator's checks and by the set-full checker."""

    summary: Summary
    verdict: setfull.SetFull

    @property
    def valid(self) -> bool:
        return self.summary.converged and self.verdict.valid


def judge_world(seed: int) -> Judged:
    """Run the world of `seed`, and judge what was seen of it."""
    summary = run_world(seed, world_type=Recorded)
    return Judged(summary, setfull.check(latest[0].history))


def _in_short(seed: int) -> dict[str, Any]:
    judged = judge_world(seed)
    verdict, summary = judged.verdict, judged.summary
    return {
        "operations": summary.ops + verdict.reads,
        "faults": sum(summary.faults.values()),
        "elements": verdict.elements,
        "stable": verdict.stable,
        "reads": verdict.reads,
        "lost": len(verdict.lost),
        "resurrected": len(verdict.resurrected),
        "phantom": len(verdict.phantom),
        "unequal": verdict.unequal,
        "invalid": not judged.valid,
        "why": [f"seed {seed}: {w}" for w in [*verdict.why, summary.failure] if w],
    }


def judge_worlds(first: int, count: int, *, jobs: int = 1) -> dict[str, Any]:
    """Totals over the worlds of so many seeds."""
    totals: Counter[str] = Counter()
    why: list[str] = []
    seeds = range(first, first + count)
    with ProcessPoolExecutor(jobs) as pool:
        for told in pool.map(partial(_in_short), seeds, chunksize=20):
            why += told.pop("why")
            totals.update(told)
    return {"worlds": count, "first_seed": first, **totals, "why": why[:20]}
