"""`crdtpubsub doctor` on real sockets: each reason why two nodes do not see each other."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from crdtpubsub import SyncNode
from crdtpubsub.cli.__main__ import main
from tests.api.cli import ROOT, running

pytestmark = pytest.mark.net
SECRET = "a secret for the tests of the doctor"

OTHER_VERSION = """
import asyncio, sys
from crdtpubsub.wire import header
header.WIRE_VERSION = 99
from crdtpubsub import Node

async def main():
    async with Node(seeds=[sys.argv[1]]):
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("SEEDS", "BIND", "ADVERTISE", "NAME", "CLUSTER", "SECRET"):
        monkeypatch.delenv(f"CRDTPUBSUB_{name}", raising=False)
    with tempfile.TemporaryDirectory(prefix="cli-") as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield path


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Any:
    def doctor(*arguments: str, code: int = 1) -> dict[str, str]:
        assert main(["doctor", "--json", *arguments]) == code
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert all(set(one) == {"about", "finding", "ok", "words"} for one in said)
        return {one["finding"]: one["words"] for one in said}

    return doctor


@contextmanager
def node(world: str, **options: Any) -> Iterator[str]:
    """A node in this process: its I/O thread needs no process, and a start costs a second."""
    with SyncNode(**options) as started:
        yield started.endpoint


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


TCP = ("--bind", "tcp://127.0.0.1:*")
BIND = "tcp://127.0.0.1:*"


def test_all_is_well(world: str, says: Any) -> None:
    with running(world, "node", "--json", "--name", "one") as process:  # a real one
        assert process.record()["name"] == "one"
        assert set(says(code=0)) == {"met"}


def test_nobody_is_there(says: Any) -> None:
    assert "no other node" in says("--timeout", "0.2")["nobody"]


def test_nothing_listens(says: Any) -> None:
    said = says(f"tcp://127.0.0.1:{free_port()}", "--timeout", "0.2")
    assert said == {"nothing_listens": "nothing listens there"}


@pytest.mark.parametrize("scheme", ["tcp", "dns"])
def test_a_name_that_does_not_resolve(says: Any, scheme: str) -> None:
    said = says(f"{scheme}://no-such-name.invalid:7400", "--timeout", "0.2")
    assert said["unresolved"].startswith("the name no-such-name.invalid does not resolve: ")


def test_a_name_that_resolves_is_looked_at_behind(world: str, says: Any) -> None:
    with node(world, bind=BIND) as seed:
        said = says(seed.replace("tcp://127.0.0.1", "dns://localhost"), code=0)
    assert set(said) == {"met"}


def test_what_listens_is_no_node(says: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = says(f"tcp://127.0.0.1:{server.getsockname()[1]}", "--timeout", "0.2")
    assert set(said) == {"no_node"}


def test_another_cluster(world: str, says: Any) -> None:
    with node(world, bind=BIND) as seed:
        said = says(seed, "--cluster", "blue", "--timeout", "1")
        assert said == {
            "cluster": "another cluster: that node is in 'default', and this one in 'blue'"
        }
    bound = f"tcp://127.0.0.1:{free_port()}"
    with node(world, bind=BIND, cluster="blue", seeds=[bound]):  # both ways unknown names: heard
        assert "another cluster" in says("--bind", bound, "--timeout", "1.5")["cluster"]


def test_another_version(says: Any) -> None:
    bound = f"tcp://127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_VERSION, bound], cwd=ROOT, stdin=subprocess.PIPE
    ) as other:
        try:
            assert "another wire version" in says("--bind", bound, "--timeout", "4")["version"]
        finally:
            other.kill()


def test_secrets(world: str, says: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with node(world, bind=BIND, secret=SECRET) as secret, node(world, bind=BIND) as plain:
        assert "uses a secret" in says(secret, "--timeout", "0.2")["secret"]
        monkeypatch.setenv("CRDTPUBSUB_SECRET", SECRET + " of others")
        assert "uses no secret" in says(plain, "--timeout", "0.2")["secret"]
        assert "the secrets differ" in says(secret, "--timeout", "2")["secret"]


def test_an_advertised_address_that_nobody_reaches(world: str, says: Any) -> None:
    dead = f"tcp://127.0.0.1:{free_port()}"
    with node(world, bind=BIND) as seed:
        said = says(seed, *TCP, "--advertise", dead, "--timeout", "1")
        assert "nothing listens" in said["advertised"]
    port = free_port()
    with node(world, bind=f"tcp://127.0.0.1:{port}", advertise=dead):
        said = says(f"tcp://127.0.0.1:{port}", "--timeout", "1.5")
        assert dead in said["peer_advertised"]


def test_a_name_that_two_nodes_share(world: str, says: Any) -> None:
    with node(world, name="twin"), node(world, name="twin"):
        assert "2 running nodes have this name" in says()["name_shared"]
