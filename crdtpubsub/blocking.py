"""How a thread without an event loop waits: it runs our coroutines, and their waits block.

The blocking doors are not written a second time. They run the coroutines of the asyncio doors to
their end in the calling thread, with one `send(None)`: whatever these wait for goes through
`crdtpubsub.waiting`, which asks `here` and then blocks the thread in place of suspending. No event
loop, no second thread and no hop; a call costs the price of one coroutine object.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from crdtpubsub.runtime import Bell

__all__ = ["IN_PLACE", "InPlace", "Rung", "explained", "here", "next_ring", "run"]

T = TypeVar("T")


class _Here(threading.local):
    """Whether this thread runs one of our coroutines to its end, and within which loop."""

    blocking = False
    loop: asyncio.AbstractEventLoop | None = None


_here: Final = _Here()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of this package to its end, blocking the calling thread when it waits.

    An interrupt is raised inside it, where it waits, as a cancellation would be: what it promises
    for that, it does.
    """
    before = _here.blocking, _here.loop
    _here.blocking, _here.loop = True, _running_loop()
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        _here.blocking, _here.loop = before
    coroutine.close()
    raise AssertionError("a coroutine of ours suspends by other means than crdtpubsub.waiting")


def here() -> bool:
    """Whether who asks shall block: it was called by `run`, in this thread.

    Not within a loop that was started since, by a signal handler that interrupted the wait.
    """
    return _here.blocking and _here.loop is _running_loop()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Rung:
    """One thread waits, once, until any other calls `set`; also from a signal handler.

    A bare lock, and no `threading.Event`: that holds a lock of its own while it is set, and a
    handler that interrupts the waiter there and sets it would wait for itself.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()  # taken once more by `wait`, when `set` has given it back

    def set(self) -> None:
        """Let it go. Any number of times."""
        try:
            self._lock.release()
        except RuntimeError:  # it was set before
            return

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for `set`; False if `timeout_s` seconds passed."""
        if timeout_s is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX))


def next_ring(bell: Bell, ready: Callable[[], bool], timeout_s: float | None) -> bool:
    """As `waiting.next_signal`, in this thread."""
    rung = Rung()
    waker = rung.set
    bell.subscribe(waker)
    try:
        return ready() or rung.wait(timeout_s)
    finally:
        bell.unsubscribe(waker)


class InPlace:
    """A waker of confirmed publications: it tells in the thread that brings the news."""

    def call_soon_threadsafe(self, callback: Callable[[T], object], what: T, /) -> None:
        """Call it now."""
        callback(what)


IN_PLACE: Final = InPlace()
"""One for all threads: their news are told in one call."""

C = TypeVar("C", bound=type)

_SAID_OTHERWISE: Final = (
    ("async with ", "with "),
    ("async for ", "for "),
    ("await ", ""),
    ("an async iterator", "a blocking iterator"),
    ("If cancelled", "If interrupted"),
    ("A cancelled", "An interrupted"),
    ("is cancelled", "is interrupted"),
    ("Cancelling it", "Interrupting it"),
    ("another task", "another thread"),
    ("many tasks", "many threads"),
    ("any event loop", "any thread"),
)


def explained(by: type) -> Callable[[C], C]:
    """A class decorator: each public method gets the docstring of its twin in `by`, too."""

    def explain(blocking: C) -> C:
        for name, method in vars(blocking).items():
            said = inspect.getdoc(getattr(by, name, None))
            function = getattr(method, "__func__", method)  # a class method's own
            if name.startswith("_") or not inspect.isfunction(function) or not said:
                continue
            for one, other in _SAID_OTHERWISE:
                said = said.replace(one, other)
            function.__doc__ = f"{inspect.getdoc(function)}\n\n{said}"
        return blocking

    return explain
