"""`Node()` in several processes of one user: they meet, and meet nobody else."""

# ruff: noqa: ASYNC240 - to look at files is what these tests do, and nothing waits

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import pytest

from crdtpubsub import Config, ConfigError, Node
from crdtpubsub.discovery.local import PATH_BYTES_MAX, Rendezvous
from crdtpubsub.transport.base import is_endpoint
from crdtpubsub.transport.ipc import PathLock
from tests.net.cluster import ROOT, STRICT, WAIT_S, story, until

pytestmark = [pytest.mark.net, pytest.mark.timeout(90)]

WORKER: Final = """
import asyncio, concurrent.futures.thread, os, sys  # another user may not read these files
from crdtpubsub import Node
if uid := int(sys.argv[2]):
    os.setgid(uid)
    os.setuid(uid)

async def main():
    async with Node(name=sys.argv[1], cluster=sys.argv[3]) as node:
        print(node.endpoint, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(*sorted(p.name for p in node.peers() if p.linked), flush=True)

asyncio.run(main())
"""


class Worker:
    """A process with a bare `Node()`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.endpoint = ""

    async def told(self) -> str:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), WAIT_S)
        assert line, "the worker ended"
        return line.decode().strip()

    async def ready(self) -> Self:
        self.endpoint = await self.told()
        return self

    async def sees(self) -> set[str]:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return set((await self.told()).split())

    async def meets(self, *names: str) -> None:
        async def met() -> bool:
            return set(names) <= await self.sees()

        await until(met)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


Start = Callable[..., Awaitable[Worker]]


@asynccontextmanager
async def workers() -> AsyncIterator[Start]:
    started: list[Worker] = []

    async def start(name: str, *, uid: int = 0, cluster: str = "default") -> Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *STRICT,
            *("-c", WORKER, name, str(uid), cluster),
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(Worker(process))
        return await started[-1].ready()

    try:
        yield start
    finally:
        for worker in started:
            if worker.process.returncode is None:
                assert worker.process.stdin is not None
                worker.process.stdin.close()
            await asyncio.wait_for(worker.process.wait(), WAIT_S)


def path_of(worker: Worker) -> Path:
    return Path(worker.endpoint.removeprefix("ipc://"))


@story
async def test_four_processes_see_each_other_and_a_killed_one_leaves_no_trace() -> None:
    async with workers() as start:
        began_s = time.monotonic()
        four = await asyncio.gather(*(start(name) for name in "abcd"))
        for worker in four:
            await worker.meets(*set("abcd") - {"abcd"[four.index(worker)]})
        print(f"four processes met {time.monotonic() - began_s:.2f} s after the first began")
        dead = path_of(four[3])
        assert stat.S_IMODE(dead.parent.stat().st_mode) == 0o700
        await four[3].kill()  # its file stays, until somebody who looks cleans it up
        began_s = time.monotonic()
        fifth = await start("e")
        await fifth.meets("a", "b", "c")
        print(f"a fifth met them {time.monotonic() - began_s:.2f} s after it began")
        assert not dead.exists()
        assert not Path(f"{dead}.lock").exists()
        assert "d" not in await fifth.sees()
        directory = dead.parent
    assert not directory.exists()  # the last one took it along


@story
async def test_eight_that_start_at_once_all_meet() -> None:
    async with workers() as start:
        names = [f"w{n}" for n in range(8)]
        began_s = time.monotonic()
        eight = await asyncio.gather(*map(start, names))
        ready_s = time.monotonic() - began_s
        for name, worker in zip(names, eight, strict=True):
            await worker.meets(*set(names) - {name})
        met_s = time.monotonic() - began_s
        print(f"eight processes were ready after {ready_s:.2f} s and had met after {met_s:.2f} s")


@story
async def test_another_cluster_is_never_met() -> None:
    async with workers() as start:
        ours = await asyncio.gather(start("a"), start("b"), start("x", cluster="other"))
        await ours[0].meets("b")
        await start("y", cluster="other")
        await ours[2].meets("y")
        assert await ours[0].sees() == {"b"}
        assert await ours[2].sees() == {"y"}
        assert path_of(ours[2]).parent != path_of(ours[0]).parent


@story
async def test_another_user_is_never_met() -> None:
    if os.geteuid() != 0:
        print("skipped: only root can be two users")
        pytest.skip("only root can be two users")
    uid = 61_000
    shared = Path(f"/tmp/crdtpubsub-{uid}")
    async with workers() as start:
        mine, theirs = await asyncio.gather(start("a"), start("x", uid=uid))
        # Root's runtime directory is not theirs: they have one in /tmp.
        assert path_of(theirs).is_relative_to(shared)
        assert shared.stat().st_uid == uid
        await start("b")
        await mine.meets("b")
        await start("y", uid=uid)
        await theirs.meets("y")
        assert await mine.sees() == {"b"}
        assert await theirs.sees() == {"y"}
    shutil.rmtree(shared)


@story
async def test_the_directory_is_deleted_and_is_there_again() -> None:
    config = Config(discovery_interval_s=0.2)
    async with Node(name="a", config=config) as a, Node(name="b", config=config) as b:
        await linked(a, b)
        path = Path(a.endpoint.removeprefix("ipc://"))
        shutil.rmtree(path.parent.parent)

        async def back() -> bool:
            return path.exists() and Path(f"{path}.lock").exists()

        await until(back)
        async with Node(name="c", config=config) as c:
            await linked(a, b, c)
        assert [p.state for p in a.peers()] == ["alive"]
        assert a.stats().counters.get("returned", 0) == 0  # and nobody flapped
        assert a.stats().counters["transport_paths_restored"] == 1
        for gone in (path, Path(f"{path}.lock")):  # one of the two is enough
            gone.unlink()
            await until(back)
    assert not path.exists()


async def linked(*nodes: Node) -> None:
    async def all_are() -> bool:
        return all(sum(p.linked for p in n.peers()) == len(nodes) - 1 for n in nodes)

    await until(all_are)


def test_a_child_that_was_forked_does_not_keep_the_files_of_its_parent_alive() -> None:
    """A lock belongs to an open file, which a child shares: it would outlive a killed parent."""
    local = Rendezvous("default")
    local.prepare()
    path = local._directory / "0123.sock"
    lock = PathLock(f"ipc://{path}", str(path))
    path.touch()
    assert local.others() == (f"ipc://{path}",)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, b"!")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(reader, 1) == b"!"
        lock.let_go()  # as the kernel does for a killed process
        assert local.others() == ()
        assert list(local._directory.iterdir()) == []
    finally:
        os.close(reader)
        os.close(writer)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_directory_that_is_not_ours_alone_is_refused() -> None:
    here = Path(os.environ["XDG_RUNTIME_DIR"])

    def refused(why: str) -> None:
        with pytest.raises(ConfigError, match=why) as caught:
            Rendezvous("default").prepare()
        assert "set XDG_RUNTIME_DIR" in str(caught.value)

    base = here / "crdtpubsub"
    elsewhere = here / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    base.symlink_to(elsewhere)
    refused("symbolic link")
    base.unlink()
    base.write_text("")
    refused("no directory")
    base.unlink()
    base.mkdir(mode=0o755)
    refused("chmod 700")
    base.chmod(0o700)
    inner = Rendezvous("default")
    inner._directory.symlink_to(elsewhere)
    refused("symbolic link")
    inner._directory.unlink()
    here.chmod(0o777)
    refused("no sticky bit")
    here.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(base, 61_000, -1)
        refused("belongs to user 61000")
        os.chown(base, 0, -1)
    Rendezvous("default").prepare()


def test_a_runtime_directory_that_cannot_be_used_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_tmp = Path(f"/tmp/crdtpubsub-{os.geteuid()}")
    for unusable in ("", "relative", str(tmp_path / "not-there")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", unusable)
        assert Rendezvous("default").base == in_tmp
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert Rendezvous("default").base == in_tmp


def test_a_path_too_long_for_a_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("d" * 60)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(ConfigError, match=f"{PATH_BYTES_MAX} bytes"):
        Rendezvous("default")
    assert is_endpoint("ipc://" + "x" * PATH_BYTES_MAX)
    assert not is_endpoint("ipc://" + "x" * (PATH_BYTES_MAX + 1))


def test_what_an_interrupted_start_left_is_removed_once_it_is_old() -> None:
    local = Rendezvous("default")
    local.prepare()
    left = local._directory / "0123.sock.lock"
    left.touch()
    assert local.others() == ()
    assert left.exists()  # somebody may be about to listen
    os.utime(left, (0, 0))
    assert local.others() == ()
    assert not left.exists()


def test_a_socket_whose_lock_was_cleaned_away_is_believed_if_it_answers() -> None:
    async def main() -> None:
        async with Node() as node:
            Path(node.endpoint.removeprefix("ipc://") + ".lock").unlink()
            assert Rendezvous("default").others() == (node.endpoint,)

    asyncio.run(main())


def test_a_node_made_before_a_fork_is_another_life_in_each_child() -> None:
    """Under gunicorn's `preload_app` all workers would be one life, and lose members."""
    node = Node()
    named = Node(name="web")
    lives: set[str] = {node.id, named.id}
    for _ in range(2):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writer, asyncio.run(of_a_life(node)).encode() + named.id.encode())
            os._exit(0)
        os.close(writer)
        said = os.read(reader, 64).decode()
        os.close(reader)
        assert os.waitpid(child, 0)[1] == 0
        lives |= {said[:32], said[32:]}
    assert len(lives) == 6
    assert all(len(life) == 32 for life in lives)
    assert named.name == "web"


async def of_a_life(node: Node) -> str:
    async with node:
        await node.client("c").join("room")
        (member,) = node.members("room")
        assert node.name == f"node-{node.id[:8]}"
        return member.node
