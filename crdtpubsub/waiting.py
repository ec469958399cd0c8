"""How a coroutine waits for something that another thread brings about."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

__all__ = ["next_signal"]


async def next_signal(
    subscribe: Callable[[Callable[[], None]], None],
    ready: Callable[[], bool],
    timeout_s: float | None,
) -> bool:
    """Wait for one signal, unless `ready` already; False if `timeout_s` seconds passed.

    `subscribe` is given a waker that any thread may call, any number of times, also after the
    event loop was closed. It carries nothing, so nothing is lost with it: who is woken looks
    for itself.
    """
    loop = asyncio.get_running_loop()
    signal: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not signal.done():
            signal.set_result(None)

    def waker() -> None:
        with contextlib.suppress(RuntimeError):  # a closed loop: what it wants stays where it is
            loop.call_soon_threadsafe(settle)

    subscribe(waker)
    if ready():  # it came between the caller's look and the subscription
        return True
    try:
        async with asyncio.timeout(timeout_s):
            await signal
    except TimeoutError:
        return False
    return True
