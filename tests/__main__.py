"""Every check there is, in order, stopping at the first that fails: `python -m tests`."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
# Not resolved: the venv's python is a link, and the tools are beside the link.
TOOLS: Final = Path(sys.executable).parent
STEPS: Final = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
    ("pytest", "-q", "-W", "error", "-n", "2", "-m", "not net and not soak"),
    ("pytest", "-q", "-W", "error", "-m", "net and not soak"),
)
NOTHING_COLLECTED: Final = 5
"""Pytest's exit code when no test matched: one of its two steps may be empty, not both."""


def main() -> int:
    """Run the steps; return the exit code of the first that fails, else 0."""
    empty_steps = 0
    for step in STEPS:
        print("$", shlex.join(step), flush=True)
        started_s = time.monotonic()
        code = subprocess.run([TOOLS / step[0], *step[1:]], cwd=ROOT, check=False).returncode
        if step[0] == "pytest" and code == NOTHING_COLLECTED:
            empty_steps += 1
            code = 0 if empty_steps == 1 else NOTHING_COLLECTED
        if code or step is not STEPS[-1]:  # a good run ends with what pytest says, seconds and all
            print(f"  {time.monotonic() - started_s:.1f} s", flush=True)
        if code:
            print(f"failed ({code}): {shlex.join(step)}", file=sys.stderr)
            return code if code > 0 else 128 - code  # died of a signal: as a shell says it
    return 0


if __name__ == "__main__":
    sys.exit(main())
