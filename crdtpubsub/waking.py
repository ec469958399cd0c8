"""How tasks wait for a bell that any thread rings: a thousand are woken in one callback."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any, Final
from weakref import ref

from crdtpubsub.runtime import Bell

__all__ = ["Signal", "ring"]

SPARE_MAX: Final = 4096

Call = Callable[["Signal"], object]


@coroutine
def ring(bell: Bell, ready: Callable[[], bool]) -> Generator[Any, None, None]:
    """Wait for one ring, unless `ready` already. It may also return for nothing: look again.

    Whoever waits no longer is forgotten: polling a silent bell costs no memory.
    """
    loop = asyncio.get_running_loop()
    waking = _here.waking
    if waking is None or waking.loop() is not loop:
        waking = _here.waking = _Waking(loop)
    spare, wakers = waking.spare, bell.wakers
    signal = spare.pop() if spare else Signal(waking)
    wakers[signal] = True
    try:
        if not ready():  # it may have come between the caller's look and now
            signal._asyncio_future_blocking = True  # noqa: SLF001  (what a task asks of a future)
            yield signal
    finally:
        wakers.pop(signal, None)
    if len(spare) < SPARE_MAX:
        spare.append(signal)  # as good as new: nobody waits for it, and it was not cancelled


class Signal:
    """What a waiting task awaits. Whoever calls it wakes that: any thread, any number of times.

    It carries nothing, so nothing is lost with it, nor with a loop that was closed meanwhile.
    Futures would do for few. Of a thousand done at once each calls its loop back, in an object of
    its own and one turn later; these wake their tasks in one callback for all, and are used again.
    A task takes it for a future: it asks for the loop, says what to call, and may cancel.
    """

    __slots__ = ("_asyncio_future_blocking", "_waking", "call", "context", "get_loop", "result")

    def __init__(self, waking: _Waking) -> None:
        self._asyncio_future_blocking = False
        self._waking = waking
        self.call: Call | None = None  # what to call, in which context
        self.context: Context | None = None
        self.get_loop = waking.loop
        """Whose tasks may await it."""
        self.result: Callable[[], None] = _nothing
        """Raises if it was cancelled."""

    def __call__(self) -> None:
        """Wake the task."""
        waking = self._waking
        waking.due.append(self)
        if not waking.asked:
            waking.ask()

    def wake(self) -> None:
        """The same, in the loop's own thread: the task runs before this returns."""
        if (call := self.call) is not None:
            self.call = None
            (self.context or copy_context()).run(call, self)

    def add_done_callback(self, call: Call, *, context: Context | None = None) -> None:
        """Call that once, when it is called; and what it was told before, first."""
        self.call = call if self.call is None else _Both(self.call, self.context, call)
        self.context = context

    def cancel(self, msg: object = None) -> bool:
        """The task was cancelled: it is woken in the next turn of the loop."""

        def cancelled() -> None:
            raise asyncio.CancelledError if msg is None else asyncio.CancelledError(msg)

        self.result = cancelled
        asyncio.get_running_loop().call_soon(self.wake)
        return True


class _Both:
    """A task is not the only one that was to be told."""

    def __init__(self, first: Call, context: Context | None, then: Call) -> None:
        self._first, self._context, self._then = first, context, then

    def __call__(self, signal: Signal) -> None:
        (self._context or copy_context()).run(self._first, signal)
        self._then(signal)


class _Waking:
    """The signals of one event loop: those that were called, and those that nobody uses."""

    __slots__ = ("asked", "due", "loop", "spare")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = ref(loop)
        self.due: deque[Signal] = deque()
        self.asked = False  # the loop will call back
        self.spare: list[Signal] = []

    def ask(self) -> None:
        """Have the loop call back. From any thread."""
        self.asked = True
        try:
            self._ask()
        except BaseException:  # an interrupt, perhaps half-way
            self._ask()
            raise

    def _ask(self) -> None:
        loop = self.loop()
        try:
            if loop is None:
                self.due.clear()
            elif _running_loop() is loop:
                loop.call_soon(self._wake)
            else:
                loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # a closed loop: what its tasks want stays where it is
            self.due.clear()

    def _wake(self) -> None:
        self.asked = False  # first: who calls one from now on has the loop call back once more
        due = self.due
        try:
            for _ in range(len(due)):  # with those that come meanwhile it might never end
                signal = due.popleft()
                if (call := signal.call) is not None:
                    signal.call = None
                    (signal.context or copy_context()).run(call, signal)
        except BaseException:  # a task let an interrupt pass: the others are woken, too
            self.ask()
            raise


class _Here(threading.local):
    """Of the loop that runs in this thread, or ran last."""

    waking: _Waking | None = None


_here: Final = _Here()
_nothing: Final = type(None)  # in C, as is `ref`: two calls that a task makes for each wake-up
_running_loop: Final = asyncio._get_running_loop  # noqa: SLF001  (public in all but name)
