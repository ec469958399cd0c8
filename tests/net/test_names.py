"""Seeds that are names: found when they lead somewhere, wherever that is by then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from typing import Final

import pytest

from crdtpubsub import Config, Node
from crdtpubsub.discovery import names
from crdtpubsub.discovery.names import Names
from tests.api.helpers import nodes, story, until
from tests.net.cluster import ROOT, free_port

pytestmark = [pytest.mark.net, pytest.mark.timeout(60)]

QUICK: Final = Config(discovery_interval_s=0.1)
LOOPBACK: Final = "tcp://127.0.0.1:*"

Table = dict[str, tuple[str, ...]]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """A name service: names that are not in it do not resolve."""
    known: Table = {}

    def resolve(host: str) -> tuple[str, ...]:
        if host not in known:
            raise OSError(f"{host} is not known")
        return known[host]

    monkeypatch.setattr(names, "resolve", resolve)
    return known


def linked(node: Node) -> set[str]:
    return {peer.name for peer in node.peers() if peer.linked}


@pytest.mark.parametrize("scheme", ["dns", "tcp"])
def test_who_comes_back_at_another_address_is_found(scheme: str, table: Table) -> None:
    @story
    async def found() -> None:
        port = free_port()
        async with Node(LOOPBACK, seeds=[f"{scheme}://pods:{port}"], config=QUICK) as node:
            await until(lambda: node.stats().counters.get("noted_unresolved") == 1)
            async with Node(f"tcp://127.0.0.1:{port}", name="first"):
                table["pods"] = ("127.0.0.1", "127.0.0.77")
                await until(lambda: linked(node) == {"first"})
            async with Node(f"tcp://127.0.0.2:{port}", name="second"):
                table["pods"] = ("127.0.0.2",)
                await until(lambda: linked(node) == {"second"})
                # Nobody is reached by the other two: they are not dialled any more.
                await until(lambda: node.stats().counters["seeds_gone"] == 2)
                del table["pods"]  # an outage of the name service takes nothing away
                await until(lambda: node.stats().counters["noted_unresolved"] == 2)
                assert node.stats().counters["seeds_gone"] == 2
                assert linked(node) == {"second"}

    found()


@story
async def test_a_seed_that_comes_up_seconds_later_is_found() -> None:
    seed = f"tcp://127.0.0.1:{free_port()}"
    began_s = time.monotonic()
    async with Node(LOOPBACK, seeds=[seed]) as early:
        assert time.monotonic() - began_s < 2.0  # it does not wait for it
        await until(lambda: time.monotonic() - began_s > 3.0)
        async with Node(seed, name="late"):
            await until(lambda: linked(early) == {"late"}, timeout=15)


def test_a_resolver_that_hangs_stalls_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    asked = threading.Event()

    def resolve(_host: str) -> tuple[str, ...]:
        asked.set()
        hangs.wait(30)
        raise OSError("nobody answers")

    monkeypatch.setattr(names, "resolve", resolve)

    @story
    async def works() -> None:
        async with nodes(2) as (a, b), Node(LOOPBACK, seeds=[a.endpoint, "dns://x:1"]) as c:
            await until(lambda: linked(c) == {"n0", "n1"})
            assert asked.is_set()
            async with a.subscribe("room") as messages:
                await c.wait_for("room", 1, timeout=10)
                await c.publish("room", "hello")
                assert (await messages.get(timeout=10)).data == "hello"
            assert all(peer.state == "alive" for peer in (*a.peers(), *b.peers()))

    try:
        works()
    finally:
        hangs.set()


def test_one_name_that_hangs_delays_no_other_and_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hangs, woken = threading.Event(), threading.Event()
    asked: list[str] = []

    def resolve(host: str) -> tuple[str, ...]:
        asked.append(host)
        if host == "slow":
            hangs.wait(30)
        return ("10.0.0.1",)

    monkeypatch.setattr(names, "resolve", resolve)
    known = Names(["quick", "slow"], 5.0, woken.set)
    known.look(0.0)
    assert woken.wait(10)
    known.look(1.0)
    assert known.addresses == {"quick": ("10.0.0.1",)}
    woken.clear()
    known.look(100.0)
    assert woken.wait(10)
    assert sorted(asked) == ["quick", "quick", "slow"]
    woken.clear()
    hangs.set()
    assert woken.wait(10)


def test_what_fails_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    woken = threading.Event()
    now_s = 0.0

    def resolve(_host: str) -> tuple[str, ...]:
        asked.append(now_s)
        raise OSError("no")

    monkeypatch.setattr(names, "resolve", resolve)
    known = Names(["nowhere"], 1.0, woken.set)
    while now_s < 40:
        before = len(known._running)
        known.look(now_s)
        if len(known._running) > before:
            assert woken.wait(10)
            woken.clear()
            known.look(now_s)
        now_s += 1.0
    assert asked == [0.0, 2.0, 6.0, 14.0, 22.0, 30.0, 38.0]


def test_names_that_hang_do_not_keep_others_waiting_and_have_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hangs, answered = threading.Event(), threading.Event()

    def resolve(host: str) -> tuple[str, ...]:
        if host.startswith("slow"):
            hangs.wait(60)
        return ("10.0.0.1",)

    monkeypatch.setattr(names, "resolve", resolve)
    slow = [f"slow{n:03}" for n in range(200)]
    known = Names([*slow[:20], "zebra", *slow[20:]], 5.0, answered.set)
    try:
        known.look(0.0)
        assert len(known._running) == names.LOOKUPS_MAX
        assert not answered.is_set()  # all that may look up hang
        known.look(names.HUNG_AFTER_S)
        assert known.hung == names.LOOKUPS_MAX
        assert known.failed["slow000"] == "no answer within 5 s"
        assert answered.wait(20)
        known.look(names.HUNG_AFTER_S)
        assert known.addresses == {"zebra": ("10.0.0.1",)}
        for n in range(2, 20):
            known.look(n * names.HUNG_AFTER_S)
        assert len(known._running) == names.THREADS_MAX  # never more, whatever is asked
    finally:
        hangs.set()


@story
async def test_a_peer_that_advertises_a_name_is_dialled_where_the_name_leads(
    table: Table,
) -> None:
    """It comes back elsewhere, and nobody has a seed that leads there."""
    port = free_port()
    place = f"tcp://pod.example:{port}"
    async with Node(LOOPBACK, name="here", config=QUICK) as here:

        def known() -> set[str]:
            return {peer.endpoint for peer in here.peers() if peer.linked}

        first = Node(
            f"tcp://127.0.0.1:{port}", advertise=place, seeds=[here.endpoint], name="first"
        )
        async with first:
            await until(lambda: here.stats().counters.get("noted_unresolved") == 1)
            table["pod.example"] = ("127.0.0.1",)
            await until(lambda: known() == {place})
        table["pod.example"] = ("127.0.0.2",)
        second = Node(
            f"tcp://127.0.0.2:{port}", advertise=place, seeds=[here.endpoint], name="second"
        )
        async with second:
            await until(lambda: linked(here) == {"second"})
            assert known() == {place}
            async with second.subscribe("room") as messages:
                await here.wait_for("room", 1, timeout=20)
                await here.publish("room", "hello")
                assert (await messages.get(timeout=20)).data == "hello"


@story
async def test_a_name_that_led_astray_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not answered dials afresh, and asks again where the name leads."""
    port = free_port()
    asked: list[str] = []

    def resolve(host: str) -> tuple[str, ...]:
        asked.append(host)  # at first nobody listens there
        return ("127.0.0.9",) if len(asked) == 1 else ("127.0.0.1",)

    monkeypatch.setattr(names, "resolve", resolve)
    place = f"tcp://pod.example:{port}"
    async with (
        Node(LOOPBACK, name="here", config=QUICK) as here,
        Node(f"tcp://127.0.0.1:{port}", advertise=place, seeds=[here.endpoint]),
    ):
        await until(lambda: asked)
        await until(lambda: any(peer.linked for peer in here.peers()), timeout=40)


