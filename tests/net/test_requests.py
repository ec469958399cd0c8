"""Requests, addresses in payloads and other nodes' members, over real processes."""

from __future__ import annotations

import asyncio

import pytest

from tests.net.cluster import Cluster, Refused, equals, story, until

pytestmark = pytest.mark.net


@story
async def test_three_processes_ask_each_other() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await b.ask("work", channel="work", client="bob")
        await c.ask("work", channel="work", client="cid")
        await equals(lambda: a.clients("work"), {"bob", "cid"})
        answers = [await a.ask("request", channel="work", data=n, timeout=20.0) for n in range(10)]
        assert [data[0] for data, _ in answers] == list(range(10))
        assert sorted(data[1] for data, _ in answers) == ["bob"] * 5 + ["cid"] * 5
        assert {sender for _, sender in answers} == {b.id, c.id}


@story
async def test_who_is_killed_while_it_works_is_not_waited_for() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await b.join("work", "bob")  # takes it, and never answers
        await equals(lambda: a.clients("work"), {"bob"})
        asking = asyncio.create_task(
            a.ask("request", channel="work", data=1, timeout=600.0, patience_s=60.0)
        )

        async def taken() -> bool:
            return bool((await b.ask("got")).get("bob"))

        await until(taken)
        await b.kill()
        with pytest.raises(Refused, match=r"^UnreachableError.*went away before it answered"):
            await asking


@story
async def test_an_address_in_a_payload_is_answered() -> None:
    """Who publishes its address gets what others send to it, from another process."""
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await b.ask("calls_back", channel="room", client="bob")
        await c.ask("calls_back", channel="room", client="cid")
        await equals(lambda: a.clients("room"), {"bob", "cid"})
        await a.ask("publish_address", channel="room", client="ann")

        async def heard() -> list[object]:
            return sorted((await a.ask("got")).get("ann", []))

        await equals(heard, ["called back by bob", "called back by cid"])


@story
async def test_a_client_of_another_process_joins_where_it_is_asked_to() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await b.join("lobby", "bob")
        await a.ask("invite", channel="room", client="bob", owner=b.id)
        assert await a.clients("room") == {"bob"}
        await equals(lambda: c.clients("room"), {"bob"})
        with pytest.raises(Refused, match=r"^ClosedError"):
            await a.ask("invite", channel="room", client="nobody", owner=b.id)


@story
async def test_a_member_leaves_while_its_owner_is_unreachable() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await b.join("room", "bob")
        for other in (a, c):
            await equals(lambda other=other: other.clients("room"), {"bob"})  # type: ignore[misc]
        await cluster.split([a, c], [b])

        async def down() -> bool:
            return (await a.peer_states()).get(b.id) == "down"

        await until(down, timeout=60.0)
        with pytest.raises(Refused, match=r"^UnreachableError"):
            await a.ask("invite", channel="hall", client="bob", owner=b.id)
        assert await a.ask("leave", channel="room", client="bob", owner=b.id)
        assert not await a.ask("leave", channel="room", client="bob", owner=b.id)
        cluster.heal()
        await cluster.meshed(a, b, c)
        for each in (a, b, c):
            await equals(lambda each=each: each.clients("room"), set())  # type: ignore[misc]

        async def told() -> object:
            return (await b.ask("exited")).get("bob")

        await equals(told, [["room", "removed"]])
