"""One node of the demo, in a process of its own: asked by JSON lines on stdin, tells on stdout.

It says its life, answers what it is asked, and reports without being asked whatever changes:

    {"life": "..."}
    {"at": s, "re": 7, "result": ...}                       or "error": "..."
    {"at": s, "members": {channel: [[life, client], ...]}, "peers": {life: [name, state, linked]}}
    {"at": s, "client": "ann", "channel": "news", "text": "..."}      a message
    {"at": s, "client": "ann", "channel": "news", "exit": "removed"}

`at` is the monotonic clock, which all processes of a host share. The process ends when its stdin
does: no node outlives its demo, however that ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from typing import Any, Final

from crdtpubsub import Client, Config, CrdtPubSubError, Exit, Message, Node

LOOK_EVERY_S: Final = 0.005
CONVERGED_WITHIN_S: Final = 15.0
FAULT: Final = "CRDTPUBSUB_DEMO_FAULT"
"""Names a lie for one node to tell, so that tests see the demo fail: a demo that cannot fail
shows nothing. `NODE:lose-message`, `NODE:repeat-exit`, `NODE:hide-member` or `NODE:die`."""


class Child:
    """A node and its clients, and what the demo may ask of them: every public coroutine."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._node = Node(config=Config(**options.pop("config")), **options)
        self._clients: dict[str, Client] = {}
        self._tasks: list[asyncio.Task[None]] = []
        name, _, self._lie = os.environ.get(FAULT, "").partition(":")
        if name != self._node.name:
            self._lie = ""
        self.say({"life": self._node.id})

    async def start(self) -> None:
        """Listen, and look for the seeds."""
        await self._node.start()
        self._tasks.append(asyncio.create_task(self._look()))

    async def join(self, channel: str, client: str) -> None:
        """Make the client if it is new, and let it join."""
        if client not in self._clients:
            mailbox = self._clients[client] = self._node.client(client)
            self._tasks.append(asyncio.create_task(self._read(mailbox)))
        await self._clients[client].join(channel)

    async def add_channel(self, channel: str) -> None:
        """Declare it."""
        await self._node.add_channel(channel)

    async def del_channel(self, channel: str) -> int:
        """End it as far as it is known here."""
        if self._lie == "die":
            os._exit(1)
        return await self._node.del_channel(channel)

    async def publish(self, channel: str, texts: list[str]) -> float:
        """Publish each text; when the first was."""
        began_at = monotonic()
        for text in texts:
            await self._node.publish(channel, text)
        return began_at

    async def converged(self) -> None:
        """Wait for rows equal to those of every live linked peer."""
        await self._node.converged(timeout=CONVERGED_WITHIN_S)

    def say(self, report: dict[str, object]) -> None:
        """Report it to the demo."""
        for line in self._lies(report) if self._lie else (report,):
            print(json.dumps(line), flush=True)

    async def end(self) -> None:
        """Say goodbye, and report what the clients still have to read."""
        looks, reads = self._tasks[:1], self._tasks[1:]
        for task in looks:
            task.cancel()
        await self._node.close()  # ends the clients, and thereby those who read
        if self._tasks:
            await asyncio.wait([*looks, *reads])

    async def _read(self, client: Client) -> None:
        async for item in client:
            told: dict[str, object] = {"at": monotonic(), "client": client.id}
            told["channel"] = item.channel
            match item:
                case Message():
                    self.say({**told, "text": item.data})
                case Exit():
                    self.say({**told, "exit": item.reason})

    async def _look(self) -> None:
        """Report members and peers whenever they are not what they were."""
        before: dict[str, object] = {}
        while True:
            node = self._node
            seen: dict[str, object] = {
                "members": {c: [(m.node, m.id) for m in node.members(c)] for c in node.channels()},
                "peers": {p.node: (p.name, p.state, p.linked) for p in node.peers()},
            }
            if seen != before:
                before = seen
                self.say({"at": monotonic(), **seen})
            await asyncio.sleep(LOOK_EVERY_S)

    def _lies(self, report: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._lie == "lose-message" and "text" in report:
            self._lie = ""
            return
        if self._lie == "hide-member" and "members" in report:
            report = {**report, "members": {c: m[1:] for c, m in report["members"].items()}}
        yield report
        if self._lie == "repeat-exit" and "exit" in report:
            yield report


async def _answer(child: Child, line: bytes) -> None:
    request = json.loads(line)
    serial, verb = request.pop("serial"), request.pop("do")
    method: Callable[..., Awaitable[object]] = getattr(child, verb)
    try:
        said = {"result": await method(**request)}
    except (CrdtPubSubError, TimeoutError) as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    child.say({"at": monotonic(), "re": serial, **said})


async def _main() -> None:
    asyncio.get_running_loop().slow_callback_duration = 60.0  # a busy machine is no fault of ours
    child = Child(json.loads(sys.argv[1]))
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            await _answer(child, line)
    finally:
        transport.close()
        await child.end()


if __name__ == "__main__":
    logging.getLogger("crdtpubsub").addHandler(logging.NullHandler())
    try:
        asyncio.run(_main())
        sys.stdout.flush()
    except BrokenPipeError:  # the demo is gone, and so is everybody who would want to know
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
