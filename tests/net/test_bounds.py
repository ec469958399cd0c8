"""Who does not read costs others bounded memory, and no time."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.net.cluster import Cluster, Process, story, until

pytestmark = pytest.mark.net

MIB = 1024 * 1024
SLACK_BYTES = 24 * MIB
"""What an allocator keeps, the frames inside ZeroMQ (1 MiB a link), and one message in the making.
Without the bounds each of the two floods below is 160 MB."""


def rss_bytes(process: Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(kib) * 1024


async def longest_of(a: Process, b: Process, count: int) -> float:
    """The longest that a small message took from `a` to a reader at `b`."""
    longest_s = 0.0
    for number in range(count):
        said = f"{time.monotonic()} {number}"
        began_s = time.monotonic()
        await a.ask("publish", channel="other", data=said)

        async def heard(said: str = said) -> bool:
            got: dict[str, list[object]] = await b.ask("got")
            return said in got.get("bob", [])

        await until(heard, poll_s=0.001)
        longest_s = max(longest_s, time.monotonic() - began_s)
    return longest_s


@story
async def test_a_consumer_that_never_reads_costs_bounded_memory_and_no_time() -> None:
    """A member that never reads its queue, and then a whole process that is stopped."""
    async with Cluster(flags=()) as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await c.ask("join_deaf", channel="room", client="cid")
        await b.join("other", "bob")
        await a.ask("wait_for", channel="room", count=1, timeout=10.0)
        await a.ask("wait_for", channel="other", count=1, timeout=10.0)
        await a.ask("flood", channel="room", size_bytes=MIB, count=3)
        quiet_s = await longest_of(a, b, 20)
        before = {process.name: rss_bytes(process) for process in (a, c)}

        flooding = asyncio.create_task(
            a.ask("flood", channel="room", size_bytes=1_000_000, count=160, patience_s=60.0)
        )
        await flooding

        async def all_there() -> bool:
            counters = await c.ask("stats")
            return bool(counters["mailbox_dropped"] + 16 >= 160)

        await until(all_there)
        counters = await c.ask("stats")
        assert counters["mailbox_bytes"] <= 16 * MIB
        grown_at_c = rss_bytes(c) - before["c"]
        assert grown_at_c <= 16 * MIB + SLACK_BYTES
        assert rss_bytes(a) - before["a"] <= 16 * MIB + SLACK_BYTES

        c.signal(signal.SIGSTOP)
        try:
            flooded = await a.ask(
                "flood", channel="room", size_bytes=1_000_000, count=160, patience_s=60.0
            )
            loaded_s = await longest_of(a, b, 20)
            counters = await a.ask("stats")
            grown_at_a = rss_bytes(a) - before["a"]
        finally:
            c.signal(signal.SIGCONT)
        assert counters["outbox_bytes"] <= 16 * MIB
        assert grown_at_a <= 16 * MIB + SLACK_BYTES
        assert flooded["outcomes"].get("refused: lagging", 0) > 0 or (
            flooded["outcomes"].get("refused: no link", 0) > 0
        ), flooded
        print(
            f"grown at the publisher {grown_at_a / MIB:.1f} MiB, at the consumer "
            f"{grown_at_c / MIB:.1f} MiB; longest small message {quiet_s * 1000:.0f} ms before, "
            f"{loaded_s * 1000:.0f} ms beside the stopped one"
        )
        assert loaded_s < max(4 * quiet_s, 0.5)  # a crowded machine; benchmarks are exact
        for process in (a, b, c):
            await process.close()
