"""How long does a caller's `join` take while a million memberships arrive from a peer?

Sketch    The I/O thread merges slices of 256 births (1.3 ms at 5 us) and hands the lock over
          after each: a caller waits for at most one slice, and for the GIL (5 ms if the slice is
          not over): p50 0.7 ms, p99 4 ms. Bootstrap: 1 M x (decode 1 us + merge 5 us) = 6 s.
Setup     A holds 1,000,000 memberships (1,000 clients in each of 1,000 channels) before B starts
          with A as its seed; A wrote them straight into its set, since a million calls of `join`
          take a minute and are not the question (`joins_bulk` asks it). B joins a channel of its
          own every 2 ms from its event loop.
Measures  B: `await join()` from call to return while A's memberships arrive; how much later than
          planned its event loop woke (stall); how long its I/O thread was busy, or waited for
          the GIL, between two looks at its sockets (io_turn; its own work alone: io_turn_cpu);
          bootstrap from `start()` to the last of A's channels being full there; peak resident
          memory.
Excludes  Making the memberships on A (printed as made_s); joins before the first of A's
          memberships and after the last is there.
Compares  The same joins on B afterwards, all quiet (`quiet_*`); and how late a third process
          wakes meanwhile that does nothing but sleep 2 ms and then work for 0.2 ms
          (`machine_*`): what the scheduler of a busy machine does to the innocent. The target
          for p99 is 5 ms.
Run       python -m benchmarks.join_under_load --memberships 1000000
Prints    One JSON line: p50, p99, max of join; stalls; bootstrap_s; peak_rss_mb; met.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from time import monotonic, process_time, thread_time

from benchmarks.common import Children, Pipe, emit, parser, percentile, rss_bytes, spread_us
from crdtpubsub import Client, Node
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.transport.base import Happening

EVERY_S = 0.002
WORK_S = 0.0002
TARGET_MS = 5.0
ARRIVED_S = 300.0
CLIENTS = 1000


async def holder(pipe: Pipe, memberships: int) -> None:
    async with Node("tcp://127.0.0.1:*", name="holder") as node:
        started_at = monotonic()
        core = node._runtime.core  # noqa: SLF001  (straight into the set: see "Setup")
        clients = [f"client-{n:06}" for n in range(min(CLIENTS, memberships))]
        for channel in range(memberships // len(clients)):
            with core.lock:
                mine = core.engine.set_of(DEFAULT_SCOPE)
                for client in clients:
                    mine.join(f"channel-{channel:06}", client)
        pipe.tell((node.endpoint, monotonic() - started_at))
        await pipe.heard(ARRIVED_S)


class Joiner:
    """Joins by a timetable, and remembers what each took and how late it could begin."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._joined = 0
        self._due = monotonic()
        self.took_s: list[float] = []
        self.late_s: list[float] = []

    async def join(self) -> None:
        self._due = max(self._due + EVERY_S, monotonic())
        await asyncio.sleep(self._due - monotonic())
        start = monotonic()
        await self._client.join(f"mine-{self._joined:06}")
        self.took_s.append(monotonic() - start)
        self.late_s.append(start - self._due)
        self._joined += 1
        self._due = max(self._due, start)


class Turns:
    """How long the I/O thread of a node is busy between two looks at its sockets."""

    def __init__(self, node: Node) -> None:
        self.took_s: list[float] = []
        self.cpu_s: list[float] = []
        transport = node._runtime.core.transport  # noqa: SLF001
        self._poll, self._since, self._cpu_at = transport.poll, 0.0, 0.0
        transport.poll = self._timed  # type: ignore[method-assign]

    def _timed(self, timeout_s: float | None) -> list[Happening]:
        if self._since:
            self.took_s.append(monotonic() - self._since)
            self.cpu_s.append(thread_time() - self._cpu_at)
        happened = self._poll(timeout_s)
        self._since, self._cpu_at = monotonic(), thread_time()
        return happened


