"""A cluster of real processes, and proxies between them, for tests to be cruel to.

    async with Cluster() as cluster:
        a, b = await cluster.start("a"), await cluster.start("b")
        await a.join("room", "ada")
        await until(a_sees, ...)

Every node is dialled through a TCP proxy of its own, in this process. It learns from the first
frame of a connection which life dials, and can so cut the link between any two nodes. Nothing
here sleeps for a fixed time: everything waits for a condition, with a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import wraps
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, ParamSpec, Self

ROOT: Final = Path(__file__).resolve().parents[2]
STRICT: Final = ("-X", "dev", "-W", "error")
WAIT_S: Final = 20.0
POLL_S: Final = 0.005
LIFE_BYTES: Final = 16
SNIFFED_BYTES_MAX: Final = 16_384

P = ParamSpec("P")


def story(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A coroutine as a test."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(
    holds: Callable[[], Awaitable[object]], *, timeout: float = WAIT_S, poll_s: float = POLL_S
) -> float:
    """Wait until `holds()` returns something true; the seconds it took."""
    began_s = time.monotonic()
    while not (seen := await holds()):
        took_s = time.monotonic() - began_s
        assert took_s < timeout, f"not so after {took_s:.1f} s; the last answer was {seen!r:.500}"
        await asyncio.sleep(poll_s)
    return time.monotonic() - began_s


async def equals(
    look: Callable[[], Awaitable[object]], expected: object, *, timeout: float = WAIT_S
) -> float:
    """Wait until `look()` returns `expected`; the seconds it took."""
    began_s = time.monotonic()
    while (seen := await look()) != expected:
        took_s = time.monotonic() - began_s
        assert took_s < timeout, f"after {took_s:.1f} s {seen!r:.500}, not {expected!r:.500}"
        await asyncio.sleep(POLL_S)
    return time.monotonic() - began_s


def without_slowness(complaints: str) -> str:
    """Without what asyncio's debug mode says on a machine that has a lot to do."""
    return re.sub(r"^Executing <.*> took [0-9.]+ seconds\n", "", complaints, flags=re.MULTILINE)


class Refused(Exception):
    """The child's node raised; the text begins with the name of the error."""


class Gone(AssertionError):
    """The child ended, or its pipe did, before it answered."""


