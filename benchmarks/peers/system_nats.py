"""NATS through nats-py and uvloop; publishing is buffered by its client, flushed by count."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.bare import Packer, unpack
from benchmarks.peers.driver import Driver, Note, Where

FLUSH_EVERY = 8192
BATCH_BYTES = 1 << 20


class Nats(Driver):
    LOOP: ClassVar[str] = "uvloop"

    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self._pack = Packer()

    async def open(self) -> str:
        nats = import_module("nats")
        self._nc = await nats.connect(
            f"nats://{self.where.server}", pending_size=16 << 20, max_reconnect_attempts=0
        )
        return "none"

    async def close(self) -> None:
        await self._nc.close()

    async def subscribe(self, channel: str, note: Note) -> None:
        async def heard(message: Any) -> None:
            note(unpack(message.data))

        await self._nc.subscribe(channel, cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await self._nc.flush()  # the server has it

    async def publish_all(self, channel: str, messages: int, pad: bytes) -> None:
        pack, publish = self._pack, self._nc.publish
        every = max(64, min(FLUSH_EVERY, BATCH_BYTES // (len(pad) + 16)))
        for n in range(messages):
            await publish(channel, pack({"n": n, "pad": pad}))
            if not n % every:
                await asyncio.sleep(0)  # its flusher is a task
                await self._nc.flush()
        await self._nc.flush()

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        await self._nc.publish(channel, self._pack(data))
