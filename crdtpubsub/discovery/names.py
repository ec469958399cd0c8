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

__all__ = ["HUNG_AFTER_S", "Names", "resolve"]

LOOKUPS_MAX: Final = 16
"""At a time, those that hang not counted: the other names wait."""

THREADS_MAX: Final = 64
"""At a time, those that hang included: then no look-up begins before one of them ends."""

HUNG_AFTER_S: Final = 5.0
"""One resolver's time-out, as resolv.conf(5) has it: who takes longer makes no other name wait."""

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

    def __init__(
        self,
        hosts: Iterable[str],
        interval_s: float,
        wake: Callable[[], None],
        *,
        on_demand: bool = False,
    ) -> None:
        """Of `hosts`, and what is asked for. `on_demand`: what was found is not looked up again."""
        self.addresses: dict[str, tuple[str, ...]] = {}  # the last that were found
        self.failed: dict[str, str] = {}  # why the last look-up found none
        self.hung = 0  # look-ups that took longer than `HUNG_AFTER_S`, so far
        self._interval_s = interval_s
        self._wake = wake
        self._on_demand = on_demand
        self._due = dict.fromkeys(hosts, float("-inf"))
        self._tries: dict[str, int] = {}
        self._running: dict[str, float] = {}  # since when
        self._hanging: set[str] = set()  # of those that run
        self._found: deque[tuple[str, tuple[str, ...], str]] = deque()

    @property
    def news(self) -> bool:
        """Whether a look-up has ended that `look` has not seen."""
        return bool(self._found)

    def ask(self, host: str) -> None:
        """Look `host` up at the next `look`; one that failed, when it is its turn again."""
        if self._due.get(host, float("inf")) == float("inf"):
            self._due[host] = float("-inf")

    def forget(self, host: str) -> None:
        """It is of no interest any more. A look-up that hangs keeps its thread."""
        self._due.pop(host, None)
        self._tries.pop(host, None)
        self.addresses.pop(host, None)
        self.failed.pop(host, None)

    def look(self, now: float) -> list[str]:
        """Take in what was found; begin the look-ups that are due. Never waits.

        A failure changes no address: that nobody answers says nothing of who is there.

        Returns:
            Those of which something is known that was not before, or that they hang.
        """
        told = []
        while self._found:
            host, addresses, why = self._found.popleft()
            self._running.pop(host, None)
            self._hanging.discard(host)
            if host not in self._due:
                continue
            told.append(host)
            if why:
                self._fail(host, why, now)
            else:
                self._tries.pop(host, None)
                self.failed.pop(host, None)
                self.addresses[host] = addresses
                self._due[host] = float("inf") if self._on_demand else now + self._interval_s
        for host, since in self._running.items():
            if now - since >= HUNG_AFTER_S and host not in self._hanging:
                self._hanging.add(host)
                self.hung += 1
                if host in self._due:
                    told.append(host)
                    self._fail(host, f"no answer within {HUNG_AFTER_S:g} s", now)
        for host, due in self._due.items():
            if due <= now and host not in self._running and self._has_room():
                self._begin(host, now)
        return told

    def _fail(self, host: str, why: str, now: float) -> None:
        tries = self._tries[host] = self._tries.get(host, 0) + 1
        self._due[host] = now + min(2 ** min(tries, 8), BACK_OFF_MAX) * self._interval_s
        self.failed[host] = why

    def _has_room(self) -> bool:
        running = len(self._running)
        return running - len(self._hanging) < LOOKUPS_MAX and running < THREADS_MAX

    def _begin(self, host: str, now: float) -> None:
        thread = threading.Thread(
            target=self._look_up, args=(host,), name=f"lookup-{host:.40}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the next look tries again
            return
        self._running[host] = now

    def _look_up(self, host: str) -> None:
        try:
            addresses, why = resolve(host), ""
        except (OSError, UnicodeError) as error:
            addresses, why = (), str(error) or type(error).__name__
        self._found.append((host, addresses, why))
        self._wake()
