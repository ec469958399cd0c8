"""A node that gets a tenth of a core, while everybody talks to it."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from tests.chaos.mesh import Mesh
from tests.chaos.starving import CpuLimit, missing
from tests.chaos.test_faults import SOAK, all_moves, listed
from tests.net.cluster import Process, equals, story, until

WHY_NOT = missing()
SHARE = 0.1

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(240),
    pytest.mark.skipif(WHY_NOT is not None, reason=f"no limit of CPU time: {WHY_NOT}"),
]


class Reader:
    """What is listed at a process, and what its client has read so far, each message once."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.heard: set[int] = set()

    async def listed(self) -> set[int]:
        said = await self.process.ask("look", channels=["room"], patience_s=60.0)
        for number in said["messages"].get("c", ()):
            assert number not in self.heard, "a message twice"
            self.heard.add(number)
        return {number for _, _, _, number in said["listed"]}


@story
async def test_a_node_with_a_tenth_of_a_core_is_not_hidden_and_hides_nobody() -> None:
    """Four nodes join members and publish to it all the while: its views lag, and that is all."""
    async with Mesh("abcde") as arena:
        *others, starved = processes = await arena.start_all(*"abcde")
        for number, process in enumerate(processes):
            await process.ask("enter", channel="room", client="c", number=number)
        for process in processes:
            await equals(partial(listed, process), set(range(len(processes))))
            await process.ask("watch")
        joined, queued = set(range(len(processes))), set[int]()
        reader = Reader(starved)
        with CpuLimit(starved.pid, SHARE) as limit:
            ends_s = time.monotonic() + (60.0 if SOAK else 5.0)
            number = 100
            while time.monotonic() < ends_s:
                process = others[number % len(others)]
                await process.ask("enter", channel="room", client=f"c{number}", number=number)
                joined.add(number)
                outcomes = await process.ask("say", channel="room", number=number)
                if outcomes[starved.id] == "queued":
                    queued.add(number)
                number += 1
                await asyncio.sleep(0.005)
            moves = await all_moves(others)
            for process in others:
                await equals(partial(listed, process), joined, timeout=60.0)
            await equals(reader.listed, joined, timeout=60.0)
            throttled = limit.throttled()
        moves += await all_moves(processes)
        print(f"{len(joined)} joins, {len(queued)} messages, throttled {throttled} times: {moves}")
        assert moves == []

        async def all_heard() -> bool:
            await reader.listed()
            return queued <= reader.heard

        await until(all_heard, timeout=60.0)
