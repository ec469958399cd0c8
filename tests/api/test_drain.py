"""`drain`: what was published arrives, or is counted; and then the node is closed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from crdtpubsub import ClosedError, ConfigError, DrainError, Exit, Message, Node
from tests.api.helpers import WAIT_S, held, message, nodes, story, until
from tests.api.test_cancellation import stalled
from tests.cancelling import Outcome, cancelled_everywhere

pytestmark = pytest.mark.net


@story
async def test_what_was_published_before_arrives_and_nothing_new_is_taken() -> None:
    async with nodes(2) as (node, other):
        theirs = other.client("theirs", max_pending=100_000, max_pending_bytes=2**30)
        await theirs.join("room")
        mine = node.client("mine", max_pending=100_000, max_pending_bytes=2**30)
        await mine.join("room")
        await node.wait_for("room", 2, timeout=WAIT_S)
        async with stalled(other):
            for number in range(2000):
                node.publish_nowait("room", [number, b"x" * 1000])
            draining = asyncio.create_task(node.drain(timeout=WAIT_S))
            await until(lambda: not node.local_members("room"))
            with pytest.raises(ClosedError, match="draining"):
                await node.publish("room", "late")
            with pytest.raises(ClosedError, match="draining"):
                await mine.join("room")
            with pytest.raises(ClosedError, match="draining"):
                node.client("new")
            with pytest.raises(ClosedError, match="draining"):
                node.subscribe("room")
            assert [m.id for m in node.members("room")] == ["theirs"]  # it can be read
            assert not draining.done()
        await draining
        got = [(await message(theirs)).data[0] for _ in range(2000)]  # type: ignore[index]
        assert got == list(range(2000))
        assert mine.pending == 2000
        while mine.pending:
            assert isinstance(await mine.get(), Message)  # and no Exit
        await until(lambda: not other.peers())  # a goodbye
        with pytest.raises(ClosedError):
            await node.drain()


@story
async def test_a_peer_that_takes_nothing_is_named_after_the_timeout() -> None:
    async with nodes(3) as (node, stalls, reads):
        clients = [
            other.client(other.name, max_pending=10_000, max_pending_bytes=2**30)
            for other in (stalls, reads)
        ]
        for client in clients:
            await client.join("room")
        await node.wait_for("room", 2, timeout=WAIT_S)
        async with stalled(stalls):
            for number in range(100):
                node.publish_nowait("room", [number, b"x" * 10_000])
            began_s = time.monotonic()
            with pytest.raises(
                DrainError, match=r"not acknowledged .* for n1; the node is closed"
            ) as caught:
                await node.drain(timeout=0.3)
            assert time.monotonic() - began_s < 0.3 + 1.0
            assert caught.value.publications == {stalls.id: ("n1", 100)}
        assert node._runtime.ended()
        assert clients[1].pending == 100


@story
async def test_a_node_alone_drains_at_once_and_one_that_does_not_run_says_so() -> None:
    node = Node()
    with pytest.raises(ClosedError, match="not started"):
        await node.drain()
    await node.start()
    client = node.client()
    await client.join("room")
    await node.publish("room", "mine")
    began_s = time.monotonic()
    await node.drain(timeout=WAIT_S)
    assert time.monotonic() - began_s < 1.0
    assert (await message(client)).data == "mine"
    with pytest.raises(ClosedError):
        await client.get()
    async with contextlib.AsyncExitStack() as stack:
        drained = await stack.enter_async_context(Node())
        await drained.drain()  # in its own block: closing it once more is nothing


@story
async def test_two_drain_and_one_closes() -> None:
    async with nodes(2) as (node, other):
        await other.client("c").join("room")
        await node.wait_for("room", timeout=WAIT_S)
        async with stalled(other):
            node.publish_nowait("room", 1)
            draining = [asyncio.create_task(node.drain(timeout=WAIT_S)) for _ in range(2)]
            await until(lambda: node._runtime.draining)
            async with asyncio.timeout(WAIT_S):
                await node.close()
                outcomes = await asyncio.gather(*draining, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ClosedError, ClosedError]


@story
async def test_a_drain_that_is_cancelled_anywhere_closes() -> None:
    async with Node(name="other") as other:
        await other.client("c", max_pending=10_000).join("room")

        async def attempt(
            cancelling: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Outcome]],
        ) -> None:
            node = await Node(seeds=[other.endpoint]).start()
            for number in range(200):
                await node.client().join(f"room{number}")
            await node.wait_for("room", timeout=WAIT_S)
            node.publish_nowait("room", 1)
            await cancelling(node.drain(timeout=WAIT_S))
            await until(node._runtime.ended)
            assert len(node._runtime.bell) == 0

        assert await cancelled_everywhere(attempt) >= 3
        assert len(held()[0]) == 2


@story
async def test_a_drain_of_many_memberships_ends_them_everywhere_without_an_exit() -> None:
    async with nodes(2) as (node, other):
        clients = [node.client(f"c{number}") for number in range(300)]
        for client in clients:
            await client.join("room")
        await other.wait_for("room", 300, timeout=WAIT_S)
        watched = other.client("watches")
        await node.drain(timeout=WAIT_S)
        await until(lambda: not other.count("room"))
        assert not any(client.pending for client in clients)
        with pytest.raises(ConfigError):
            await node.start()
        assert not isinstance(watched._mailbox.take(), Exit)