async def newcomer(pipe: Pipe, endpoint: str, memberships: int, switch_ms: float) -> None:
    sys.setswitchinterval(switch_ms / 1000)
    clients = min(CLIENTS, memberships)
    channels = memberships // clients
    before = rss_bytes()
    started_at, cpu_at = monotonic(), process_time()
    async with Node("tcp://127.0.0.1:*", seeds=[endpoint], name="newcomer") as node:
        turns = Turns(node)
        client = node.client("me", max_pending=1)
        quiet, loaded = Joiner(client), Joiner(client)
        async with asyncio.timeout(ARRIVED_S):
            while not node.count("channel-000000"):  # noqa: ASYNC110  (it comes; see `wait_for`)
                await asyncio.sleep(0)
            first_at = monotonic()
            full = 0
            while full < channels:
                await loaded.join()
                while full < channels and node.count(f"channel-{full:06}") == clients:
                    full += 1
        full_at, cpu_s = monotonic(), process_time() - cpu_at
        turns_s, turns_cpu_s = turns.took_s[:], turns.cpu_s[:]
        quiet._joined = loaded._joined  # noqa: SLF001
        for _ in range(500):
            await quiet.join()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        pipe.tell(
            {
                "bootstrap_s": round(full_at - started_at, 2),
                "cpu_s": round(cpu_s, 2),
                "first_s": round(first_at - started_at, 3),
                "took_s": loaded.took_s,
                "late_s": loaded.late_s,
                "turns_s": turns_s,
                "turns_cpu_s": turns_cpu_s,
                "quiet_s": quiet.took_s,
                "rss_mb": round((rss_bytes() - before) / 1e6, 1),
                "peak_rss_mb": round(peak / 1e6, 1),
                "counters": dict(node.stats().counters),
            }
        )
        await pipe.heard()


async def bystander(pipe: Pipe) -> None:
    """Wakes every 2 ms; tells how much longer than it should 0.2 ms of its own work took."""
    stop = asyncio.ensure_future(pipe.heard(ARRIVED_S))
    took_s: list[float] = []
    while not stop.done():
        await asyncio.sleep(EVERY_S)
        start, cpu_at = monotonic(), thread_time()
        while thread_time() - cpu_at < WORK_S:
            pass
        took_s.append(monotonic() - start - WORK_S)
    pipe.tell(took_s)
    await pipe.heard()


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--memberships", type=int, default=1_000_000)
    cli.add_argument(
        "--switch-ms", type=float, default=5.0, help="sys.setswitchinterval on B; 5 is Python's"
    )
    args = cli.parse_args()
    with Children() as children:
        a = children.start(holder, args.memberships)
        endpoint, made_s = a.hear(ARRIVED_S)
        b = children.start(newcomer, endpoint, args.memberships, args.switch_ms)
        c = children.start(bystander)
        said = b.hear(ARRIVED_S)
        machine = spread_us(c.ask("stop"))
    join = spread_us(said["took_s"])
    quiet = spread_us(said["quiet_s"])
    over = sum(took > TARGET_MS / 1000 for took in said["took_s"])
    emit(
        "join_under_load",
        f"{args.memberships} memberships arrive",
        switch_ms=args.switch_ms,
        join_p50_ms=round(join["p50_us"] / 1000, 3),
        join_p99_ms=round(join["p99_us"] / 1000, 3),
        join_max_ms=round(join["max_us"] / 1000, 3),
        joins=join["samples"],
        joins_over_target=over,
        met=join["p99_us"] < TARGET_MS * 1000,
        stall_p50_ms=round(percentile(said["late_s"], 50) * 1000, 3),
        stall_p99_ms=round(percentile(said["late_s"], 99) * 1000, 3),
        stall_max_ms=round(max(said["late_s"]) * 1000, 3),
        io_turn_p99_ms=round(percentile(said["turns_s"], 99) * 1000, 3),
        io_turn_max_ms=round(max(said["turns_s"]) * 1000, 3),
        io_turn_cpu_max_ms=round(max(said["turns_cpu_s"]) * 1000, 3),
        machine_p99_ms=round(machine["p99_us"] / 1000, 3),
        machine_max_ms=round(machine["max_us"] / 1000, 3),
        quiet_p50_us=quiet["p50_us"],
        quiet_p99_us=quiet["p99_us"],
        bootstrap_s=said["bootstrap_s"],
        bootstrap_cpu_s=said["cpu_s"],
        first_s=said["first_s"],
        rss_mb=said["rss_mb"],
        peak_rss_mb=said["peak_rss_mb"],
        made_s=round(made_s, 2),
        counters={
            key: value
            for key, value in sorted(said["counters"].items())
            if value and not key.startswith("noted")
        },
    )


if __name__ == "__main__":
    main()
