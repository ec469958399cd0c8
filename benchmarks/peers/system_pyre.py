"""pyre (zeromq-pyre): UDP beacons, a group a channel, its own threads.

A pyre peer whose queue of 3,000 messages is full is disconnected, so that a publisher without a
window loses. The readers whisper how far they are; that is ours, and costs one message in 256.
A member is a process that is in a group; to have named members, the group carries the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, ClassVar

import zmq

from benchmarks.bare import Packer, unpack
from benchmarks.peers.driver import WAIT_S, Driver, Note, Where

ACK_EVERY = 256
WINDOW = 1024


class Pyre(Driver):
    SEES_ITSELF: ClassVar[bool] = False

    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self._pack = Packer()
        self._notes: dict[str, Note] = {}
        self._members: dict[str, dict[str, set[bytes]]] = {}
        self._peers: set[bytes] = set()
        self._acked: dict[bytes, int] = {}
        self._heard = 0
        self._published = 0

    async def open(self) -> str:
        self._node = import_module("pyre").Pyre()
        self._node.set_port((self.where.group or "5670").encode())
        self._node.start()
        self._inbox = self._node.socket()
        self._loop.add_reader(self._inbox.fileno(), self._drain)
        self._loop.call_soon(self._drain)
        return "none"

    async def close(self) -> None:
        self._loop.remove_reader(self._inbox.fileno())
        self._node.stop()

    async def met(self, others: int) -> None:
        assert await self.until(lambda: len(self._peers) >= others), "pyre peers did not meet"

    def _drain(self) -> None:
        inbox = self._inbox
        while inbox.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._event(inbox.recv_multipart())

    def _event(self, event: list[bytes]) -> None:
        kind = event[0]
        if kind == b"SHOUT":
            group = event[3].decode()
            self._notes[group](unpack(event[4]))
            self._heard += 1
            if not self._heard % ACK_EVERY:
                self._whisper(event[1], self._heard)
            return
        if kind == b"WHISPER":
            self._acked[event[1]] = unpack(event[3])
        elif kind == b"ENTER":
            self._peers.add(event[1])
        elif kind == b"EXIT":
            self._peers.discard(event[1])
            for owners in [o for names in self._members.values() for o in names.values()]:
                owners.discard(event[1])
        elif kind in {b"JOIN", b"LEAVE"}:
            self._change(kind == b"JOIN", event[3].decode(), event[1])
        self.ring()

    def _whisper(self, peer: bytes, heard: int) -> None:
        uuid = import_module("uuid").UUID(bytes=peer)
        self._node.whisper(uuid, self._pack(heard))

    def _change(self, joined: bool, group: str, peer: bytes) -> None:
        channel, _, name = group.partition("/")
        owners = self._members.setdefault(channel, {}).setdefault(name, set())
        if joined:
            owners.add(peer)
        else:
            owners.discard(peer)
        if not owners:
            del self._members[channel][name]

    # ------------------------------------------------------------ messages

    async def subscribe(self, channel: str, note: Note) -> None:
        self._notes[channel] = note
        self._node.join(channel)

    async def heard_by(self, channel: str, subscribers: int) -> None:
        assert await self.until(
            lambda: len(self._members.get(channel, {}).get("", ())) >= subscribers
        ), "pyre groups did not appear"

    async def publish_all(self, channel: str, messages: int, pad: bytes) -> None:
        pack, shout = self._pack, self._node.shout
        for n in range(messages):
            shout(channel, pack({"n": n, "pad": pad}))
            self._published += 1
            if not n % ACK_EVERY:
                await self.until(self._in_window, WAIT_S)

    def _in_window(self) -> bool:
        limit = self._published - WINDOW
        return limit <= 0 or (
            len(self._acked) >= len(self._peers) and min(self._acked.values()) >= limit
        )

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        self._node.shout(channel, self._pack(data))

    # ------------------------------------------------------------ memberships

    async def watch(self, channels: Iterable[str]) -> None:
        """Every process is told of every group."""

    async def join(self, channel: str, name: str) -> None:
        self._node.join(f"{channel}/{name}")

    async def leave(self, channel: str, name: str) -> None:
        self._node.leave(f"{channel}/{name}")

    def count(self, channel: str) -> int:
        return len(self._members.get(channel, ()))
