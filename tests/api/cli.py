"""What the tests of the command line share: verbs as real processes, in a world of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from crdtpubsub.cli.__main__ import main

ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = (sys.executable, "-W", "error", "-m", "crdtpubsub.cli")
WITHIN_S: Final = 30.0


def _environment(world: str, env: dict[str, str]) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CRDTPUBSUB_")}
    return {**clean, "XDG_RUNTIME_DIR": world, **env}


def run(
    world: str, *arguments: str, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end: in this process, unless it reads stdin, which spares a start."""
    if stdin:
        return run_process(world, *arguments, stdin=stdin, **env)
    out, err = StringIO(), StringIO()
    with (
        patch.dict(os.environ, _environment(world, env), clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            code = main(arguments)
        except SystemExit as left:
            code = int(str(left.code))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_process(
    world: str, *arguments: str, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT, env=_environment(world, env), input=stdin, capture_output=True,
        timeout=WITHIN_S, check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def records(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What it printed with --json."""
    return [json.loads(line) for line in done.stdout.splitlines()]


class Running:
    """A verb that goes on until it is told to end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line of its results."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def record(self) -> dict[str, Any]:
        """The same, of --json."""
        found: dict[str, Any] = json.loads(self.line())
        return found

    def word(self) -> str:
        """The next line on stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().rstrip("\n")

    def end(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Exit code, and what it still said on stdout and stderr."""
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=WITHIN_S)
        return self.process.returncode, out, err


@contextmanager
def running(world: str, *arguments: str, **env: str) -> Iterator[Running]:
    """Start a verb; it is killed at the end, if it still runs."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT, env=_environment(world, env), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield Running(process)
        finally:
            process.kill()
