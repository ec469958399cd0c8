"""A process that runs out of open files keeps its links, says so, and does not spin."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.net.cluster import Cluster, Process, cpu_s, story, until

pytestmark = [pytest.mark.net, pytest.mark.timeout(90)]

FILES = 160
WATCHED_S = 2.0


async def start_poor(cluster: Cluster, name: str, seed: Process) -> Process:
    """A node that may open few files."""
    poor = cluster.processes.setdefault(name, cluster.make(name))
    poor.wrapper = ("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh")
    return await poor.start([seed.endpoint])


@contextmanager
def strangers(port: int, count: int) -> Iterator[None]:
    """Connections that say nothing."""
    with contextlib.ExitStack() as all_of_them:
        for _ in range(count):
            stranger = all_of_them.enter_context(socket.socket())
            stranger.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                stranger.connect(("127.0.0.1", port))
        yield


def open_files(process: Process) -> int:
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


async def count(process: Process, what: str) -> int:
    return int((await process.ask("stats"))[f"transport_{what}"])


async def cpu_share(process: Process) -> float:
    before_s, began_s = cpu_s(process.pid), time.monotonic()
    await asyncio.sleep(WATCHED_S)
    return (cpu_s(process.pid) - before_s) / (time.monotonic() - began_s)


@story
async def test_silent_strangers_take_neither_the_files_nor_the_core() -> None:
    """Before: ZeroMQ's thread tried to accept the next one, again and again, with a whole core."""
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        poor = await start_poor(cluster, "poor", a)
        await cluster.meshed(a, b, poor)
        with strangers(poor.port, 3 * FILES):

            async def shut() -> bool:
                return await count(poor, "connections_shut") > FILES

            await until(shut)
            share = await cpu_share(poor)
            print(f"{100 * share:.0f} % of a core, {open_files(poor)} files")
            assert share < 0.3
            assert open_files(poor) < FILES
            assert await poor.linked() == {a.id, b.id}
            assert poor.id in await a.linked()
            assert poor.id in await b.linked()
        late = await cluster.start("late", seeds=[poor.endpoint])
        await cluster.meshed(a, b, poor, late)


@story
async def test_an_application_that_hoards_files_keeps_its_links_and_does_not_spin() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        poor = await start_poor(cluster, "poor", a)
        await cluster.meshed(a, b, poor)
        assert await poor.ask("hoard") > 10
        with strangers(poor.port, 20):

            async def noticed() -> bool:
                shut = await count(poor, "connections_shut")
                return await count(poor, "files_short") > 0 and shut > 0

            await until(noticed)
            share = await cpu_share(poor)
            print(f"{100 * share:.0f} % of a core, {await count(poor, 'connections_shut')} shut")
            assert share < 0.3
            assert await poor.linked() == {a.id, b.id}
            receipt = await a.ask("publish", channel="room", data="still there?")
            assert receipt["members"] == 0
            await poor.join("room", "reader")
            await until(lambda: a.ask("view", channel="room"))
        await poor.ask("release")
        late = await cluster.start("late", seeds=[poor.endpoint])
        await cluster.meshed(a, b, poor, late)
