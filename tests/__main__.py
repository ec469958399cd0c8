"""Everything that must hold before a change lands: `python -m tests [pytest arguments]`.

The linters first, each in one line when well; pytest last, so that its closing line is the
last line. A failing linter does not spare you the tests: all run, and the exit code is the
first one that was not 0.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SCRIPTS: Final = Path(sysconfig.get_path("scripts"))  # of this interpreter's venv, activated or not
LINTERS: Final = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
)
# Three workers; tests marked `net` take turns in two of them: see conftest.py.
PYTEST: Final = (
    "pytest",
    "-q",
    "-rs",
    "-W",
    "error",
    "-n",
    "3",
    "--dist",
    "loadgroup",
    "--durations=20",
)


def main(pytest_arguments: list[str]) -> int:
    """Run all, say what ran and how long it took, and return the first failing exit code."""
    codes = [_lint(command) for command in LINTERS]
    pytest = (*PYTEST, *pytest_arguments)
    print("$", shlex.join(pytest), flush=True)
    codes.append(subprocess.run(_here(pytest), cwd=ROOT, check=False).returncode)
    return next((code if code > 0 else 128 - code for code in codes if code != 0), 0)


def _lint(command: tuple[str, ...]) -> int:
    """Run one linter; its words are shown only when it has something to say."""
    print("$", shlex.join(command), end="  ", flush=True)
    started_s = time.monotonic()
    ran = subprocess.run(
        _here(command),
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    took_s = time.monotonic() - started_s
    if ran.returncode == 0:
        print(f"# ok, {took_s:.1f} s", flush=True)
    else:
        print(f"# FAILED with exit code {ran.returncode}, {took_s:.1f} s", flush=True)
        print(ran.stdout, flush=True)
    return ran.returncode


def _here(command: tuple[str, ...]) -> list[str]:
    """The command, with the tool that was installed beside this interpreter."""
    tool = SCRIPTS / command[0]
    if not tool.exists():
        sys.exit(
            f"{command[0]} is not installed here; run: {sys.executable} -m pip install -e '.[dev]'"
        )
    return [str(tool), *command[1:]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
