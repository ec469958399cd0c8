"""Started and stopped at random moments, read from many short loops, and users who raise."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Final

import pytest

from crdtpubsub import ClosedError, Message, Node, PayloadError
from tests.api.helpers import WAIT_S, held, message, nodes, story, until

pytestmark = pytest.mark.net

STOPS: Final = 60
LOOPS: Final = 50
CALLERS: Final = 4


# ---------------------------------------------------------------- random moments


async def _work(seed: str) -> None:
    """Everything that waits, again and again."""
    async with Node(seeds=[seed]) as node:
        client = node.client()
        async with node.subscribe("room", id="s") as messages:
            while True:
                await client.join("room")
                await node.wait_for("room", 3, timeout=WAIT_S)
                await node.converged(timeout=WAIT_S)
                receipt = await node.publish("room", "tick")
                assert receipt.members >= 2
                await client.get()
                await messages.get()
                await client.leave("room")


async def _cancelled(seed: str, after_s: float) -> None:
    working = asyncio.create_task(_work(seed))
    await asyncio.sleep(after_s)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _closed_elsewhere(seed: str, after_s: float) -> None:
    """By another thread, in a loop of its own, while this one reads."""
    node = Node(seeds=[seed])

    def close() -> None:
        time.sleep(after_s)
        asyncio.run(node.close())

    closer = threading.Thread(target=close)
    closer.start()
    with contextlib.suppress(ClosedError):
        await node.start()
        client = node.client()
        await client.join("room")
        while True:
            await node.publish("room", "tick")
            await client.get()
    await asyncio.to_thread(closer.join)
    await node.close()


async def _forgotten(seed: str, after_s: float) -> None:
    """Nobody closes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        node = await Node(seeds=[seed]).start()
        await node.client().join("room")
        await asyncio.sleep(after_s)
        del node
        gc.collect()


async def _loop_closed(seed: str, after_s: float) -> None:
    """Its loop ends beneath it; whoever made it closes it from another one."""
    made: list[Node] = []

    async def begin() -> None:
        made.append(Node(seeds=[seed]))
        await made[0].start()
        client = made[0].client()
        await client.join("room")
        while True:
            await client.get()

    def run() -> None:
        loop = asyncio.new_event_loop()
        beginning: Any = loop.create_task(begin())
        loop.run_until_complete(asyncio.sleep(after_s))
        beginning._log_destroy_pending = False
        loop.close()

    await asyncio.to_thread(run)
    await made[0].close()


WAYS: Final = (_cancelled, _closed_elsewhere, _forgotten, _loop_closed)


async def stop_at_random(seed: int, times: int) -> None:
    """Start a node and stop it in one of these ways, so often; nothing is left of it."""
    dice = random.Random(seed)
    before: tuple[list[str], int, int] | None = None
    for stops in (len(WAYS), times):
        async with Node(name="witness") as witness:
            await witness.client("w").join("room")
            for number in range(stops):
                way = WAYS[number % len(WAYS)]
                after_s = dice.choice((0.0, dice.uniform(0.0, 0.005), dice.uniform(0.0, 0.03)))
                async with asyncio.timeout(WAIT_S):
                    await way(witness.endpoint, after_s)
                await until(lambda: len(held()[0]) == 2)  # the witness and its handshakes
                await until(lambda: [m.id for m in witness.members("room")] == ["w"])
        gc.collect()
        before = before or held()  # after the first few, everything that stays is there
    assert before is not None
    _, threads, files = before
    await until(lambda: held()[2] <= files)
    await until(lambda: held()[1] <= threads)


@story
async def test_a_node_that_is_stopped_at_random_moments_leaves_nothing() -> None:
    await stop_at_random(1, STOPS)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@story
async def test_a_node_that_is_stopped_at_a_thousand_moments_leaves_nothing() -> None:
    await stop_at_random(2, 1000)


# ---------------------------------------------------------------- many short loops


