"""The presence board, as processes: printed through pipes, and drawn on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import pytest

from tests.net.cluster import ROOT

pytestmark = pytest.mark.net

WAIT_S: Final = 60.0
STEERING: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """One board: what it shows, and the hands at its keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], out: int, keyboard: int) -> None:
        self.process = process
        self.out = out
        self.keyboard = keyboard
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self.keyboard, text.encode())

    def shows(self, holds: Callable[[str], object]) -> None:
        """Wait until what came since the last time is as it should be."""
        deadline = time.monotonic() + WAIT_S
        while not holds(self.said):
            left = deadline - time.monotonic()
            assert left > 0, f"it shows {self.said!r}"
            if select.select([self.out], [], [], left)[0]:
                data = b""
                with suppress(OSError):  # a terminal whose other end is closed
                    data = os.read(self.out, 65536)
                assert data, f"it ended: {self.said}"
                self.said += STEERING.sub("", data.decode(errors="replace"))
        self.said = ""

    def ends(self) -> int:
        """Read to the end, as a terminal does, and take the exit code."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.out], [], [], 0.02)[0]:
                with suppress(OSError):
                    os.read(self.out, 65536)
        return self.process.returncode


@contextmanager
def board(name: str, *options: str, drawn: bool = False) -> Iterator[Terminal]:
    out, inner = pty.openpty() if drawn else os.pipe()
    program = [sys.executable, "-W", "error", "examples/presence_board.py", "--name", name]
    process = subprocess.Popen(
        [*program, *options],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        stdin=inner if drawn else subprocess.PIPE,
        stdout=inner,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    os.close(inner)
    keyboard = out if process.stdin is None else process.stdin.fileno()
    try:
        yield Terminal(process, out, keyboard)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        os.close(out)


def row(*cells: str) -> Callable[[str], object]:
    """Whether the board has a line of these."""
    return re.compile(r"\s+(?:│\s*)?".join(map(re.escape, cells))).search


def test_boards_show_who_is_where_as_it_changes() -> None:
    with board("Ann", "--status", "reading") as ann, board("Bob", "--place", "hall") as bob:
        bob.shows(row("office", "Ann", "reading"))
        ann.shows(row("hall", "Bob"))
        bob.type("tea, please\n")
        ann.shows(row("hall", "Bob", "tea, please"))
        bob.type("/go kitchen\n")
        ann.shows(row("kitchen", "Bob", "tea, please"))
        bob.process.send_signal(signal.SIGKILL)
        ann.shows(lambda said: "* Bob cannot be reached any more kitchen" in said)
        ann.type("/quit\n")
        assert ann.ends() == 0


def test_on_a_terminal_the_board_is_drawn_and_keys_are_heard() -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    with board("Ann", drawn=True) as ann, board("Bob", "--status", "[red]there") as bob:
        ann.shows(row("office", "Bob", "[red]there"))
        bob.shows(row("office", "Ann"))
        ann.type("at lunvh\x7f\x7fch")
        ann.shows(lambda said: "your status> at lunch█" in said)
        ann.type("\r")
        bob.shows(row("office", "Ann", "at lunch"))
        bob.process.send_signal(signal.SIGINT)
        assert bob.ends() == 0
        ann.shows(lambda said: "Bob left office" in said)
        ann.type("/quit\r")
        assert ann.ends() == 0


def test_nobody_at_the_keyboard_is_no_reason_to_leave() -> None:
    with board("Ann") as ann, board("Bob") as bob:
        bob.shows(row("office", "Ann"))
        assert bob.process.stdin is not None
        bob.process.stdin.close()
        ann.shows(row("office", "Bob"))
        ann.type("still here\n")
        bob.shows(row("office", "Ann", "still here"))
