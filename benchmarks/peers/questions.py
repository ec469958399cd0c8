"""The questions. Each asks one system once, and returns its numbers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any, Final

from benchmarks.common import percentile
from benchmarks.peers.arena import Arena, cpu_seconds, free_port

__all__ = ["LIMITS", "QUESTIONS", "Numbers", "Question", "Unasked"]

Numbers = dict[str, float | None]

WARM = 2000
RUN_S = 1.2
SETTLED_S = 3.0


@dataclass
class Limits:
    """When to give up on a system."""

    joins_s: float = 60.0
    kill_s: float = 45.0
    stop_s: float = 100.0


LIMITS: Final = Limits()


class Unasked(Exception):
    """Here, it cannot be asked; the text says why."""


@dataclass(frozen=True)
class Question:
    """One question, and the cases it is asked in."""

    name: str
    cases: dict[str, tuple[Any, ...]]
    ask: Callable[..., Numbers]
    quick: Sequence[str]
    """The cases of the quick form."""

    once: bool = False
    """A matter of many seconds, which hardly differ: asked once, whatever `--repeat` says."""


def throughput(system: str, receivers: int, size_bytes: int) -> Numbers:
    """1 process to `receivers`; deliveries a second, every message numbered and checked."""
    with Arena(system) as arena:
        ears = [arena.start("ear", 0) for _ in range(receivers)]
        seeds = [ear.hear() for ear in ears]
        for ear in ears:
            ear.hear()
        mouth = arena.start("mouth", receivers, size_bytes, seeds=seeds)
        mouth.hear(), mouth.hear()

        def run(messages: int) -> Numbers:
            for ear in ears:
                ear.ask(messages)
            said = mouth.ask(messages)
            heard = [ear.hear() for ear in ears]
            took_s = max(row["at"] for row in heard) - said["at"]
            lost = sum(row["lost"] for row in heard)
            return {
                "per_s": (messages * receivers - lost) / took_s,
                "publisher_cpu_us": said["cpu_us"],
                "receiver_cpu_us": median(row["cpu_us"] for row in heard),
                "lost": lost,
                "disordered": sum(row["disordered"] for row in heard),
                "messages": messages,
            }

        per_s = run(WARM)["per_s"]
        assert per_s is not None
        run(min(20_000, max(WARM, int(per_s / receivers * 0.3))))
        per_s = run(WARM * 2)["per_s"] or per_s
        limit = 200_000 if size_bytes < 1000 else 60_000
        return run(min(limit, max(WARM, int(per_s / receivers * RUN_S))))


def latency(system: str, per_s: float, size_bytes: int, messages: int) -> Numbers:
    """One way at a fixed rate, from before `publish` to the decoded message in the reader."""
    with Arena(system) as arena:
        ear = arena.start("ear", 1)
        seeds = [ear.hear()]
        ear.hear()
        clock = arena.start("clock", per_s, size_bytes, seeds=seeds)
        clock.hear(), clock.hear()
        late_s: list[float] = []
        for n in (200, messages):
            ear.ask(n)
            clock.ask(n)
            late_s = ear.hear()
        return {**_spread("", late_s), "lost": messages - len(late_s)}


def fan_out(system: str, subscribers: int, burst: int) -> Numbers:
    """Deliveries a second inside one process, `burst` messages a wake-up."""
    with Arena(system) as arena:
        fan = arena.start("fan", subscribers, burst)
        fan.hear(), fan.hear()
        took_s = fan.ask(burst * 2)["took_s"] / 2
        bursts = max(2, min(200, int(RUN_S / took_s)))
        said = fan.ask(bursts * burst)
        deliveries = bursts * burst * subscribers
        return {
            "per_s": (deliveries - said["lost"]) / said["took_s"],
            "lost": said["lost"],
            "disordered": said["disordered"],
        }


def join_seen(system: str, rounds: int, pace_s: float) -> Numbers:
    """From before `join` (and `leave`) until a reader on another node has seen it."""
    with Arena(system) as arena:
        a = arena.start("turns", 1, "a", "b")
        address = a.hear()
        b = arena.start("turns", 0, "b", "a", seeds=[address])
        b.hear(), a.hear(), b.hear()
        of_a: dict[str, list[float]] = {}
        of_b: dict[str, list[float]] = {}
        sent = 0
        for n in (rounds // 10 + 1, rounds):
            sent = wire_bytes()
            b.tell([n, pace_s])
            of_a = a.ask([n, pace_s])
            of_b = b.hear()
        numbers: Numbers = {}
        if _alone():  # a join and a leave of each, a round
            numbers["wire_bytes"] = (wire_bytes() - sent) / rounds / 4
        for verb in ("join", "leave"):
            took = [
                seen - at
                for one, other in ((of_a, of_b), (of_b, of_a))
                for at, seen in zip(one[f"{verb}_at"], other[f"{verb}_seen"], strict=True)
            ]
            numbers |= _spread(f"{verb}_", took)
        return numbers


def memberships(system: str, channels: int, members: int) -> Numbers:
    """One by one here until all are visible there; `there` of them within the time."""
    shape = [channels, members]
    with Arena(system) as arena:
        watcher = arena.start("watcher", shape, LIMITS.joins_s)
        seeds = [watcher.hear()]
        joiner = arena.start("joiner", shape, seeds=seeds)
        joiner.hear(), watcher.hear(), joiner.hear()
        before, sent = _rss(watcher.pid), wire_bytes()
        start = monotonic()
        joiner.tell("go")
        seen = watcher.hear(LIMITS.joins_s + 60.0)
        grown, sent = _rss(watcher.pid) - before, wire_bytes() - sent
        wire: Numbers = {"wire_bytes": sent / (channels * members)} if _alone() else {}
        if seen["there"] < channels * members:
            undone: Numbers = dict.fromkeys(("seconds", "bytes_each", "joins_s", *wire))
            return {**undone, "there": seen["there"]}
        made = joiner.hear()
        assert made["at"] >= start
        return {
            "seconds": seen["at"] - made["at"],
            "there": seen["there"],
            "joins_s": made["took_s"],
            "bytes_each": grown / (channels * members),
            **wire,
        }


def members_read(system: str, seconds: float) -> Numbers:
    """`members()` of 10 and of 1,000, a second, asked on a node that owns none of them."""
    rows = [("ten", f"c-{n}") for n in range(10)] + [("thousand", f"c-{n}") for n in range(1000)]
    with Arena(system) as arena:
        reader = arena.start("reader", {"ten": 10, "thousand": 1000}, seconds)
        holder = arena.start("holder", rows, seeds=[reader.hear()])
        holder.hear(), holder.hear()
        said = reader.hear()
        return {"ten_per_s": said["ten"], "thousand_per_s": said["thousand"]}


def read_while_joined(system: str, members: int, joins_per_s: float, reads: int) -> Numbers:
    """`members()` of a channel of so many, read every 20 ms while others join it elsewhere."""
    rows = [("room", f"c-{n}") for n in range(members)]
    with Arena(system) as arena:
        surveyor = arena.start("surveyor", "room", members, reads)
        joiner = arena.start("trickler", rows, joins_per_s, seeds=[surveyor.hear()])
        joiner.hear()
        try:
            surveyor.hear(LIMITS.joins_s + 60.0)
        except TimeoutError:
            return {"read_p50_ms": None, "read_p99_ms": None, "grown": None}
        joiner.tell("go")
        took_s, grown = surveyor.ask("go")
        joiner.tell("enough")
        assert grown > 0, "nobody joined meanwhile"
        return {
            "read_p50_ms": percentile(took_s, 50) * 1e3,
            "read_p99_ms": percentile(took_s, 99) * 1e3,
            "grown": grown,
        }


def formation(system: str, nodes: int) -> Numbers:
    """From the word to start until each of so many processes lists a member of each other."""
    with Arena(system) as arena:
        ports = [free_port() for _ in range(nodes)]
        seeds = [arena.address_of(ports[0])]
        formers = [
            arena.start("former", nodes, port=port, seeds=seeds if n else [])
            for n, port in enumerate(ports)
        ]
        for former in formers:
            former.hear()
        start = monotonic()
        for former in formers:
            former.tell("go")
        return {"ms": (max(former.hear() for former in formers) - start) * 1e3}


def kill(system: str, members: int, times: int) -> Numbers:
    """SIGKILL the owner of so many members: until another node lists none of them."""
    limit_s = LIMITS.kill_s
    took: list[float] = []
    for _ in range(times):
        seconds, left = _gone(system, members, signal.SIGKILL, limit_s)
        if left:
            return {"ms": None, "left": left}
        took.append(seconds)
        if seconds > limit_s / 4:
            break  # no need to wait for it again and again
    return {"ms": median(took) * 1e3, "left": 0}


def stop(system: str, members: int) -> Numbers:
    """SIGSTOP the owner of so many members: nothing breaks, and nothing answers."""
    seconds, left = _gone(system, members, signal.SIGSTOP, LIMITS.stop_s)
    return {"seconds": None if left else seconds, "left": left}


def _gone(system: str, members: int, number: int, limit_s: float) -> tuple[float, int]:
    rows = [("room", f"c-{n}") for n in range(members)]
    with Arena(system) as arena:
        mourner = arena.start("mourner", "room", members)
        holder = arena.start("holder", rows, seeds=[mourner.hear()])
        holder.hear(), mourner.hear()
        if number == signal.SIGSTOP:
            sleep(SETTLED_S)  # round trips are known then, as between nodes that live
        start = monotonic()
        os.kill(holder.pid, number)
        try:
            said = mourner.ask(limit_s, limit_s + 30.0)
        finally:
            if number == signal.SIGSTOP:
                os.kill(holder.pid, signal.SIGCONT)
        return said["at"] - start, said["left"]


def idle(system: str, nodes: int, seconds: float) -> Numbers:
    """CPU and bytes on the wire of processes that do nothing; a server counts with them."""
    if not _alone():
        raise Unasked("bytes are counted in a network namespace of its own, and there is none")
    with Arena(system) as arena:
        first = arena.start("sleeper", nodes)
        seeds = [first.hear()]
        sleepers = [first] + [arena.start("sleeper", nodes, seeds=seeds) for _ in range(nodes - 1)]
        for sleeper in sleepers[1:]:
            sleeper.hear()
        for sleeper in sleepers:
            sleeper.hear()
        pids = [sleeper.pid for sleeper in sleepers] + arena.servers
        sleep(SETTLED_S)  # what forming left behind
        cpu, sent, at = sum(map(cpu_seconds, pids)), wire_bytes(), monotonic()
        sleep(seconds)
        took_s = monotonic() - at
        bytes_per_s = (wire_bytes() - sent) / took_s / nodes
        return {
            "bytes_per_s": bytes_per_s,
            "bytes_per_s_link": bytes_per_s / max(1, nodes - 1),
            "cpu_percent": (sum(map(cpu_seconds, pids)) - cpu) / took_s / nodes * 100,
        }


def _alone() -> bool:
    return os.environ.get("PEERS_NAMESPACE") == "1"


def wire_bytes() -> int:
    """What went over every interface of this network namespace, headers and all."""
    total = 0
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]:
        _, _, numbers = line.partition(":")
        total += int(numbers.split()[8])
    return total


def _rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _spread(prefix: str, seconds: Sequence[float]) -> Numbers:
    return {
        f"{prefix}p50_us": percentile(seconds, 50) * 1e6,
        f"{prefix}p99_us": percentile(seconds, 99) * 1e6,
    }


# In the order of what a run that is cut short should have.
QUESTIONS: Final = {
    question.name: question
    for question in (
        Question(
            "throughput",
            {
                f"1->{receivers} {label}": (receivers, size)
                for size, label in ((100, "100 B"), (4096, "4 KiB"))
                for receivers in (1, 4)
            },
            throughput,
            ("1->1 100 B", "1->4 100 B", "1->1 4 KiB", "1->4 4 KiB"),
        ),
        Question("latency", {"1,000/s": (1000.0, 100, 2500)}, latency, ("1,000/s",)),
        Question("join", {"seen elsewhere": (100, 0.012)}, join_seen, ("seen elsewhere",)),
        Question(
            "memberships",
            {"1 x 100,000": (1, 100_000), "10,000 x 10": (10_000, 10)},
            memberships,
            ("1 x 100,000", "10,000 x 10"),
        ),
        Question("members", {"read": (1.0,)}, members_read, ("read",)),
        Question(
            "members-while-joined",
            {"100,000, 100 joins/s": (100_000, 100.0, 150)},
            read_while_joined,
            ("100,000, 100 joins/s",),
            once=True,
        ),
        Question("fan-out", {"1,000 subscribers": (1000, 10)}, fan_out, ("1,000 subscribers",)),
        Question(
            "formation",
            {f"{nodes} nodes": (nodes,) for nodes in (2, 8, 16)},
            formation,
            ("2 nodes", "8 nodes"),
        ),
        Question("kill", {"owner of 1,000": (1000, 3)}, kill, ("owner of 1,000",)),
        Question("stop", {"owner of 1,000": (1000,)}, stop, ("owner of 1,000",), once=True),
        Question(
            "idle",
            {f"{nodes} nodes": (nodes, 6.0) for nodes in (3, 10)},
            idle,
            ("3 nodes",),
            once=True,
        ),
    )
}
