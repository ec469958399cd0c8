"""Start, close, fork, leaks: the life of a node in one process, on real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable

import pytest

from crdtpubsub import BindError, ClosedError, ConfigError, ForkedError, Node, PayloadError
from tests.api.helpers import WAIT_S, at_once, held, message, nodes, story, until

pytestmark = pytest.mark.net


@story
async def test_start_close_and_what_is_said_of_it() -> None:
    node = Node(name="n")
    assert await node.start() is node
    assert node.node is node
    assert node.endpoint.startswith("ipc:///")
    assert "running" in repr(node)
    await node.close()
    await node.close()
    assert "closed" in repr(node)


@story
async def test_a_node_starts_once() -> None:
    async with Node() as node:
        with pytest.raises(ConfigError, match="make a new Node"):
            await node.start()
        assert node.peers() == ()  # and goes on
    with pytest.raises(ConfigError, match="make a new Node"):
        await node.start()


@story
async def test_every_call_on_a_closed_node_says_so() -> None:
    async with Node(name="gone") as node:
        client = node.client("c")
        await client.join("room")
    calls: list[Callable[[], object]] = [
        lambda: node.members("room"),
        lambda: node.local_members("room"),
        lambda: node.count("room"),
        node.channels,
        node.local_channels,
        node.peers,
        node.stats,
        node.client,
        lambda: node.publish_nowait("room", 1),
        lambda: at_once(node.publish("room", 1)),
        lambda: at_once(node.add_channel("room")),
        lambda: at_once(node.del_channel("room")),
        lambda: at_once(node.wait_for("room")),
        lambda: at_once(node.converged()),
        lambda: at_once(client.join("other")),
        lambda: at_once(client.get()),
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="closed"):
            call()
    assert client.channels == ()
    assert client.closed
    await client.close()


@story
async def test_what_is_queued_can_be_read_after_close() -> None:
    async with Node() as node:
        client = node.client()
        await client.join("room")
        await node.publish("room", "last words")
    assert (await message(client)).data == "last words"
    with pytest.raises(ClosedError):
        await client.get()


@story
async def test_close_ends_what_waits() -> None:
    node = await Node().start()
    client = node.client()
    await client.join("room")
    subscription = await node.subscribe("other")

    async def iterate() -> list[object]:
        return [item async for item in client]

    async def listen() -> list[object]:
        return [item async for item in subscription]

    waiting = [asyncio.create_task(client.get()), asyncio.create_task(node.wait_for("room", 9))]
    ending = [asyncio.create_task(iterate()), asyncio.create_task(listen())]
    await asyncio.sleep(0)
    await node.close()
    async with asyncio.timeout(WAIT_S):
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, ClosedError)
        assert await asyncio.gather(*ending) == [[], []]


@story
async def test_a_taken_port_is_a_bind_error_and_leaves_nothing() -> None:
    async with Node("tcp://127.0.0.1:*") as first:
        before = held()
        second = Node(bind=first.endpoint)
        with pytest.raises(BindError) as caught:
            await second.start()
        assert caught.value.endpoint == first.endpoint
        assert "in use" in caught.value.reason
        with pytest.raises(ClosedError, match="closed"):
            second.members("room")
        await second.close()
        await until(lambda: held()[0] == before[0])
        assert held()[2] == before[2]


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:99999", "tcp://127.0.0.1", "ipc:///no/such/dir"])
@story
async def test_a_bind_that_cannot_be(bind: str) -> None:
    node = Node(bind=bind)
    with pytest.raises(BindError, match="cannot listen on"):
        await node.start()


@story
async def test_seeds_that_are_down_do_not_keep_it_from_starting() -> None:
    async with Node("tcp://127.0.0.1:*") as gone:
        seed = gone.endpoint
    async with Node(name="early", seeds=[seed]) as early:
        assert early.peers() == ()
        async with Node(name="late", bind=seed):
            await until(lambda: [p.name for p in early.peers() if p.linked] == ["late"])


@story
async def test_ipc_works_as_well() -> None:
    path = f"ipc://@crdtpubsub-test-{os.getpid()}"
    async with Node(bind=path) as a, Node(seeds=[path]) as b:
        assert a.endpoint == path
        await a.add_channel("room")
        await until(lambda: b.channels() == ("room",))


@story
async def test_a_start_that_was_cancelled_leaves_nothing_behind() -> None:
    """Cancelling cancelled the runtime's own future too: its thread died with the sockets open."""
    await asyncio.to_thread(lambda: None)
    before = held()
    for _ in range(20):
        node = Node()
        starting = asyncio.create_task(node.start())
        await asyncio.sleep(0)
        if not starting.cancel():  # its thread was faster than this one
            await node.close()
            continue
        with pytest.raises(asyncio.CancelledError):
            await starting
        with pytest.raises(ClosedError):
            node.members("room")
    gc.collect()
    await until(lambda: held()[0] == before[0])
    assert held()[2] <= before[2]


