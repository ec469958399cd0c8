"""What one process does in each question, written once for all systems that speak Python.

The benchmark and a role say dicts, lists, numbers and strings to each other, so that another
language can play the same role (`pg_peer.erl`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic, process_time
from typing import Any

from benchmarks.common import Pipe
from benchmarks.peers.driver import Driver, Where
from benchmarks.peers.systems import driver_of

__all__ = ["play"]

CHANNEL = "prices"
STALLED_S = 20.0


async def play(pipe: Pipe, system: str, where: dict[str, Any], role: str, args: list[Any]) -> None:
    """Open the system's end in this process, tell its address, and play a role."""
    driver = driver_of(system)(Where(**where))
    if role == "former":
        await former(pipe, driver, *args)
        return
    address = await driver.open()
    try:
        pipe.tell(address)
        await ROLES[role](pipe, driver, *args)
    finally:
        await driver.close()


def padding(size_bytes: int) -> bytes:
    """What makes a message of about `size_bytes` out of its number."""
    return b"x" * max(0, size_bytes - 16)


# ---------------------------------------------------------------- throughput and latency


class Ear:
    """What one receiver saw of the messages 0 .. expected - 1."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.received = 0
        self.disordered = 0
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._last = expected - 1

    def note(self, data: dict[str, Any]) -> None:
        number = data["n"]
        if number != self._next:
            self.disordered += 1
        self._next = number + 1
        self.received += 1
        if number == self._last:
            self.end()

    def end(self) -> None:
        """From whatever thread; in the loop's own, at once, as a blocking reader looks at it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._loop.call_soon_threadsafe(self.done.set)
        else:
            self.done.set()


class Timed(Ear):
    def __init__(self, expected: int) -> None:
        super().__init__(expected)
        self.late_s: list[float] = []

    def note(self, data: dict[str, Any]) -> None:
        self.late_s.append(monotonic() - data["at"])
        if data["n"] == self._last:
            self.end()


async def ear(pipe: Pipe, driver: Driver, timed: int) -> None:
    """Hear numbered messages; again for each number of messages that it is told."""
    current = Ear(0)
    await driver.subscribe(CHANNEL, lambda data: current.note(data))  # noqa: PLW0108  (another, later)
    pipe.tell("subscribed")
    while (expected := await pipe.heard()) is not None:
        current = (Timed if timed else Ear)(expected)
        pipe.tell("listening")
        cpu_at = process_time()
        await driver.drained(current.done, STALLED_S)
        at, cpu_s = monotonic(), process_time() - cpu_at
        if isinstance(current, Timed):
            pipe.tell(current.late_s)
        else:
            pipe.tell(
                {
                    "at": at,
                    "cpu_us": cpu_s / expected * 1e6,
                    "lost": expected - current.received,
                    "disordered": current.disordered,
                }
            )


async def mouth(pipe: Pipe, driver: Driver, receivers: int, size_bytes: int) -> None:
    """Publish so many messages as fast as they go, when told."""
    await driver.met(receivers)
    await driver.heard_by(CHANNEL, receivers)
    pipe.tell("ready")
    pad = padding(size_bytes)
    while (messages := await pipe.heard()) is not None:
        at, cpu_at = monotonic(), process_time()
        await driver.publish_all(CHANNEL, messages, pad)
        pipe.tell({"at": at, "cpu_us": (process_time() - cpu_at) / messages * 1e6})


async def clock(pipe: Pipe, driver: Driver, per_s: float, size_bytes: int) -> None:
    """Publish by a timetable; what is late goes at once."""
    await driver.met(1)
    await driver.heard_by(CHANNEL, 1)
    pipe.tell("ready")
    pad = b"x" * max(0, size_bytes - 30)
    while (messages := await pipe.heard()) is not None:
        start = monotonic()
        for n in range(messages):
            left_s = start + n / per_s - monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)
            await driver.publish(CHANNEL, {"n": n, "at": monotonic(), "pad": pad})
        pipe.tell("published")


