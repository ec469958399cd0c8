"""Publications in a row are gathered: the same messages, in the same order, each of them once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest

from crdtpubsub import Client, ClosedError, Config, Message, Node
from crdtpubsub.runtime.sending import Sender
from tests.api.helpers import WAIT_S, nodes, story, until
from tests.interrupts import interrupted

pytestmark = pytest.mark.net

SPARED = frozenset({"recover", "rouse", "_rebuild"})


@asynccontextmanager
async def stage(*channels: str, config: Config | None = None) -> AsyncIterator[tuple[Node, Client]]:
    """A publisher, and a client on another node who is in all of these channels."""
    async with nodes(2, config=config or Config()) as (node, other):
        client = other.client("reader")
        for channel in channels:
            await client.join(channel)
            await node.wait_for(channel, 1, timeout=WAIT_S)
        yield node, client


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """What is gathered here stays so until something closes it: the I/O threads draw nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sender, "drain", lambda _: [])
        yield


async def data(client: Client, count: int) -> list[object]:
    """What the next so many messages say."""
    said = []
    for _ in range(count):
        item = await client.get(timeout=WAIT_S)
        assert isinstance(item, Message)
        said.append(item.data)
    return said


@story
async def test_the_order_is_that_of_the_calls_whatever_is_gathered_and_what_is_not() -> None:
    async with stage("a", "b") as (node, client):
        lone = node.client("lone")
        for number in range(0, 400, 8):
            with nothing_drawn():
                for n, channel in enumerate("aaabbaa"):
                    headers = {"k": "v"} if n == 5 else None
                    await node.publish(channel, number + n, headers=headers)
                await (lone.join("c") if number % 16 else lone.leave("c"))
                await node.publish("a", number + 7)
            assert await data(client, 8) == list(range(number, number + 8))
        stats = node.stats().counters
        assert stats["publications"] == stats["publications_sent"] == 400
        there = client.node.stats().counters
        assert (there["publications_received"], there.get("publications_lost", 0)) == (400, 0)


@story
async def test_who_hears_the_next_of_a_stream_has_seen_what_was_written_before_it() -> None:
    async with stage("room") as (node, client):
        mine = node.client("mine")
        for number in range(20):
            with nothing_drawn():
                await node.publish("room", "before")
                await mine.join(f"channel-{number}")
                await node.publish("room", "after")
            assert await data(client, 2) == ["before", "after"]
            assert [m.id for m in client.node.members(f"channel-{number}")] == ["mine"]


@story
async def test_a_stream_whose_members_or_scope_changed_goes_elsewhere() -> None:
    async with stage("room") as (node, client):
        first = await node.publish("room", 1)
        mine = node.client("mine")
        with nothing_drawn():
            await node.publish("room", 2)
            await mine.join("room")
            second = await node.publish("room", 3)
        assert (first.members, second.members) == (1, 2)
        assert await data(mine, 1) == [3]
        assert await data(client, 3) == [1, 2, 3]
        there, here = client.node.scope("jobs"), node.scope("jobs")
        reader = there.client("also")
        await reader.join("room")
        await here.wait_for("room", 1, timeout=WAIT_S)
        with nothing_drawn():
            await here.publish("room", 4)
            await here.close()
            with pytest.raises(ClosedError):
                await here.publish("room", 5)
        assert await data(reader, 1) == [4]


@story
async def test_a_node_that_was_told_to_end_takes_nothing_for_an_open_stream() -> None:
    async with stage("room") as (node, _):
        with nothing_drawn():
            await node.publish("room", 1)
            node._runtime.stop()
            with pytest.raises(ClosedError):
                await node.publish("room", 2)
        await node.close()


@story
async def test_what_is_gathered_stays_below_the_mark() -> None:
    """A publisher of a stream is held as early as one of single messages."""
    async with stage("room", config=Config(outbox_high_water_bytes=8192)) as (node, client):
        sender = node._runtime.core.sender
        with nothing_drawn():
            sent = 0
            while sender.room_at(client.node.endpoint) is None:
                node.publish_nowait("room", bytes(100))
                sent += 1
            line = sender.line(client.node.endpoint)
            assert line is not None
            assert 8192 < line.outbox.queued_bytes + sender.gathered * 103 < 8192 + 300
        assert await data(client, sent) == [bytes(100)] * sent


@story
async def test_an_interrupt_anywhere_leaves_what_was_gathered_before_it_whole() -> None:
    """None of it is lost, and nobody gets it twice: its publishers have their receipts."""
    async with nodes(3) as (node, *others):
        clients = [other.client("reader") for other in others]
        for client in clients:
            await client.join("room")
        await node.wait_for("room", 2, timeout=WAIT_S)
        place, broken = 0, True
        while broken:
            with nothing_drawn():
                for word in ("one", "two"):
                    await node.publish("room", word)
                # Not gathered: what was, is encoded and queued before it.
                broken = interrupted(
                    place,
                    partial(node.publish_nowait, "room", "broken", headers={"k": "v"}),
                    spared=SPARED,
                )
                await node.publish("room", "last")
            for client in clients:
                got: list[object] = []
                while not got or got[-1] != "last":
                    got += await data(client, 1)
                assert [word for word in got if word != "broken"] == ["one", "two", "last"]
            place += 1
        assert place > 30


@story
async def test_an_interrupt_anywhere_in_the_short_way_queues_it_or_does_not() -> None:
    async with stage("room") as (node, client):
        place, broken = 0, True
        while broken:
            with nothing_drawn():
                await node.publish("room", "one")
                said = partial(node.publish_nowait, "room", "broken")
                broken = interrupted(place, said, spared=SPARED)
                await node.publish("room", "last")
            got: list[object] = []
            while not got or got[-1] != "last":
                got += await data(client, 1)
            assert got in (["one", "broken", "last"], ["one", "last"])
            place += 1
        assert place > 5
        await until(lambda: not node._runtime.core.sender.has_publications)