@story
async def test_every_call_in_a_loop_of_its_own() -> None:
    """What `async_to_sync` does: a new event loop for each call, from several threads."""
    async with nodes(2) as (node, other):
        client = node.client("c", max_pending=10_000)

        def call(number: int) -> None:
            reader = node.client(f"reader{number}")
            asyncio.run(reader.join("room"))
            for turn in range(LOOPS):
                asyncio.run(other.wait_for("room", 1, timeout=WAIT_S))
                asyncio.run(other.publish("room", [number, turn]))
                asyncio.run(node.converged(timeout=WAIT_S))
                item = asyncio.run(reader.get(timeout=WAIT_S))
                assert isinstance(item, Message)
            asyncio.run(reader.close())

        await client.join("room")
        await asyncio.gather(*(asyncio.to_thread(call, number) for number in range(CALLERS)))
        got = [(await message(client)).data for _ in range(CALLERS * LOOPS)]
        for number in range(CALLERS):
            assert [d for d in got if d[0] == number] == [[number, t] for t in range(LOOPS)]  # type: ignore[index]
        assert len(node._runtime.bell) == len(other._runtime.bell) == 0


@story
async def test_a_loop_that_is_closed_while_something_waits_in_it() -> None:
    async with Node() as node:
        waits: list[Callable[[], Any]] = [
            lambda: node.wait_for("room", 9),
            node.client().get,
            lambda: anext(node.events()),
            lambda: anext(aiter(node.client())),
        ]

        def wait_and_go(wait: Callable[[], Any]) -> None:
            loop = asyncio.new_event_loop()
            waiting: Any = loop.create_task(wait())
            loop.run_until_complete(asyncio.sleep(0))
            assert not waiting.done()
            waiting._log_destroy_pending = False
            loop.close()

        for wait in waits:
            await asyncio.to_thread(wait_and_go, wait)
        client = node.client("c")
        await client.join("room")  # rings for those who are gone
        await node.publish("room", 1)
        assert (await message(client)).data == 1


# ---------------------------------------------------------------- users who raise


class Unpackable:
    """What is not packed, and does not say why."""

    def __repr__(self) -> str:
        raise LookupError("no repr either")

    __str__ = __repr__


class Unreadable(dict[str, int]):
    """Raises while it is packed."""

    def items(self) -> Any:
        raise LookupError("mine")


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")


class Untellable(dict[str, int]):
    """Raises while it is packed, what cannot be printed."""

    def items(self) -> Any:
        raise UnreadableError


class Name(str):
    """A name that cannot be shown."""

    __slots__ = ()

    def __str__(self) -> str:
        raise LookupError("mine")

    __repr__ = __str__


@story
async def test_a_payload_that_raises_is_refused_and_leaves_the_next_one_clean() -> None:
    async with Node() as node:
        client = node.client("c")
        await client.join("room")
        for raises in (Unpackable(), Unreadable(a=1), Untellable(a=1), [1, Unpackable()], {1, 2}):
            with pytest.raises(PayloadError):
                await node.publish("room", raises)
            with pytest.raises(PayloadError):
                node.publish_nowait("room", {"before": raises})
            with pytest.raises(PayloadError):
                await client.join("room", meta=raises)
            await node.publish("room", "next")
            assert (await message(client)).data == "next"
        assert not client.pending


@story
async def test_a_name_that_raises_changes_nothing() -> None:
    async with Node() as node:
        client = node.client("c")
        bad = Name("x" * 256)
        calls: list[Callable[[], Any]] = [
            lambda: client.join(bad),
            lambda: node.add_channel(bad),
            lambda: node.publish(bad, 1),
        ]
        for call in calls:
            with pytest.raises(Exception, match=r"mine|cannot be a channel"):
                await call()
        assert node.channels() == ()
        await client.join(Name("room"))
        assert [m.id for m in node.members("room")] == ["c"]


@story
async def test_a_reader_that_raises_leaves_and_the_rest_goes_on() -> None:
    async with nodes(2) as (node, other):
        kept = node.client("kept")
        await kept.join("room")

        async def read(number: int) -> None:
            async with node.subscribe("room", id="s") as messages:
                await other.wait_for("room", 2, timeout=WAIT_S)
                await other.publish("room", number)
                async for _ in messages:
                    raise LookupError("mine")

        for number in range(3):
            with pytest.raises(LookupError, match="mine"):
                await read(number)
            assert [m.id for m in node.members("room")] == ["kept"]
            assert (await message(kept)).data == number
            await until(lambda: other.count("room") == 1)


@story
async def test_a_block_that_raises_closes_its_node() -> None:
    node = Node()
    with pytest.raises(LookupError, match="mine"):
        async with node:
            raise LookupError("mine")
    assert node._runtime.ended()