async def fan(pipe: Pipe, driver: Driver, subscribers: int, burst: int) -> None:
    """One process publishes to its own subscribers, so many messages before they look."""
    heard = lost = 0
    target = 0
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note_of(_: int) -> Any:
        expected = 0

        def note(data: dict[str, Any]) -> None:
            nonlocal expected, heard, lost
            lost += data["n"] != expected
            expected = data["n"] + 1
            heard += 1
            if heard >= target:
                loop.call_soon_threadsafe(done.set)

        return note

    for n in range(subscribers):
        await driver.subscribe(CHANNEL, note_of(n))
    await driver.heard_by(CHANNEL, subscribers)
    pipe.tell("ready")
    first = 0
    while (messages := await pipe.heard()) is not None:
        start = monotonic()
        heard = lost = 0
        for sent in range(0, messages, burst):
            target = (sent + burst) * subscribers
            done.clear()
            await driver.publish_here(CHANNEL, first, burst, b"x" * 84)
            first += burst
            if heard < target:
                await driver.drained(done, STALLED_S)
        expected = messages * subscribers
        pipe.tell({"took_s": monotonic() - start, "lost": expected - heard, "disordered": lost})


# ---------------------------------------------------------------- memberships


async def turns(pipe: Pipe, driver: Driver, first: int, mine: str, theirs: str) -> None:
    """Two processes take turns to join and to leave; when each wrote, and when it saw."""
    await driver.met(1)
    await driver.watch([theirs])
    await driver.prepare(["me"])
    pipe.tell("ready")
    while (order := await pipe.heard()) is not None:
        rounds, pace_s = order
        stamps: dict[str, list[float]] = {
            f"{verb}_{what}": [] for verb in ("join", "leave") for what in ("at", "seen")
        }
        for _ in range(rounds):
            for verb, count in (("join", 1), ("leave", 0)):
                if not first:
                    await _saw(driver, theirs, count)
                    stamps[f"{verb}_seen"].append(monotonic())
                stamps[f"{verb}_at"].append(monotonic())
                await (driver.join if count else driver.leave)(mine, "me")
                if first:
                    await _saw(driver, theirs, count)
                    stamps[f"{verb}_seen"].append(monotonic())
                    await asyncio.sleep(pace_s)
        pipe.tell(stamps)


async def _saw(driver: Driver, channel: str, count: int) -> None:
    if not await driver.until(lambda: driver.count(channel) == count):
        raise TimeoutError(f"{channel!r} has {driver.count(channel)} members and not {count}")


def rows_of(shape: Sequence[int]) -> list[tuple[str, str]]:
    """`channels` x `members`: channel and client of each membership, in order."""
    channels, members = shape
    return [(f"channel-{n // members:05}", f"client-{n:06}") for n in range(channels * members)]


def channels_of(shape: Sequence[int]) -> list[str]:
    return [f"channel-{n:05}" for n in range(shape[0])]


async def joiner(pipe: Pipe, driver: Driver, shape: list[int]) -> None:
    rows = rows_of(shape)
    await driver.prepare(name for _, name in rows)
    await driver.met(1)
    pipe.tell("ready")
    await pipe.heard()
    at = monotonic()
    # A rival that cannot do it in time may sit in one call: the benchmark ends the process.
    await driver.join_all(rows)
    pipe.tell({"at": at, "took_s": monotonic() - at})
    await pipe.heard()


async def watcher(pipe: Pipe, driver: Driver, shape: list[int], timeout_s: float) -> None:
    channels, members = channels_of(shape), shape[1]
    await driver.met(1)
    await driver.watch(channels)
    pipe.tell("ready")
    last = channels[-1]
    end = monotonic() + timeout_s
    done = await driver.until(lambda: driver.count(last) >= members, timeout_s)
    there = sum(driver.count(channel) for channel in channels)
    while done and there < shape[0] * members and monotonic() < end:
        await asyncio.sleep(0.005)
        there = sum(driver.count(channel) for channel in channels)
    pipe.tell({"at": monotonic(), "there": there})
    await pipe.heard()


