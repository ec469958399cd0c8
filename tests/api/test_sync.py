"""The blocking door, from scripts, threads, executors, running loops, forks and interrupts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from crdtpubsub import (
    Change,
    ClosedError,
    ConfigError,
    Exit,
    ForkedError,
    Member,
    Message,
    Node,
    NotSeenError,
    Outcome,
    PeerUp,
    Snapshot,
    SyncClient,
    SyncEvents,
    SyncNode,
    SyncWatch,
)
from crdtpubsub.blocking import run
from tests.api.helpers import WAIT_S, story, wait_until
from tests.interrupts import interrupted

pytestmark = pytest.mark.net

THREADS = 20
EACH = 50


@contextmanager
def pair() -> Iterator[tuple[SyncNode, SyncNode]]:
    with (
        SyncNode(name="one", seeds=["tcp://127.0.0.1:1"]) as one,
        SyncNode(name="two", seeds=[one.endpoint]) as two,
    ):
        wait_until(lambda: all(sum(p.linked for p in n.peers()) == 1 for n in (one, two)))
        yield one, two


def data(item: Message | Exit) -> object:
    assert isinstance(item, Message)
    return item.data


def test_everything_a_script_does() -> None:
    with pair() as (one, two):
        assert "SyncNode('one'" in repr(one)
        one.add_channel("empty")
        ann = one.client("ann")
        ann.join("room", meta={"desk": 4})
        (seen,) = two.wait_for("room", 1, timeout=WAIT_S)
        assert (seen.id, seen.node, seen.meta) == ("ann", one.id, {"desk": 4})
        with two.subscribe("room", id="bob") as bob:
            assert bob.client.node is two
            one.wait_for("room", 2, timeout=WAIT_S)
            assert one.publish("room", 1, exclude=ann).members == 1
            assert one.publish_nowait("room", 2) == 2
            receipt = one.publish("room", 3, confirm=WAIT_S)
            assert set(receipt.owners.values()) == {Outcome.DELIVERED}
            assert [bob.get(timeout=WAIT_S).data for _ in range(3)] == [1, 2, 3]
            assert [data(ann.get(timeout=WAIT_S)) for _ in range(2)] == [2, 3]
            two.send(ann.address, "to you")
            assert data(ann.get(timeout=WAIT_S)) == "to you"
            ann.update("room", meta=5)
            two.converged(timeout=WAIT_S)
            assert {m.id: m.meta for m in two.members("room")} == {"ann": 5, "bob": None}
        assert two.leave("room", seen)
        assert ann.get(timeout=WAIT_S) == Exit("room", "removed")
        one.join("room", ann)
        assert one.leave("room", ann)
        assert not one.leave("room", ann)
        one.join("room", ann)
        assert one.del_channel("room") == 1
        assert one.channels() == ("empty",)
        assert one.stats().counters["confirmed"] == 1
        ann.close()


def test_a_scope_is_an_overlay_of_its_own() -> None:
    with pair() as (one, two):
        game, other = one.scope("game"), two.scope("game")
        assert (game.node, game.name) == (one, "game")
        ann = game.client("ann")
        ann.join("room")
        other.wait_for("room", timeout=WAIT_S)
        game.synced(timeout=WAIT_S)
        assert ann.node is one
        assert (other.count("room"), two.count("room")) == (1, 0)
        with other.subscribe("room") as messages:
            game.wait_for("room", 2, timeout=WAIT_S)
            receipt = game.publish("room", 1, confirm=WAIT_S)
            assert receipt.members == 2
            assert messages.get(timeout=WAIT_S).data == 1
        assert data(ann.get(timeout=WAIT_S)) == 1
        game.close()
        assert ann.get(timeout=WAIT_S) == Exit("room", "closed")
        with pytest.raises(ClosedError):
            game.publish("room", 2)


def test_who_else_knows() -> None:
    with pair() as (one, two):
        ann = one.client("ann")
        one.join("room", ann, wait="all", timeout=WAIT_S)
        assert two.count("room") == 1
        bob = one.client("bob")
        bob.join("room", wait=1, timeout=WAIT_S)
        assert two.count("room") == 2
        two.publish("room", "after", after=one.token())
        one.synced(timeout=WAIT_S)
        two.synced(one.token(), timeout=WAIT_S)
        assert one.converged(timeout=WAIT_S) == ()
        with pytest.raises(NotSeenError, match="not so many live peers"):
            ann.join("other", wait=9, timeout=0.05)


def test_a_node_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(SyncNode):
        pass

    monkeypatch.setenv("CRDTPUBSUB_NAME", "of-env")
    monkeypatch.setenv("CRDTPUBSUB_SEEDS", "tcp://127.0.0.1:1")
    with Mine.from_env() as node:
        assert (type(node), node.name) == (Mine, "of-env")
        assert node.endpoint.startswith("tcp://127.0.0.1:")
    monkeypatch.setenv("CRDTPUBSUB_SEEDS", "nonsense")
    with pytest.raises(ConfigError, match="CRDTPUBSUB_SEEDS"):
        SyncNode.from_env()


def test_what_a_reader_waits_for_comes_from_another_thread() -> None:
    with pair() as (one, two):
        client = one.client()
        client.join("room")
        two.wait_for("room", timeout=WAIT_S)
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(client.get)
            wait_until(lambda: len(client._client._mailbox.bell))  # it waits
            two.publish("room", "now")
            assert data(reader.result(WAIT_S)) == "now"
        assert not len(client._client._mailbox.bell)  # and is forgotten


def test_a_get_and_a_wait_for_end_in_time() -> None:
    with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
        client = node.client()
        began_at = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
            client.get(timeout=0.05)
        with pytest.raises(TimeoutError, match="0 members"):
            node.wait_for("room", timeout=0.05)
        with pytest.raises(TimeoutError):
            client.get(timeout=0)
        assert time.monotonic() - began_at >= 0.1


def test_twenty_threads_share_a_node_and_a_client() -> None:
    """Each item goes to one reader; every call of every thread is seen by all."""
    with pair() as (one, two):
        shared = one.client("shared", max_pending=THREADS * EACH)
        shared.join("room")
        two.wait_for("room", timeout=WAIT_S)
        before, alive = threading.active_count(), list[int]()

        def work(number: int) -> list[object]:
            mine = two.client(f"mine-{number}")
            mine.join("own", meta=number)
            for step in range(EACH):
                confirm = WAIT_S if step % 10 == 0 else None
                two.publish("room", [number, step], confirm=confirm)
                alive.append(threading.active_count())
            got = [data(shared.get(timeout=WAIT_S)) for _ in range(EACH)]
            mine.close()
            return got

        with ThreadPoolExecutor(THREADS) as pool:
            running = [pool.submit(work, number) for number in range(THREADS)]
            got = [item for work_done in running for item in work_done.result(60)]
        assert sorted(map(str, got)) == sorted(
            str([number, step]) for number in range(THREADS) for step in range(EACH)
        )
        assert two.count("own") == 0
        assert max(alive) <= before + THREADS  # no thread was made for a call


def test_readers_in_many_threads_come_to_their_end_when_the_node_closes() -> None:
    with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
        client = node.client()
        watch, events = node.watch("room"), node.events()
        assert next(watch) == Snapshot(())
        calls: list[Callable[[], object]] = [
            client.get,
            lambda: list(client),
            lambda: list(watch),
            lambda: list(events),
            lambda: node.wait_for("room"),
            lambda: list(node.subscribe("other")),
        ]
        with ThreadPoolExecutor(len(calls)) as pool:
            running = [pool.submit(call) for call in calls]
            wait_until(lambda: len(client._client._mailbox.bell) == 2)
            wait_until(lambda: node.count("other"))
            wait_until(lambda: len(node._node._runtime.bell))
            node.close()
            ends = [done.exception(WAIT_S) for done in running]
    assert [type(end) for end in ends] == [
        ClosedError,
        type(None),
        type(None),
        type(None),
        ClosedError,
        type(None),
    ]


def test_every_call_on_a_closed_node_says_so() -> None:
    with SyncNode(name="gone", seeds=["tcp://127.0.0.1:1"]) as node:
        client = node.client("c")
    for call in calls_on(node, client):
        with pytest.raises(ClosedError):
            call()
    node.close()
    client.close()
    with pytest.raises(ConfigError, match="make a new Node"):
        node.start()


def calls_on(node: SyncNode, client: SyncClient) -> list[Callable[[], object]]:
    return [
        lambda: node.members("room"),
        lambda: node.count("room"),
        node.channels,
        node.peers,
        node.stats,
        node.client,
        lambda: node.subscribe("room"),
        lambda: node.publish("room", 1),
        lambda: node.publish("room", 1, confirm=1),
        lambda: node.publish_nowait("room", 1),
        lambda: node.send(client.address, 1),
        lambda: node.add_channel("room"),
        lambda: node.del_channel("room"),
        lambda: node.wait_for("room"),
        node.converged,
        node.drain,
        lambda: client.join("room"),
        client.get,
    ]


def test_what_else_blocking_code_asks_of_a_client_and_a_node() -> None:
    with SyncNode(name="one", seeds=["tcp://127.0.0.1:1"]) as one:
        assert one.node is one
        ann = one.client("ann", max_pending=1)
        ann.join("room")
        one.add_channel("hall")
        assert one.local_channels() == ("hall", "room")
        assert one.local_channels("ro") == ("room",)
        assert one.publish("room", 1).members == one.publish("room", 2).members == 1
        assert (ann.dropped, ann.pending) == (1, 1)
        assert ann.leave("room")
        assert not ann.leave("room")
        messages = one.subscribe("room", id="bob")
        messages.close()
        messages.close()
        assert one.count("room") == 0
        assert messages.client.closed
        with pytest.raises(ClosedError):
            messages.get(timeout=WAIT_S)
        was = ann.closed
        ann.close()
        assert (was, ann.closed) == (False, True)
        assert data(ann.get(timeout=WAIT_S)) == 2  # what was queued can still be read


def test_watch_and_events_are_blocking_iterators() -> None:
    with SyncNode(name="one", seeds=["tcp://127.0.0.1:1"]) as one:
        events, watch = one.events(), one.watch(prefix="ro")
        assert isinstance(events, SyncEvents)
        assert isinstance(watch, SyncWatch)
        assert next(watch) == Snapshot(())
        with SyncNode(name="two", seeds=[one.endpoint]) as two:
            up = next(events)
            assert isinstance(up, PeerUp)
            two.client("bob").join("room")
            change = next(watch)
            assert isinstance(change, Change)
            assert [member.id for member in change.joined] == ["bob"]
        watch.close()
        events.close()
        assert [type(item) for item in events][-1:] != [PeerUp]
        assert all(isinstance(item, Change) for item in watch)


def test_a_subscription_ends_with_its_last_membership() -> None:
    with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
        messages = node.subscribe("a", "b", id="ann")
        node.publish("a", 0)
        assert [message.data for message in messages.get_many(5, timeout=WAIT_S)] == [0]
        bob = node.client("bob")
        bob.join("a")
        node.publish("a", 0)
        assert len(bob.get_many()) == len(messages.get_many()) == 1
        node.publish("a", 1)
        node.del_channel("a")
        node.publish("b", 2)
        node.del_channel("b")
        assert [message.data for message in messages] == [1, 2]
        assert [notice.channel for notice in messages.exits] == ["a", "b"]
        assert messages.client.closed
        with pytest.raises(ConfigError):
            node.subscribe()


def test_drain_closes_when_all_is_acknowledged() -> None:
    with pair() as (one, two):
        client = one.client()
        client.join("room")
        two.wait_for("room", timeout=WAIT_S)
        for number in range(500):
            two.publish("room", number)
        two.drain(timeout=WAIT_S)
        assert [data(client.get(timeout=0)) for _ in range(500)] == list(range(500))
        with pytest.raises(ClosedError):
            two.publish("room", 1)


def test_a_full_queue_and_a_stranger_are_told_in_the_receipt() -> None:
    with pair() as (one, two):
        with pytest.raises(ConfigError):
            one.publish("room", 1, confirm=0)
        full = two.client("full", max_pending=1)
        full.join("room")
        one.wait_for("room", timeout=WAIT_S)
        assert one.publish("room", 1, confirm=WAIT_S).members == 1
        receipt = one.publish("room", 2, confirm=WAIT_S)
        assert receipt.owners == {two.id: Outcome.REFUSED_FULL}
        stranger = Member("room", "nobody", two.id)
        assert one.send(stranger, 1, confirm=WAIT_S).members == 0


@story
async def test_in_the_executor_of_a_running_loop() -> None:
    with SyncNode(name="sync", seeds=["tcp://127.0.0.1:1"]) as blocking:
        async with Node(name="async", seeds=[blocking.endpoint]) as node:
            client = blocking.client("ann")
            await asyncio.to_thread(client.join, "room")
            await node.wait_for("room", timeout=WAIT_S)
            readers = [asyncio.to_thread(client.get, timeout=WAIT_S) for _ in range(5)]
            waits = asyncio.gather(*readers)
            for number in range(5):
                await node.publish("room", number, confirm=WAIT_S)
            assert sorted(str(data(item)) for item in await waits) == list("01234")


@story
async def test_in_the_thread_of_a_running_loop_it_blocks_and_does_not_deadlock() -> None:
    """Nothing of a node needs the loop of its caller: even its own asyncio twin answers."""
    async with Node(name="async", seeds=["tcp://127.0.0.1:1"]) as node:
        listener = node.client("bob")
        await listener.join("room")
        with SyncNode(name="sync", seeds=[node.endpoint]) as blocking:
            blocking.wait_for("room", timeout=WAIT_S)
            receipt = blocking.publish("room", 1, confirm=WAIT_S)
            assert receipt.owners == {node.id: Outcome.DELIVERED}
            blocking.converged(timeout=WAIT_S)
            with blocking.subscribe("answers") as answers:
                await node.wait_for("answers", timeout=WAIT_S)
                await node.publish("answers", 2)
                assert answers.get(timeout=WAIT_S).data == 2
                with pytest.raises(TimeoutError):
                    answers.get(timeout=0.01)
        assert data(await listener.get(timeout=WAIT_S)) == 1


def test_a_loop_that_a_signal_handler_starts_during_a_wait_is_not_blocked() -> None:
    """What such a handler runs is asyncio's again, though the thread waits for us."""
    saw: list[object] = []

    async def asks(node: Node) -> None:
        client = node.client("other")
        reader = asyncio.create_task(client.get(timeout=WAIT_S))  # would never let go of the loop
        await asyncio.sleep(0)
        await client.join("room")
        await node.publish("room", "from the handler")
        saw.append(data(await reader))

    with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
        client = node.client("waits")
        client.join("room")
        before = signal.signal(signal.SIGUSR1, lambda *_: asyncio.run(asks(node._node)))
        try:
            thread = threading.Thread(target=when_it_waits, args=(client, signal.SIGUSR1))
            thread.start()
            assert data(client.get(timeout=WAIT_S)) == "from the handler"
            thread.join()
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert saw == ["from the handler"]