class Process:
    """One child: a node, as its parent sees it. Any verb of `tests.net.child` is a method."""

    module = "tests.net.child"
    wrapper: tuple[str, ...] = ()
    """What starts the interpreter: another network namespace, limits."""

    def __init__(self, cluster: Cluster, name: str, flags: tuple[str, ...]) -> None:
        self.cluster = cluster
        self.name = name
        self.flags = flags
        self.id = ""
        self.port = free_port()
        self.proxy = Proxy(cluster, self)
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._process: asyncio.subprocess.Process | None = None
        self._serial = count()
        self._busy = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Process({self.name}, {self.id[:8]}, pid {self.pid})"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.proxy.port}"

    def address(self) -> dict[str, object]:
        """Where the node listens, and how others reach it."""
        self.proxy.listen()
        return {"bind": f"tcp://127.0.0.1:{self.port}", "advertise": self.endpoint}

    def moves(self) -> None:
        """Its next life will have other addresses."""
        assert not self.running
        self.port = free_port()
        self.proxy = Proxy(self.cluster, self)

    async def start(self, seeds: Iterable[str], **options: object) -> Self:
        """Start a new life at the same address."""
        assert not self.running
        given = {**self.address(), "name": self.name, "seeds": list(seeds), **options}
        self._process = await asyncio.create_subprocess_exec(
            *self.wrapper,
            sys.executable,
            *self.flags,
            "-m",
            self.module,
            json.dumps(given),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self.errors,
            cwd=ROOT,
            limit=2**26,
        )
        self.id = (await self._line())["id"]
        self.cluster.lives[bytes.fromhex(self.id)] = self.name
        await self.ask("start")
        return self

    async def ask(self, verb: str, *, patience_s: float = WAIT_S, **arguments: object) -> Any:
        """What the child answers.

        Raises:
            Refused: its node raised.
        """
        async with self._busy:
            assert self._process is not None
            assert self._process.stdin is not None
            request = {"serial": next(self._serial), "do": verb, **arguments}
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            with contextlib.suppress(ConnectionError):  # then there is no answer either
                await self._process.stdin.drain()
            answer = await self._line(patience_s)
        assert answer["serial"] == request["serial"]
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    async def _line(self, patience_s: float = WAIT_S) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(patience_s):
            line = await self._process.stdout.readline()
        if not line:
            raise Gone(f"{self.name} ended: {self.complaints()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    # ---------------------------------------------------------------- short for `ask`

    async def join(self, channel: str, *clients: str) -> None:
        for client in clients:
            await self.ask("join", channel=channel, client=client)

    async def leave(self, channel: str, *clients: str) -> list[bool]:
        return [await self.ask("leave", channel=channel, client=client) for client in clients]

    async def sees(self, channel: str) -> set[tuple[str, str]]:
        """The members of a channel: `(name of the process, client)`.

        A life that no process of ours has any more is shown as it is, so that no ghost hides.
        """
        names = {process.id: process.name for process in self.cluster.processes.values()}
        view = await self.ask("view", channel=channel)
        seen = [(names.get(node, node), client) for node, client, _meta in view]
        assert len(seen) == len(set(seen)), f"a member twice: {seen}"
        return set(seen)

    async def clients(self, channel: str) -> set[str]:
        """The client ids alone."""
        return {client for _, client in await self.sees(channel)}

    async def peer_states(self) -> dict[str, str]:
        """Life -> state."""
        return {node: state for node, _, state, _ in await self.ask("peers")}

    async def linked(self) -> set[str]:
        """The lives it is alive and linked with."""
        peers = await self.ask("peers")
        return {node for node, _, state, linked in peers if linked and state == "alive"}

    # ---------------------------------------------------------------- cruelty

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)  # Popen's own way may reap it behind the event loop's back

    async def kill(self) -> None:
        """SIGKILL, and wait for the kernel to have done it."""
        self.signal(signal.SIGKILL)
        await self._ended()

    async def close(self) -> None:
        """Let it say goodbye; it must end by itself, without a word on stderr."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert await self._ended() == 0, self.complaints()
        assert not self.complaints(), self.complaints()

    async def _ended(self) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(WAIT_S):
            code = await self._process.wait()
        await self.proxy.close()
        return code

    def complaints(self) -> str:
        """What it wrote on stderr."""
        self.errors.seek(0)
        return without_slowness(self.errors.read().decode(errors="replace"))

    async def stop(self) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            await self._ended()
        await self.proxy.close()
        self.errors.close()


class Proxy:
    """What others dial in place of one node: forwards bytes, unless the link is cut."""

    def __init__(self, cluster: Cluster, process: Process) -> None:
        self.cluster = cluster
        self.process = process
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], str] = {}  # who dials, "" while unknown

    def listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def close(self) -> None:
        """As if nobody listened: who dials is refused."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await _cancelled(self._links)

    async def cut(self, others: Iterable[str]) -> None:
        """Drop what these have open, and what cannot be told yet."""
        wanted = {*others, ""}
        await _cancelled([task for task, name in self._links.items() if name in wanted])

    def dialler(self, link: asyncio.Task[None]) -> str:
        """Who dialled; "" while that cannot be told, or when the link has ended."""
        return self._links.get(link, "")

    def _accept(self, listener: socket.socket) -> None:
        # Not `loop.sock_accept`: a connection is lost, open, when that is cancelled too late.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            outer, _address = listener.accept()
            task = asyncio.create_task(self._link(outer))
            self._links[task] = ""

            def ended(task: asyncio.Task[None]) -> None:
                del self._links[task]
                outer.close()

            task.add_done_callback(ended)

    async def _link(self, outer: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        outer.setblocking(False)
        with socket.socket() as inner:
            inner.setblocking(False)
            with contextlib.suppress(OSError):
                address = ("127.0.0.1", self.process.port)
                await asyncio.get_running_loop().sock_connect(inner, address)
                inward = asyncio.create_task(self.forward(task, outer, inner))
                outward = asyncio.create_task(self._answer(task, inner, outer))
                try:
                    await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await _cancelled((inward, outward))

    async def pass_on(self, link: asyncio.Task[None], data: bytes, *, inward: bool) -> bytes | None:
        """What of these bytes may go on now; None ends the link."""
        cut = inward and self.cluster.is_cut(self.dialler(link), self.process.name)
        return None if cut else data

    async def forward(
        self, link: asyncio.Task[None], outer: socket.socket, inner: socket.socket
    ) -> None:
        """From who dials to the node; stop when it turns out to be somebody cut off."""
        loop = asyncio.get_running_loop()
        sniffed = bytearray()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(outer, 65_536):
                if not self._links[link] and len(sniffed) < SNIFFED_BYTES_MAX:
                    sniffed += data
                    self._links[link] = self.cluster.who(sniffed)
                if (rest := await self.pass_on(link, data, inward=True)) is None:
                    return
                await loop.sock_sendall(inner, rest)

    async def _answer(
        self, link: asyncio.Task[None], inner: socket.socket, outer: socket.socket
    ) -> None:
        """From the node back to who dialled: ZeroMQ's own frames alone."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(inner, 65_536):
                if (rest := await self.pass_on(link, data, inward=False)) is None:
                    return
                await loop.sock_sendall(outer, rest)


class Cluster:
    """Processes by name. Whatever happens, none of them survives `async with`."""

    def __init__(self, *, flags: tuple[str, ...] = STRICT) -> None:
        self.flags = flags
        self.processes: dict[str, Process] = {}
        self.lives: dict[bytes, str] = {}
        self._cuts: set[frozenset[str]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                running = [p for p in self.processes.values() if p.running]
                await asyncio.gather(*(process.close() for process in running))
        finally:
            for process in self.processes.values():
                await process.stop()

    def make(self, name: str) -> Process:
        """A process to be; subclasses house it elsewhere."""
        return Process(self, name, self.flags)

    async def start(self, name: str, *, seeds: Iterable[str] | None = None, **more: Any) -> Process:
        """Start a node. Its seeds are the first two that are there, if nothing is said."""
        process = self.processes.get(name)
        if process is None:
            process = self.processes[name] = self.make(name)
        if seeds is None:
            others = [p for p in self.processes.values() if p is not process]
            seeds = [p.endpoint for p in others[:2]]
        return await process.start(seeds, **more)

    async def start_all(self, *names: str, **more: Any) -> list[Process]:
        """Start these, and wait until every one is linked with every other."""
        first = await self.start(names[0], **more)
        rest = await asyncio.gather(
            *(self.start(name, seeds=[first.endpoint], **more) for name in names[1:])
        )
        started = [first, *rest]
        await self.meshed(*started)
        return started

    async def meshed(self, *processes: Process) -> float:
        """Wait until each of these is linked with all the others of them."""
        began_s = time.monotonic()
        for process in processes:
            others = {other.id for other in processes if other is not process}

            async def all_linked(process: Process = process, others: set[str] = others) -> bool:
                return others <= await process.linked()

            await until(all_linked)
        return time.monotonic() - began_s

    async def settle(self, *processes: Process) -> None:
        """Wait until each has shown rows equal to its linked peers'."""
        for process in processes:
            await process.ask("converged", timeout=WAIT_S)

    async def split(self, *sides: Iterable[Process]) -> None:
        """Drop all links between processes of different sides; new ones are dropped too."""
        groups = [[process.name for process in side] for side in sides]
        for here, group in enumerate(groups):
            for there in groups[here + 1 :]:
                self._cuts |= {frozenset((a, b)) for a in group for b in there}
        for process in self.processes.values():
            await process.proxy.cut(a for a in self.processes if self.is_cut(a, process.name))

    def heal(self) -> None:
        """Links may be made again; nodes find that out by themselves."""
        self._cuts.clear()

    def is_cut(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self._cuts

    def who(self, said: bytes | bytearray) -> str:
        """Whose life is named first in these bytes: the sender stands at the head of a frame."""
        found = [(at, name) for life, name in self.lives.items() if (at := said.find(life)) >= 0]
        return min(found)[1] if found else ""


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
