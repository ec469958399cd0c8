"""What is freed is kept: seen in the faults of a process that takes and frees in turn."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from crdtpubsub.runtime.memory import KEPT_BYTES

ROUNDS = 50
PROGRAM = f"""
import resource
from crdtpubsub.runtime.memory import keep_freed_memory
if {{keep}}:
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    taken = [bytes([1]) * 4096 for _ in range({KEPT_BYTES // 4 // 4096})]
    del taken
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have no such threshold")
def test_memory_that_is_freed_and_taken_again_brings_no_faults() -> None:
    def faults(*, keep: bool) -> int:
        program = [sys.executable, "-c", PROGRAM.format(keep=keep)]
        return int(subprocess.run(program, check=True, capture_output=True, text=True).stdout)

    assert faults(keep=True) * 2 < faults(keep=False)
