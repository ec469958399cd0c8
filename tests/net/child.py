"""A node in a process of its own, driven by JSON lines: see `tests.net.cluster`.

Says who it is and waits for `start`; ends when told to `close`, or when its stdin ends, so that
no child survives its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from crdtpubsub import (
    Address,
    Client,
    Config,
    CrdtPubSubError,
    Exit,
    Member,
    Message,
    Node,
    NodeId,
    Snapshot,
    Token,
)
from tests.net.churn import Step, steps

BATCH = 25


class Child:
    def __init__(self, options: dict[str, Any]) -> None:
        config = Config(**options.pop("config", {}))
        self.node = Node(config=config, **options)
        self.clients: dict[str, Client] = {}
        self.exits: dict[str, list[list[str]]] = {}
        self.messages: dict[str, list[object]] = {}
        self.readers: list[asyncio.Task[None]] = []
        self.bytes_read = 0
        self.watched: list[list[object]] = []
        self.hoarded: list[int] = []
        self.churning: asyncio.Task[int] | None = None

    # ---------------------------------------------------------------- the control map

    async def start(self) -> str:
        await self.node.start()
        return self.node.endpoint

    async def join(
        self, channel: str, client: str, meta: object = None, queue: str | None = None
    ) -> None:
        await self.client(client).join(channel, meta=meta, queue=queue)

    async def join_deaf(self, channel: str, client: str) -> None:
        """A member that never reads."""
        self.clients[client] = self.node.client(client)
        await self.clients[client].join(channel)

    async def leave(self, channel: str, client: str, owner: str | None = None) -> bool:
        if owner is not None:
            return await self.node.leave(channel, Member(channel, client, NodeId(owner)))
        return await self.client(client).leave(channel)

    async def end(self, client: str) -> None:
        """The client dies, and with it all its memberships: Erlang's exit of a process."""
        await self.clients.pop(client).close()

    async def add_channel(self, channel: str) -> None:
        await self.node.add_channel(channel)

    async def del_channel(self, channel: str) -> int:
        return await self.node.del_channel(channel)

    def client(self, id: str) -> Client:
        if id not in self.clients:
            client = self.clients[id] = self.node.client(id)
            self.readers.append(asyncio.create_task(self.read(client)))
        return self.clients[id]

    async def read(self, client: Client) -> None:
        async for item in client:
            if isinstance(item, Message) and isinstance(item.data, bytes):
                self.bytes_read += len(item.data)
            elif isinstance(item, Exit):
                self.exits.setdefault(client.id, []).append([item.channel, item.reason])
            else:
                self.messages.setdefault(client.id, []).append(item.data)

    # ---------------------------------------------------------------- what is seen

    async def view(self, channel: str) -> list[list[object]]:
        return [[m.node, m.id, m.meta] for m in self.node.members(channel)]

    async def local(self, channel: str) -> list[str]:
        return [m.id for m in self.node.local_members(channel)]

    async def everything(self) -> dict[str, dict[str, list[str]]]:
        """Channel -> owner -> client ids."""
        seen: dict[str, dict[str, list[str]]] = {}
        for channel in self.node.channels():
            owners = seen.setdefault(channel, {})
            for member in self.node.members(channel):
                owners.setdefault(member.node, []).append(member.id)
        return seen

    async def channels(self) -> list[str]:
        return list(self.node.channels())

    async def peers(self) -> list[list[object]]:
        return [[p.node, p.name, p.state, p.linked] for p in self.node.peers()]

    async def exited(self) -> dict[str, list[list[str]]]:
        return self.exits

    async def got(self) -> dict[str, list[object]]:
        return self.messages

    async def stats(self) -> dict[str, int]:
        return {**self.node.stats().counters, "bytes_read": self.bytes_read}

    async def converged(self, timeout: float) -> None:
        await self.node.converged(timeout=timeout)

    async def wait_for(self, channel: str, count: int, timeout: float) -> int:
        return len(await self.node.wait_for(channel, count, timeout=timeout))

    async def publish(self, channel: str, data: object) -> dict[str, object]:
        receipt = await self.node.publish(channel, data)
        return {"members": receipt.members, "owners": dict(receipt.owners)}

    async def confirm_many(
        self, channel: str, first: int, count: int, confirm: float
    ) -> dict[str, list[int]]:
        """Publish so many numbers, confirmed, many at a time; what the receipts say of each."""
        told: dict[str, list[int]] = {}
        numbers = iter(range(first, first + count))

        async def work() -> None:
            for number in numbers:
                receipt = await self.node.publish(channel, number, confirm=confirm)
                for outcome in receipt.owners.values():
                    word = "refused" if outcome.refused else str(outcome)
                    told.setdefault(word, []).append(number)

        await asyncio.gather(*(work() for _ in range(64)))
        return told

    async def publish_nowait(self, channel: str, data: object) -> int:
        return self.node.publish_nowait(channel, data)

    async def flood(self, channel: str, size_bytes: int, count: int) -> dict[str, object]:
        """Publish one after the other; the outcomes seen, and the longest wait."""
        outcomes: dict[str, int] = {}
        longest_s = 0.0
        for _ in range(count):
            began_s = time.monotonic()
            receipt = await self.node.publish(channel, b"x" * size_bytes)
            longest_s = max(longest_s, time.monotonic() - began_s)
            for outcome in receipt.owners.values():
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
        return {"outcomes": outcomes, "longest_s": longest_s}

    # ---------------------------------------------------------------- asking

    async def work(self, channel: str, client: str) -> None:
        """A member that answers each request with what it was asked, and its own id."""
        self.clients[client] = worker = self.node.client(client)

        async def answer() -> None:
            async for item in worker:
                if isinstance(item, Message) and item.wants_reply:
                    await item.reply([item.data, client])

        self.readers.append(asyncio.create_task(answer()))
        await worker.join(channel)

    async def request(self, channel: str, data: object, timeout: float) -> list[object]:
        answer = await self.node.request(channel, data, timeout=timeout)
        return [answer.data, answer.sender]

    async def invite(self, channel: str, client: str, owner: str) -> None:
        await self.node.join(channel, Member("", client, NodeId(owner)))

    async def calls_back(self, channel: str, client: str) -> None:
        """A member that sends to each address that is published."""
        self.clients[client] = caller = self.node.client(client)

        async def call() -> None:
            async for item in caller:
                if isinstance(item, Message):
                    to = Address.parse(str(item.data))
                    await self.node.send(to, f"called back by {client}", confirm=20.0)

        self.readers.append(asyncio.create_task(call()))
        await caller.join(channel)

    async def publish_address(self, channel: str, client: str) -> None:
        await self.node.publish(channel, str(self.client(client).address))

    async def stall(self, seconds: float, burn: bool) -> int:
        """Block this event loop; with `burn` by computing in Python. How often it went round."""
        if not burn:
            time.sleep(seconds)  # noqa: ASYNC251 - that is what is asked for
            return 0
        rounds, until_s = 0, time.monotonic() + seconds
        while time.monotonic() < until_s:
            rounds += sum(range(100)) > 0
        return rounds

    async def downs(self) -> int:
        """How often this node held another down."""
        counters = self.node.stats().counters
        held = sum(peer.state == "down" for peer in self.node.peers())
        return held + counters.get("returned", 0) + counters.get("slept", 0)

    # ---------------------------------------------------------------- knowing, scopes

    async def token(self) -> str:
        return str(self.node.token())

    async def synced(self, token: str, timeout: float) -> None:
        await self.node.synced(Token.parse(token), timeout=timeout)

    async def publish_after(self, channel: str, data: object, token: str) -> int:
        return (await self.node.publish(channel, data, after=Token.parse(token))).members

    async def follow(self, channel: str) -> None:
        watch = self.node.watch(channel)

        async def look() -> None:
            async for item in watch:
                if isinstance(item, Snapshot):
                    self.watched.append(["snapshot", sorted(m.id for m in item.members)])
                    continue
                for what in ("joined", "left", "updated"):
                    if members := getattr(item, what):
                        self.watched.append([what, sorted(m.id for m in members), str(item.cause)])

        self.readers.append(asyncio.create_task(look()))

    async def told(self) -> list[list[object]]:
        return self.watched

    async def join_in(self, scope: str, channel: str, client: str) -> None:
        self.clients[client] = member = self.node.scope(scope).client(client)
        self.readers.append(asyncio.create_task(self.read(member)))
        await member.join(channel)

    async def publish_in(self, scope: str, channel: str, size_bytes: int) -> int:
        return (await self.node.scope(scope).publish(channel, b"x" * size_bytes)).members

    async def count_in(self, scope: str, channel: str) -> int:
        return self.node.scope(scope).count(channel)

    # ---------------------------------------------------------------- churn

    async def churn(self, seed: int, clients: int, channels: int) -> None:
        self.churning = asyncio.create_task(self.churns(seed, clients, channels))

    async def churns(self, seed: int, clients: int, channels: int) -> int:
        handles = [self.node.client(f"c{n}") for n in range(clients)]
        done = 0
        try:
            for step in steps(seed, clients, channels):
                await self.take(step, handles)
                done += 1
                if done % BATCH == 0:
                    await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            pass
        return done

    async def take(self, step: Step, handles: list[Client]) -> None:
        client = handles[step.client]
        if step.joins:
            await client.join(step.channel)
        else:
            assert await client.leave(step.channel)

    async def stop_churning(self) -> int:
        """How many steps of its script it took."""
        assert self.churning is not None
        self.churning.cancel()
        return await self.churning

    # ---------------------------------------------------------------- greed

    async def hoard(self) -> int:
        """Open files until there are none left; how many that were."""
        with contextlib.suppress(OSError):
            while True:
                self.hoarded.append(os.open(os.devnull, os.O_RDONLY))
        return len(self.hoarded)

    async def release(self) -> None:
        """Close them again."""
        while self.hoarded:
            os.close(self.hoarded.pop())

    # ---------------------------------------------------------------- life

    async def close(self) -> None:
        await self.node.close()
        await asyncio.gather(*self.readers)


async def answer(child: Child, line: bytes) -> dict[str, object]:
    request = json.loads(line)
    serial, verb = request.pop("serial"), request.pop("do")
    method: Callable[..., Awaitable[object]] = getattr(child, verb)
    try:
        return {"serial": serial, "result": await method(**request)}
    except (CrdtPubSubError, TimeoutError) as error:
        return {"serial": serial, "error": f"{type(error).__name__}: {error}"}


async def main(kind: type[Child] = Child) -> None:
    logging.getLogger("crdtpubsub").addHandler(logging.NullHandler())
    if path := os.environ.get("CRDTPUBSUB_TEST_LOG"):
        logging.basicConfig(filename=path, level=logging.INFO)
    child = kind(json.loads(sys.argv[1]))
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    print(json.dumps({"id": child.node.id}), flush=True)
    try:
        while line := await reader.readline():
            said = await answer(child, line)
            print(json.dumps(said), flush=True)
    finally:
        await child.close()
        transport.close()


if __name__ == "__main__":
    asyncio.run(main())
