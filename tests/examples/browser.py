"""A real browser, if one is installed: chromium without a window, by the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WAIT_S: Final = 60.0


def installed() -> str | None:
    """Where it is: `CRDTPUBSUB_CHROMIUM`, or the first of the usual names on PATH."""
    named = os.environ.get("CRDTPUBSUB_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser process, spoken to over one web socket."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._serial = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def ask(self, method: str, session: str | None = None, **params: object) -> Any:
        """What the browser answers; what it says unasked is passed over."""
        serial = next(self._serial)
        answer = self._answers[serial] = asyncio.get_running_loop().create_future()
        said = {"id": serial, "method": method, "params": params}
        await self._line.send(json.dumps(said | ({"sessionId": session} if session else {})))
        async with asyncio.timeout(WAIT_S):
            got = await answer
        assert "error" not in got, f"{method}: {got['error']}"
        return got["result"]

    async def listen(self) -> None:
        async for line in self._line:
            said = json.loads(line)
            if (answer := self._answers.pop(said.get("id"), None)) and not answer.done():
                answer.set_result(said)

    async def tab(self, url: str) -> Tab:
        """A page of a visitor of its own."""
        context = await self.ask("Target.createBrowserContext")
        made = await self.ask(
            "Target.createTarget", url=url, browserContextId=context["browserContextId"]
        )
        attached = await self.ask("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        return Tab(self, attached["sessionId"])


class Tab:
    """One page: what a person sees of it and does to it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def eval(self, expression: str) -> Any:
        """The value of a line of JavaScript."""
        got = await self._browser.ask(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    async def type(self, text: str) -> None:
        """Into whatever has the focus, and Enter."""
        await self._browser.ask("Input.insertText", self._session, text=text)
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        for kind, more in (("keyDown", {"text": "\r"}), ("keyUp", {})):
            await self._browser.ask(
                "Input.dispatchKeyEvent", self._session, type=kind, **key, **more
            )

    async def picture(self, path: Path, **size: object) -> None:
        """What it looks like."""
        if size:
            await self._browser.ask(
                "Emulation.setDeviceMetricsOverride",
                self._session,
                **{"deviceScaleFactor": 1, "mobile": False, **size},
            )
        got = await self._browser.ask("Page.captureScreenshot", self._session, format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(got["data"]))


def door_of(home: str) -> list[str]:
    """The port and the path of its debugger, once it has written them."""
    with suppress(FileNotFoundError):
        return Path(home, "DevToolsActivePort").read_text("utf-8").split("\n")
    return []


@asynccontextmanager
async def browser(program: str) -> AsyncIterator[Browser]:
    """Start it, and end it with all its processes."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as home:
        process = await asyncio.create_subprocess_exec(
            program,
            "--headless=new",
            "--no-sandbox",  # it shows our own page only, and root has no sandbox
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            "--window-size=1180,760",
            f"--user-data-dir={home}",
            "about:blank",
            env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(WAIT_S):
                while len(door := door_of(home)) < 2:
                    assert process.returncode is None, f"{program} ended: {process.returncode}"
                    await asyncio.sleep(0.02)
            async with connect(f"ws://127.0.0.1:{door[0]}{door[1]}", max_size=2**26) as line:
                made = Browser(line)
                listener = asyncio.create_task(made.listen())
                try:
                    yield made
                finally:
                    listener.cancel()
                    with suppress(asyncio.CancelledError):
                        await listener
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
