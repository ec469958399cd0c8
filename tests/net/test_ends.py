"""How a process with a node ends: signals, exits, threads, forks. No hang, no complaint."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.net.cluster import ROOT, Cluster, Process, equals, story, without_slowness
from tests.net.test_life import WAIT_S, ended, script, without_interrupt

pytestmark = [pytest.mark.net, pytest.mark.timeout(90)]

MEMBER: Final = """
import asyncio, os, signal, sys, threading
from crdtpubsub import Node

async def main():
    async with Node(name="leaver", seeds=["{seed}"]) as node:
        stop = asyncio.Event()
        {handler}
        await node.client("c").join("room")
        print("ready", node.endpoint, flush=True)
        await stop.wait()

{run}
"""

ON_SIGTERM: Final = "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)"

IN_A_THREAD: Final = """
threading.Thread(target=asyncio.run, args=(main(),), daemon={daemon}).start()
input()
"""


async def gone(witness: Process, *, at_most_s: float = 1.0) -> None:
    """The member is not listed any more, soon."""
    await equals(lambda: witness.sees("room"), set(), timeout=at_most_s)


async def end(
    witness: Process, *, number: int | None, handler: str = "", run: str = "asyncio.run(main())"
) -> tuple[int, str]:
    """Start a member, send it a signal or let its main thread run out; how it ended."""
    text = MEMBER.format(seed=witness.endpoint, handler=handler, run=run)
    with script(text) as process:
        await witness.ask("wait_for", channel="room", count=1, timeout=WAIT_S)
        if number is not None:
            process.send_signal(number)
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        await gone(witness)
        took_s, complaints = ended(process)
        assert took_s < 2.0
        return process.wait(), complaints


@story
async def test_sigterm_that_is_handled_says_goodbye() -> None:
    async with Cluster() as cluster:
        (witness,) = await cluster.start_all("witness")
        assert await end(witness, number=signal.SIGTERM, handler=ON_SIGTERM) == (0, "")
        assert await witness.ask("peers") == []  # a goodbye, not a death


@story
async def test_sigterm_that_nobody_handles_is_a_death_that_is_seen() -> None:
    async with Cluster() as cluster:
        (witness,) = await cluster.start_all("witness")
        assert await end(witness, number=signal.SIGTERM) == (-signal.SIGTERM, "")
        ((_, name, state, _),) = await witness.ask("peers")
        assert (name, state) == ("leaver", "down")


@story
async def test_os_exit_is_a_death_that_is_seen() -> None:
    async with Cluster() as cluster:
        (witness,) = await cluster.start_all("witness")
        handler = "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 3)"
        assert await end(witness, number=signal.SIGTERM, handler=handler) == (3, "")


@story
async def test_an_exit_while_the_loop_runs_in_a_daemon_thread_says_goodbye() -> None:
    async with Cluster() as cluster:
        (witness,) = await cluster.start_all("witness")
        run = IN_A_THREAD.format(daemon=True).replace("input()", "sys.stdin.read()")
        assert await end(witness, number=None, run=run) == (0, "")
        assert await witness.ask("peers") == []


@story
async def test_sys_exit_in_the_middle_says_goodbye() -> None:
    async with Cluster() as cluster:
        (witness,) = await cluster.start_all("witness")
        handler = "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sys.exit, 4)"
        assert await end(witness, number=signal.SIGTERM, handler=handler) == (4, "")
        assert await witness.ask("peers") == []


SPAWNS: Final = """
import asyncio, multiprocessing
from crdtpubsub import ForkedError, Node

def child(node, seed, results):
    if node is not None:
        try:
            node.members("room")
        except ForkedError:
            results.put("told")
        return

    async def joins():
        async with Node(seeds=[seed]) as mine:
            await mine.wait_for("room", timeout=20)
            results.put("joined")

    asyncio.run(joins())

async def main():
    async with Node(name="parent") as node:
        client = node.client("c")
        await client.join("room")
        print("ready", node.endpoint, flush=True)
        for method in ("fork", "spawn", "forkserver"):
            context = multiprocessing.get_context(method)
            results = context.SimpleQueue()
            forked = node if method == "fork" else None
            process = context.Process(target=child, args=(forked, node.endpoint, results))
            process.start()
            print(method, await asyncio.to_thread(results.get), flush=True)
            await asyncio.to_thread(process.join)
            process.close()
            await node.publish("room", method)
            assert (await client.get(timeout=20)).data == method

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_multiprocessing_by_every_method() -> None:
    """A child that was forked is told; one that was spawned has a node of its own."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "spawns.py"
        path.write_text(SPAWNS)
        flags = ("-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning")
        done = subprocess.run(
            [sys.executable, *flags, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert without_slowness(done.stderr) == ""
    assert done.stdout.split("\n")[1:-1] == ["fork told", "spawn joined", "forkserver joined"]


STOPPED: Final = """
import asyncio, os, signal, sys
from crdtpubsub import Node

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
alone = f"stopped-{os.getpid()}"  # several of these run at a time, and shall not meet
parent = os.getppid()

print("ready", flush=True)

async def main():
    while os.getppid() == parent:  # a test that was killed leaves nobody behind
        async with (
            Node(name="a", cluster=alone) as a,
            Node(name="b", cluster=alone, seeds=[a.endpoint]) as b,
        ):
            async with a.subscribe("room") as messages:
                await b.wait_for("room")
                for number in range(20):
                    await b.publish("room", number)
                async for message in messages:
                    if message.data == 19:
                        break

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""


def stopped_at(after_s: float, number: signal.Signals, *, at_most_s: float = 2.0) -> None:
    with script(STOPPED) as process:
        time.sleep(after_s)  # the moment is the point
        process.send_signal(number)
        took_s, complaints = ended(process)
        code = process.wait()
    assert took_s < at_most_s, after_s
    assert without_interrupt(complaints) == "", after_s
    assert code in ((0,) if number is signal.SIGINT else (-number,)), after_s


def test_a_process_that_is_stopped_at_any_moment() -> None:
    dice = random.Random(8)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        stopped_at(dice.uniform(0.05, 0.5), number)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("hundred", range(10))
def test_a_process_that_is_stopped_at_a_thousand_moments(hundred: int) -> None:
    """In blocks of a hundred, so that a part can be run again: `-k 'thousand_moments and 7'`.

    A process mostly starts: four at a time. What hangs is given more time than one alone needs.
    """
    dice = random.Random(900 + hundred)
    moments = [
        (dice.uniform(0.05, 0.6), dice.choice((signal.SIGINT, signal.SIGTERM))) for _ in range(100)
    ]
    with ThreadPoolExecutor(4) as pool:
        stops = [pool.submit(stopped_at, *moment, at_most_s=10.0) for moment in moments]
        wrong = [str(error) for stop in stops if (error := stop.exception()) is not None]
    assert not wrong, wrong
