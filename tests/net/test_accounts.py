"""Unconfirmed publications of real processes through resets: each was received or is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tests.net.cluster import Cluster, story, until

RESETS = 8
BURST = 400


@story
async def test_sent_is_received_and_reported_through_link_resets() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await b.join("room", "ann")
        await a.ask("wait_for", channel="room", count=1, timeout=20)
        outcomes: dict[str, int] = {}

        async def received() -> int:
            count: int = (await b.ask("stats")).get("publications_received", 0)
            return count

        for _ in range(RESETS):
            before = await received()
            flood = asyncio.create_task(
                a.ask("flood", channel="room", size_bytes=20_000, count=BURST)
            )
            await until(partial(more_than, received, before + BURST // 10))
            await b.proxy.cut(["a"])
            for outcome, count in (await flood)["outcomes"].items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
            await cluster.meshed(a, b)

        async def settled() -> bool:
            sent, heard = await a.ask("stats"), await b.ask("stats")
            on_its_way = sent["publications_sent"] - sent["publications_acknowledged"]
            taken = heard["publications_received"] + heard.get("publications_lost", 0)
            return bool(
                taken == sent["publications_sent"]
                and on_its_way == sent["publications_unacknowledged"]
            )

        await until(settled)
        sent, heard = await a.ask("stats"), await b.ask("stats")
        queued = sent["publications_sent"] + sent["publications_unsent"]
        assert queued == outcomes["queued"]
        assert sum(outcomes.values()) == RESETS * BURST
        assert 0 < heard["publications_lost"] <= sent["publications_unacknowledged"]


async def more_than(count: Callable[[], Awaitable[int]], least: int) -> bool:
    return await count() > least
