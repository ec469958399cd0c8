"""The network of the demo: every node is dialled through a TCP proxy, which can cut its links.

A proxy forwards bytes. Who dials, it learns from the first frame of a connection, which names the
sender's life at its head; what is cut is dropped before that frame is handed on, and so is every
later attempt. So a cut looks to both ends as if a router between them had gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable
from typing import Final

__all__ = ["HOST", "Network", "Proxy"]

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65_536
SNIFFED_BYTES_MAX: Final = 16_384
"""ZeroMQ's handshake and our first frame fit in it many times."""


class Network:
    """All proxies, whose life is whose, and which nodes cannot talk."""

    def __init__(self) -> None:
        self._proxies: dict[str, Proxy] = {}
        self._names: dict[bytes, str] = {}
        self._sides: tuple[Collection[str], ...] = ()

    async def add(self, name: str) -> Proxy:
        """Make the address under which the others dial this node."""
        proxy = self._proxies[name] = Proxy(self, name)
        await proxy.listen()
        return proxy

    def knows(self, life: str, name: str) -> None:
        """This life is that node's: needed before it dials anybody."""
        self._names[bytes.fromhex(life)] = name

    async def cut(self, *sides: Collection[str]) -> None:
        """Break every link between nodes of different sides, and keep it so until `heal`."""
        self._sides = sides
        await asyncio.gather(
            *(
                proxy.drop([who for who in self._proxies if self.divided(who, proxy.name)])
                for proxy in self._proxies.values()
            )
        )

    def heal(self) -> None:
        """Let links be made again; the nodes find that out by themselves."""
        self._sides = ()

    def divided(self, one: str, other: str) -> bool:
        """Whether they are on different sides of a cut."""
        side = next((side for side in self._sides if one in side), None)
        return side is not None and other not in side

    def who(self, said: bytearray) -> str:
        """Whose life is named first in these bytes; nobody's yet: ''."""
        found = [(at, who) for life, who in self._names.items() if (at := said.find(life)) >= 0]
        return min(found)[1] if found else ""

    async def close(self) -> None:
        """Drop everything."""
        await asyncio.gather(*(proxy.close() for proxy in self._proxies.values()))


class Proxy:
    """What the others dial in place of one node."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.port = 0
        self.target_port = 0
        """Where the node itself listens."""
        self._network = network
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], str] = {}
        """Who dialled; '' while it has not said so."""

    @property
    def endpoint(self) -> str:
        """What the node advertises."""
        return f"tcp://{HOST}:{self.port}"

    async def listen(self) -> None:
        """Take connections, at the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, HOST, self.port, backlog=256)
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections, as a host does for a process that is gone. Links stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def drop(self, others: Iterable[str]) -> None:
        """Break the links of these, and those that cannot be told yet."""
        wanted = {*others, ""}
        await _ended([task for task, who in self._links.items() if who in wanted])

    async def close(self) -> None:
        """Refuse, and drop everything."""
        self.refuse()
        await asyncio.sleep(0)  # what was accepted just now gets its task
        await _ended(list(self._links))

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._links[task] = ""
        task.add_done_callback(self._links.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner: asyncio.StreamWriter | None = None
        try:
            answers, inner = await asyncio.open_connection(HOST, self.target_port)
            there = asyncio.create_task(self._forward(reader, inner, asyncio.current_task()))
            back = asyncio.create_task(_pump(answers, writer))
            try:  # one direction that ends ends the link
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _ended((there, back))
        except OSError:
            pass  # nobody listens there: the dialler sees its link close
        finally:
            writer.transport.abort()
            if inner is not None:
                inner.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        inner: asyncio.StreamWriter,
        link: asyncio.Task[None] | None,
    ) -> None:
        """From the dialler to the node, until it turns out to be somebody cut off."""
        sniffed = bytearray()
        who = ""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if not who and link is not None and len(sniffed) < SNIFFED_BYTES_MAX:
                    sniffed += data
                    who = self._links[link] = self._network.who(sniffed)
                    if who and self._network.divided(who, self.name):
                        return
                inner.write(data)
                await inner.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


async def _ended(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
