"""What every benchmark needs: child processes, facts about the machine, percentiles, JSON lines.

All times are `time.monotonic()`, which is one clock for all processes of a Linux machine, so a
one-way latency is the difference of a stamp taken here and a stamp taken there.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Final, Self

import zmq

from crdtpubsub import Node
from crdtpubsub.waiting import wait_until

__all__ = [
    "HEAR_S",
    "Child",
    "Children",
    "Pipe",
    "Role",
    "counted",
    "emit",
    "facts",
    "linked",
    "machine_busy",
    "medians",
    "parser",
    "percentile",
    "rss_bytes",
    "spread_us",
]

HEAR_S: Final = 120.0
"""A child that says nothing for this long has hung: the benchmark fails and says which."""

_FRESH: Final = multiprocessing.get_context("forkserver")
_FRESH.set_forkserver_preload(["benchmarks.common", "benchmarks.bare"])
"""Forked from a process that has imported what all need, and has done nothing: half a second of
imports less for each child, of which some cases start fifty."""

_ROOT: Final = Path(__file__).resolve().parent.parent


class Pipe:
    """One end of the pipe between a benchmark and its child. What is said is any picklable."""

    def __init__(self, connection: Connection, what: str) -> None:
        self._connection = connection
        self._what = what

    def tell(self, said: object) -> None:
        self._connection.send(said)

    def hear(self, timeout_s: float = HEAR_S) -> Any:
        """The next thing said; raises what the child died of, or TimeoutError."""
        if not self._connection.poll(timeout_s):
            raise TimeoutError(f"{self._what} said nothing for {timeout_s} s")
        said = self._connection.recv()
        if isinstance(said, _Died):
            raise RuntimeError(f"{self._what} failed:\n{said.trace}")  # noqa: TRY004
        return said

    async def heard(self, timeout_s: float = HEAR_S) -> Any:
        """The same from an event loop, which goes on."""
        return await asyncio.to_thread(self.hear, timeout_s)


class _Died:
    def __init__(self, trace: str) -> None:
        self.trace = trace


Role = Callable[..., Awaitable[None]]
"""`async def role(pipe, ...)`, at the top of a module: what one process does."""


def _main(role: Role, connection: Connection, args: tuple[Any, ...], loop: str) -> None:
    pipe = Pipe(connection, "the benchmark")
    try:
        factory = import_module(loop).new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_run(role, pipe, args))
    except BaseException:  # noqa: BLE001  (whatever it is, the parent must hear of it)
        pipe.tell(_Died(traceback.format_exc()))


async def _run(role: Role, pipe: Pipe, args: tuple[Any, ...]) -> None:
    await role(pipe, *args)


class Child(Pipe):
    """A process of its own, that shares nothing with this one, running `role(pipe, *args)`."""

    def __init__(self, role: Role, *args: Any, loop: str = "asyncio") -> None:
        """`loop`: the module whose `new_event_loop` runs it."""
        here, there = _FRESH.Pipe()
        what = f"{getattr(role, '__name__', role)}{args!r:.80}"
        super().__init__(here, what)
        self.process = _FRESH.Process(target=_main, args=(role, there, args, loop), daemon=True)
        self.process.start()
        there.close()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def ask(self, said: object, timeout_s: float = HEAR_S) -> Any:
        """Say something and hear the answer."""
        self.tell(said)
        return self.hear(timeout_s)

    def stop(self) -> None:
        """End it: every role ends when it hears None, and is killed if it does not."""
        with suppress(OSError):
            self.tell(None)
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Children:
    """The processes of one case; all are gone at the end of the `with` block."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def start(self, role: Role, *args: Any) -> Child:
        child = Child(role, *args)
        self._stack.callback(child.stop)
        return child

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


async def linked(node: Node, peers: int, timeout_s: float = 20.0) -> None:
    """Until `node` has that many living peers it can send to."""
    async with asyncio.timeout(timeout_s):
        while sum(peer.linked and peer.state == "alive" for peer in node.peers()) < peers:  # noqa: ASYNC110  (there is no event for it yet)
            await asyncio.sleep(0.002)


async def counted(node: Node, channel: str, holds: Callable[[int], bool], timeout_s: float) -> None:
    """Until `holds(members of channel)` here, woken by changes.

    As `Node.wait_for`, which knows no "at most" and returns the members: a hundred thousand
    objects that would be measured along.
    """
    await wait_until(
        node._runtime.bell,  # noqa: SLF001
        lambda: holds(node.count(channel)),
        timeout_s=timeout_s,
        complaint=lambda: f"{channel!r} has {node.count(channel)} members",
    )


# ---------------------------------------------------------------- numbers


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank; `values` need not be sorted."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def spread_us(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max of some times, in microseconds."""
    return {
        "p50_us": round(percentile(seconds, 50) * 1e6, 1),
        "p99_us": round(percentile(seconds, 99) * 1e6, 1),
        "max_us": round(max(seconds) * 1e6, 1),
        "samples": len(seconds),
    }


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Key by key, the median over some runs of the same case."""
    return {key: round(median(row[key] for row in rows), 3) for key in rows[0]}


def rss_bytes() -> int:
    """Resident memory of this process, after a collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# ---------------------------------------------------------------- facts and output


@cache
def _fixed_facts() -> dict[str, object]:
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "date": f"{datetime.now(tz=UTC):%Y-%m-%d}",
    }


def facts() -> dict[str, object]:
    """Where and with what a number was measured, and how busy the machine is by now."""
    return {**_fixed_facts(), "load": [round(x, 2) for x in os.getloadavg()]}


def machine_busy() -> bool:
    """Whether others had more than half a core before we began."""
    return os.getloadavg()[0] > 0.5


def _commit() -> str:
    given = os.environ.get("BENCH_COMMIT")  # the tree under test was copied out of its repository
    if given:
        return given
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.stdout.strip()


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def emit(benchmark: str, case: str, **values: object) -> None:
    """Print one JSON line."""
    line = {"benchmark": benchmark, "case": case, **values, "facts": facts()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the header of the benchmark."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
