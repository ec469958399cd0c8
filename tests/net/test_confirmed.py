"""Confirmed publications of real processes, while their links break."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from tests.net.cluster import Cluster, story

ROUNDS = 10
BATCH = 1500
RESET_EVERY_S = 2.0


@story
async def test_receipts_are_true_while_links_break_every_two_seconds() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await b.join("room", "ann")
        await a.ask("wait_for", channel="room", count=1, timeout=20)
        resets = 0

        async def breaks() -> None:
            nonlocal resets
            while True:
                await asyncio.sleep(RESET_EVERY_S)  # the fault, not a way to wait for anything
                resets += 1
                await (b, a)[resets % 2].proxy.cut((("a",), ("b",))[resets % 2])

        breaking = asyncio.create_task(breaks())
        told: Counter[str] = Counter()
        delivered: set[int] = set()
        began_s = time.monotonic()
        try:
            for n in range(ROUNDS):
                said = await a.ask(
                    "confirm_many", channel="room", first=n * BATCH, count=BATCH, confirm=15.0
                )
                told.update({word: len(numbers) for word, numbers in said.items()})
                delivered.update(said.get("delivered", ()))
        finally:
            breaking.cancel()
            await asyncio.wait([breaking])
        took_s = time.monotonic() - began_s
        got: list[int] = (await b.ask("got")).get("ann", [])
        print(f"{dict(told)} through {resets} resets in {took_s:.1f} s")
        assert len(got) == len(set(got)), "one client got a message twice"
        assert delivered <= set(got), f"reported, and missing: {sorted(delivered - set(got))[:5]}"
        assert len(set(got)) <= len(delivered) + told["unknown"]
        assert len(delivered) > ROUNDS * BATCH // 2
        assert resets > 1
