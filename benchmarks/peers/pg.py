"""Erlang's pg: each process an Erlang node of its own, which plays the roles in `pg_peer.erl`.

Orders go down its stdin as Erlang terms, one a line; answers come back as JSON lines.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
import subprocess
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from benchmarks.common import HEAR_S
from benchmarks.peers.systems import program

__all__ = ["Erlang", "term"]


def term(value: object) -> str:
    """A value as an Erlang term: strings are binaries, None is `none`."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return f'<<"{value}">>'
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(term, value)) + "]"
    if isinstance(value, dict):
        return "[" + ",".join(f"{{{term(k)},{term(v)}}}" for k, v in value.items()) + "]"
    assert isinstance(value, (int, float)), value
    return repr(value)


class Erlang:
    """A name server of our own on a free port, and the compiled roles."""

    def __init__(self, scratch: Path, port: int) -> None:
        self._scratch, self._port = scratch, port
        self._env = {
            **os.environ,
            "ERL_EPMD_PORT": str(port),
            "HOME": str(scratch),
            "ERL_CRASH_DUMP_BYTES": "0",
        }
        self._cookie = secrets.token_hex(8)

    def __enter__(self) -> Self:
        source = Path(__file__).with_name("pg_peer.erl")
        subprocess.run(
            [_found("erlc"), "+no_warnings", "-o", str(self._scratch), str(source)],
            check=True,
            env=self._env,
            timeout=60,
        )
        self._epmd = subprocess.Popen([_found("epmd")], env=self._env, stderr=subprocess.DEVNULL)
        self.epmd_pid = self._epmd.pid
        end = monotonic() + 20.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
            except OSError:
                assert monotonic() < end, "epmd does not answer"
                sleep(0.02)
            else:
                break
        return self

    def __exit__(self, *_: object) -> None:
        self._epmd.terminate()
        self._epmd.wait()

    def name_of(self, port: int) -> str:
        return f"peer{port}@127.0.0.1"

    def start(self, role: str, args: tuple[Any, ...], seeds: list[str], port: int) -> ErlangNode:
        port = port or secrets.randbelow(1 << 30)
        name = self.name_of(port)
        command = [
            *(_found("erl"), "-noinput", "-name", name, "-setcookie", self._cookie),
            *("-start_epmd", "false", "-pa", str(self._scratch), "-s", "pg_peer", "main"),
            *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
            *("-kernel", "prevent_overlapping_partitions", "false"),
            *("-kernel", "logger_level", "error"),
            *("+P", "1000000", "+Q", "65536", "+K", "true", "+zdbbl", "131072"),
        ]
        node = ErlangNode(command, self._env, name)
        node.tell([role, seeds, list(args)])
        return node


class ErlangNode:
    """As `common.Child`."""

    def __init__(self, command: list[str], env: dict[str, str], name: str) -> None:
        self._name = name
        self._buffer = b""
        # `-noinput` leaves stdin to nobody; orders go through a descriptor of their own.
        out, self._down = os.pipe()
        self._up, back = os.pipe()
        self._process = subprocess.Popen(
            [*command, "-orders", str(out), "-answers", str(back)],
            env=env,
            pass_fds=(out, back),
        )
        os.close(out)
        os.close(back)

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, said: object) -> None:
        data = (term(said) + ".\n").encode()
        while data:
            data = data[os.write(self._down, data) :]

    def hear(self, timeout_s: float = HEAR_S) -> Any:
        end = monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not select.select([self._up], [], [], max(0.0, end - monotonic()))[0]:
                raise TimeoutError(f"{self._name} said nothing for {timeout_s} s")
            more = os.read(self._up, 1 << 20)
            if not more:
                raise RuntimeError(f"{self._name} died")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        said = json.loads(line)
        if isinstance(said, dict) and "died" in said:
            raise RuntimeError(f"{self._name}: {said['died']}")
        return said

    def ask(self, said: object, timeout_s: float = HEAR_S) -> Any:
        self.tell(said)
        return self.hear(timeout_s)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._down)
        os.close(self._up)


def _found(name: str) -> str:
    found = program(name)
    assert found is not None, name
    return found
