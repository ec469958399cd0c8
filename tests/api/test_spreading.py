"""What is published to clients here goes into their queues many at a time; nobody can tell."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from crdtpubsub import Client, Exit, Message, Node
from tests.api.helpers import WAIT_S, at_once, message, nodes, story, until
from tests.interrupts import interrupted

pytestmark = pytest.mark.net

LOOKS: list[Callable[[Client], object]] = [
    lambda client: client.pending,
    lambda client: client.pending_bytes,
    lambda client: client.dropped,
    lambda client: client.closed,
]


def numbers(client: Client) -> list[object]:
    """What is in its queue: numbers published, and the channels of exits."""
    items = client._mailbox.take_many(1024)
    return [item.data if isinstance(item, Message) else item.channel for item in items]


@story
async def test_it_is_there_when_publish_returns_whatever_else_is_done_between() -> None:
    """Against one list a client, with everything that touches a queue between publications."""
    dice = random.Random(5)
    async with Node() as node:
        clients = [node.client(f"c{n}", max_pending=100_000) for n in range(5)]
        expected: dict[str, list[object]] = {client.id: [] for client in clients}
        joined: dict[str, set[str]] = {"red": set(), "blue": set()}
        for number in range(1500):
            channel, client = dice.choice(["red", "blue"]), dice.choice(clients)
            there = joined[channel]
            match dice.randrange(10):
                case 0 if client.id not in there:
                    await client.join(channel)
                    there.add(client.id)
                case 1 if client.id in there:
                    await client.leave(channel)
                    there.discard(client.id)
                case 2 if client.id in there and dice.random() < 0.3:
                    for member in node.members(channel):
                        if member.id == client.id:
                            await node.leave(channel, member)
                    there.discard(client.id)
                    expected[client.id].append(channel)
                case 3:
                    node.publish_nowait(channel, number, exclude=client)
                    for name in there - {client.id}:
                        expected[name].append(number)
                case 4:
                    await node.send(client.address, number)
                    expected[client.id].append(number)
                case 5:
                    await node.publish(channel, number, confirm=WAIT_S)
                    for name in there:
                        expected[name].append(number)
                case 6:
                    assert client.pending == len(expected[client.id])
                case 7 if dice.random() < 0.5:
                    assert numbers(client) == expected[client.id]
                    expected[client.id] = []
                case _:
                    node.publish_nowait(channel, number)
                    for name in there:
                        expected[name].append(number)
        for client in clients:
            assert numbers(client) == expected[client.id]


@pytest.mark.parametrize("look", LOOKS)
@story
async def test_who_looks_sees_all(look: Callable[[Client], Any]) -> None:
    async with Node() as node:
        client = node.client(max_pending=3, overflow="close")
        await client.join("room")
        for _ in range(3):
            node.publish_nowait("room", b"1234")
        seen = look(client)
        node.publish_nowait("room", b"1234")
        assert (seen, look(client)) in ((3, 3), (18, 18), (0, 1), (False, True))


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "close"])
@story
async def test_full_queues_among_others_lose_what_they_would_lose_one_by_one(overflow: Any) -> None:
    async with Node() as node:
        roomy = node.client(max_pending=1000)
        tight = node.client(max_pending=10, overflow=overflow)
        few = node.client(max_pending_bytes=5, overflow=overflow)
        for client in (roomy, tight, few):
            await client.join("room")
        for number in range(100):
            node.publish_nowait("room", number)
        closes = overflow == "close"
        assert (tight.closed, few.closed) == (closes, closes)
        assert (roomy.dropped, tight.dropped, few.dropped) == ((0, 1, 1) if closes else (0, 90, 95))
        oldest = overflow == "drop_oldest"
        assert numbers(roomy) == list(range(100))
        assert numbers(tight) == list(range(90, 100) if oldest else range(10))
        assert numbers(few) == list(range(95, 100) if oldest else range(5))
        await until(lambda: node.count("room") == (1 if closes else 3))
        assert node.stats().counters["delivered"] == (115 if closes else 300 if oldest else 115)


@story
async def test_what_nobody_reads_costs_bounded_memory() -> None:
    async with Node() as node:
        client = node.client(max_pending=10)
        await client.join("room")
        for _ in range(20):
            node.publish_nowait("room", bytes(60_000))
        assert len(node._runtime.core.spread.messages) <= 2
        for _ in range(1000):
            node.publish_nowait("room", 1)
        assert len(node._runtime.core.spread.messages) <= 64
        assert client.dropped == 1010


@story
async def test_an_interrupt_anywhere_loses_and_doubles_nothing() -> None:
    """An interrupt while one client looks must not take from another what was published."""
    async with Node() as node:
        clients = [node.client(max_pending=1000) for _ in range(4)]
        for client in clients:
            await client.join("room")
        place, number, broken = 0, 0, True
        while broken:
            for _ in range(3):
                node.publish_nowait("room", number)
                number += 1
            broken = interrupted(place, lambda: clients[0].pending)
            place += 1
        assert place > 10
        for client in clients:
            assert numbers(client) == list(range(number))
        assert node.stats().counters["delivered"] == 4 * number


@story
async def test_a_waiting_reader_of_each_event_loop_is_woken_and_none_misses_any() -> None:
    """Readers in the publisher's loop and in two more, while it publishes without a pause."""
    count = 2000
    async with Node() as node:
        clients = [node.client(max_pending=count) for _ in range(6)]
        got: dict[str, list[object]] = {client.id: [] for client in clients}
        for client in clients:
            await client.join("room")

        async def read(client: Client) -> None:
            while len(got[client.id]) < count:
                for item in await client.get_many(timeout=WAIT_S):
                    assert isinstance(item, Message)
                    got[client.id].append(item.data)

        async def read_all(mine: list[Client]) -> None:
            await asyncio.gather(*map(read, mine))

        threads = [
            threading.Thread(target=asyncio.run, args=(read_all(clients[n : n + 2]),))
            for n in (2, 4)
        ]
        for thread in threads:
            thread.start()
        here = asyncio.create_task(read_all(clients[:2]))
        for number in range(count):
            node.publish_nowait("room", number)
            if number % 100 == 0:
                await asyncio.sleep(0)
        await here
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert all(row == list(range(count)) for row in got.values())


@story
async def test_what_was_published_before_a_client_closed_can_be_read() -> None:
    async with nodes(1) as [node]:
        clients = [node.client() for _ in range(2)]
        for client in clients:
            await client.join("room")
        node.publish_nowait("room", 1)
        await clients[0].close()
        assert (await message(clients[0])).data == 1
        node.publish_nowait("room", 2)
        await node.close()
        assert numbers(clients[1]) == [1, 2]
        assert clients[1].closed


@story
async def test_a_child_of_a_fork_does_not_wait_for_the_lock_of_its_parent() -> None:
    async with Node() as node:
        client = node.client()
        await client.join("room")
        node.publish_nowait("room", 1)
        with node._runtime.core.lock:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads, from 3.12
                child = os.fork()
            if not child:
                os._exit(client.pending)  # 0: what was underway is the parent's
        pid, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert (pid, os.waitstatus_to_exitcode(status)) == (child, 0)
        assert client.pending == 1
        at_once(client.get())
        assert client.pending == 0


@story
async def test_an_exit_stands_behind_what_was_published_before() -> None:
    async with Node() as node:
        client = node.client()
        await client.join("room")
        node.publish_nowait("room", 1)
        await node.del_channel("room")
        assert (await message(client)).data == 1
        assert await client.get() == Exit("room", "removed")
