"""A process without memory left: its application is told by Python, and its node goes on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from crdtpubsub import Node, Notice, PeerDown, PeerLeft
from tests.net.cluster import ROOT, WAIT_S, story

pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc and RLIMIT_AS"),
]

HOARD_S = 3.0
HOARDER = f"""
import asyncio, resource, sys
from crdtpubsub import Node

def fill(hoard, size):
    try:
        while True:
            hoard.append(bytearray(size))
    except MemoryError:
        return

async def main():
    async with Node("tcp://127.0.0.1:*", seeds=[sys.argv[1]], name="hoarder") as node:
        await node.client("h").join("room")
        await node.wait_for("room", 2, timeout=20)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 48 * 2**20, resource.RLIM_INFINITY))
        hoard = []
        fill(hoard, 2**20)
        fill(hoard, 4096)
        await asyncio.sleep({HOARD_S})  # time itself is what is tested: probes go on meanwhile
        hoard.clear()
        await node.publish("room", "still here")
        await node.drain()

asyncio.run(main())
"""


@story
async def test_an_application_that_takes_all_memory_keeps_its_links() -> None:
    async with Node("tcp://127.0.0.1:*", name="other") as node:
        told: list[Notice] = []

        async def listen() -> None:
            async for notice in node.events():
                told.append(notice)
                if isinstance(notice, PeerLeft):
                    return

        listening = asyncio.create_task(listen())
        async with node.subscribe("room") as room:
            hoarder = await asyncio.create_subprocess_exec(
                sys.executable, "-c", HOARDER, node.endpoint, cwd=ROOT
            )
            assert (await room.get(timeout=WAIT_S)).data == "still here"
            async with asyncio.timeout(WAIT_S):
                assert await hoarder.wait() == 0
                await listening
        assert not any(isinstance(notice, PeerDown) for notice in told)