def when_it_waits(client: SyncClient, what: signal.Signals) -> None:
    wait_until(lambda: len(client._client._mailbox.bell))
    signal.pthread_kill(threading.main_thread().ident or 0, what)


def test_a_coroutine_that_is_not_ours_is_refused() -> None:
    async def suspends() -> None:
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match=r"crdtpubsub\.waiting"):
        run(suspends())


def test_an_interrupt_anywhere_in_a_get_loses_nothing() -> None:
    with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
        client = node.client()
        client.join("room")
        got: list[Message | Exit] = []

        def take() -> None:
            got[:] = [client.get(timeout=WAIT_S)]

        place = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a coroutine that had not begun
            while True:
                node.publish("room", place)
                got.clear()
                broken = interrupted(place, take)
                there = [data(item) for item in got]
                there += [data(client.get(timeout=0)) for _ in range(client.pending)]
                assert there == [place]
                assert (client.pending, client.pending_bytes) == (0, 0)
                if not broken:
                    break
                place += 1
        assert place >= 8


def test_control_c_leaves_a_get_at_once_and_loses_nothing() -> None:
    script = """
        import os, signal, threading, time
        from crdtpubsub import SyncNode
        with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
            client = node.client()
            client.join("room")
            def interrupt():
                while not len(client._client._mailbox.bell):
                    time.sleep(0.001)
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=interrupt).start()
            try:
                client.get()
            except KeyboardInterrupt:
                print("left")
            node.publish("room", "and goes on")
            print(client.get(timeout=5).data)
            waits = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            waits.start()
            try:
                node.wait_for("nobody")
            except KeyboardInterrupt:
                print("left again")
        print("closed")
    """
    assert of(script) == ["left", "and goes on", "left again", "closed"]


