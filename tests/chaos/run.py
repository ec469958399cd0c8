"""A run: users and a devil on real nodes, quiet points between, and the verdict of the checkers."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

from tests.chaos import exits, queue, setfull
from tests.chaos.arena import Arena
from tests.chaos.history import (
    Began,
    Ended,
    Entry,
    Fault,
    History,
    Join,
    Publication,
    Read,
    Removal,
    Taken,
)
from tests.chaos.mesh import Mesh
from tests.chaos.schedule import PROCESS_KINDS, Step, schedule
from tests.chaos.starving import CpuLimit, missing
from tests.net.cluster import Gone, Process, until

__all__ = ["Run", "Verdict", "judge"]

CHANNELS: Final = tuple(f"room-{n}" for n in range(4))
CLIENTS: Final = tuple(f"c{n}" for n in range(8))
PATIENCE_S: Final = 90.0
QUIET_WITHIN_S: Final = 60.0
CONFIRM_S: Final = 10.0
STUTTER_S: Final = 0.04
STARVED_SHARE: Final = 0.1
STARVED_PERIOD_S: Final = 0.1


@dataclass(slots=True)
class Verdict:
    """What the checkers say, and how much there was to judge."""

    setfull: setfull.SetFull
    queue: queue.Queue
    exits: exits.Exits
    operations: Counter[str]
    faults: Counter[str]
    lives: int

    @property
    def valid(self) -> bool:
        return self.setfull.valid and self.queue.valid and self.exits.valid

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        sets, messages = self.setfull, self.queue
        return {
            "valid": self.valid,
            "operations": self.operations.total(),
            "by_kind": dict(sorted(self.operations.items())),
            "faults": self.faults.total(),
            "by_fault": dict(sorted(self.faults.items())),
            "lives": self.lives,
            "quiet_points": sets.quiet_points,
            "elements": sets.elements,
            "known": sets.known,
            "stable": sets.stable,
            "lost": len(sets.lost),
            "resurrected": len(sets.resurrected),
            "phantom": len(sets.phantom),
            "unequal": sets.unequal,
            "stable_latency_s": {
                f"p{share * 100:g}": round(sets.latency_s(share), 4)
                for share in (0.5, 0.95, 0.99, 1.0)
            },
            "messages": {
                name: getattr(messages, name)
                for name in (
                    *("published", "confirmed", "acknowledged", "received", "lost"),
                    *("duplicated", "unexpected", "unknown", "refused", "unjudged"),
                )
            },
            "exits": {"due": self.exits.due, "seen": self.exits.seen}
            | {"missing": self.exits.missing, "extra": self.exits.extra},
            "why": [*sets.why, *messages.why, *self.exits.why],
        }


def judge(entries: Sequence[Entry]) -> Verdict:
    """All checkers over one history."""
    operations = Counter(
        type(e).__name__.lower() for e in entries if isinstance(e, (Join, Removal, Read))
    )
    operations["publication"] = len({e.number for e in entries if isinstance(e, Publication)})
    return Verdict(
        setfull.check(entries),
        queue.check(entries),
        exits.check(entries),
        operations,
        Counter(e.what for e in entries if isinstance(e, Fault)),
        sum(isinstance(e, Began) for e in entries),
    )


@dataclass(slots=True)
class Run:
    """One seed on one arena. Segments of faults, with a quiet point after each."""

    arena: Arena
    history: History
    seed: int
    kinds: Sequence[str]
    rate_hz: float = 20.0
    """Operations per node and second, about."""
    segment_s: float = 45.0
    log: bool = False
    _serials: count[int] = field(default_factory=lambda: count(1))
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _away: set[str] = field(default_factory=set)
    _places: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _open: dict[int, tuple[float, str, str]] = field(default_factory=dict)
    _confirms: bool = False
    _can_limit: bool = field(default_factory=lambda: missing() is None)

    # ---------------------------------------------------------------- the story

    async def play(self, seconds: float) -> None:
        """Start the nodes, and go on for so many seconds of faults."""
        names = self.arena.names
        self._locks = {name: asyncio.Lock() for name in names}
        await self.arena.start_all(*names)
        for name in names:
            self._began(self.arena.processes[name])
        self._confirms = await self.arena.processes[names[0]].ask("can_confirm")
        async with asyncio.TaskGroup() as group:
            users = [group.create_task(self._user(name)) for name in names]
            segments = max(1, round(seconds / self.segment_s))
            for number in range(segments):
                steps = schedule(
                    self.seed * 1000 + number,
                    seconds=seconds / segments,
                    nodes=names,
                    kinds=self.kinds,
                )
                await self._segment(steps, seconds / segments, number)
            for user in users:
                user.cancel()

    async def _segment(self, steps: Sequence[Step], seconds: float, number: int) -> None:
        self._work.set()
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for step in steps:
                await asyncio.sleep(began_s + step.at_s - time.monotonic())
                group.create_task(self._fault(step))
            await asyncio.sleep(began_s + seconds - time.monotonic())
        await self.arena.calm()
        self._work.clear()
        for lock in self._locks.values():  # what is under way ends
            async with lock:
                pass
        took_s = await self._quiet(number)
        if self.log:
            print(f"segment {number}: {len(steps)} faults, quiet after {took_s:.1f} s", flush=True)

    async def _quiet(self, number: int) -> float:
        """Nothing is broken and nobody writes: all must soon say the same, for good."""
        began_s = time.monotonic()
        processes = [self.arena.processes[name] for name in self.arena.names]
        lives = {process.id for process in processes}
        for process in processes:

            async def sees_all_and_no_ghost(process: Process = process) -> bool:
                peers: list[tuple[str, str, str, bool]] = await process.ask("peers")
                up = {life for life, _, state, _ in peers if state in ("alive", "suspect")}
                linked = {life for life, _, _, linked in peers if linked}
                return up == lives - {process.id} == linked & up

            await until(sees_all_and_no_ghost, timeout=QUIET_WITHIN_S, poll_s=0.05)
        for process in processes:

            async def all_answered(process: Process = process) -> bool:
                return bool(await process.ask("unconfirmed") == 0)

            await until(all_answered, poll_s=0.05)
        await self.arena.settle(*processes)
        for process in processes:
            await self._read(process, settled=number)
        await asyncio.sleep(0.2)  # messages under way reach their readers
        for process in processes:
            await self._read(process, settled=number)
        return time.monotonic() - began_s

    # ---------------------------------------------------------------- users

    async def _user(self, name: str) -> None:
        dice = Random(f"user {self.seed} {name}")
        while True:
            await self._work.wait()
            await asyncio.sleep(dice.expovariate(self.rate_hz))
            async with self._locks[name]:
                process = self.arena.processes[name]
                if self._work.is_set() and name not in self._away and process.running:
                    await self._operate(process, dice)

    async def _operate(self, process: Process, dice: Random) -> None:
        channel, client, pick = dice.choice(CHANNELS), dice.choice(CLIENTS), dice.getrandbits(16)
        roll = dice.random()
        if roll < 0.35:
            await self._join(process, channel, client)
        elif roll < 0.53:
            await self._quit(process, channel, client)
        elif roll < 0.65:
            await self._expel(process, channel, pick)
        elif roll < 0.67:
            await self._wipe(process, channel)
        elif roll < 0.80:
            await self._publish(process, channel, confirm=pick % 2 == 0)
        else:
            await self._read(process)

    async def _ask(self, process: Process, verb: str, **arguments: object) -> tuple[Any, float]:
        """The answer and its time; `(None, inf)` if the node died before it gave one."""
        try:
            answer = await process.ask(verb, patience_s=PATIENCE_S, **arguments)
        except Gone:
            if process.name not in self._away:
                raise  # nobody told it to
            return None, float("inf")
        return answer, time.monotonic()

    async def _join(self, process: Process, channel: str, client: str) -> None:
        began, life, serial = time.monotonic(), process.id, next(self._serials)
        self._places[serial] = (channel, life, client)
        done, ended = await self._ask(
            process, "enter", channel=channel, client=client, number=serial
        )
        if done is not False:
            at = None if done is None else ended
            self.history.add(Join(began, at, life, channel, client, serial))

    async def _quit(self, process: Process, channel: str, client: str) -> None:
        began, life = time.monotonic(), process.id
        said, ended = await self._ask(process, "quit", channel=channel, client=client)
        if said is None:
            return  # its members died with it
        if said["done"]:
            self.history.add(
                Removal(
                    *(began, ended, life, channel, tuple(said["seen"])),
                    owner=life,
                    client=client,
                    exact=True,
                    own=True,
                )
            )

    async def _expel(self, process: Process, channel: str, pick: int) -> None:
        began, life = time.monotonic(), process.id
        said, ended = await self._ask(process, "expel", channel=channel, pick=pick)
        if said is not None and said["done"]:
            seen, owner, client = tuple(said["seen"]), said["owner"], said["client"]
            self.history.add(Removal(began, ended, life, channel, seen, owner, client))
        elif ended == float("inf"):  # it may have removed anybody
            self.history.add(Removal(began, time.monotonic(), life, channel, (), certain=False))

    async def _wipe(self, process: Process, channel: str) -> None:
        began, life = time.monotonic(), process.id
        said, ended = await self._ask(process, "wipe", channel=channel)
        if said is None:
            self.history.add(Removal(began, time.monotonic(), life, channel, (), certain=False))
            return
        exact = said["count"] == len(said["seen"])
        self.history.add(Removal(began, ended, life, channel, tuple(said["seen"]), exact=exact))

    async def _publish(self, process: Process, channel: str, *, confirm: bool) -> None:
        began, life, number = time.monotonic(), process.id, next(self._numbers)
        if self._confirms and confirm:
            self._open[number] = (began, life, channel)
            self.history.add(Publication(began, None, life, channel, number, confirmed=True))
            await self._ask(process, "confirm", channel=channel, number=number, seconds=CONFIRM_S)
            return
        owners, ended = await self._ask(process, "say", channel=channel, number=number)
        at = None if owners is None else ended
        self.history.add(Publication(began, at, life, channel, number, owners=owners))

    async def _read(self, process: Process, settled: int | None = None) -> None:
        began, life = time.monotonic(), process.id
        said, ended = await self._ask(process, "look", channels=CHANNELS)
        if said is None:
            return
        listed: list[int] = []
        hidden: list[int] = []
        strange: list[str] = []
        for into, members in ((listed, said["listed"]), (hidden, said["hidden"])):
            for channel, owner, client, serial in members:
                if self._places.get(serial) == (channel, owner, client):
                    into.append(serial)
                else:
                    strange.append(f"{client}@{owner} in {channel}, said to be {serial!r}")
        self.history.add(
            Read(began, ended, life, tuple(listed), tuple(hidden), tuple(strange), settled)
        )
        for number, owners in said["receipts"]:
            at, who, channel = self._open.pop(number)
            self.history.add(Publication(at, ended, who, channel, number, True, owners))
        messages = [(client, n) for client, ns in said["messages"].items() for n in ns]
        left = [(client, channel) for client, es in said["exits"].items() for channel, _ in es]
        if messages or left:
            self.history.add(Taken(ended, life, tuple(messages), tuple(left)))

    # ---------------------------------------------------------------- the devil

    async def _fault(self, step: Step) -> None:
        if self.log:
            print(f"  {step.at_s:6.2f} {step.kind} {','.join(step.who)} {step.lasting_s:.1f} s")
        self.history.add(Fault(time.monotonic(), step.kind, step.who, step.lasting_s))
        if step.kind in PROCESS_KINDS:
            await self._harm(step, self.arena.processes[step.who[0]])
        elif step.kind == "reset":
            await self.arena.reset(*step.who)
        elif step.kind == "half_close":
            assert isinstance(self.arena, Mesh)
            self.arena.half_close(*step.who)
        else:
            number = await self.arena.impose(step.rules)
            await asyncio.sleep(step.lasting_s)
            await self.arena.lift(number)

    async def _harm(self, step: Step, process: Process) -> None:
        match step.kind:
            case "pause":
                process.signal(signal.SIGSTOP)
                await asyncio.sleep(step.lasting_s)
                process.signal(signal.SIGCONT)
            case "stutter":
                ends_s = time.monotonic() + step.lasting_s
                while time.monotonic() < ends_s:
                    process.signal(signal.SIGSTOP)
                    await asyncio.sleep(STUTTER_S)
                    process.signal(signal.SIGCONT)
                    await asyncio.sleep(STUTTER_S)
            case "starve":
                await self._starve(step, process)
            case "kill":
                self._ends(process, "killed")
                await process.kill()
                await self._again(step, process)
            case "goodbye":
                async with self._locks[process.name]:
                    self._ends(process, "goodbye")
                    await process.close()
                await self._again(step, process)

    async def _starve(self, step: Step, process: Process) -> None:
        """A tenth of a core; where no quota can be set, stopped nine tenths of the time."""
        if self._can_limit:
            with CpuLimit(process.pid, STARVED_SHARE):
                await asyncio.sleep(step.lasting_s)
            return
        ends_s = time.monotonic() + step.lasting_s
        while time.monotonic() < ends_s:
            process.signal(signal.SIGSTOP)
            await asyncio.sleep((1 - STARVED_SHARE) * STARVED_PERIOD_S)
            process.signal(signal.SIGCONT)
            await asyncio.sleep(STARVED_SHARE * STARVED_PERIOD_S)

    def _ends(self, process: Process, how: str) -> None:
        self._away.add(process.name)
        self.history.add(Ended(time.monotonic(), process.id, how))

    async def _again(self, step: Step, process: Process) -> None:
        await asyncio.sleep(step.lasting_s)
        if step.new_port:
            self.arena.move(process)
        others = [p for p in self.arena.processes.values() if p is not process and p.running]
        async with self._locks[process.name]:
            await process.start([p.endpoint for p in others[:2]])
            self._began(process)
            self._away.discard(process.name)

    def _began(self, process: Process) -> None:
        self.history.add(Began(time.monotonic(), process.id, process.name))
