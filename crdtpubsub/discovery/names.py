"""Names of hosts and their addresses, looked up again and again, where nobody has to wait for it.

`getaddrinfo` may block for half a minute and cannot be called off. So each look-up has a short
thread of its own; a name that is slow delays no other name, and no link. ZeroMQ would resolve in
its I/O thread, on which all links hang.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["Names", "resolve"]

LOOKUPS_MAX: Final = 16
"""At a time, those that hang included: the other names wait."""

BACK_OFF_MAX: Final = 8
"""A name that cannot be resolved is looked up less and less often: up to so many intervals."""


def resolve(host: str) -> tuple[str, ...]:
    """Every address of `host`, as the system finds them, IPv6 in brackets. Blocks.

    Raises:
        OSError, UnicodeError: there is none, or nobody who knows.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    return tuple(dict.fromkeys(f"[{a}]" if ":" in a else a for a in addresses))


class Names:
    """What is known of some names. For one thread; it is woken when there is news."""

    def __init__(self, hosts: Iterable[str], interval_s: float, wake: Callable[[], None]) -> None:
        self.addresses: dict[str, tuple[str, ...]] = {}  # the last that were found
        self.failed: dict[str, str] = {}  # why the last look-up found none
        self._interval_s = interval_s
        self._wake = wake
        self._due = dict.fromkeys(hosts, float("-inf"))
        self._tries = dict.fromkeys(self._due, 0)
        self._running: set[str] = set()
        self._found: deque[tuple[str, tuple[str, ...], str]] = deque()

    @property
    def news(self) -> bool:
        """Whether a look-up has ended that `look` has not seen."""
        return bool(self._found)

    def look(self, now: float) -> None:
        """Take in what was found; begin the look-ups that are due. Never waits.

        A failure changes no address: that nobody answers says nothing of who is there.
        """
        while self._found:
            host, addresses, why = self._found.popleft()
            self._running.discard(host)
            self._tries[host] = self._tries[host] + 1 if why else 0
            wait = min(2 ** min(self._tries[host], 8), BACK_OFF_MAX) if why else 1
            self._due[host] = now + wait * self._interval_s
            if why:
                self.failed[host] = why
            else:
                self.failed.pop(host, None)
                self.addresses[host] = addresses
        for host, due in self._due.items():
            if due <= now and host not in self._running and len(self._running) < LOOKUPS_MAX:
                self._begin(host)

    def _begin(self, host: str) -> None:
        thread = threading.Thread(
            target=self._look_up, args=(host,), name=f"lookup-{host:.40}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the next look tries again
            return
        self._running.add(host)

    def _look_up(self, host: str) -> None:
        try:
            addresses, why = resolve(host), ""
        except (OSError, UnicodeError) as error:
            addresses, why = (), str(error) or type(error).__name__
        self._found.append((host, addresses, why))
        self._wake()
