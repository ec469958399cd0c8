"""The nodes that run in this process: what becomes of them in a fork, and at its exit."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

__all__ = ["Living", "began"]


class Living(Protocol):
    """What can be ended from outside."""

    def stop(self) -> None:
        """End soon; do not wait."""

    def close(self) -> None:
        """End, and return when it is done."""

    def forked(self) -> None:
        """This is the child of a fork."""


_made: weakref.WeakSet[Living] = weakref.WeakSet()
_running: weakref.WeakSet[Living] = weakref.WeakSet()


def made(node: Living) -> None:
    """It is there, and may be started on either side of a fork."""
    _made.add(node)


def began(node: Living) -> None:
    """It runs from now on: whoever does not close it, the exit of the process does."""
    _running.add(node)


def _close_all() -> None:
    nodes = list(_running)
    for node in nodes:  # all at once: twenty of them take no longer than one
        node.stop()
    for node in nodes:
        node.close()


def _forget_in_child() -> None:
    for node in list(_made):
        node.forked()
    _running.clear()  # what runs is the parent's to close


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_in_child)
