"""A lock that is handed over: who waits goes next, and not whoever just let go of it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, RLock

__all__ = ["HandOverLock"]


class HandOverLock:
    """A fair enough mutex, from two plain ones. Safe against a KeyboardInterrupt at any moment.

    With a plain `Lock` a thread that works in slices takes it again before the one it woke
    has run: a second thread waited 133 ms at the median and 4.4 s at worst. Here the next in
    line holds the turnstile while it waits, so the slicer stops there until it has had its turn.
    """

    __slots__ = ("__exit__", "_lock", "_turnstile", "plain")

    __exit__: Callable[..., None]
    """C, looked up in the slot: a Python `__exit__` can be interrupted before its first line."""

    def __init__(self) -> None:
        self._turnstile = Lock()
        self._lock = RLock()  # not to be taken twice: it knows who holds it, see below
        self.plain = self._lock  # the same without the line: for a microsecond, see `Streams.say`
        self.__exit__ = self._lock.__exit__

    def __enter__(self) -> None:
        try:
            with self._turnstile:
                self._lock.acquire()
        except BaseException:
            # An interrupt came while it waited, or right after it had got it.
            try:  # noqa: SIM105 - a context manager would be more code to be interrupted in
                self._lock.release()
            except RuntimeError:
                pass
            raise
