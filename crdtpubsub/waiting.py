"""How a coroutine waits for something that another thread brings about.

Every wait of the doors is one of these, so that `blocking.run` can have them block a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic
from typing import Final, Self

from crdtpubsub import blocking
from crdtpubsub.crdt.token import Token
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.knowing import NO_LINK
from crdtpubsub.errors import ClosedError, DrainError, NotSeenError
from crdtpubsub.runtime import Bell, Feed, Notice, Runtime, Waker
from crdtpubsub.waking import ring

__all__ = [
    "Events",
    "Settled",
    "next_signal",
    "pause",
    "wait_for_room",
    "wait_until",
    "wait_until_drained",
    "wait_until_seen",
    "wait_until_seen_here",
]

_YIELD_EVERY: Final = 128
_ASK_AGAIN_S: Final = 0.1
_LOOK_AGAIN_S: Final = 0.02
"""An acknowledgement that leaves something queued rings no bell."""


async def next_signal(
    bell: Bell,
    ready: Callable[[], bool],
    timeout_s: float | None,
) -> bool:
    """Wait for one ring, unless `ready` already; False if `timeout_s` seconds passed.

    Nothing comes with a ring, so nothing is lost with it: who is woken looks for itself.
    """
    if blocking.here():
        return blocking.next_ring(bell, ready, timeout_s)
    if timeout_s is None:
        await ring(bell, ready)
        return True
    try:
        async with asyncio.timeout(timeout_s):
            await ring(bell, ready)
    except TimeoutError:
        return False
    return True


async def pause() -> None:
    """Let others on this event loop have their turn."""
    if not blocking.here():
        await asyncio.sleep(0)


class Settled:
    """Waits for one confirmed publication: `waker` and `done` go into its ticket."""

    def __init__(self) -> None:
        """For the task or thread that makes it."""
        self.waker: Waker
        self._rung: blocking.Rung | None = None
        if blocking.here():
            self._rung, self.waker = blocking.Rung(), blocking.IN_PLACE
        else:
            self.waker = loop = asyncio.get_running_loop()
            self._future: asyncio.Future[None] = loop.create_future()

    def done(self) -> None:
        """It is settled. Called by the waker."""
        if self._rung is not None:
            self._rung.set()
        elif not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Until `done` was called, or the time is over."""
        if self._rung is not None:
            self._rung.wait(timeout_s)
        elif timeout_s is None:
            await self._future
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._future


async def wait_until(
    bell: Bell,
    holds: Callable[[], bool],
    *,
    timeout_s: float | None = None,
    complaint: Callable[[], str] = str,
    again_s: float | None = None,
    again: Callable[[], object] = lambda: None,
) -> None:
    """Wait for rings until `holds()`; every `again_s` seconds without it, do `again()`.

    Raises:
        TimeoutError: `timeout_s` seconds passed; with `complaint()` as its text.
    """
    start = monotonic()
    while not holds():
        left_s = None if timeout_s is None else start + timeout_s - monotonic()
        if left_s is not None and left_s <= 0:
            raise TimeoutError(complaint())
        pauses = [pause_s for pause_s in (left_s, again_s) if pause_s is not None]
        if not await next_signal(bell, holds, min(pauses, default=None)):
            again()


async def wait_for_room(runtime: Runtime, endpoint: str) -> None:
    """Wait while that outbox is above its mark; a link without progress holds nobody."""
    config, sender = runtime.config, runtime.core.sender
    asked_at = monotonic()
    while (progress_at := sender.room_at(endpoint)) is not None:
        now = monotonic()
        left_s = max(asked_at, progress_at) + config.publish_stall_s - now
        if left_s <= 0:
            with runtime.core.lock:
                runtime.core.counters["stalled"] += sender.stall(endpoint)
            return
        if now - asked_at >= config.publish_wait_max_s:
            return
        await next_signal(runtime.bell, lambda: sender.room_at(endpoint) is None, left_s)


async def wait_until_drained(runtime: Runtime, timeout_s: float) -> None:
    """Leave every channel, and wait until the peers have acknowledged every publication.

    Raises:
        DrainError: they have not; the caller closes the node.
        ClosedError: it was closed meanwhile.
    """
    began_at = monotonic()
    me = runtime.id
    for number, (scope, channel, client) in enumerate(runtime.begin_drain()):
        with contextlib.suppress(ClosedError):  # a scope that was closed meanwhile
            runtime.write(ev.Leave(scope, channel, me, client, by_client=True))
        if number % _YIELD_EVERY == _YIELD_EVERY - 1:
            await pause()
    left_s = max(0.0, began_at + timeout_s - monotonic())
    with contextlib.suppress(TimeoutError):
        await wait_until(runtime.bell, runtime.drained, timeout_s=left_s, again_s=_LOOK_AGAIN_S)
    if missing := runtime.undrained():
        raise DrainError(publications=missing, waited_s=monotonic() - began_at)


async def wait_until_seen(
    runtime: Runtime,
    token: Token,
    *,
    timeout_s: float | None,
    enough: int | None = None,
    linked_only: bool = False,
) -> None:
    """Wait until this node and every live peer (or `enough` peers) have seen the token.

    Raises:
        NotSeenError: `timeout_s` seconds passed.
    """
    number = runtime.write(ev.AskSeen(token))
    knowing = runtime.core.engine.knowing

    def missing() -> dict[str, tuple[str, str]]:
        runtime.check()
        with runtime.core.lock:
            said_yes, why = knowing.answers(token, number)
            here = knowing.seen(token)
            names = {peer.node: peer.name for peer in runtime.core.engine.peers()}
        if enough is not None and len(said_yes) >= enough and here:
            return {}
        lacking = {
            str(life): (names.get(life, ""), reason)
            for life, reason in why.items()
            if not (linked_only and reason == NO_LINK)
        }
        if not here:
            lacking[runtime.id] = (runtime.name, "it has not arrived here")
        if enough is not None and not lacking:
            lacking[""] = (f"{enough - len(said_yes)} more", "there are not so many live peers")
        return lacking

    try:
        await wait_until(
            runtime.bell,
            lambda: not missing(),
            timeout_s=timeout_s,
            again_s=_ASK_AGAIN_S,
            again=lambda: runtime.write(ev.AskSeen(token, number)),
        )
    except TimeoutError:
        raise NotSeenError(missing=missing(), waited_s=timeout_s) from None
    finally:
        knowing.forget(number)


async def wait_until_seen_here(runtime: Runtime, token: Token) -> None:
    """Wait until this node has seen the token."""

    def seen() -> bool:
        runtime.check()
        with runtime.core.lock:
            return runtime.core.engine.knowing.seen(token)

    await wait_until(runtime.bell, seen, again_s=_LOOK_AGAIN_S)


class Events:
    """The notices of one node, for one reader: an async iterator. Made by `Node.events`.

    Belongs to no event loop and no thread; several readers share what comes. A reader that is
    cancelled loses nothing; an iterator that is dropped is forgotten.
    """

    def __init__(self, feed: Feed) -> None:
        """Use `Node.events` instead."""
        self._feed = feed

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Notice:
        """The next notice; ends when the node, or this iterator, is closed and all was read."""
        feed = self._feed
        while (notice := feed.take()) is None:
            if feed.closed and not feed:
                raise StopAsyncIteration
            await next_signal(feed.bell, lambda: bool(feed) or feed.closed, None)
        return notice

    def close(self) -> None:
        """Take no more notices; what waits can still be read. Idempotent."""
        self._feed.close()