HANGS: Final = """
import asyncio, socket, threading
from crdtpubsub import Config, Node
from crdtpubsub.discovery import names

asked, over = threading.Event(), threading.Event()
real = socket.getaddrinfo

def getaddrinfo(host, *args, **more):
    if host == "hangs.example" and not more.get("flags"):
        asked.set()
        over.wait(60)
    return real(host, *args, **more)

socket.getaddrinfo = getaddrinfo
names.HUNG_AFTER_S = 0.2

async def main():
    bind = "tcp://127.0.0.1:*"
    async with Node(bind, name="a") as a, Node(bind, seeds=[a.endpoint]) as b:
        strange = Node(bind, advertise="tcp://hangs.example:7001", seeds=[a.endpoint])
        async with strange, a.subscribe("room") as messages, asyncio.timeout(30):
            await asyncio.to_thread(asked.wait)
            await b.wait_for("room")
            while not a.stats().counters.get("lookups_hung"):
                await b.publish("room", 1)
                await messages.get()
            assert [p.state for p in b.peers() if p.node == a.id] == ["alive"]
            while not a.stats().counters.get("noted_unresolved"):
                await asyncio.sleep(0.01)
            over.set()
    print("went on")

asyncio.run(main())
"""


def test_a_resolver_that_hangs_on_what_a_peer_advertises_stalls_no_link() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HANGS],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert (ran.returncode, ran.stdout) == (0, "went on\n"), ran.stderr


REAL: Final = """
import asyncio, sys
from pathlib import Path
from crdtpubsub import Config, Node

async def main():
    config = Config(discovery_interval_s=0.1)
    async with Node("tcp://127.0.0.3:*", name="pod") as pod:
        port = pod.endpoint.rpartition(":")[2]
        seeds = [f"dns://pods.example:{port}"]
        async with Node("tcp://127.0.0.1:*", seeds=seeds, config=config) as node:
            Path("/etc/hosts").write_text("127.0.0.3 pods.example\\n")
            async with asyncio.timeout(20):
                while [p.name for p in node.peers() if p.linked] != ["pod"]:
                    await asyncio.sleep(0.01)
    print("found")

asyncio.run(main())
"""


def test_the_resolver_of_the_system_is_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        print("skipped: an /etc/hosts of one's own needs root and unshare")
        pytest.skip("an /etc/hosts of one's own needs root and unshare")
    hosts = tmp_path_factory.mktemp("etc") / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    mounted = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", str(hosts), sys.executable, "-c", REAL],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "mount:" in ran.stderr or "unshare:" in ran.stderr:
        print(f"skipped: {ran.stderr}")
        pytest.skip(f"no mount of one's own here: {ran.stderr}")
    assert (ran.returncode, ran.stdout) == (0, "found\n"), ran.stderr
