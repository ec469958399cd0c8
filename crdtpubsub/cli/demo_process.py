"""The node processes of the demo, as their parent sees them: by what they report, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any, Final

from crdtpubsub.cli.demo_proxy import HOST, Network, Proxy

__all__ = ["Cluster", "NodeProcess", "ProcessFailedError"]

ANSWER_WITHIN_S: Final = 20.0
LEAVE_WITHIN_S: Final = 0.5
"""For those who interrupt us, and want their prompt back within a second."""
START_TRIES: Final = 5


class ProcessFailedError(Exception):
    """A child ended by itself, or its node raised: in words."""


class NodeProcess:
    """One node: a name and an address, and one process after the other that bears them."""

    def __init__(self, cluster: Cluster, name: str, proxy: Proxy) -> None:
        self.name = name
        self.proxy = proxy
        self.life = ""
        self.members: dict[str, set[tuple[str, str]]] = {}
        """Channel -> (life, client): what it said last."""
        self.peers: dict[str, tuple[str, str, bool]] = {}
        """Life -> name, state, linked."""
        self.seen_at = 0.0
        """When that changed."""
        self.messages: Counter[tuple[str, str]] = Counter()
        """(client, text): how often its clients got it, in all its lives."""
        self.arrivals: dict[str, list[float]] = {}
        """Text -> when its clients got it."""
        self.exits: Counter[tuple[str, str]] = Counter()
        """(client, channel): how often its clients were told."""
        self.complaints: list[str] = []
        self._cluster = cluster
        self._process: asyncio.subprocess.Process | None = None
        self._readers: tuple[asyncio.Task[None], ...] = ()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._serials = count(1)
        self._leaves = False

    @property
    def pid(self) -> int:
        """Of the process that bears the name now."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *, seeds: list[str], config: dict[str, float]) -> None:
        """Start a life at this address; returns when its node listens."""
        await self.proxy.listen()
        for remaining in reversed(range(START_TRIES)):
            self.proxy.target_port = _free_port()
            await self._spawn(seeds, config)
            try:
                await self.ask("start")
            except ProcessFailedError as error:
                # Somebody was given our free port first. The address the others know stays.
                if not remaining or "BindError" not in str(error):
                    raise
                await self.leave()
            else:
                return

    async def _spawn(self, seeds: list[str], config: dict[str, float]) -> None:
        options = {
            "name": self.name,
            "bind": f"tcp://{HOST}:{self.proxy.target_port}",
            "advertise": self.proxy.endpoint,
            "seeds": seeds,
            "config": config,
        }
        self._leaves = False
        self.members, self.peers = {}, {}
        spawning = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                sys.executable,
                *_interpreter_flags(),
                "-m",
                "crdtpubsub.cli.demo_child",
                json.dumps(options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the demo, which then lets its nodes leave
                limit=2**20,
            )
        )
        try:
            await asyncio.shield(spawning)
        finally:  # also when interrupted: a process that runs must be known, to be ended
            self._attach(await spawning)
        await self._answered(0)

    def _attach(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._answers[0] = asyncio.get_running_loop().create_future()
        self._readers = (
            asyncio.create_task(self._listen(process.stdout)),
            asyncio.create_task(self._overhear(process.stderr)),
        )

    async def ask(self, verb: str, **arguments: object) -> Any:
        """What the child answers to this verb of `demo_child.Child`.

        Raises:
            ProcessFailedError: its node raised, it ended, or it did not answer.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        if self._readers[0].done():
            raise ProcessFailedError(f"{self.name} has ended")
        serial = next(self._serials)
        self._answers[serial] = asyncio.get_running_loop().create_future()
        request = {"serial": serial, "do": verb, **arguments}
        with contextlib.suppress(OSError):  # ended: `_listen` tells
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._answered(serial)

    async def _answered(self, serial: int) -> Any:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._answers[serial]
        except TimeoutError:
            raise ProcessFailedError(f"{self.name} did not answer") from None
        finally:
            del self._answers[serial]

    async def kill(self) -> float:
        """SIGKILL; when it was sent."""
        assert self._process is not None
        self._leaves = True
        self.proxy.refuse()  # as its own port will; its links break when the kernel closes them
        at = monotonic()
        self._kill()
        await self._gone()
        return at

    async def leave(self) -> int:
        """Let it say goodbye; how it ended. What it reported until then has been taken in."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._leaves = True
        self._process.stdin.close()
        return await self._gone()

    async def end(self) -> None:
        """End it, whatever state it is in, soon."""
        if self._process is None:
            return
        try:
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self.leave()
        except TimeoutError:
            self._kill()
            await self._gone()

    def _kill(self) -> None:
        # Not `Process.kill`: it polls first, and so may reap a child that just ended from under
        # asyncio's watcher thread, which then complains of an unknown child.
        assert self._process is not None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def _gone(self) -> int:
        assert self._process is not None
        if self._readers:
            await asyncio.wait(self._readers)
        return await self._process.wait()

    async def _listen(self, stdout: asyncio.StreamReader) -> None:
        while (line := await stdout.readline()).endswith(b"\n"):
            self._take(json.loads(line))
            self._cluster.news.set()
        await asyncio.wait(self._readers[1:])
        said = "".join(f"\n    | {line}" for line in self.complaints[-10:])
        if not self._leaves:
            self._cluster.ended.append(f"{self.name}{said}")
            self._cluster.news.set()
        for serial in self._answers:
            self._settle(serial, ProcessFailedError(f"{self.name} ended by itself{said}"))

    async def _overhear(self, stderr: asyncio.StreamReader) -> None:
        while line := await stderr.readline():
            self.complaints.append(line.decode(errors="replace").rstrip())

    def _take(self, report: dict[str, Any]) -> None:
        match report:
            case {"life": life}:
                self.life = life
                self._cluster.network.knows(life, self.name)
                self._settle(0, None)
            case {"members": members, "peers": peers, "at": at}:
                self.members = {c: {(n, m) for n, m in who} for c, who in members.items()}
                self.peers = {life: tuple(peer) for life, peer in peers.items()}
                self.seen_at = at
            case {"client": client, "text": text, "at": at}:
                self.messages[client, text] += 1
                self.arrivals.setdefault(text, []).append(at)
            case {"client": client, "channel": channel, "exit": _}:
                self.exits[client, channel] += 1
            case {"re": serial, "error": error}:
                self._settle(serial, ProcessFailedError(f"{self.name}: {error}"))
            case {"re": serial, "result": result}:
                self._settle(serial, result)

    def _settle(self, serial: int, answer: object) -> None:
        waiting = self._answers.get(serial)
        if waiting is None or waiting.done():
            return  # who asked was interrupted
        if isinstance(answer, ProcessFailedError):
            waiting.set_exception(answer)
            waiting.exception()  # now asyncio does not complain if nobody awaits it any more
        else:
            waiting.set_result(answer)


class Cluster:
    """All nodes by name, the network between them, and waiting for what they report."""

    def __init__(self) -> None:
        self.network = Network()
        self.nodes: dict[str, NodeProcess] = {}
        self.news = asyncio.Event()
        self.ended: list[str] = []
        """Who ended without being told to."""

    async def add(self, name: str) -> NodeProcess:
        """Make a node's address; no process yet."""
        node = NodeProcess(self, name, await self.network.add(name))
        self.nodes[name] = node
        return node

    def view(self, name: str) -> dict[str, set[str]]:
        """Channel -> `client@node`, as this node reports it; channels without members left out.

        A life that no process bears any more shows as `client@ghost-...`.
        """
        names = {node.life: node.name for node in self.nodes.values()}
        return {
            channel: {f"{client}@{names.get(life, f'ghost-{life[:8]}')}" for life, client in who}
            for channel, who in self.nodes[name].members.items()
            if who
        }

    def linked(self, name: str) -> set[str]:
        """Which of the present lives this node holds up, over a link of its own."""
        return {
            other.name
            for other in self.nodes.values()
            if self.nodes[name].peers.get(other.life, ("", "", False))[1:] == ("alive", True)
        }

    async def until(self, holds: Callable[[], bool], *, within_s: float) -> None:
        """Wait until what was reported is so.

        Raises:
            TimeoutError: it is not so in time.
            ProcessFailedError: a child ended by itself.
        """
        async with asyncio.timeout(within_s):
            while not holds():
                if self.ended:
                    raise ProcessFailedError(f"ended by itself: {', '.join(self.ended)}")
                self.news.clear()
                await self.news.wait()

    async def close(self) -> None:
        """End all processes, and the network."""
        await asyncio.gather(*(node.end() for node in self.nodes.values()))
        await self.network.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _interpreter_flags() -> list[str]:
    """Strictness is inherited: `python -X dev -W error` is meant for the nodes too."""
    flags = [f"-W{option}" for option in sys.warnoptions]
    if sys.flags.dev_mode and not os.environ.get("PYTHONDEVMODE"):
        flags += ["-X", "dev"]
    return flags
