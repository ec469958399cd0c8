"""The README's Python runs as printed, each block by itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
TIMEOUT_S = 60


def blocks() -> dict[str, str]:
    """Each ```python block of the README, by the line it starts at."""
    text = README.read_text("utf-8") if README.exists() else ""
    return {
        f"line-{text.count(chr(10), 0, found.start()) + 1}": found[1]
        for found in BLOCK.finditer(text)
    }


@pytest.mark.net
@pytest.mark.parametrize("block", blocks().values(), ids=blocks())
def test_a_block_of_the_readme_runs(block: str) -> None:
    """In a world of its own: nodes of the same user would find each other and join in."""
    with tempfile.TemporaryDirectory(prefix="readme-") as world:  # short: ipc paths are limited
        program = Path(world, "block.py")
        program.write_text(block, "utf-8")
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", str(program)],
            check=False,
            cwd=world,
            env={**os.environ, "TMPDIR": world, "XDG_RUNTIME_DIR": world},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
    assert ran.returncode == 0, f"exit code {ran.returncode}:\n{ran.stdout}"
