"""Every link is reset every two seconds: what was reported delivered was, and once."""

from __future__ import annotations

import asyncio
import time
from itertools import combinations, count

import pytest

from tests.chaos import queue
from tests.chaos.history import Entry, Publication, Taken
from tests.chaos.netns import Namespaces, missing
from tests.conftest import PROFILE
from tests.net.cluster import Process, equals, story, until

WHY_NOT = missing()
SECONDS = 60.0 if PROFILE == "soak" else 7.0
RESET_EVERY_S = 2.0
AT_ONCE = 20

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(180),
    pytest.mark.skipif(WHY_NOT is not None, reason=f"no network namespaces: {WHY_NOT}"),
]


async def gather(process: Process, history: list[Entry], began: dict[int, float]) -> None:
    """What its clients read and what it was told, since the last time."""
    said = await process.ask("look", channels=["room"])
    now = time.monotonic()
    for number, owners in said["receipts"]:
        at = began[number]
        history.append(Publication(at, now, process.id, "room", number, True, owners))
    read = [(client, number) for client, ns in said["messages"].items() for number in ns]
    if read:
        history.append(Taken(now, process.id, tuple(read)))


@story
async def test_confirmed_messages_through_resets_every_two_seconds() -> None:
    async with Namespaces("abc", wiring="veth") as arena:
        processes = a, b, c = await arena.start_all("a", "b", "c")
        if not await a.ask("can_confirm"):
            pytest.skip("this version has no confirmed publications")
        for process in processes:
            await process.join("room", "one", "two")

        async def members() -> int:
            return min([len(await process.sees("room")) for process in processes])

        await equals(members, 6)
        history: list[Entry] = []
        began: dict[int, float] = {}
        numbers, resets = count(1), 0
        ends_s = time.monotonic() + SECONDS
        reset_at = time.monotonic() + RESET_EVERY_S / 2
        while (now := time.monotonic()) < ends_s:
            if now >= reset_at:
                reset_at += RESET_EVERY_S
                resets += 1
                await asyncio.gather(*(arena.reset(x, y) for x, y in combinations("abc", 2)))
            for process in (a, b):
                for _ in range(AT_ONCE):
                    number = next(numbers)
                    began[number] = time.monotonic()
                    await process.ask("confirm", channel="room", number=number, seconds=10.0)
                await gather(process, history, began)
            await gather(c, history, began)

        async def all_answered() -> bool:
            return not any([await process.ask("unconfirmed") for process in (a, b)])

        await until(all_answered, poll_s=0.05)
        for process in processes:
            await gather(process, history, began)
    verdict = queue.check(history)
    print(f"{resets} times all links: {verdict}")
    assert verdict.valid, verdict.why
    assert verdict.confirmed == len(began) > 500
    assert verdict.acknowledged > 5 * len(began)
    assert resets >= 3
