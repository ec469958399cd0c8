"""A long message on a slow line: it takes its time, and nobody is taken for dead meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.net.cluster import Cluster, Process, story, until

pytestmark = pytest.mark.net

MBIT_BYTES_PER_S = 125_000
KIB = 1024


class SlowLine:
    """What others dial in place of a node: so many bytes a second, each way."""

    def __init__(self, port: int, bytes_per_s: int) -> None:
        self.port = port
        self.bytes_per_s = bytes_per_s
        self.server: asyncio.Server
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, outer: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            inner, out = await asyncio.open_connection("127.0.0.1", self.port, limit=4 * KIB)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.pump(outer, out))
                    group.create_task(self.pump(inner, back))
            finally:
                out.transport.abort()
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            back.transport.abort()
            self.tasks.discard(task)

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        while data := await reader.read(2 * KIB):
            free_at = max(free_at, loop.time()) + len(data) / self.bytes_per_s
            await asyncio.sleep(free_at - loop.time())
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError  # ends the other direction too


@asynccontextmanager
async def slow_line(port: int, bytes_per_s: int) -> AsyncIterator[SlowLine]:
    line = SlowLine(port, bytes_per_s)
    line.server = await asyncio.start_server(line.serve, "127.0.0.1", 0, limit=4 * KIB)
    try:
        yield line
    finally:
        line.server.close()
        for task in list(line.tasks):
            task.cancel()
        await asyncio.gather(*line.tasks, return_exceptions=True)


async def watch(processes: list[Process], seen: set[str]) -> None:
    """Note every state in which one holds the other."""
    while True:
        for process in processes:
            seen.update((await process.peer_states()).values())
        await asyncio.sleep(0.05)


async def send_over_a_slow_line(size_bytes: int, patience_s: float) -> None:
    async with Cluster() as cluster, contextlib.AsyncExitStack() as lines:
        a, b = Process(cluster, "a", cluster.flags), Process(cluster, "b", cluster.flags)
        cluster.processes.update(a=a, b=b)
        ends = {
            process.name: await lines.enter_async_context(slow_line(process.port, MBIT_BYTES_PER_S))
            for process in (a, b)
        }
        await a.start([], advertise=ends["a"].endpoint)
        await b.start([ends["a"].endpoint], advertise=ends["b"].endpoint)
        await cluster.meshed(a, b)
        await b.join("room", "bob")
        await a.ask("wait_for", channel="room", count=1, timeout=10.0)

        states: set[str] = set()
        watching = asyncio.create_task(watch([a, b], states))
        await a.ask("flood", channel="room", size_bytes=size_bytes, count=1)
        await a.ask("publish", channel="room", data="after it")
        await a.join("other", "ann")

        async def arrived() -> bool:
            heard: dict[str, list[object]] = await b.ask("got")
            return heard.get("bob") == ["after it"]

        took_s = await until(arrived, timeout=patience_s, poll_s=0.05)
        assert (await b.ask("stats"))["bytes_read"] == size_bytes  # it came whole, and before
        await b.ask("wait_for", channel="other", count=1, timeout=10.0)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        print(f"{size_bytes / KIB:.0f} KiB at 1 Mbit took {took_s:.1f} s; states seen: {states}")
        assert states == {"alive"}
        for process in (a, b):
            counters = await process.ask("stats")
            assert counters.get("refuted", 0) == counters.get("returned", 0) == 0
            assert not counters.get("dropped_publications")
            assert not counters.get("assemblies_dropped")
            await process.close()


@story
async def test_a_long_message_on_a_slow_line_kills_nobody() -> None:
    """512 KiB at 1 Mbit: more than four seconds, in which probes are answered every time."""
    await send_over_a_slow_line(512 * KIB, 30.0)


@pytest.mark.soak
@story
async def test_the_longest_message_on_a_slow_line_kills_nobody() -> None:
    """16 MiB at 1 Mbit: more than two minutes."""
    await send_over_a_slow_line(16 * KIB * KIB - KIB, 300.0)
