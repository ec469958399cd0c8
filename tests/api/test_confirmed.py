"""`publish(confirm=)` and `send`: what the receipt says is what became of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crdtpubsub import (
    Address,
    ClosedError,
    ConfigError,
    Exit,
    Message,
    Node,
    NodeId,
    Outcome,
    QueueFullError,
    Receipt,
)
from crdtpubsub.engine.asking import OPEN_MAX
from tests.api.helpers import message, nodes, story, until


@contextmanager
def deaf(node: Node) -> Iterator[None]:
    """Its I/O thread gets nothing done: it stands before the lock."""
    with node._runtime.core.lock:
        yield


@story
async def test_each_owner_says_how_many_clients_took_it() -> None:
    async with nodes(3) as [a, b, c]:
        clients = {node: [node.client(f"c{n}") for n in range(2)] for node in (a, b)}
        for owned in clients.values():
            for client in owned:
                await client.join("room")
        await c.wait_for("room", 4, timeout=10)
        await a.wait_for("room", 4, timeout=10)
        receipt = await c.publish("room", "to all", confirm=10)
        assert receipt == Receipt(
            4, {a.id: Outcome.DELIVERED, b.id: Outcome.DELIVERED}, {a.id: 2, b.id: 2}
        )
        own = clients[a][0]
        receipt = await a.publish("room", "but me", exclude=own, headers={"k": "v"}, confirm=10)
        assert receipt.clients == {a.id: 1, b.id: 2}
        said = [await message(client) for client in clients[b]]
        assert [m.data for m in said] == ["to all", "to all"]
        last = await message(clients[b][0])
        assert (last.data, last.headers, last.sender) == ("but me", {"k": "v"}, a.id)
        assert [own.pending, clients[a][1].pending] == [1, 2]
        assert await a.publish("empty", 1, confirm=1) == Receipt(0, {})


@story
async def test_a_full_queue_refuses_and_loses_nothing_for_it() -> None:
    async with nodes(2) as [a, b]:
        small = b.client("small", max_pending=1)
        await small.join("room")
        await a.wait_for("room", 1, timeout=10)
        assert (await a.publish("room", 1, confirm=10)).clients == {b.id: 1}
        receipt = await a.publish("room", 2, confirm=10)
        assert receipt == Receipt(0, {b.id: Outcome.REFUSED_FULL})
        assert receipt.owners[b.id].refused
        assert receipt.owners[b.id].reason == "full queue"
        large = b.client("large")
        await large.join("room")
        await a.wait_for("room", 2, timeout=10)
        assert (await a.publish("room", 3, confirm=10)).clients == {b.id: 1}
        assert (await b.publish("room", 4, confirm=10)).clients == {b.id: 1}
        assert [(await message(small)).data, small.pending, small.dropped] == [1, 0, 0]
        assert [(await message(large)).data for _ in range(2)] == [3, 4]


@story
async def test_a_client_that_a_full_queue_would_close_is_not_closed_by_a_confirmed_one() -> None:
    async with nodes(2) as [a, b]:
        client = b.client("strict", max_pending=1, overflow="close")
        await client.join("room")
        await a.wait_for("room", 1, timeout=10)
        await a.publish("room", 1, confirm=10)
        assert (await a.publish("room", 2, confirm=10)).owners == {b.id: Outcome.REFUSED_FULL}
        assert not client.closed


@pytest.mark.parametrize("confirm", [None, 10.0])
@story
async def test_a_message_to_one_client(confirm: float | None) -> None:
    async with nodes(2) as [a, b]:
        ann, bob = b.client("ann"), b.client("bob")
        for client in (ann, bob):
            await client.join("room")
        members = {member.id: member for member in await a.wait_for("room", 2, timeout=10)}
        done = Outcome.QUEUED if confirm is None else Outcome.DELIVERED
        taken = {} if confirm is None else {b.id: 1}
        assert await a.send(members["ann"], "hello", confirm=confirm) == Receipt(
            1, {b.id: done}, taken
        )
        got = await message(ann)
        assert (got.channel, got.data, got.sender) == ("room", "hello", a.id)
        address = Address.parse(str(bob.address))
        await bob.leave("room")
        await a.send(address, 7, headers={"x": "y"}, confirm=confirm)
        got = await message(bob)
        assert (got.channel, got.data, got.headers) == ("", 7, {"x": "y"})
        assert not ann.pending
        receipt = await b.send(ann.address, "mine", confirm=confirm)
        assert receipt == Receipt(1, {b.id: Outcome.DELIVERED}, taken)
        assert (await message(ann)).data == "mine"


@story
async def test_who_is_gone_is_no_such_member() -> None:
    async with nodes(2) as [a, b]:
        ann = b.client("ann")
        await ann.join("room")
        [member] = await a.wait_for("room", 1, timeout=10)
        await ann.leave("room")
        nobody = Receipt(0, {b.id: Outcome.REFUSED_NOBODY})
        assert await a.send(member, 1, confirm=10) == nobody
        assert await b.send(member, 1, confirm=10) == nobody
        assert await b.send(member, 1) == nobody
        await ann.close()
        assert await a.send(ann.address, 1, confirm=10) == nobody
        assert await b.send(ann.address, 1, confirm=10) == nobody
        stranger = Address(NodeId("1" * 32), "x")
        for confirm in (None, 1.0):
            receipt = await a.send(stranger, 1, confirm=confirm)
            assert receipt == Receipt(0, {stranger.node: Outcome.REFUSED_NO_LINK})


@story
async def test_an_exit_and_a_confirmed_message_keep_their_order() -> None:
    async with nodes(2) as [a, b]:
        ann = b.client("ann")
        await ann.join("room")
        await a.wait_for("room", 1, timeout=10)
        assert (await a.publish("room", 1, confirm=10)).members == 1
        assert await a.del_channel("room") == 1
        items = [await ann.get(timeout=10), await ann.get(timeout=10)]
        assert isinstance(items[0], Message)
        assert items[1] == Exit("room", "removed")


@story
async def test_too_many_unanswered_are_refused_at_once_and_those_before_arrive() -> None:
    async with nodes(2) as [a, b]:
        client = b.client("ann", max_pending=2 * OPEN_MAX)
        await client.join("room")
        await a.wait_for("room", 1, timeout=10)
        assert (await a.publish("room", -1, confirm=10)).members == 1
        with deaf(b):
            waiting = [
                asyncio.create_task(a.publish("room", n, confirm=60)) for n in range(OPEN_MAX)
            ]
            await until(lambda: len(a._runtime.core.tickets) == OPEN_MAX)
            with pytest.raises(QueueFullError, match="nothing was sent"):
                await a.publish("room", "too many", confirm=60)
        receipts = await asyncio.gather(*waiting)
        assert {tuple(receipt.clients.values()) for receipt in receipts} == {(1,)}
        got = [(await message(client)).data for _ in range(OPEN_MAX + 1)]
        assert got == list(range(-1, OPEN_MAX))
        assert (await a.publish("room", "again", confirm=10)).members == 1
        assert not a._runtime.core.tickets


@story
async def test_no_answer_in_time_is_unknown_and_cancelled_ones_cost_nothing_for_long() -> None:
    async with nodes(2) as [a, b]:
        await b.client("ann").join("room")
        await a.wait_for("room", 1, timeout=10)
        assert (await a.publish("room", 0, confirm=10)).members == 1
        with deaf(b):
            assert await a.publish("room", 1, confirm=0.05) == Receipt(0, {b.id: Outcome.UNKNOWN})
            task = asyncio.create_task(a.publish("room", 2, confirm=0.2))
            await until(lambda: a._runtime.core.tickets)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not a._runtime.core.tickets)
            last = asyncio.create_task(a.publish("room", 3, confirm=60))
            await until(lambda: a._runtime.core.tickets)
            await a.close()
            assert (await last).owners == {b.id: Outcome.UNKNOWN}


@story
async def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent() -> None:
    async with nodes(1) as [node]:
        for confirm in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="for how many seconds"):
                await node.publish("room", 1, confirm=confirm)
        with pytest.raises(ConfigError, match=r"Address\.parse"):
            await node.send("ann@home", 1)  # type: ignore[arg-type]
        for text in ("", "ann", "ann@", "@" + "0" * 32, "ann@" + "g" * 32, "a\n@" + "0" * 32):
            with pytest.raises(ConfigError, match="is no address"):
                Address.parse(text)
        tricky = Address(node.id, "a@b")
        assert Address.parse(str(tricky)) == tricky


@story
async def test_who_asks_while_the_node_ends_is_refused_and_does_not_wait_for_ever() -> None:
    """It had seen an open node, and came to the lock when everybody had been given up."""
    async with nodes(2) as [a, b]:
        await b.client("c").join("room")
        await a.wait_for("room", 1, timeout=10)
        runtime, passed, ended = a._runtime, threading.Event(), threading.Event()
        check, raised = runtime.check, []

        def check_and_be_slow() -> None:
            check()
            passed.set()
            assert ended.wait(10)

        def ask() -> None:
            try:
                asyncio.run(asyncio.wait_for(a.publish("room", 1, confirm=1), 5))
            except (ClosedError, TimeoutError) as error:
                raised.append(error)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtime, "check", check_and_be_slow)
            thread = threading.Thread(target=ask)
            thread.start()
            assert await asyncio.to_thread(passed.wait, 10)
            await a.close()
            ended.set()
            await asyncio.to_thread(thread.join)
        assert [type(error) for error in raised] == [ClosedError]
        assert "closed" in str(raised[0])
