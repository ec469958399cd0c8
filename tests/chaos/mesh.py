"""The arena that needs no root: every node is dialled through a proxy, which obeys the rules.

A proxy sees streams of bytes. It can hold them back (so a direction is cut without a sign), delay
and limit them, end one direction of a connection, and reset it; it cannot lose or swap packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable
from random import Random
from typing import Final

from tests.chaos.arena import Arena
from tests.chaos.schedule import Way
from tests.net.cluster import Cluster, Process, Proxy, free_port

__all__ = ["Mesh"]

CHUNK_BYTES: Final = 65_536
RESETS: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset at once."""


class _Node(Process):
    module = "tests.chaos.child"

    def __init__(self, cluster: Cluster, name: str, flags: tuple[str, ...]) -> None:
        super().__init__(cluster, name, flags)
        assert isinstance(cluster, Mesh)
        self.proxy = _Line(cluster, self)


class _Line(Proxy):
    """The proxy of one node."""

    def __init__(self, mesh: Mesh, process: Process) -> None:
        super().__init__(mesh, process)
        self._mesh = mesh
        self._sockets: dict[asyncio.Task[None], tuple[socket.socket, socket.socket]] = {}
        self._half_closed: set[asyncio.Task[None]] = set()

    async def forward(
        self, link: asyncio.Task[None], outer: socket.socket, inner: socket.socket
    ) -> None:
        self._sockets[link] = (outer, inner)
        link.add_done_callback(self._forget)
        await super().forward(link, outer, inner)

    async def pass_on(self, link: asyncio.Task[None], data: bytes, *, inward: bool) -> bytes | None:
        """Hold back what is cut, delay what is slow, swallow what was to end."""
        who, me = self.dialler(link), self.process.name
        if not who:
            return data  # ZeroMQ's own greeting: nobody's yet
        way = (who, me) if inward else (me, who)
        while self._mesh.drops(way):
            await self._mesh.changed()
        if self._mesh.rejects(way):
            self.reset_soon(link)
            return None
        await asyncio.sleep(self._mesh.delay_s(way, len(data)))
        return b"" if inward and link in self._half_closed else data

    def _forget(self, link: asyncio.Task[None]) -> None:
        self._sockets.pop(link, None)
        self._half_closed.discard(link)

    def reset_soon(self, link: asyncio.Task[None]) -> None:
        """When this link is closed, both ends get a reset."""
        for end in self._sockets.get(link, ()):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)

    async def reset(self, others: Iterable[str]) -> None:
        wanted = set(others)
        for link in [link for link in self._sockets if self.dialler(link) in wanted]:
            self.reset_soon(link)
        await self.cut(wanted)

    def half_close(self, others: Iterable[str]) -> int:
        """The node reads the end of these streams, while the other direction stays open."""
        wanted = set(others)
        done = 0
        for link, (_, inner) in list(self._sockets.items()):
            if self.dialler(link) in wanted:
                with contextlib.suppress(OSError):
                    inner.shutdown(socket.SHUT_WR)
                    self._half_closed.add(link)
                    done += 1
        return done


class Mesh(Arena):
    transport = "proxy"

    def __init__(self, names: Iterable[str], *, seed: int = 0, flags: tuple[str, ...] = ()) -> None:
        super().__init__(tuple(names), flags=flags)
        self._dice = Random(f"mesh {seed}")
        self._change = asyncio.Event()

    def make(self, name: str) -> Process:
        return _Node(self, name, self.flags)

    async def obey(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
        for name, line in self._lines().items():
            await line.reset(other for other in self.names if self.rejects((other, name)))

    async def changed(self) -> None:
        """Wait until other rules hold."""
        await self._change.wait()

    def delay_s(self, way: Way, size_bytes: int) -> float:
        """How long a piece of a stream takes."""
        shape = self.shape(way)
        delay_s = shape.delay_s + self._dice.uniform(0.0, shape.jitter_s)
        if shape.rate_bps:
            delay_s += 8 * size_bytes / shape.rate_bps
        return delay_s

    async def reset(self, one: str, other: str) -> None:
        lines = self._lines()
        await lines[one].reset([other])
        await lines[other].reset([one])

    def half_close(self, one: str, other: str) -> int:
        """End the stream from `one` to `other`, and nothing else."""
        return self._lines()[other].half_close([one])

    def move(self, process: Process) -> None:
        process.proxy.port = free_port()

    def _lines(self) -> dict[str, _Line]:
        return {
            name: process.proxy
            for name, process in self.processes.items()
            if isinstance(process.proxy, _Line)
        }
