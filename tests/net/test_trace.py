"""A W3C `traceparent` in the headers, from a publisher in one process to a reader in another."""

from __future__ import annotations

import asyncio
import sys

import pytest

from crdtpubsub import Address, Message, Node
from tests.api.helpers import WAIT_S, story
from tests.net.cluster import ROOT

pytestmark = pytest.mark.net

PUBLISHER = """
import asyncio, sys
from crdtpubsub import Address, Node

def trace(n):
    return {"traceparent": f"00-{'ab' * 16}-{n:016x}-01", "tracestate": "us=1"}

async def main():
    async with Node(seeds=[sys.argv[1]]) as node:
        await node.wait_for("room", 1, timeout=60)
        await node.publish("room", 1, headers=trace(1))
        node.publish_nowait("room", 2, headers=trace(2))
        await node.publish("room", 3, headers=trace(3), confirm=60)
        to = Address.parse(sys.argv[2])
        await node.send(to, 4, headers=trace(4))
        await node.send(node.members("room")[0], 5, headers=trace(5), confirm=60)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@story
async def test_a_traceparent_crosses_processes_however_it_is_sent() -> None:
    async with Node("tcp://127.0.0.1:*") as node:
        ann = node.client("ann")
        await ann.join("room")
        assert Address.parse(str(ann.address)) == ann.address
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PUBLISHER, node.endpoint, str(ann.address),
            cwd=ROOT, stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            seen: dict[object, dict[str, str]] = {}
            while len(seen) < 5:
                got = await ann.get(timeout=6 * WAIT_S)
                assert isinstance(got, Message)
                seen[got.data] = dict(got.headers)
        finally:
            assert child.stdin is not None
            child.stdin.close()
            await child.wait()
    assert seen == {
        n: {"traceparent": f"00-{'ab' * 16}-{n:016x}-01", "tracestate": "us=1"} for n in range(1, 6)
    }
