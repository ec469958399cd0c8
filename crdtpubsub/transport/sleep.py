"""The sleep of the thread that polls: how others end it, and what they may do while it lasts."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from crdtpubsub.transport.base import Happening

__all__ = ["Sleep"]


class Sleep:
    """Waits in a selector, which holds one end of a pair of sockets: many calls are one wake-up.

    `gate` is held to fall asleep, to get up, and by another thread that works meanwhile: who
    holds it and finds `deep` true knows that the sleeper touches nothing but the selector.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.deep = False
        self.gate = threading.Lock()
        self._selector = selector
        self._closing = threading.Lock()  # only against a close() in the middle of a wake()
        self._awake = False
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)
        selector.register(self._out, selectors.EVENT_READ, self._on_wake)

    def until(self, timeout_s: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep until something is ready, somebody calls, or the time is over."""
        with self.gate:
            self.deep = True
        try:
            return self._selector.select(timeout_s)
        finally:
            with self.gate:
                self.deep = False

    def wake(self) -> None:
        """End it. From any thread, at any time."""
        # Whoever finds the flag up was heard: it is lowered before `poll` returns to its caller.
        if self._awake:
            return
        self._awake = True
        try:
            with self._closing, contextlib.suppress(OSError):
                self._in.send(b"!")
        except BaseException:  # an interrupt: with the flag up and no byte nobody is heard again
            self._awake = False
            raise

    def _on_wake(self, _out: list[Happening], /) -> None:
        with contextlib.suppress(BlockingIOError):
            self._out.recv(64)
        self._awake = False

    def close(self) -> None:
        """The selector is closed. Who calls `wake` now is not heard."""
        with self._closing:
            self._in.close()
            self._out.close()
