"""The chat room of examples/chat: four uvicorn workers on one port, real ones."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.helpers import story, until
from tests.net.cluster import ROOT, free_port

for needed in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -e '.[examples]'")

from websockets.asyncio.client import ClientConnection, connect  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidMessage  # noqa: E402

from tests.examples.browser import Tab, browser, installed  # noqa: E402

pytestmark = pytest.mark.net

WORKERS: Final = 4
WAIT_S: Final = 60.0
VISITORS_MAX: Final = 50


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """The command of the example, in a world of its own; the port it answers at."""
    port = free_port()
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "examples.chat.app:app"),
            *("--workers", str(WORKERS), "--port", str(port), "--log-level", "warning"),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            await until(lambda: answers(port), timeout=WAIT_S)
            yield port
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(WAIT_S):
                await process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            said.seek(0)
            print(said.read().decode(errors="replace"))  # shown if the test fails


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Visitor:
    """One browser's web socket, and what its page would show."""

    def __init__(self, line: ClientConnection, name: str) -> None:
        self.line = line
        self.name = name
        self.worker = 0
        self.online: dict[str, dict[str, Any]] = {}
        self.messages: list[str] = []
        self.causes: list[str] = []
        self.gone = False

    async def listen(self) -> None:
        with suppress(ConnectionClosed):
            async for line in self.line:
                said = json.loads(line)
                self.worker = said.get("worker", self.worker)
                if "message" in said:
                    self.messages.append(said["message"]["text"])
                if "online" in said:
                    self.online = {person["id"]: person for person in said["online"]}
                if "changed" in said:
                    changed = said["changed"]
                    self.causes += [said["cause"]] if changed["left"] else []
                    for person in changed["left"]:
                        self.online.pop(person["id"], None)
                    for person in changed["joined"] + changed["updated"]:
                        self.online[person["id"]] = person
        self.gone = True

    async def say(self, **what: object) -> None:
        await self.line.send(json.dumps(what))

    async def sees(self, names: set[str]) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.names != names:
            assert time.monotonic() < deadline, f"{self.name} sees {sorted(self.names)}"
            await asyncio.sleep(0.005)

    async def hears(self, said: set[str]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not said <= set(self.messages):
            assert time.monotonic() < deadline, f"{self.name} heard {self.messages}"
            await asyncio.sleep(0.005)

    @property
    def names(self) -> set[str]:
        return {person["name"] for person in self.online.values()}


async def opened(url: str) -> ClientConnection:
    """A web socket; a worker that was just killed may take a connection with it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return await connect(url, open_timeout=WAIT_S)
        except (OSError, InvalidMessage):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


@asynccontextmanager
async def visitors() -> AsyncIterator[Callable[[int, str], Any]]:
    """Opens web sockets, and closes them all in the end."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as listeners:
        made: list[Visitor] = []

        async def visit(port: int, name: str) -> Visitor:
            line = await opened(f"ws://127.0.0.1:{port}/chat?name={name}")
            stack.push_async_callback(line.close)
            visitor = Visitor(line, name)
            made.append(visitor)
            listeners.create_task(visitor.listen())
            await until(lambda: visitor.worker and visitor.online, timeout=WAIT_S)
            return visitor

        yield visit
        for visitor in made:
            await visitor.line.close()


@story
async def test_four_workers_are_one_room_and_a_killed_ones_visitors_leave_it() -> None:
    async with server() as port, visitors() as visit:
        # Who accepts is up to the kernel; one that stands still for a moment does not.
        here: dict[int, Visitor] = {}
        try:
            for n in range(WORKERS):
                visitor = await visit(port, f"v{n}")
                assert visitor.worker not in here
                here[visitor.worker] = visitor
                os.kill(visitor.worker, signal.SIGSTOP)
        finally:
            for worker in here:
                os.kill(worker, signal.SIGCONT)
        more = await asyncio.gather(*[visit(port, f"v{WORKERS + n}") for n in range(4)])
        everybody = [*here.values(), *more]
        names = {visitor.name for visitor in everybody}

        for visitor in here.values():  # one list, on every worker
            await visitor.sees(names)
            await visitor.say(text=f"{visitor.name} speaks")
        said = {f"{visitor.name} speaks" for visitor in here.values()}
        for visitor in everybody:  # one room: each message once
            await visitor.hears(said)
            assert len(visitor.messages) == len(said)

        one, *others = here.values()
        await one.say(away=True)
        deadline = time.monotonic() + WAIT_S
        for other in others:
            while not any(person["away"] for person in other.online.values()):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.005)

        for junk in ('"x"', "{", "[]", "null", '{"text": 7}', '{"away": "x"}', "1e999"):
            await one.line.send(junk)
        await one.line.send(b"\xff\x00")
        await one.say(text="still here")
        await others[0].hears({"still here"})

        died = one.worker
        lost = {visitor.name for visitor in everybody if visitor.worker == died}
        os.kill(died, signal.SIGKILL)
        for other in others:
            await other.sees(names - lost)
            assert other.causes[-1] == "node_down"
        await until(lambda: one.gone, timeout=WAIT_S)

        back = await visit(port, "back")  # whichever worker takes it
        await others[0].sees((names - lost) | {"back"})
        await back.sees((names - lost) | {"back"})


