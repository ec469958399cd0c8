"""`drain` between processes: a slow reader, one that dies, and a rolling restart."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.net.cluster import free_port
from tests.net.test_life import ended, script

pytestmark = [pytest.mark.net, pytest.mark.timeout(120)]

PUBLISHED: Final = 50_000

Script = subprocess.Popen[str]

READER: Final = """
import asyncio, json, sys
from crdtpubsub import Node, Message

async def main():
    async with Node("{bind}", name="reader") as node:
        client = node.client("c", max_pending=10_000_000, max_pending_bytes=2**32)
        await client.join("room")
        print("ready", node.endpoint, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        got = []
        while client.pending:
            got.append((await client.get()).data)
        peers = [p.name for p in node.peers()]
        print(json.dumps({{"got": got, "peers": peers}}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""

PUBLISHER: Final = """
import asyncio, json, os, signal, sys
from crdtpubsub import ClosedError, DrainError, Node

async def main():
    node = Node(name="publisher", seeds=["{seed}"])
    await node.start()
    await node.wait_for("room", timeout=20)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    {wait}
    promised = []
    for number in range({count}):
        receipt = await node.publish("room", number)
        if set(receipt.owners.values()) == {{"queued"}}:
            promised.append(number)
    missing = 0
    draining = asyncio.create_task(node.drain(timeout={timeout}))
    try:
        while True:  # until it takes nothing new
            node.publish_nowait("nobody", number)
            await asyncio.sleep(0)
    except ClosedError:
        print(json.dumps({{"draining": []}}), flush=True)
    try:
        await draining
    except DrainError as error:
        ((name, missing),) = error.publications.values()
        assert name == "reader"
    print(json.dumps({{"promised": promised, "missing": missing}}), flush=True)
    os._exit(0)  # nothing that drain has left behind could leave now

asyncio.run(main())
"""


@contextmanager
def hiccups(process: Script) -> Iterator[None]:
    """It stands still for half of the time, in short pieces, as if it had little of a core."""
    done = threading.Event()

    def stop_and_go() -> None:
        while not done.wait(0.03):
            process.send_signal(signal.SIGSTOP)
            done.wait(0.03)
            process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        process.send_signal(signal.SIGCONT)


def read(process: Script) -> dict[str, Any]:
    """What the process says next."""
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said


def go_on(process: Script) -> None:
    """Its next `readline` returns."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@contextmanager
def stage(count: int, timeout: float, wait: str = "") -> Iterator[tuple[Script, Script]]:
    """A reader, and a publisher that floods it."""
    bind = f"tcp://127.0.0.1:{free_port()}"
    publishes = PUBLISHER.format(seed=bind, count=count, timeout=timeout, wait=wait)
    with script(READER.format(bind=bind)) as reads, script(publishes) as floods:
        yield reads, floods


def test_a_flood_to_a_slow_reader_then_drain_then_exit_loses_nothing_it_promised() -> None:
    """Bare ZeroMQ lost 27,000 of 40,000 when its socket was closed, whatever its linger."""
    with stage(PUBLISHED, 60) as (reads, floods):
        with hiccups(reads):
            assert read(floods) == {"draining": []}
            said = read(floods)
        ended(floods)
        go_on(reads)
        seen = read(reads)
        print(f"promised {len(said['promised'])}, got {len(seen['got'])} of {PUBLISHED}")
        assert said["missing"] == 0
        assert len(said["promised"]) > PUBLISHED // 10
        assert seen["got"] == said["promised"]  # in order, each once, and no other
        assert seen["peers"] == []  # it said goodbye


def test_a_reader_that_dies_while_a_publisher_drains_is_named_with_what_it_owes() -> None:
    with stage(1000, 60, wait="await asyncio.to_thread(sys.stdin.readline)") as (reads, floods):
        reads.send_signal(signal.SIGSTOP)
        go_on(floods)
        assert read(floods) == {"draining": []}
        reads.kill()
        said = read(floods)
        assert said["missing"] > 0
        assert ended(floods)[1] == ""


def test_a_rolling_restart_publishes_its_last_words_on_sigterm() -> None:
    with stage(100, 20, wait="await stop.wait()") as (reads, floods):
        floods.send_signal(signal.SIGTERM)
        assert read(floods) == {"draining": []}
        said = read(floods)
        ended(floods)
        go_on(reads)
        assert read(reads) == {"got": said["promised"], "peers": []}
        assert len(said["promised"]) == 100
