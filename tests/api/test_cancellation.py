"""Cancelled at every await point of the public API: nothing lost, nobody forgotten, no hang."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from crdtpubsub import Change, Client, ClosedError, Config, Member, Message, Node, PeerLeft, PeerUp
from tests.api.helpers import WAIT_S, held, message, nodes, story, until
from tests.cancelling import Outcome, cancelled_everywhere

pytestmark = pytest.mark.net

Cancelling = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Outcome]]


def nobody_waits(*made: Node) -> None:
    for node in made:
        assert len(node._runtime.bell) == 0
        for mailbox in node._runtime.core.mailboxes.values():
            assert len(mailbox.bell) == 0


async def whole(call: Coroutine[Any, Any, Any]) -> Outcome:
    """Not cancelled at all."""
    outcome = Outcome(place=0, late=False)
    outcome.result = await call
    return outcome


@story
async def test_start_and_close() -> None:
    async def start(cancelling: Cancelling) -> None:
        node = Node()
        outcome = await cancelling(node.start())
        if outcome.cancelled:
            with pytest.raises(ClosedError):
                node.members("room")
        await node.close()
        assert len(node._runtime.bell) == 0

    async def close(cancelling: Cancelling) -> None:
        node = await Node().start()
        await cancelling(node.close())
        with pytest.raises(ClosedError):
            node.members("room")
        await until(node._runtime.ended)

    await start(whole)
    gc.collect()
    await until(lambda: not held()[0])
    before = held()
    for attempt in (start, close):  # its thread may be so quick that there is nothing to wait for
        places = 0
        while not places:
            places = await cancelled_everywhere(attempt)
    gc.collect()
    await until(lambda: not held()[0])
    assert held()[2] <= before[2]


@story
async def test_what_does_not_wait_cannot_be_cancelled() -> None:
    async with nodes(1) as (node,):
        client = node.client("c")
        theirs = Member("room", "c", node.id)
        calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: node.add_channel("other"),
            lambda: node.join("room", client),
            lambda: client.update("room", meta=1),
            lambda: node.leave("room", theirs),
            lambda: client.join("room"),
            lambda: client.leave("room"),
            lambda: node.del_channel("other"),
            client.get,  # its Exit is there
            lambda: node.publish("room", 1),
            lambda: node.wait_for("room", 0),
            client.close,
        ]
        for call in calls:

            async def attempt(
                cancelling: Cancelling, call: Callable[[], Coroutine[Any, Any, Any]] = call
            ) -> None:
                if not client.pending and not client.closed:
                    await client.join("room")
                    await node.leave("room", theirs)
                await cancelling(call())

            assert await cancelled_everywhere(attempt) == 0


@story
async def test_get_and_both_ways_to_iterate() -> None:
    async with nodes(2) as (node, other):
        client = node.client("c")
        await client.join("room")
        subscription = await node.subscribe("room", id="s")
        await other.wait_for("room", 2, timeout=WAIT_S)
        said = 0

        async def first(items: AsyncIterator[object]) -> object:
            return await anext(items)

        async def attempt(
            cancelling: Cancelling, call: Callable[[], Coroutine[Any, Any, Any]], reader: Client
        ) -> None:
            nonlocal said
            said += 1
            getting = asyncio.create_task(cancelling(call()))
            await until(lambda: len(reader._mailbox.bell) or getting.done())
            await other.publish("room", said)
            outcome = await getting
            read = await message(reader) if outcome.cancelled else outcome.result
            if isinstance(read, list):
                (read,) = read
            assert read.data == said, outcome
            (idle,) = {client, subscription.client} - {reader}
            assert (await message(idle)).data == said
            assert not reader.pending

        ways: list[tuple[Callable[[], Coroutine[Any, Any, Any]], Client]] = [
            (client.get, client),
            (lambda: client.get(timeout=WAIT_S), client),
            (lambda: subscription.get(timeout=WAIT_S), subscription.client),
            (client.get_many, client),
            (lambda: subscription.get_many(timeout=WAIT_S), subscription.client),
            (lambda: first(aiter(client)), client),
            (lambda: first(aiter(subscription)), subscription.client),
        ]
        for call, reader in ways:
            with_this = partial(attempt, call=call, reader=reader)
            assert await cancelled_everywhere(with_this) == 2
        nobody_waits(node, other)


@story
async def test_a_subscription_that_is_entered_and_left() -> None:
    async with nodes(1) as (node,):

        async def use() -> list[object]:
            got: list[object] = []
            async with node.subscribe("room", "other", id="s") as messages:
                await node.publish("room", "one")
                async for item in messages:
                    got.append(item.data)
                    if len(got) == 2:
                        break
            return got

        async def attempt(cancelling: Cancelling) -> None:
            using = asyncio.create_task(cancelling(use()))
            await until(lambda: node.count("room") or using.done())
            if node.count("room"):
                await node.publish("room", "two")
            await using
            assert node.count("room") == node.count("other") == 0
            await node.client("s").close()  # its id is free again

        assert await cancelled_everywhere(attempt) >= 2
        nobody_waits(node)


@story
async def test_wait_for_converged_and_events() -> None:
    async with nodes(2) as (node, other):
        client = other.client("c")
        events = node.events()

        async def wait_for(cancelling: Cancelling) -> None:
            waiting = asyncio.create_task(cancelling(node.wait_for("room", timeout=WAIT_S)))
            await until(lambda: len(node._runtime.bell) or waiting.done())
            await client.join("room")
            await waiting
            await client.leave("room")
            await until(lambda: not node.count("room"))

        async def converged(cancelling: Cancelling) -> None:
            await client.join("room", meta=1)
            await cancelling(node.converged(timeout=WAIT_S))
            await node.converged(timeout=WAIT_S)

        async def next_event(cancelling: Cancelling) -> None:
            waiting = asyncio.create_task(cancelling(anext(events)))
            await until(lambda: len(events._feed.bell) or waiting.done())
            async with Node(name="passing", seeds=[node.endpoint]) as passing:
                outcome = await waiting
                seen = [] if outcome.cancelled else [outcome.result]
                async with asyncio.timeout(WAIT_S):
                    while not any(isinstance(e, PeerUp) and e.node == passing.id for e in seen):
                        seen.append(await anext(events))
            async with asyncio.timeout(WAIT_S):
                async for event in events:
                    if isinstance(event, PeerLeft) and event.node == passing.id:
                        break

        assert await cancelled_everywhere(wait_for) >= 2
        assert await cancelled_everywhere(converged) >= 1
        assert await cancelled_everywhere(next_event) >= 1
        await until(lambda: len(events._feed.bell) == 0)
        nobody_waits(node, other)


@asynccontextmanager
async def stalled(node: Node) -> AsyncIterator[None]:
    """Its I/O thread stands still: it takes nothing."""
    with node._runtime.core.lock:
        yield


@story
async def test_a_publication_that_waits_for_room_was_queued() -> None:
    config = Config(outbox_high_water_bytes=1024, publish_wait_max_s=0.05, publish_stall_s=0.2)
    async with nodes(2, config=config) as (node, other):
        client = other.client("c", max_pending=100_000)
        await client.join("room")
        await node.wait_for("room", timeout=WAIT_S)
        line = node._runtime.core.sender._lines[other.endpoint]
        room_at = node._runtime.core.sender.room_at
        said = 0

        async def attempt(cancelling: Cancelling) -> None:
            nonlocal said
            # All was read, and is perhaps not acknowledged yet: to a link that stalled a publisher
            # nothing is given before.
            await until(lambda: room_at(other.endpoint) is None)
            async with stalled(other):
                while room_at(other.endpoint) is None:
                    while room_at(other.endpoint) is None:
                        said += node.publish_nowait("room", [said, b"x" * 4096])
                    await until(lambda: not line.outbox)  # it is all under way
                outcome = await cancelling(node.publish("room", [said, b"x"]))
                said += 1
            for _ in range(said - read()):
                item = await message(client)
                assert isinstance(item, Message)
                got.append(item.data[0])  # type: ignore[index]
            assert got == list(range(said)), outcome

        got: list[int] = []

        def read() -> int:
            return len(got)

        assert await cancelled_everywhere(attempt) >= 2
        nobody_waits(node, other)


@story
async def test_a_confirmed_message_that_is_cancelled_comes_once_or_never_and_its_ticket_goes() -> (
    None
):
    async with nodes(2) as (node, other):
        client = other.client("c")
        await client.join("room")
        await node.wait_for("room", timeout=WAIT_S)
        said = 0

        async def attempt(
            cancelling: Cancelling, make: Callable[[int], Coroutine[Any, Any, Any]]
        ) -> None:
            nonlocal said
            said += 1
            outcome = await cancelling(make(said))
            if not outcome.cancelled:
                assert outcome.result.members == 1
            await node.publish("room", "last", confirm=WAIT_S)
            got = []
            while client.pending:
                item = await message(client)
                got.append(item.data)
            # It was queued before anything could be cancelled, and the next came behind it.
            assert sorted(map(str, got)) == [str(said), "last"], outcome
            await until(lambda: not node._runtime.core.tickets)

        def publish(number: int) -> Coroutine[Any, Any, Any]:
            return node.publish("room", number, confirm=WAIT_S)

        def send(number: int) -> Coroutine[Any, Any, Any]:
            return node.send(client.address, number, confirm=WAIT_S)

        for make in (publish, send):
            assert await cancelled_everywhere(partial(attempt, make=make)) >= 1
        nobody_waits(node, other)


@story
async def test_who_waits_for_others_to_know_leaves_no_question_behind() -> None:
    async with nodes(2) as (node, other):
        client, theirs = node.client("c"), other.client("ears")
        await theirs.join("ears", wait="all", timeout=WAIT_S)
        said = 0

        async def synced(cancelling: Cancelling) -> None:
            await client.join("room")
            async with stalled(other):
                waiting = asyncio.create_task(cancelling(node.synced(timeout=WAIT_S)))
                await until(lambda: len(node._runtime.bell) or waiting.done())
            await waiting
            await client.leave("room")

        async def join(cancelling: Cancelling) -> None:
            async with stalled(other):
                call = client.join("room", wait="all", timeout=WAIT_S)
                waiting = asyncio.create_task(cancelling(call))
                await until(lambda: len(node._runtime.bell) or waiting.done())
            await waiting
            await node.synced(timeout=WAIT_S)  # it was done, whoever waited for it
            assert other.count("room") == 1
            await client.leave("room")

        async def published_after(cancelling: Cancelling) -> None:
            nonlocal said
            said += 1
            # What it writes is on its way when its token is known here: waited for, or there by
            # now. Its lock cannot be held meanwhile: its I/O thread would stand before it, and
            # the join behind that.
            await theirs.join("room")
            outcome = await cancelling(node.publish("ears", said, after=other.token()))
            await node.publish("ears", "last")
            got = [(await message(theirs)).data]
            while got[-1] != "last":
                got.append((await message(theirs)).data)
            assert got == (["last"] if outcome.cancelled else [said, "last"]), outcome
            await theirs.leave("room")

        for attempt in (synced, join):
            assert await cancelled_everywhere(attempt) >= 1
        await cancelled_everywhere(published_after)
        assert not node._runtime.core.engine.knowing._asked
        nobody_waits(node, other)


@story
async def test_a_watcher_loses_no_change() -> None:
    async with nodes(1) as (node,):
        client, watch = node.client("c"), node.watch("room")
        await anext(watch)

        async def attempt(cancelling: Cancelling) -> None:
            waiting = asyncio.create_task(cancelling(anext(watch)))
            await until(lambda: len(watch._reader.feed.bell) or waiting.done())
            await client.join("room")
            outcome = await waiting
            change = await anext(watch) if outcome.cancelled else outcome.result
            assert isinstance(change, Change)
            assert [member.id for member in change.joined] == ["c"]
            await client.leave("room")
            change = await anext(watch)
            assert isinstance(change, Change)
            assert [member.id for member in change.left] == ["c"]

        assert await cancelled_everywhere(attempt) >= 2
        assert len(watch._reader.feed.bell) == 0
