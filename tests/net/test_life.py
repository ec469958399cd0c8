"""How a process with a node begins, idles and ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.net.cluster import ROOT, STRICT, Cluster, cpu_s, story, without_slowness

pytestmark = [pytest.mark.net, pytest.mark.timeout(90)]

WAIT_S: Final = 20.0
IDLE_S: Final = 5.0

LISTENS: Final = """
import asyncio
from crdtpubsub import Node

async def main():
    async with Node(name="listener") as node:
        async with node.subscribe("room") as messages:
            print("ready", node.endpoint, flush=True)
            async for message in messages:
                print(message.data, flush=True)

{run}
"""

POLITE: Final = """
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""

NEVER_CLOSES: Final = """
import asyncio
from crdtpubsub import Node

async def main():
    node = await Node(name="forgotten").start()
    client = node.client("c")
    await client.join("room")
    print("ready", node.endpoint, flush=True)
    {wait}
    return node, client

node, client = asyncio.run(main())
print("done", flush=True)
"""


@contextmanager
def script(text: str) -> Iterator[subprocess.Popen[str]]:
    """Run it, strictly, until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, *STRICT, "-c", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("ready"), process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[float, str]:
    """How long it took to end, and what it wrote on stderr."""
    began_s = time.monotonic()
    _, complaints = process.communicate(timeout=WAIT_S)
    return time.monotonic() - began_s, without_slowness(complaints)


def without_interrupt(complaints: str) -> str:
    """Without the traceback that Python itself prints for a Ctrl-C nobody catches."""
    interrupt = r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n|During handling.*\n"
    interrupt += r"|Traceback.*\n|asyncio\.exceptions\.CancelledError\n)*KeyboardInterrupt\n?"
    return re.sub(interrupt, "", complaints)


def test_ctrl_c_leaves_within_a_second_without_a_word() -> None:
    with script(LISTENS.format(run=POLITE)) as process:
        process.send_signal(signal.SIGINT)
        took_s, complaints = ended(process)
        print(f"Ctrl-C took {1000 * took_s:.0f} ms")
        assert complaints == ""
        assert process.returncode == 0
        assert took_s < 1.0


def test_ctrl_c_that_nobody_catches_leaves_within_a_second_without_a_warning() -> None:
    with script(LISTENS.format(run="asyncio.run(main())")) as process:
        process.send_signal(signal.SIGINT)
        took_s, complaints = ended(process)
        assert without_interrupt(complaints) == ""
        assert process.returncode == -signal.SIGINT
        assert took_s < 1.0


def test_an_interpreter_that_exits_without_close_says_goodbye_all_the_same() -> None:
    with script(NEVER_CLOSES.format(wait="await asyncio.to_thread(input)")) as process:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        took_s, complaints = ended(process)
        assert complaints == ""
        assert process.returncode == 0
        assert took_s < 2.0


def test_an_exception_in_the_middle_is_the_only_complaint() -> None:
    run = "async def fails():\n    raise LookupError('mine')\n"
    text = LISTENS.format(run=f"{run}asyncio.run(main())").replace(
        "async for message in messages:", "for message in [await fails()]:"
    )
    with script(text) as process:
        _, complaints = ended(process)
        assert complaints.count("Traceback") == 1
        assert complaints.endswith("LookupError: mine\n")


@story
async def test_a_node_that_exits_without_close_is_gone_elsewhere_at_once() -> None:
    async with Cluster() as cluster:
        (a,) = await cluster.start_all("a")
        text = NEVER_CLOSES.replace('"forgotten"', f'"forgotten", seeds=["{a.endpoint}"]')
        with script(text.format(wait="await asyncio.to_thread(input)")) as process:
            await a.ask("wait_for", channel="room", count=1, timeout=WAIT_S)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            began_s = time.monotonic()
            while await a.sees("room"):
                assert time.monotonic() - began_s < 1.0
            _, complaints = ended(process)
            assert complaints == ""
        assert await a.ask("peers") == []  # a goodbye, not a death


@story
async def test_an_idle_cluster_uses_under_a_percent_of_a_core_per_node() -> None:
    async with Cluster(flags=()) as cluster:
        processes = await cluster.start_all("a", "b", "c", "d", "e")
        for process in processes:
            await process.join("room", *(f"c{n}" for n in range(20)))
        await cluster.settle(*processes)
        shares: list[float] = []
        for _ in range(4):  # a noisy machine gets more than one chance
            before = [cpu_s(process.pid) for process in processes]
            began_s = time.monotonic()
            await asyncio.sleep(IDLE_S)
            took_s = time.monotonic() - began_s
            used = [cpu_s(p.pid) - b for p, b in zip(processes, before, strict=True)]
            shares = [100 * cpu / took_s for cpu in used]
            print("idle, % of a core:", ", ".join(f"{share:.2f}" for share in shares))
            if sum(shares) / len(shares) < 1.0:
                break
        assert sum(shares) / len(shares) < 1.0


@story
async def test_no_process_is_left_behind() -> None:
    async with Cluster() as cluster:
        processes = await cluster.start_all("a", "b")
        pids = [process.pid for process in processes]
        for pid in pids:
            os.kill(pid, 0)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_child_ends_with_its_parent() -> None:
    """A parent that was killed cannot clean up: its children see their stdin end."""
    text = """
import asyncio, sys
from tests.net.cluster import Cluster

async def main():
    async with Cluster() as cluster:
        a = await cluster.start("a")
        print("ready", a.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[1])
        parent.kill()
    began_s = time.monotonic()
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() - began_s < WAIT_S, f"{pid} is an orphan"
        time.sleep(0.02)
