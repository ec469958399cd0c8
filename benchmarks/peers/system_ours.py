"""crdtpubsub, through its public names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.common import linked
from benchmarks.peers.driver import WAIT_S, Driver, Note, Where
from crdtpubsub import Client, Config, Node
from crdtpubsub.waiting import wait_until

PATIENT = Config(publish_stall_s=10.0, publish_wait_max_s=20.0)


class Ours(Driver):
    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self._node = Node(
            f"tcp://127.0.0.1:{where.port or '*'}", seeds=list(where.seeds), config=PATIENT
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: dict[str, Client] = {}

    async def open(self) -> str:
        await self._node.start()
        return self._node.endpoint

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._node.close()

    async def met(self, others: int) -> None:
        await linked(self._node, others, WAIT_S)

    async def subscribe(self, channel: str, note: Note) -> None:
        messages = await self._node.subscribe(channel, max_pending=10_000_000)

        async def read() -> None:
            while True:
                for message in await messages.get_many():
                    data: Any = message.data
                    note(data)

        self._tasks.append(asyncio.create_task(read()))

    async def heard_by(self, channel: str, subscribers: int) -> None:
        await self._node.wait_for(channel, subscribers, timeout=WAIT_S)

    async def publish_all(self, channel: str, messages: int, pad: bytes) -> None:
        publish = self._node.publish
        for n in range(messages):
            await publish(channel, {"n": n, "pad": pad})

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        await self._node.publish(channel, data)

    async def publish_here(self, channel: str, first: int, messages: int, pad: bytes) -> None:
        for n in range(first, first + messages):
            self._node.publish_nowait(channel, {"n": n, "pad": pad})

    async def prepare(self, names: Iterable[str]) -> None:
        for name in names:
            self._clients[name] = self._node.client(name)

    async def join(self, channel: str, name: str) -> None:
        await self._clients[name].join(channel)

    async def leave(self, channel: str, name: str) -> None:
        await self._clients[name].leave(channel)

    async def join_all(self, rows: Sequence[tuple[str, str]]) -> None:
        clients, join = self._clients, self._node.join
        for channel, name in rows:
            await join(channel, clients[name])

    def count(self, channel: str) -> int:
        return self._node.count(channel)

    async def members(self, channel: str) -> int:
        return len(self._node.members(channel))

    async def members_times(self, channel: str, times: int) -> int:
        members = self._node.members
        said = 0
        for _ in range(times):
            said = len(members(channel))
        return said

    async def until(self, holds: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
        try:
            await wait_until(
                self._node._runtime.bell,  # noqa: SLF001
                holds,
                timeout_s=timeout_s,
                complaint=lambda: "it did not happen",
            )
        except TimeoutError:
            return False
        return True