async def text_of(tab: Tab, selector: str) -> list[str]:
    found: list[str] = await tab.eval(
        f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent)"
    )
    return found


async def shows(tab: Tab, selector: str, expected: Callable[[list[str]], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not expected(seen := await text_of(tab, selector)):
        assert time.monotonic() < deadline, f"{selector} shows {seen}"
        await asyncio.sleep(0.05)


@pytest.mark.skipif(not installed(), reason="no chromium on PATH (or in CRDTPUBSUB_CHROMIUM)")
@story
async def test_in_a_browser_two_visitors_see_and_hear_each_other() -> None:
    program = installed()
    assert program is not None
    pictures = os.environ.get("CRDTPUBSUB_PICTURES")
    async with server() as port, browser(program) as chromium, visitors() as visit:
        tabs = {name: await chromium.tab(f"http://127.0.0.1:{port}/") for name in ("Ann", "Bob")}
        for name, tab in tabs.items():
            await shows(tab, "#name:focus", lambda seen: len(seen) == 1)
            await tab.type(name)
            await shows(tab, "body[data-worker] #people .me b", [f"{name} (you)"].__eq__)
        ann, bob = tabs["Ann"], tabs["Bob"]
        await shows(ann, "#people b", lambda seen: seen == ["Ann (you)", "Bob"])
        await shows(bob, "#people b", lambda seen: seen == ["Ann", "Bob (you)"])

        await ann.type("Good morning! <b>Who</b> is here?")
        await shows(bob, ".bubble p", lambda s: s == ["Good morning! <b>Who</b> is here?"])
        await bob.type("Me, on another worker perhaps.")
        await shows(ann, ".bubble:not(.me) p", lambda s: s == ["Me, on another worker perhaps."])

        # Whose worker dies leaves the list of the others, and its page comes back by itself.
        worker = int(await bob.eval("document.body.dataset.worker"))
        guest = await visit(port, "Cid")
        for _ in range(VISITORS_MAX):
            if guest.worker != worker:
                break
            guest = await visit(port, "Cid")
        if pictures:
            await ann.picture(Path(pictures, "chat.png"), width=1180, height=760)
            await bob.picture(Path(pictures, "chat-narrow.png"), width=420, height=760)
        os.kill(worker, signal.SIGKILL)
        await until(lambda: "node_down" in guest.causes, timeout=WAIT_S)
        await until(lambda: guest.names >= {"Ann", "Bob"}, timeout=WAIT_S)
        await shows(bob, "body[data-worker] #people .me b", lambda s: s == ["Bob (you)"])
        assert int(await bob.eval("document.body.dataset.worker")) != worker
        await shows(ann, "#people b", lambda s: {"Ann (you)", "Bob", "Cid"} == set(s))
        if pictures:
            await ann.picture(Path(pictures, "chat-after.png"), width=1180, height=760)
