"""The arena for root: every node in a network namespace of its own.

    hub  --- a device for each ---  cps<pid>-a, cps<pid>-b, ...       10.8.0.1, .2, ...

Devices are TUN, and `tests.chaos.router` in the hub loses, delays and swaps packets; or veth on a
bridge, where the kernel forwards and `shape` is not available. Cuts and rejects are nft rules in
the receiving namespace, resets are `ss -K`. Nothing outside of these namespaces is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from tests.chaos.arena import Arena
from tests.chaos.schedule import CALM
from tests.net.cluster import ROOT, WAIT_S, Cluster, Process

__all__ = ["Namespaces", "missing"]

PREFIX: Final = "cps"
PORT: Final = 7400
NAMED: Final = re.compile(rf"{PREFIX}(\d+)-")
TABLE: Final = "table inet chaos"


def missing() -> str | None:
    """Why there can be no namespaces here; None if there can."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("ip", "nft", "ss"):
        if shutil.which(tool) is None:
            return f"needs {tool} (packages iproute2 and nftables)"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return None


async def run(*command: str, said: str | None = None) -> str:
    """Run a command that must succeed; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if said is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate(None if said is None else said.encode())
    text = out.decode(errors="replace")
    assert process.returncode == 0, f"{' '.join(command)}: {text}"
    return text


class _Node(Process):
    module = "tests.chaos.child"

    def __init__(self, cluster: Cluster, name: str, flags: tuple[str, ...]) -> None:
        super().__init__(cluster, name, flags)
        assert isinstance(cluster, Namespaces)
        self.port = PORT
        self.ip = cluster.ip(name)
        self.wrapper = ("ip", "netns", "exec", cluster.namespace(name))

    @property
    def endpoint(self) -> str:
        return f"tcp://{self.ip}:{self.port}"

    def address(self) -> dict[str, object]:
        return {"bind": self.endpoint, "insecure": True}


class Namespaces(Arena):
    transport = "netns"

    def __init__(
        self,
        names: Iterable[str],
        *,
        seed: int = 0,
        wiring: Literal["tun", "veth"] = "tun",
        flags: tuple[str, ...] = (),
    ) -> None:
        super().__init__(tuple(names), flags=flags)
        self.wiring = wiring
        self.routed: dict[str, dict[str, int]] = {}
        """What the router did, by direction; known when the arena is closed."""
        self._seed = seed
        self._router: asyncio.subprocess.Process | None = None
        self._walls: dict[str, str] = {}

    def namespace(self, name: str) -> str:
        return f"{PREFIX}{os.getpid()}-{name}"

    def ip(self, name: str) -> str:
        return f"10.8.0.{self.names.index(name) + 1}"

    def make(self, name: str) -> Process:
        return _Node(self, name, self.flags)

    # ---------------------------------------------------------------- up and down

    async def __aenter__(self) -> Self:
        await _sweep()
        try:
            for name in ("hub", *self.names):
                await run("ip", "netns", "add", self.namespace(name))
            await (self._route() if self.wiring == "tun" else self._bridge())
        except BaseException:
            await self._demolish()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            await self._demolish()

    async def _route(self) -> None:
        hub = self.namespace("hub")
        devices = [f"t{number}" for number in range(1, len(self.names) + 1)]
        self._router = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", hub, sys.executable, "-m", "tests.chaos.router"),
            *(str(self._seed), *devices),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert self._router.stdout is not None
        async with asyncio.timeout(WAIT_S):
            assert await self._router.stdout.readline() == b"ready\n"
        for name, device in zip(self.names, devices, strict=True):
            await run("ip", "-n", hub, "link", "set", device, "netns", self.namespace(name))
            await self._up(name, device)

    async def _bridge(self) -> None:
        hub = self.namespace("hub")
        await run("ip", "-n", hub, "-batch", "-", said="link add br0 type bridge\nlink set br0 up")
        for number, name in enumerate(self.names, start=1):
            pair = f"link add v{number} type veth peer name v0 netns {self.namespace(name)}\n"
            ups = f"link set v{number} master br0\nlink set v{number} up"
            await run("ip", "-n", hub, "-batch", "-", said=pair + ups)
            await self._up(name, "v0")

    async def _up(self, name: str, device: str) -> None:
        ups = f"addr add {self.ip(name)}/24 dev {device}\nlink set lo up\nlink set {device} up"
        await run("ip", "-n", self.namespace(name), "-batch", "-", said=ups)

    async def _demolish(self) -> None:
        if self._router is not None:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    out, _ = await self._router.communicate(b"")
                    self.routed = json.loads(out) if out else {}
            if self._router.returncode is None:
                self._router.kill()
                await self._router.wait()
        for name in ("hub", *self.names):
            if self.namespace(name) in _standing():
                await run("ip", "netns", "del", self.namespace(name))

    # ---------------------------------------------------------------- cruelty

    async def obey(self) -> None:
        for name in self.names:
            wall = self._wall(name)
            if wall != self._walls.get(name, ""):
                self._walls[name] = wall
                text = f"{TABLE}\ndelete {TABLE}\n{wall}"
                await self.inside(name, "nft", "-f", "-", said=text)
        told: dict[str, Any] = {}
        for a, one in enumerate(self.names, start=1):
            for b, other in enumerate(self.names, start=1):
                if (shape := self.shape((one, other))) != CALM:
                    told[f"{a}>{b}"] = [
                        *(shape.delay_s, shape.jitter_s, shape.loss),
                        *(shape.duplicate, shape.reorder, shape.rate_bps),
                    ]
        if self._router is None:
            assert not told, "a bridge in the kernel shapes nothing"
            return
        assert self._router.stdin is not None
        self._router.stdin.write(json.dumps(told).encode() + b"\n")
        await self._router.stdin.drain()

    def _wall(self, name: str) -> str:
        """What this namespace lets in, as nft rules; a reset that answers a packet always."""
        rules: list[str] = []
        for other in self.names:
            way = (other, name)
            if self.drops(way):
                rules.append(f"ip saddr {self.ip(other)} drop")
            elif self.rejects(way):
                rules.append(f"ip saddr {self.ip(other)} tcp flags & rst == rst accept")
                rules.append(f"ip saddr {self.ip(other)} meta l4proto tcp reject with tcp reset")
        if not rules:
            return ""
        hook = "type filter hook input priority 0; policy accept;"
        return f"{TABLE} {{\nchain in {{\n{hook}\n" + "\n".join(rules) + "\n}\n}\n"

    async def reset(self, one: str, other: str) -> None:
        await self.inside(one, "ss", "-K", "dst", self.ip(other))

    def move(self, process: Process) -> None:
        process.port += 1

    async def inside(self, name: str, *command: str, said: str | None = None) -> str:
        """Run something in the namespace of a node."""
        return await run("ip", "netns", "exec", self.namespace(name), *command, said=said)


def _standing() -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob(f"{PREFIX}*"))


def _runs(pid: str) -> bool:
    return Path("/proc", pid).exists()


async def _sweep() -> None:
    """Remove what a run left behind that was killed."""
    for name in _standing():
        found = NAMED.match(name)
        if found and not _runs(found[1]):
            await run("ip", "netns", "del", name)
