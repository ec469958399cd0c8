"""The floor: pyzmq and msgpack, a dict, and nothing else; see `benchmarks/bare.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import msgpack  # type: ignore[import-untyped,unused-ignore]
import zmq
from zmq.utils.monitor import parse_monitor_message

from benchmarks.bare import Packer, bound, dialled
from benchmarks.peers.driver import WAIT_S, Driver, Note, Where

BATCH_BYTES = 64 * 1024
JOIN, LEAVE = 0, 1


class Bare(Driver):
    """One frame a message, one frame a join."""

    BATCH: ClassVar[int] = 1

    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self._pack = Packer()
        self._out: dict[str, zmq.Socket[bytes]] = {}
        self._notes: dict[str, list[Note]] = {}
        self._members: dict[str, dict[str, int]] = {}
        self._reading = False

    async def open(self) -> str:
        self._in, self.address = bound()
        for seed in self.where.seeds:
            self._dial(seed)
        return self.address

    def _dial(self, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._out[endpoint] = dialled(endpoint)
        socket.send(self._pack((None, self.address)))
        return socket

    async def close(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._in.fileno())
        self._in.close()
        for socket in self._out.values():
            socket.close()

    async def met(self, others: int) -> None:
        assert await self.until(lambda: len(self._out) >= others), "bare sockets did not meet"

    # ------------------------------------------------------------ in

    def _frame(self, frame: bytes) -> None:
        unpacker = msgpack.Unpacker(use_list=False)
        unpacker.feed(frame)
        notes = self._notes
        for channel, data in unpacker:
            if channel in notes:
                for note in notes[channel]:
                    note(data)
            elif channel is None:
                if isinstance(data, str):
                    self._introduced(data)
                else:
                    self._change(*data)

    def _introduced(self, endpoint: str) -> None:
        if endpoint not in self._out and endpoint != self.address:
            others = list(self._out)
            socket = self._dial(endpoint)
            for other in others:
                socket.send(self._pack((None, other)))
        self.ring()

    def _change(self, verb: int, channel: str, name: str) -> None:
        if verb == JOIN:
            self._members.setdefault(channel, {})[name] = 1
        else:
            self._members[channel].pop(name, None)
        self.ring()

    def _read(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._in.fileno(), self._drain)
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        while True:
            try:
                frame = self._in.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._frame(frame)

    async def drained(self, done: asyncio.Event, timeout_s: float) -> None:
        """Blocking, as one writes it for speed, unless the event loop reads already."""
        if self._reading:
            await super().drained(done, timeout_s)
            return
        while not done.is_set() and self._in.poll(int(timeout_s * 1000)):
            self._frame(self._in.recv())

    async def until(self, holds: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
        self._read()
        return await super().until(holds, timeout_s)

    async def subscribe(self, channel: str, note: Note) -> None:
        self._notes.setdefault(channel, []).append(note)

    # ------------------------------------------------------------ out

    def _send(self, records: list[bytes]) -> None:
        frame = b"".join(records)
        for socket in self._out.values():
            socket.send(frame)

    async def publish_all(self, channel: str, messages: int, pad: bytes) -> None:
        pack, batch = self._pack, self.BATCH
        waiting: list[bytes] = []
        waiting_bytes = 0
        for n in range(messages):
            record = pack((channel, {"n": n, "pad": pad}))
            waiting.append(record)
            waiting_bytes += len(record)
            if len(waiting) >= batch or waiting_bytes >= BATCH_BYTES:
                self._send(waiting)
                waiting, waiting_bytes = [], 0
        if waiting:
            self._send(waiting)

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        self._send([self._pack((channel, data))])

    async def publish_here(self, channel: str, first: int, messages: int, pad: bytes) -> None:
        """Nothing needs a wire here: a handler found by name is called."""
        notes = self._notes[channel]
        for n in range(first, first + messages):
            data = {"n": n, "pad": pad}
            for note in notes:
                note(data)

    # ------------------------------------------------------------ memberships

    async def watch(self, channels: Iterable[str]) -> None:
        self._read()

    async def join(self, channel: str, name: str) -> None:
        self._members.setdefault(channel, {})[name] = 1
        self._send([self._pack((None, (JOIN, channel, name)))])

    async def leave(self, channel: str, name: str) -> None:
        self._members[channel].pop(name, None)
        self._send([self._pack((None, (LEAVE, channel, name)))])

    async def join_all(self, rows: Sequence[tuple[str, str]]) -> None:
        pack, batch = self._pack, self.BATCH
        waiting: list[bytes] = []
        for channel, name in rows:
            waiting.append(pack((None, (JOIN, channel, name))))
            if len(waiting) >= batch:
                self._send(waiting)
                waiting = []
        if waiting:
            self._send(waiting)

    def count(self, channel: str) -> int:
        return len(self._members.get(channel, ()))

    async def members(self, channel: str) -> int:
        return len(tuple(self._members[channel]))

    async def members_times(self, channel: str, times: int) -> int:
        said = 0
        for _ in range(times):
            said = len(tuple(self._members[channel]))
        return said

    def forget_the_dead(self) -> None:
        """When a connection breaks, what came over it is gone: the floor of detection."""
        monitor = next(iter(self._out.values())).get_monitor_socket(zmq.EVENT_DISCONNECTED)

        def broken() -> None:
            while monitor.poll(0):
                parse_monitor_message(monitor.recv_multipart())
                self._members.clear()
                self.ring()

        self._loop.add_reader(monitor.fileno(), broken)
        broken()  # its descriptor tells of changes only: look once


class BareBatched(Bare):
    """Frames of up to 256 messages or 64 kB."""

    BATCH = 256
