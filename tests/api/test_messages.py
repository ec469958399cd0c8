"""Publishing and receiving in one process: receipts, order, overflow, who reads what."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from crdtpubsub import (
    Client,
    ClosedError,
    ConfigError,
    Exit,
    Message,
    Node,
    Outcome,
    PayloadError,
    PayloadTooLargeError,
)
from tests.api.helpers import WAIT_S, exits, message, nodes, story, until

pytestmark = pytest.mark.net


@story
async def test_everybody_gets_it_and_the_receipt_says_who() -> None:
    async with nodes(3) as (a, b, c):
        clients = [node.client(f"c{n}") for node in (a, b, c) for n in range(2)]
        for client in clients:
            await client.join("room")
        await a.wait_for("room", 6, timeout=WAIT_S)
        receipt = await a.publish("room", {"n": [1, "zwei", b"3", None, 4.5, True]})
        assert receipt.members == 6
        assert receipt.owners == {
            a.id: Outcome.DELIVERED,
            b.id: Outcome.QUEUED,
            c.id: Outcome.QUEUED,
        }
        for client in clients:
            got = await message(client)
            assert got.data == {"n": [1, "zwei", b"3", None, 4.5, True]}
            assert (got.channel, got.sender, dict(got.headers)) == ("room", a.id, {})
        assert a.publish_nowait("room", 2) == 6
        for client in clients:
            assert (await message(client)).data == 2
        assert (await a.publish("nobody", 1)).owners == {}


@story
async def test_in_order_per_publisher() -> None:
    async with nodes(2) as (a, b):
        client = b.client(max_pending=10_000)
        await client.join("room")
        await a.wait_for("room", timeout=WAIT_S)
        for n in range(3000):
            if n % 3:
                await a.publish("room", n)
            else:
                a.publish_nowait("room", n)
        assert [(await message(client)).data for _ in range(3000)] == list(range(3000))


@story
async def test_who_hears_a_message_has_seen_what_was_written_before_it() -> None:
    async with nodes(2) as (a, b):
        listener = b.client("listener")
        await listener.join("news")
        await a.wait_for("news", timeout=WAIT_S)
        for n in range(100):
            client = a.client(f"c{n}")
            await client.join("room")
            await a.publish("news", n)
            assert (await message(listener)).data == n
            assert b.count("room") == n + 1


@story
async def test_headers_and_exclude() -> None:
    async with nodes(2) as (a, b):
        mine, theirs = a.client("mine"), b.client("theirs")
        for client in (mine, theirs):
            await client.join("room")
        await b.wait_for("room", 2, timeout=WAIT_S)
        await a.wait_for("room", 2, timeout=WAIT_S)
        headers = {"traceparent": "00-ab"}
        receipt = await a.publish("room", 1, headers=headers, exclude=mine)
        headers["traceparent"] = "changed afterwards"
        assert receipt.members == 1
        got = await message(theirs)
        assert dict(got.headers) == {"traceparent": "00-ab"}
        assert got.size_bytes == len(got.payload) + len("traceparent" + "00-ab")
        (member,) = (m for m in a.members("room") if m.id == "theirs")
        assert (await a.publish("room", 2, exclude=member)).members == 1
        assert (await message(mine)).data == 2
        await b.publish("room", 3, exclude=mine)
        await b.publish("room", 4)
        assert [(await message(theirs)).data for _ in range(2)] == [3, 4]
        assert (await message(mine)).data == 4
        with pytest.raises(ConfigError, match="headers"):
            await a.publish("room", 1, headers={"a": "\ud800"})
        outsider = a.client("outsider")
        assert (await a.publish("room", 5, exclude=outsider)).members == 2
        elsewhere = b.client("elsewhere")  # no member, though its node has one
        assert (await a.publish("room", 6, exclude=elsewhere)).members == 2


@story
async def test_payloads_that_cannot_be() -> None:
    async with Node() as node:
        client = node.client()
        await client.join("room")
        circle: list[Any] = []
        circle.append(circle)
        for data in (object(), {1, 2}, circle, 2**64, "\ud800"):
            with pytest.raises(PayloadError):
                await node.publish("room", data)
            with pytest.raises(PayloadError):
                node.publish_nowait("room", data)
        with pytest.raises(PayloadTooLargeError, match="payload is 16777221 bytes"):
            await node.publish("room", b"x" * 2**24)
        assert client.pending == 0
        await node.publish("room", "still usable")
        assert (await message(client)).data == "still usable"


@story
async def test_a_payload_of_the_longest_kind_arrives_whole() -> None:
    """With its header it is longer than the outbox, which refused it for ever."""
    async with nodes(2) as (a, b):
        client = b.client()
        await client.join("room")
        await a.wait_for("room", timeout=WAIT_S)
        large = random.Random(1).randbytes(16 * 2**20 - 5)
        await a.publish("room", large)
        assert (await message(client)).data == large


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", [7, 8, 9]), ("drop_newest", [0, 1, 2])]
)
@story
async def test_a_full_queue_loses_what_its_policy_says(overflow: Any, kept: list[int]) -> None:
    async with Node() as node:
        client = node.client("c", max_pending=3, overflow=overflow)
        await client.join("room")
        for n in range(10):
            await node.publish("room", n)
        assert (client.pending, client.dropped) == (3, 7)
        assert node.stats().counters["mailbox_dropped"] == 7
        await node.del_channel("room")
        assert [(await message(client)).data for _ in range(3)] == kept
        assert await exits(client) == Exit("room", "removed")
        await client.close()
        assert node.stats().counters["mailbox_dropped"] == 7


@story
async def test_a_full_queue_is_full_in_bytes_too() -> None:
    """1,024 messages were allowed whatever their size: 16 GiB."""
    async with Node() as node:
        client = node.client("c", max_pending_bytes=1_000_000)
        await client.join("room")
        for n in range(10):
            await node.publish("room", bytes([n]) * 300_000)
        assert (client.pending, client.dropped) == (3, 7)
        counters = node.stats().counters
        assert counters["mailbox_dropped"] == 7
        assert 900_000 <= client.pending_bytes == counters["mailbox_bytes"] < 1_000_000
        kept = [(await message(client)).data for _ in range(3)]
        assert [data[0] for data in kept if isinstance(data, bytes)] == [7, 8, 9]
        assert client.pending_bytes == 0


@story
async def test_a_client_closed_by_its_full_queue_is_no_member_any_more() -> None:
    """It stayed listed for ever, and every publisher counted on it."""
    async with nodes(2) as (a, b):
        client = a.client("c", max_pending=2, overflow="close")
        await client.join("room")
        await client.join("other")
        await b.wait_for("other", timeout=WAIT_S)
        for n in range(3):
            await b.publish("room", n)
        await until(lambda: client.closed)
        await until(lambda: a.channels() == () == b.channels())
        assert [(await message(client)).data for _ in range(2)] == [0, 1]
        with pytest.raises(ClosedError):
            await client.get()
        a.client("c")  # the id is free again
        assert a.stats().counters["mailbox_dropped"] == 1


@story
async def test_get_waits_as_long_as_it_is_told() -> None:
    async with Node() as node:
        client = node.client("c")
        began_s = time.monotonic()
        with pytest.raises(TimeoutError, match=r"nothing for client 'c' within 0\.02 s"):
            await client.get(timeout=0.02)
        assert time.monotonic() - began_s >= 0.02
        with pytest.raises(TimeoutError):
            await client.get(timeout=0)
        await client.join("room")
        await node.publish("room", 1)
        assert (await message(client)).data == 1


@story
async def test_polling_a_silent_client_costs_no_memory() -> None:
    """Each `get` that timed out left its waker behind."""
    async with Node() as node:
        client = node.client()
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await client.get(timeout=0.001)
            with pytest.raises(TimeoutError):
                await node.wait_for("room", timeout=0.001)
        assert len(client._mailbox.bell) == 0
        assert len(node._runtime.bell) == 0


@story
async def test_a_cancelled_get_loses_nothing() -> None:
    async with Node() as node:
        client = node.client(max_pending=10_000)
        await client.join("room")
        dice, got = random.Random(3), list[object]()
        for n in range(500):
            getting = asyncio.create_task(client.get())
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            await node.publish("room", n)
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            getting.cancel()
            (outcome,) = await asyncio.gather(getting, return_exceptions=True)
            if isinstance(outcome, Message):
                got.append(outcome.data)
        while client.pending:
            got.append((await message(client)).data)
        assert got == list(range(500))


@story
async def test_a_getter_whose_loop_was_closed_loses_nothing() -> None:
    async with Node() as node:
        client = node.client()
        await client.join("room")

        def wait_and_go() -> None:
            loop = asyncio.new_event_loop()
            getting: Any = loop.create_task(client.get())
            loop.run_until_complete(until(lambda: len(client._mailbox.bell) == 1))
            getting._log_destroy_pending = False
            loop.close()

        for n in range(10):
            await asyncio.to_thread(wait_and_go)
            await node.publish("room", n)
            assert (await message(client)).data == n


@story
async def test_many_loops_read_one_client_and_each_item_goes_to_one() -> None:
    async with nodes(2) as (a, b):
        client = a.client(max_pending=100_000)
        await client.join("room")
        await b.wait_for("room", timeout=WAIT_S)
        taken: list[list[Any]] = [[] for _ in range(4)]

        async def read(mine: list[Any]) -> None:
            async for item in client:
                assert isinstance(item, Message)
                mine.append(item.data)

        readers = [threading.Thread(target=lambda m=m: asyncio.run(read(m))) for m in taken]
        for reader in readers:
            reader.start()
        for n in range(2000):
            await b.publish("room", n)
            if n % 50 == 0:  # not faster than they read
                await until(lambda: sum(map(len, taken)) >= n - 50)  # noqa: B023
        await until(lambda: sum(map(len, taken)) == 2000)
        await client.close()
        for reader in readers:
            await asyncio.to_thread(reader.join)
        assert sorted(n for mine in taken for n in mine) == list(range(2000))
        assert all(mine == sorted(mine) for mine in taken)


@story
async def test_many_threads_write_at_the_same_time() -> None:
    async with nodes(2) as (a, b):
        listener = b.client(max_pending=100_000)
        await listener.join("news")
        await a.wait_for("news", timeout=WAIT_S)
        failed: list[BaseException] = []

        async def work(n: int) -> None:
            client = a.client(f"c{n}")
            for step in range(100):
                await client.join(f"room-{n % 2}")
                a.publish_nowait("news", [n, step])
                assert f"c{n}" in {m.id for m in a.members(f"room-{n % 2}")}
                if step < 99:
                    assert await client.leave(f"room-{n % 2}")

        def run(n: int) -> None:
            try:
                asyncio.run(work(n))
            except BaseException as error:  # noqa: BLE001 - told to the test's own thread
                failed.append(error)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert failed == []
        said: list[Any] = [(await message(listener)).data for _ in range(600)]
        for n in range(6):
            assert [step for who, step in said if who == n] == list(range(100))
        await b.converged(timeout=WAIT_S)
        assert b.count("room-0") == b.count("room-1") == 3


@story
async def test_a_subscription_yields_messages_and_ends_with_its_last_membership() -> None:
    async with nodes(2) as (a, b):
        subscription = await a.subscribe("one", "two", meta="listener")
        (member,) = await b.wait_for("two", timeout=WAIT_S)
        assert member.meta == "listener"
        await b.wait_for("one", timeout=WAIT_S)
        await b.publish("one", 1)
        await b.del_channel("one")
        await b.publish("two", 2)
        await b.leave("two", member)
        got = [item.data async for item in subscription]
        assert got == [1, 2]
        assert subscription.exits == [Exit("one", "removed"), Exit("two", "removed")]
        assert subscription.client.closed
        with pytest.raises(ClosedError):
            await subscription.get()


@story
async def test_a_subscription_as_a_context() -> None:
    async with Node() as node:
        async with node.subscribe("room", id="s") as messages:
            assert [m.id for m in node.members("room")] == ["s"]
            await node.publish("room", 1)
            assert (await messages.get(timeout=WAIT_S)).data == 1
            with pytest.raises(TimeoutError):
                await messages.get(timeout=0.01)
        assert node.members("room") == ()
        await messages.close()
        unused = node.subscribe("room")
        assert node.members("room") == ()
        await unused.close()


@story
async def test_a_loop_that_is_left_early_keeps_the_rest() -> None:
    async with Node() as node:
        client: Client = node.client()
        await client.join("room")
        for n in range(3):
            await node.publish("room", n)
        async for item in client:
            assert isinstance(item, Message)
            assert item.data == 0
            break
        assert client.pending == 2
        assert (await message(client)).data == 1


@story
async def test_all_that_waits_is_taken_at_once_and_in_order() -> None:
    async with Node() as node:
        client = node.client("c")
        await client.join("room")
        with pytest.raises(TimeoutError):
            await client.get_many(timeout=0.0)
        waiting = asyncio.create_task(client.get_many(2, timeout=WAIT_S))
        await until(lambda: len(client._mailbox.bell))
        for n in range(5):
            node.publish_nowait("room", n)
        await node.leave("room", node.members("room")[0])
        assert [item.data for item in await waiting if isinstance(item, Message)] == [0, 1]
        *rest, last = await client.get_many()
        assert [item.data for item in rest if isinstance(item, Message)] == [2, 3, 4]
        assert last == Exit("room", "removed")
        assert (client.pending, client.pending_bytes) == (0, 0)
        await client.close()
        with pytest.raises(ClosedError):
            await client.get_many()


@story
async def test_a_subscription_takes_many_and_notes_the_exits_among_them() -> None:
    async with Node() as node:
        subscription = await node.subscribe("one", "two", id="s")
        await node.publish("one", 1)
        await node.del_channel("one")
        await node.publish("two", 2)
        await node.publish("two", 3)
        assert [item.data for item in await subscription.get_many(3)] == [1, 2]
        assert subscription.exits == [Exit("one", "removed")]
        assert [item.data for item in await subscription.get_many()] == [3]
        await node.del_channel("two")
        with pytest.raises(ClosedError):
            await subscription.get_many()
        assert subscription.client.closed


@story
async def test_the_id_of_a_client_that_its_full_queue_closed_is_free_at_once() -> None:
    """It said `closed`, and a new one was refused as open until the I/O thread had come to it."""
    async with nodes(1) as [node]:
        for number in range(50):
            client = node.client("ann", max_pending=1, overflow="close")
            await client.join("room")
            node.publish_nowait("room", number)
            node.publish_nowait("room", number)
            assert client.closed
            again = node.client("ann")
            assert not node.count("room")
            await again.join("room")
            node.publish_nowait("room", number)
            assert (await message(again)).data == number
            assert node.count("room") == 1
            await again.close()
        assert node.stats().counters["mailbox_dropped"] == 50
