"""What is freed is kept: seen in the faults of a process that takes and frees in turn."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from crdtpubsub.runtime import memory

ROUNDS = 50
PAGES = memory.KEPT_BYTES // 4 // 4096
PROGRAM = f"""
import resource, runpy  # and nothing that takes and frees long blocks itself
runpy.run_path({memory.__file__!r})["keep_freed_memory"]()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    taken = [bytes([1]) * 4096 for _ in range({PAGES})]
    del taken
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have no such threshold")
def test_memory_that_is_freed_and_taken_again_brings_no_faults() -> None:
    program = [sys.executable, "-I", "-c", PROGRAM]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert int(done.stdout) < ROUNDS * PAGES // 10  # without: each page of each round
