"""Lives on real processes, with timers so short that seconds stand for half an hour."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from crdtpubsub import NameShared, Node
from tests.net.cluster import WAIT_S, Cluster, Process, equals, story, until

pytestmark = pytest.mark.net

QUICK: dict[str, Any] = {
    "suspicion_mult": 0.6,
    "suspicion_max_mult": 1.0,
    "forget_after_s": 3.0,
    "redial_interval_s": 0.2,
}


async def _forgets(process: Process, *lives: str) -> None:
    """Wait until it holds none of these lives, not even as down."""

    async def holds_none() -> bool:
        return not set(lives) & set(await process.peer_states())

    await until(holds_none, timeout=40.0)


@story
async def test_two_halves_forget_each_other_lose_their_seeds_and_are_one_again() -> None:
    """Q14: everybody is back by addresses that were kept, without a call of the application."""
    async with Cluster() as cluster:
        s, a, b, c = await cluster.start_all("s", "a", "b", "c", config=QUICK)
        for process in (a, b, c):
            await process.join("room", f"of-{process.name}")
        everybody = {(x, f"of-{x}") for x in "abc"}
        for process in (a, b, c):
            await equals(partial(process.sees, "room"), everybody)
        await cluster.split([a], [b, c])
        await cluster.split([s], [b, c])
        await asyncio.gather(_forgets(a, b.id, c.id), _forgets(b, a.id), _forgets(c, a.id))
        await s.kill()  # the seed of all
        assert await a.sees("room") == {("a", "of-a")}
        cluster.heal()
        for process in (a, b, c):
            await equals(partial(process.sees, "room"), everybody, timeout=40.0)
        await cluster.settle(a, b, c)
        assert await a.ask("exited") == await b.ask("exited") == {}


@story
async def test_a_restart_at_another_address_is_the_same_name_and_another_life() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await b.join("room", "old")
        await equals(partial(a.sees, "room"), {("b", "old")})
        before, address = b.id, b.endpoint
        await b.kill()
        b.moves()
        await cluster.start("b", seeds=[a.endpoint])
        assert b.endpoint != address
        await b.join("room", "new")
        for process in (a, c):
            await equals(partial(process.sees, "room"), {("b", "new")})
            assert (await process.peer_states()).get(before, "down") == "down"
        await cluster.meshed(a, b, c)


@story
async def test_two_running_nodes_of_one_name_are_two_and_it_is_said() -> None:

    async with Node(name="web") as one, asyncio.timeout(WAIT_S):
        events = one.events()
        async with Node(name="web", seeds=[one.endpoint]) as other:
            said = [await anext(events)]
            while not isinstance(said[-1], NameShared):
                said.append(await anext(events))
            notice = said[-1]
            assert isinstance(notice, NameShared)
            assert notice.node == other.id
            assert notice.about == f"{one.id} is named web, too"
            await one.client("c").join("room")
            await other.client("c").join("room")
            assert len(await one.wait_for("room", 2, timeout=WAIT_S)) == 2
