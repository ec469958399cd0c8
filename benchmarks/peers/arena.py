"""Where a system is asked: its server if it has one, its processes, free ports; all gone after."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol, Self

from benchmarks.common import HEAR_S, Child
from benchmarks.peers.pg import Erlang
from benchmarks.peers.roles import play
from benchmarks.peers.systems import SYSTEMS, driver_of, program

__all__ = ["Arena", "Process", "free_port"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process(Protocol):
    """A process that plays a role: `common.Child`, or one that speaks another language."""

    @property
    def pid(self) -> int: ...
    def tell(self, said: object) -> None: ...
    def hear(self, timeout_s: float = HEAR_S) -> Any: ...
    def ask(self, said: object, timeout_s: float = HEAR_S) -> Any: ...
    def stop(self) -> None: ...


class Arena:
    """One system, for one case."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.servers: list[int] = []
        """Pids of what is not ours and burns CPU: brokers, name servers."""

        self._stack = ExitStack()
        self._server = ""
        self._group = str(free_port())
        self._erlang: Erlang | None = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        if not SYSTEMS[self.system].driver:
            self._erlang = self._stack.enter_context(Erlang(scratch, free_port()))
            self.servers.append(self._erlang.epmd_pid)
        elif server := SYSTEMS[self.system].server:
            port = free_port()
            self._start(SERVERS[server](port, scratch), port)
            self._server = f"127.0.0.1:{port}"

    def _start(self, command: list[str], port: int) -> None:
        found = program(command[0])
        assert found is not None
        server = subprocess.Popen(
            [found, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._stack.callback(_end, server)
        self.servers.append(server.pid)
        end = monotonic() + 20.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                if monotonic() > end or server.poll() is not None:
                    raise RuntimeError(f"{command[0]} does not answer") from None
                sleep(0.02)
            else:
                return

    def start(self, role: str, *args: Any, seeds: list[str] | None = None, port: int = 0) -> Any:
        """A process that plays `role`. What it says first is its address (not a `former`)."""
        process: Process
        if self._erlang is not None:
            process = self._erlang.start(role, args, seeds or [], port)
        else:
            where = {
                "server": self._server,
                "port": port or free_port(),
                "seeds": seeds or [],
                "group": self._group,
            }
            loop = getattr(driver_of(self.system), "LOOP", "asyncio")
            process = Child(play, self.system, where, role, list(args), loop=loop)
        self._stack.callback(process.stop)
        return process

    def address_of(self, port: int) -> str:
        """What a process that will listen there will be called."""
        if self._erlang is not None:
            return self._erlang.name_of(port)
        return f"tcp/127.0.0.1:{port}" if self.system == "zenoh" else f"tcp://127.0.0.1:{port}"


def _redis(port: int, scratch: Path) -> list[str]:
    return [
        *("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(scratch)),
        *("--save", "", "--appendonly", "no", "--maxclients", "20000"),
        *("--client-output-buffer-limit", "pubsub 0 0 0"),
    ]


def _nats(port: int, scratch: Path) -> list[str]:
    config = scratch / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port}\nmax_pending: 1073741824\nwrite_deadline: '60s'\n",
        encoding="ascii",
    )
    return ["nats-server", "-c", str(config)]


SERVERS = {"redis-server": _redis, "nats-server": _nats}


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(5.0)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