def test_control_c_that_nobody_catches_ends_the_process_in_time() -> None:
    script = """
        import os, signal, threading
        from crdtpubsub import SyncNode
        with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            for item in node.client():
                print("never")
    """
    began_at = time.monotonic()
    ran = python(script)
    assert ran.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in ran.stderr
    assert ran.stdout == ""
    assert time.monotonic() - began_at < WAIT_S


def test_an_interpreter_that_exits_without_close_says_goodbye() -> None:
    """Others see it leave, not die; and a daemon thread that waits keeps nobody."""
    with SyncNode(name="stays", seeds=["tcp://127.0.0.1:1"]) as node:
        watch = node.watch("room")
        assert next(watch) == Snapshot(())
        script = f"""
            import threading
            from crdtpubsub import SyncNode
            node = SyncNode(seeds=[{node.endpoint!r}]).start()
            client = node.client("ann")
            client.join("room")
            threading.Thread(target=lambda: list(client), daemon=True).start()
            events = node.events()
            while not any(peer.linked for peer in node.peers()):
                next(events)
            node.converged(timeout=10)
            print("done")
        """
        assert of(script) == ["done"]
        came, went = next(watch), next(watch)
        assert isinstance(came, Change)
        assert isinstance(went, Change)
        assert ([m.id for m in came.joined], [m.id for m in went.left]) == (["ann"], ["ann"])
        assert went.cause == "op"  # a goodbye, and no failure


