"""What `Node.watch` tells: all of it, once, in whole steps, to whoever reads, slow or not."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest

from crdtpubsub import (
    Cause,
    Change,
    ClosedError,
    ConfigError,
    Exit,
    InvalidNameError,
    Member,
    Node,
    SlowWatcher,
    Snapshot,
    Watch,
)
from crdtpubsub.engine.peers import Sign
from crdtpubsub.runtime.watchers import CHANGES_MAX
from tests.api.helpers import WAIT_S, nodes, story, until

Mirror = dict[tuple[str, str, str], object]


async def read(watch: Watch) -> Snapshot | Change:
    async with asyncio.timeout(WAIT_S):
        return await anext(watch)


async def change(watch: Watch) -> Change:
    item = await read(watch)
    assert isinstance(item, Change), item
    return item


def key(member: Member) -> tuple[str, str, str]:
    return member.channel, member.node, member.id


def replay(mirror: Mirror, item: Snapshot | Change) -> None:
    """What a watcher would do, strict: nobody comes twice or leaves who was not there."""
    if isinstance(item, Snapshot):
        mirror.clear()
        mirror.update({key(m): m.meta for m in item.members})
        return
    for member in item.left:
        del mirror[key(member)]
    for member in item.joined:
        assert key(member) not in mirror
        mirror[key(member)] = member.meta
    for member in item.updated:
        assert key(member) in mirror
        mirror[key(member)] = member.meta


def ids(members: tuple[Member, ...]) -> list[str]:
    return [member.id for member in members]


@story
async def test_a_snapshot_and_then_who_comes_changes_and_goes() -> None:
    async with nodes(2) as [here, there]:
        ann = here.client("ann")
        await ann.join("room", meta={"mood": "new"})
        await there.wait_for("room", 1, timeout=WAIT_S)
        watch = there.watch("room")
        first = await read(watch)
        assert isinstance(first, Snapshot)
        assert ids(first.members) == ["ann"]
        assert first.members == there.members("room")

        await here.client("bob").join("room")
        await here.client("bob2").join("elsewhere")
        came = await change(watch)
        assert (ids(came.joined), came.left, came.updated) == (["bob"], (), ())
        assert came.cause is Cause.OP
        assert f"{came.cause}" == "op"

        await ann.update("room", meta={"mood": "old"})
        other = await change(watch)
        assert (other.joined, other.left) == ((), ())
        assert [m.meta for m in other.updated] == [{"mood": "old"}]

        await ann.leave("room")
        gone = await change(watch)
        assert (ids(gone.left), gone.joined, gone.cause) == (["ann"], (), "op")
        assert not gone.left[0].down


@story
async def test_a_node_that_was_closed_left_and_one_that_went_down_is_unreachable() -> None:
    """S04, T07: `down` tells the one from the other, in the change and in `members`."""
    async with nodes(2) as [here, there]:
        for client in ("bob", "ann"):
            await there.client(client).join("room")
        await here.wait_for("room", 2, timeout=WAIT_S)
        watch = here.watch("room")
        await read(watch)
        with here._runtime.core.lock:  # it holds `there` down, as after a cut
            peer = here._runtime.core.engine._cluster.peers[there.id]
            here._runtime.core.engine._liveness._cluster.move(peer, Sign.SLEPT, time.monotonic())
            here._runtime.core.perform(here._runtime.core.engine.take())
        here._runtime.core.let_go(wake=True)
        hidden = await change(watch)
        assert (ids(hidden.left), hidden.cause) == (["ann", "bob"], "node_down")
        assert all(member.down for member in hidden.left)
        back = await change(watch)
        assert (ids(back.joined), back.cause) == (["ann", "bob"], "node_up")
        assert not any(member.down for member in here.members("room", include_down=True))
        await there.close()
        left = await change(watch)
        assert (ids(left.left), left.cause) == (["ann", "bob"], "op")
        assert not any(member.down for member in left.left)
        assert here.members("room", include_down=True) == ()


@story
async def test_by_prefix_everything_and_nothing_of_declarations() -> None:
    async with nodes(1) as [node]:
        await node.add_channel("a.declared")
        some, every = node.watch(prefix="a."), node.watch()
        for watch in (some, every):
            assert await read(watch) == Snapshot(())
        await node.add_channel("a.later")
        ann = node.client("ann")
        for channel in ("b", "a.1", "a.2"):
            await ann.join(channel)
        assert [(await change(some)).joined[0].channel for _ in range(2)] == ["a.1", "a.2"]
        assert [(await change(every)).joined[0].channel for _ in range(3)] == ["b", "a.1", "a.2"]
        again = await read(node.watch(prefix="a."))
        assert isinstance(again, Snapshot)
        assert [m.channel for m in again.members] == ["a.1", "a.2"]
        with pytest.raises(ConfigError, match="not both"):
            node.watch("a", prefix="a")
        with pytest.raises(InvalidNameError):
            node.watch("\x00")


@story
async def test_a_slow_watcher_begins_again_and_is_told_and_counted() -> None:
    async with nodes(1) as [node]:
        events, watch, ann = node.events(), node.watch("room"), node.client("ann")
        assert await read(watch) == Snapshot(())
        for _ in range(CHANGES_MAX // 2 + 50):
            await ann.join("room")
            await ann.leave("room")
        await ann.join("room")
        # Nobody is fed who is behind: a reader whose loop was closed costs nothing more.
        assert len(node._runtime.core.watchers) == 0
        assert not node._runtime.core.watchers.any
        fresh = await read(watch)
        assert isinstance(fresh, Snapshot)
        assert ids(fresh.members) == ["ann"]
        assert node.stats().counters["watch_resyncs"] == 1
        async with asyncio.timeout(WAIT_S):
            assert await anext(events) == SlowWatcher("room", CHANGES_MAX + 1)
        await ann.leave("room")
        assert ids((await change(watch)).left) == ["ann"]


@story
async def test_whoever_is_no_longer_held_is_forgotten_and_watching_costs_nothing_again() -> None:
    async with nodes(1) as [node]:
        watchers = node._runtime.core.watchers
        kept, dropped, closed = node.watch("room"), node.watch("room"), node.watch()
        for watch in (kept, dropped, closed):
            await read(watch)
        assert len(watchers) == 3
        closed.close()
        assert len(watchers) == 2
        with pytest.raises(StopAsyncIteration):
            await anext(closed)
        del dropped, watch
        gc.collect()
        ann = node.client("ann")
        await ann.join("room")
        assert len(watchers) == 1
        del kept
        gc.collect()
        await ann.leave("room")
        assert len(watchers) == 0
        assert not watchers.any


@story
async def test_it_ends_with_the_node_and_does_not_begin_before_it() -> None:
    node = Node()
    early = node.watch("room")
    with pytest.raises(ClosedError):
        await anext(early)
    async with node:
        assert await read(early) == Snapshot(())
        await node.client("ann").join("room")
        waiting = asyncio.ensure_future(anext(node.watch("nobody")))
        assert isinstance(await waiting, Snapshot)
        reads = [item async for item in _until_closed(early, node)]
    assert [ids(item.joined) for item in reads if isinstance(item, Change)] == [["ann"]]
    assert [item async for item in node.watch("room")] == []


async def _until_closed(watch: Watch, node: Node) -> AsyncIterator[Snapshot | Change]:
    async for item in watch:
        yield item
        asyncio.get_running_loop().call_soon(node._runtime.stop)


@story
async def test_a_cancelled_reader_loses_nothing_and_any_loop_may_go_on() -> None:
    async with nodes(1) as [node]:
        watch = node.watch()
        assert await read(watch) == Snapshot(())
        for _ in range(20):
            reader = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        await node.client("ann").join("room")
        item = await asyncio.to_thread(lambda: asyncio.run(read(watch)))
        assert isinstance(item, Change)
        assert ids(item.joined) == ["ann"]


@story
async def test_q20_snapshot_and_changes_are_the_members_under_churn_from_several_threads() -> None:
    """Z10 on real nodes: three watchers, of which two begin in the middle of it."""
    async with nodes(2) as [here, there]:

        def churn(node: Node, name: str) -> None:
            async def run() -> None:
                clients = [node.client(f"{name}{n}") for n in range(4)]
                for n in range(300):
                    client, channel = clients[n % 4], f"room{n % 3}"
                    await client.join(channel, meta=n)
                    if n % 5 == 0:
                        await node.del_channel(channel)
                    if n % 3 == 0:
                        await client.leave(channel)

            asyncio.run(run())

        async def mirror(watch: Watch, into: Mirror) -> None:
            async for item in watch:
                replay(into, item)

        mirrors: list[Mirror] = [{}, {}, {}]
        watches = [there.watch(), there.watch("room1"), there.watch(prefix="room")]
        readers = [asyncio.ensure_future(mirror(watches[0], mirrors[0]))]
        threads = [
            threading.Thread(target=churn, args=(node, name))
            for node, name in ((here, "a"), (here, "b"), (there, "c"))
        ]
        for thread in threads:
            thread.start()
        await asyncio.sleep(0)
        readers += [
            asyncio.ensure_future(mirror(w, m))
            for w, m in zip(watches[1:], mirrors[1:], strict=True)
        ]
        await asyncio.gather(*[asyncio.to_thread(thread.join) for thread in threads])
        await here.converged(timeout=WAIT_S)

        def truth(*channels: str) -> Mirror:
            return {key(m): m.meta for c in channels for m in there.members(c)}

        def agree(held: Mirror, channels: tuple[str, ...]) -> bool:
            return held == truth(*channels)

        every = ("room0", "room1", "room2")
        for held, expected in zip(mirrors, (every, every[1:2], every), strict=True):
            await until(partial(agree, held, expected))
        assert truth(*every)
        for watch in watches:
            watch.close()
        await asyncio.gather(*readers)


@story
async def test_t13_an_update_of_one_who_is_no_member_raises_and_brings_nobody_back() -> None:
    async with nodes(2) as [here, there]:
        ann = here.client("ann")
        with pytest.raises(ConfigError, match="no member"):
            await ann.update("room", meta=1)
        await ann.join("room", meta={"a": 1, "b": 2})
        await there.wait_for("room", 1, timeout=WAIT_S)
        [member] = here.members("room")
        assert isinstance(member.meta, dict)
        await ann.update("room", meta={**member.meta, "a": 3})  # T12
        await until(lambda: there.members("room")[0].meta == {"a": 3, "b": 2})
        await ann.update("room", meta=None)
        await until(lambda: there.members("room")[0].meta is None)
        assert await there.del_channel("room") == 1
        assert await ann.get(timeout=WAIT_S) == Exit("room", "removed")
        with pytest.raises(ConfigError, match="no member"):
            await ann.update("room", meta=1)
        assert here.members("room") == ()


def test_an_update_that_meets_its_own_removal_brings_nobody_back() -> None:
    """A check before the write, outside of the lock, would join anew who was removed between."""

    async def run() -> None:
        async with nodes(1) as [node]:
            ann = node.client("ann")
            for n in range(200):
                await ann.join("room")
                remover = threading.Thread(target=lambda: asyncio.run(_remove(node)))
                remover.start()
                try:
                    for m in range(3):
                        await ann.update("room", meta=[n, m])
                except ConfigError:
                    pass
                remover.join()
                assert node.members("room") == ()

    asyncio.run(run())


async def _remove(node: Node) -> None:
    await node.del_channel("room")
