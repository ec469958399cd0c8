"""A secret is changed while the cluster works; real processes."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import pytest

from tests.net.cluster import POLL_S, Cluster, Process, story, until

pytestmark = [pytest.mark.net, pytest.mark.timeout(180)]

OLD: Final = "the old secret of this cluster"
NEW: Final = "the new secret of this cluster"
NAMES: Final = ("a", "b", "c", "d", "e")
ROLL: Final = ([OLD, NEW], [NEW, OLD], [NEW])


class Watch:
    """Looks at the room on every running node, all the time, until the block ends.

    Whoever was seen once by a node must be seen by it until his process is restarted.
    """

    def __init__(self, *processes: Process) -> None:
        self.lives = {process.id for process in processes}
        self.watched = set(processes)
        self.seen: dict[Process, set[str]] = {process: set() for process in processes}
        self.looks = 0
        self.lost: list[str] = []
        self._tasks = {process: asyncio.create_task(self._watch(process)) for process in processes}

    async def _watch(self, process: Process) -> None:
        while process in self.watched:
            view = {node for node, _client, _meta in await process.ask("view", channel="room")}
            gone = (self.seen[process] & self.lives) - view
            self.lost += [f"{process} lost {life[:8]}" for life in gone]
            self.seen[process] |= view
            self.looks += 1
            await asyncio.sleep(POLL_S)

    async def without(self, process: Process) -> None:
        """It is about to be restarted."""
        self.lives.discard(process.id)
        self.watched.discard(process)
        await self._tasks.pop(process)

    def again(self, process: Process) -> None:
        """It is another life."""
        self.lives.add(process.id)
        self.watched.add(process)
        self.seen[process] = set()
        self._tasks[process] = asyncio.create_task(self._watch(process))

    async def end(self) -> None:
        self.watched.clear()
        await asyncio.gather(*self._tasks.values())


async def all_there(processes: list[Process]) -> bool:
    """Everybody sees a member of everybody."""
    everybody = {(process.name, process.name) for process in processes}
    return all([await process.sees("room") == everybody for process in processes])


@story
async def test_a_rolling_rotation_over_five_nodes_loses_no_member() -> None:
    async with Cluster() as cluster:
        processes = await cluster.start_all(*NAMES, secret=OLD)
        for process in processes:
            await process.join("room", process.name)
        await until(lambda: all_there(processes))
        watch = Watch(*processes)
        slowest_s = 0.0
        for secrets in ROLL:
            for process in processes:
                await watch.without(process)
                await process.close()
                others = [other.endpoint for other in processes if other is not process]
                await process.start(others, secret=secrets)
                await process.join("room", process.name)
                slowest_s = max(slowest_s, await until(lambda: all_there(processes)))
                watch.again(process)
        await watch.end()
        print(
            f"15 restarts, {watch.looks} looks, lost: {len(watch.lost)}; "
            f"slowest to be seen by all again: {slowest_s:.2f} s"
        )
        assert watch.lost == []
        assert watch.looks > 15 * len(NAMES)

        # The rotation is over: who was never told of the new secret is a stranger.
        late = await cluster.start("x", seeds=[p.endpoint for p in processes], secret=OLD)
        await late.join("room", "x")

        async def refused() -> bool:
            counters = await late.ask("stats")
            return bool(counters["transport_handshakes_failed"] >= 3 * len(processes))

        await until(refused)
        assert await late.ask("peers") == []
        assert await late.clients("room") == {"x"}
        assert await all_there(processes)


@story
async def test_a_stalled_application_lets_holders_in_and_strangers_out() -> None:
    """The node, its sockets and its ZAP handler run in threads that no event loop holds up."""
    async with Cluster() as cluster:
        busy = await cluster.start("busy", secret=NEW)
        await busy.join("room", "ann")
        stall = asyncio.create_task(busy.ask("stall", seconds=6.0, burn=False))
        began_s = time.monotonic()
        holder = await cluster.start("holder", seeds=[busy.endpoint], secret=NEW)
        await until(lambda: holder.clients("room"))
        met_s = time.monotonic() - began_s
        stranger = await cluster.start("stranger", seeds=[busy.endpoint], secret=OLD)

        async def refused() -> bool:
            return bool((await stranger.ask("stats"))["transport_handshakes_failed"])

        await until(refused)
        assert not stall.done(), f"{time.monotonic() - began_s:.1f} s: too slow to tell"
        print(f"met a stalled application within {met_s:.2f} s, with the start of a process")
        await stall
        assert await stranger.ask("peers") == []
        assert stranger.id not in await busy.linked()
        assert await busy.linked() == {holder.id}