async def holder(pipe: Pipe, driver: Driver, rows: list[list[str]]) -> None:
    """Join and stay, until told to go or killed."""
    await driver.prepare(dict.fromkeys(name for _, name in rows))
    await driver.met(1)
    await driver.join_all([(channel, name) for channel, name in rows])
    pipe.tell("joined")
    await pipe.heard(1e6)


async def reader(pipe: Pipe, driver: Driver, sizes: dict[str, int], seconds: float) -> None:
    """Read who is in each channel, on another node than theirs, for a while."""
    await driver.watch(sizes)
    await driver.met(1)
    for channel, size in sizes.items():
        await _saw(driver, channel, size)
    rates: dict[str, float] = {}
    for channel, size in sizes.items():
        calls, times, start = 0, 1, monotonic()
        while (took_s := monotonic() - start) < seconds:
            said = await driver.members_times(channel, times)
            assert said == size, f"{channel}: {said} and not {size}"
            calls += times
            if took_s < seconds / 10:
                times *= 2
        rates[channel] = calls / took_s
    pipe.tell(rates)
    await pipe.heard()


async def trickler(pipe: Pipe, driver: Driver, rows: list[list[str]], per_s: float) -> None:
    """Join, and when told go on joining by a timetable, one at a time."""
    channel = rows[0][0]
    await driver.prepare(name for _, name in rows)
    await driver.met(1)
    await driver.join_all([(channel, name) for channel, name in rows])
    pipe.tell("joined")
    await pipe.heard()
    enough = asyncio.ensure_future(pipe.heard())
    start, more = monotonic(), 0
    while not enough.done():
        await driver.prepare([f"late-{more}"])
        await driver.join(channel, f"late-{more}")
        more += 1
        await asyncio.sleep(max(0.0, start + more / per_s - monotonic()))


async def surveyor(pipe: Pipe, driver: Driver, channel: str, members: int, reads: int) -> None:
    """Read who is in a great channel again and again; what each reading took, and the growth."""
    await driver.watch([channel])
    await driver.met(1)
    await _saw(driver, channel, members)
    pipe.tell("there")
    await pipe.heard()
    took_s: list[float] = []
    said = 0
    for _ in range(reads):
        await asyncio.sleep(0.02)
        start = monotonic()
        said = await driver.members(channel)
        took_s.append(monotonic() - start)
    pipe.tell((took_s, said - members))
    await pipe.heard()


async def mourner(pipe: Pipe, driver: Driver, channel: str, members: int) -> None:
    """See somebody's members come, and go when it is killed."""
    await driver.watch([channel])
    await driver.met(1)
    await _saw(driver, channel, members)
    forget = getattr(driver, "forget_the_dead", None)
    if forget is not None:
        forget()
    pipe.tell("watching")
    limit_s = await pipe.heard()
    gone = await driver.until(lambda: driver.count(channel) == 0, limit_s)
    pipe.tell({"at": monotonic(), "left": 0 if gone else driver.count(channel)})
    await pipe.heard()


async def former(pipe: Pipe, driver: Driver, nodes: int) -> None:
    """Be there when told, join one channel, and see everybody else in it."""
    name = f"node-{driver.where.port}"
    pipe.tell("waiting")
    await pipe.heard()
    await driver.open()
    try:
        await driver.prepare([name])
        await driver.watch(["all"])
        await driver.join("all", name)
        await _saw(driver, "all", nodes - (not driver.SEES_ITSELF))
        pipe.tell(monotonic())
        await pipe.heard()
    finally:
        await driver.close()


async def sleeper(pipe: Pipe, driver: Driver, nodes: int) -> None:
    """One membership, and nothing to do."""
    name = f"node-{driver.where.port}"
    await driver.prepare([name])
    await driver.met(nodes - 1)
    await driver.subscribe(CHANNEL, lambda data: None)
    pipe.tell("settled")
    await pipe.heard(1e6)


ROLES: dict[str, Any] = {
    role.__name__: role
    for role in (
        *(ear, mouth, clock, fan, turns, joiner, watcher, holder),
        *(reader, trickler, surveyor, mourner, sleeper),
    )
}
