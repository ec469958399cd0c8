"""What `Node.events` says of processes that die."""

from __future__ import annotations

import asyncio

from crdtpubsub import Node, NodeId, Notice, PeerDown, PeerUp
from tests.net.cluster import WAIT_S, Cluster, story


@story
async def test_a_killed_process_is_told_as_down_and_its_next_life_as_another_peer() -> None:
    async with Cluster() as cluster:
        a = await cluster.start("a")
        async with Node(name="here", seeds=[a.endpoint]) as here:
            events = here.events()

            async def told() -> Notice:
                async with asyncio.timeout(WAIT_S):
                    return await anext(events)

            first = PeerUp(NodeId(a.id), "a", a.endpoint)
            assert await told() == first
            await a.kill()
            assert await told() == PeerDown(first.node, "a", a.endpoint)
            await a.start([here.endpoint])
            again = await told()
            assert isinstance(again, PeerUp)
            assert again.node == a.id != first.node