@story
async def test_a_close_that_was_cancelled_closes() -> None:
    node = await Node().start()
    closing = asyncio.create_task(node.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await until(lambda: "closed" in repr(node))


@story
async def test_twenty_who_close_at_a_time_and_from_other_threads() -> None:
    node = await Node().start()
    async with asyncio.timeout(WAIT_S):
        here = [node.close() for _ in range(10)]
        there = [asyncio.to_thread(asyncio.run, node.close()) for _ in range(10)]
        await asyncio.gather(*here, *there)
    await until(lambda: held()[0] == [])


@pytest.mark.parametrize("after", range(3))
@story
async def test_a_close_while_it_starts(after: int) -> None:
    node = Node()
    starting = asyncio.create_task(node.start())
    for _ in range(after):
        await asyncio.sleep(0)
    began = starting.done()  # where its thread was faster than this one
    await node.close()
    if began:
        assert await starting is node
        return
    with pytest.raises(ClosedError, match="while it started" if after else "before it started"):
        await starting
    await until(lambda: held()[0] == [])  # a thread ends a moment after its node


@story
async def test_close_under_load_takes_under_a_second_and_the_others_hear_of_it() -> None:
    """One peer takes nothing; what is queued for it is dropped, and the goodbye goes before."""
    async with nodes(3) as (node, stalls, reads):
        for other in (stalls, reads):
            await other.client("c", max_pending_bytes=2**30).join("room")
        await node.wait_for("room", 2, timeout=WAIT_S)
        with stalls._runtime.core.lock:
            for _ in range(1000):
                await node.publish("room", b"x" * 65536)
            began_s = time.monotonic()
            await node.close()
            took_s = time.monotonic() - began_s
            await until(lambda: [p.name for p in reads.peers()] == ["n1"])
        print(f"close took {1000 * took_s:.0f} ms")
        assert took_s < 1.0
        await until(lambda: [p.name for p in stalls.peers()] == ["n2"])


@story
async def test_a_node_that_nobody_closed_is_closed_with_a_warning() -> None:
    async with Node() as witness:
        node = await Node(seeds=[witness.endpoint]).start()
        await node.client("c").join("room")
        await witness.wait_for("room", timeout=WAIT_S)
        held_by = [node]
        del node
        with pytest.warns(ResourceWarning, match="unclosed Node"):
            held_by.clear()
        await until(lambda: not witness.count("room"))
        await until(lambda: len(held()[0]) == 1 + 1)  # and its little thread for handshakes


@story
async def test_a_subscription_that_could_not_join_leaves_its_name_free() -> None:
    async with Node() as node:
        with pytest.raises(PayloadError):
            await node.subscribe("room", id="s", meta=object())
        with pytest.raises(PayloadError):
            async with node.subscribe("room", id="s", meta=object()):
                pass
        assert node.count("room") == 0
        await node.subscribe("room", id="s")
        assert [m.id for m in node.members("room")] == ["s"]


@story
async def test_fifty_lives_leave_no_thread_and_no_file() -> None:
    async def live() -> None:
        async with Node() as a, Node(seeds=[a.endpoint]) as b:
            client = a.client()
            await client.join("room")
            await b.wait_for("room", timeout=WAIT_S)
            await b.publish("room", 1)
            await message(client)

    for _ in range(3):
        await live()
    gc.collect()
    before = held()
    for _ in range(25):
        await live()
    gc.collect()
    await until(lambda: held()[1] <= before[1])
    assert held()[0] == before[0] == []
    assert held()[2] <= before[2]


@story
async def test_two_clusters_on_one_host_never_see_each_other() -> None:
    async with (
        Node(name="a", cluster="red") as a,
        Node(name="b", cluster="red", seeds=[a.endpoint]) as b,
        Node(name="x", cluster="blue", seeds=[a.endpoint, b.endpoint]) as x,
    ):
        for node in (a, x):
            await node.client("c").join("room")
        await b.wait_for("room", timeout=WAIT_S)
        frames = a.stats().counters["transport_frames_in"]
        await until(lambda: a.stats().counters["transport_frames_in"] > frames + 5)
        assert [p.name for p in a.peers()] == ["b"]
        assert [p.name for p in b.peers()] == ["a"]
        assert x.peers() == ()
        assert {m.node for m in b.members("room")} == {a.id}
        assert (await x.publish("room", 1)).members == 1


@story
async def test_a_child_of_a_fork_is_told_and_its_parent_goes_on() -> None:
    async with nodes(2) as (node, other):
        client = node.client("c")
        await client.join("room")
        await node.publish("room", "before")
        calls: list[Callable[[], object]] = [
            lambda: node.members("room"),
            lambda: node.count("room"),
            node.channels,
            node.peers,
            node.stats,
            node.client,
            lambda: node.publish_nowait("room", 1),
            lambda: at_once(node.publish("room", 1)),
            lambda: at_once(node.add_channel("other")),
            lambda: at_once(node.del_channel("room")),
            lambda: at_once(node.wait_for("room")),
            lambda: at_once(node.converged()),
            lambda: at_once(client.join("other")),
            lambda: at_once(client.leave("room")),
            lambda: at_once(client.get()),
        ]
        assert in_a_child(calls) == [ForkedError.__name__] * len(calls)
        assert node.count("room") == 1
        await other.wait_for("room", timeout=WAIT_S)
        await other.publish("room", "after")
        assert [(await message(client)).data for _ in range(2)] == ["before", "after"]


@story
async def test_a_child_of_a_fork_may_have_a_node_of_its_own() -> None:
    async with Node() as node:
        await node.client("c").join("room")
        seed = node.endpoint

        def lives() -> None:
            async def joins() -> None:
                async with Node(seeds=[seed]) as mine:
                    await mine.wait_for("room", timeout=WAIT_S)

            thread = threading.Thread(target=lambda: asyncio.run(joins()))
            thread.start()
            thread.join()

        assert await asyncio.to_thread(in_a_child, [lives]) == ["None"]


def in_a_child(calls: list[Callable[[], object]]) -> list[str]:
    """What each call raised in a forked child."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, from 3.12
        pid = os.fork()
    if pid == 0:
        try:
            os.write(write, "\n".join(map(raised_by, calls)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said.split("\n")


def raised_by(call: Callable[[], object]) -> str:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - the test wants to know
        return type(error).__name__
    return "None"