def test_a_child_of_a_fork_is_told_and_its_parent_goes_on() -> None:
    with SyncNode(seeds=["tcp://127.0.0.1:1"]) as node:
        client = node.client("c")
        client.join("room")
        calls = calls_on(node, client)
        assert in_a_child(calls) == [ForkedError.__name__] * len(calls)
        node.publish("room", "after")
        assert data(client.get(timeout=WAIT_S)) == "after"


def test_workers_forked_from_one_process_meet_each_other() -> None:
    """The master imports, describes nothing, and forks; each worker starts a node of its own."""
    with SyncNode(name="seed", seeds=["tcp://127.0.0.1:1"]) as seed:
        endpoint = seed.endpoint

        def worker() -> None:
            with SyncNode(seeds=[endpoint]) as node, node.subscribe("workers") as messages:
                node.wait_for("workers", 4, timeout=WAIT_S)
                node.publish("workers", "hello", confirm=WAIT_S)
                heard = {messages.get(timeout=WAIT_S).sender for _ in range(4)}
                assert len(heard) == 4

        pids = [forked(worker) for _ in range(4)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert codes == [0, 0, 0, 0]
        wait_until(lambda: seed.count("workers") == 0)


def forked(act: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, from 3.12
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        act()
        code = 0
    finally:
        os._exit(code)


def in_a_child(calls: list[Callable[[], object]]) -> list[str]:
    read, write = os.pipe()

    def tell() -> None:
        os.write(write, "\n".join(map(raised_by, calls)).encode())

    pid = forked(tell)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read().split("\n")
    os.waitpid(pid, 0)
    return said


def raised_by(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001  (its name is what is asked for)
        return type(error).__name__
    return "None"


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def of(script: str) -> list[str]:
    """What it prints; it must end well and say nothing else."""
    ran = python(script)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()
