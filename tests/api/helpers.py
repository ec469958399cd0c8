"""What the tests of the doors share: running a coroutine, waiting, counting what leaks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from crdtpubsub import Client, Exit, Message, Node

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S: Final = 10.0


def story(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A coroutine as a test."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(holds: Callable[[], object], *, timeout: float = WAIT_S) -> None:
    """Wait until `holds()`."""
    deadline_s = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline_s, "not so in time"
        await asyncio.sleep(0.002)


def wait_until(
    holds: Callable[[], object], *, timeout: float = WAIT_S, why: Callable[[], str] | None = None
) -> None:
    """The same in blocking code; `why` says what is missing."""
    deadline_s = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline_s, why() if why else "not so in time"
        time.sleep(0.002)


@asynccontextmanager
async def nodes(count: int, **options: Any) -> AsyncIterator[list[Node]]:
    """So many nodes in this process, each linked with every other."""
    made: list[Node] = []
    try:
        for n in range(count):
            seeds = [made[0].endpoint] if made else []
            given = {"bind": "tcp://127.0.0.1:*", **options}
            made.append(await Node(name=f"n{n}", seeds=seeds, **given).start())
        await until(lambda: all(sum(p.linked for p in n.peers()) == count - 1 for n in made))
        yield made
    finally:
        for node in made:
            await node.close()


async def message(client: Client) -> Message:
    """The next item, which must be a message."""
    item = await client.get(timeout=WAIT_S)
    assert isinstance(item, Message)
    return item


async def exits(client: Client) -> Exit:
    """The next item, which must be an exit."""
    item = await client.get(timeout=WAIT_S)
    assert isinstance(item, Exit)
    return item


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that need not wait for anything, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


def held() -> tuple[list[str], int, int]:
    """Threads of ours, all threads but those of asyncio's executor, open files."""
    ours = [t.name for t in threading.enumerate() if t.name.startswith("crdtpubsub")]
    tasks, files = Path("/proc/self/task"), Path("/proc/self/fd")
    executors = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
    return ours, len(list(tasks.iterdir())) - executors, len(list(files.iterdir()))
