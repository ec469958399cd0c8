"""Redis through redis-py's asyncio client with hiredis and uvloop, pipelined.

`Redis` is its publish/subscribe alone, which can say how many subscribe to a channel and not who.
`RedisSet` is what teams build by hand when they need to know who: a set for each channel, and a
publication for each change, which every process follows to keep a copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.bare import Packer, unpack
from benchmarks.peers.driver import WAIT_S, Driver, Note, Where

PIPELINE = 256
CHANGES = "changes"


class Redis(Driver):
    LOOP: ClassVar[str] = "uvloop"

    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self._pack = Packer()
        self._tasks: list[asyncio.Task[None]] = []
        self._pubsubs: list[Any] = []
        self._named: dict[tuple[str, str], Any] = {}

    async def open(self) -> str:
        client = import_module("redis.asyncio")
        host, port = self.where.server.split(":")
        self._redis = client.Redis(host=host, port=int(port), protocol=2, max_connections=100_000)
        await self._redis.ping()
        return "none"

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        for pubsub in self._pubsubs:
            await pubsub.aclose()
        await self._redis.aclose()

    async def subscribe(self, channel: str, note: Note) -> None:
        pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        await pubsub.subscribe(channel)
        self._pubsubs.append(pubsub)
        first = await pubsub.parse_response(block=True)
        assert first[0] == b"subscribe", first

        async def read() -> None:
            # `listen` builds a dict a message; this is the door below it, and faster.
            receive = pubsub.parse_response
            while True:
                note(unpack((await receive(block=True))[2]))

        self._tasks.append(asyncio.create_task(read()))

    async def _subscribers(self, channel: str) -> int:
        ((_, n),) = await self._redis.pubsub_numsub(channel)
        return int(n)

    async def heard_by(self, channel: str, subscribers: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self._subscribers(channel) < subscribers:  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def publish_all(self, channel: str, messages: int, pad: bytes) -> None:
        pack = self._pack
        for start in range(0, messages, PIPELINE):
            pipe = self._redis.pipeline(transaction=False)
            for n in range(start, min(start + PIPELINE, messages)):
                pipe.execute_command("PUBLISH", channel, pack({"n": n, "pad": pad}))
            await pipe.execute()

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        await self._redis.execute_command("PUBLISH", channel, self._pack(data))

    async def publish_here(self, channel: str, first: int, messages: int, pad: bytes) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for n in range(first, first + messages):
            pipe.execute_command("PUBLISH", channel, self._pack({"n": n, "pad": pad}))
        await pipe.execute()

    # ---------------------------------------------- how many subscribe: all that pub/sub knows

    async def join(self, channel: str, name: str) -> None:
        pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        await pubsub.subscribe(channel)
        self._named[channel, name] = pubsub

    async def leave(self, channel: str, name: str) -> None:
        await self._named.pop((channel, name)).aclose()


class RedisSet(Redis):
    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self._members: dict[str, dict[str, int]] = {}

    async def watch(self, channels: Iterable[str]) -> None:
        def note(change: Any) -> None:
            verb, channel, name = change
            if verb:
                self._members.setdefault(channel, {})[name] = 1
            else:
                self._members[channel].pop(name, None)
            self.ring()

        await self.subscribe(CHANGES, note)
        for channel in channels:  # those who were there before
            for name in await self._redis.smembers(f"members:{channel}"):
                self._members.setdefault(channel, {})[name.decode()] = 1

    async def join(self, channel: str, name: str) -> None:
        await self._change(1, channel, name)

    async def leave(self, channel: str, name: str) -> None:
        await self._change(0, channel, name)

    async def _change(self, verb: int, channel: str, name: str) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.execute_command("SADD" if verb else "SREM", f"members:{channel}", name)
        pipe.execute_command("PUBLISH", CHANGES, self._pack((verb, channel, name)))
        await pipe.execute()

    async def join_all(self, rows: Sequence[tuple[str, str]]) -> None:
        for start in range(0, len(rows), PIPELINE):
            pipe = self._redis.pipeline(transaction=False)
            for channel, name in rows[start : start + PIPELINE]:
                pipe.execute_command("SADD", f"members:{channel}", name)
                pipe.execute_command("PUBLISH", CHANGES, self._pack((1, channel, name)))
            await pipe.execute()

    def count(self, channel: str) -> int:
        return len(self._members.get(channel, ()))

    async def members(self, channel: str) -> int:
        """From the set, which alone is right: the copy misses what was published unheard."""
        return len(await self._redis.smembers(f"members:{channel}"))
