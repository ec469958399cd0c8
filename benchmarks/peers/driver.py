"""What a system must do so that it can be asked: one process's end of it.

Each system is asked by the same roles (`roles.py`) through a `Driver`, which uses the system as
its manual says one should for speed. Erlang runs no Python and brings its own roles
(`pg_peer.erl`), which say the same things over a pipe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

__all__ = ["Driver", "Note", "Where"]

Note = Callable[[dict[str, Any]], object]
"""Called with each message, decoded, in the thread that has it."""

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Where:
    """What a process is told when it starts."""

    server: str = ""
    """The broker's address, or empty."""

    port: int = 0
    """Where to listen; 0: anywhere."""

    seeds: Sequence[str] = field(default=())
    """The addresses of those who started earlier."""

    group: str = ""
    """Keeps apart those that find each other by themselves."""


class Driver:
    """One process's end of a system. What it cannot do is not asked (see `systems.py`)."""

    LOOP: ClassVar[str] = "asyncio"
    """Or uvloop, where that is faster."""

    SEES_ITSELF: ClassVar[bool] = True
    """Whether `count` counts this process's own memberships."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self._bell = asyncio.Event()
        self._ringing = False
        self._loop = asyncio.get_running_loop()

    def _unasked(self, what: str) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} has no `{what}`: write it, or say in systems.py, under "
            "`cannot`, why that is not asked of it"
        )

    # ------------------------------------------------------------ being there

    async def open(self) -> str:
        """Be there, know `where.seeds`; the address for the next ones."""
        self._unasked("open")

    async def close(self) -> None:
        """Go."""

    async def met(self, others: int) -> None:
        """Until that many other processes can be sent to. A broker's clients meet at once."""

    # ------------------------------------------------------------ messages

    async def subscribe(self, channel: str, note: Note) -> None:
        self._unasked("subscribe")

    async def heard_by(self, channel: str, subscribers: int) -> None:
        """Until what is published on `channel` reaches that many."""

    async def publish_all(self, channel: str, messages: int, pad: bytes) -> None:
        """`{"n": 0 .. messages - 1, "pad": pad}`, as fast as it goes without loss."""
        self._unasked("publish_all")

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        """One message, out at once."""
        self._unasked("publish")

    async def publish_here(self, channel: str, first: int, messages: int, pad: bytes) -> None:
        """A burst to subscribers of this process."""
        for n in range(first, first + messages):
            await self.publish(channel, {"n": n, "pad": pad})

    async def drained(self, done: asyncio.Event, timeout_s: float) -> None:
        """Until `done`, which a `note` sets from the loop's thread, or time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await done.wait()

    # ------------------------------------------------------------ memberships

    async def watch(self, channels: Iterable[str]) -> None:
        """Know from now on who is in these channels."""

    async def prepare(self, names: Iterable[str]) -> None:
        """Make the clients of these names, which is not measured."""

    async def join(self, channel: str, name: str) -> None:
        self._unasked("join")

    async def leave(self, channel: str, name: str) -> None:
        self._unasked("leave")

    async def join_all(self, rows: Sequence[tuple[str, str]]) -> None:
        """One call a membership, pipelined where the system can."""
        for channel, name in rows:
            await self.join(channel, name)

    def count(self, channel: str) -> int:
        """How many are in a watched channel, as known here."""
        self._unasked("count")

    async def members(self, channel: str) -> int:
        """Ask who is in `channel`, as an application would; how many it said."""
        self._unasked("members")

    async def members_times(self, channel: str, times: int) -> int:
        """Ask `times` times; how many were said the last time."""
        said = 0
        for _ in range(times):
            said = await self.members(channel)
        return said

    async def until(self, holds: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
        """Until `holds`, tried whenever the bell rings; False when time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._bell.clear()  # before looking: what changes meanwhile rings again
                    if holds():
                        return True
                    await self._bell.wait()
        except TimeoutError:
            return holds()

    def ring(self) -> None:
        """Something changed; from the event loop's own thread."""
        self._bell.set()

    def ring_from_outside(self) -> None:
        """The same from any thread; at most one wake-up in flight."""
        if not self._ringing:
            self._ringing = True
            self._loop.call_soon_threadsafe(self._rung)

    def _rung(self) -> None:
        self._ringing = False
        self._bell.set()
