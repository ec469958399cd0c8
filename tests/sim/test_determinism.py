"""Q30: one seed is one history."""

from __future__ import annotations

import os
import subprocess
import sys

from crdtpubsub.sim import run_world

CODE = """
from crdtpubsub.sim import run_world
for seed in (1, 2, 3):
    summary = run_world(seed)
    print(summary.digest, summary.steps, summary.converged, sorted(summary.counters.items()))
"""


def test_q30_one_seed_is_one_history_under_three_hash_seeds() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(told) == 1
    assert "True" in told.pop()


def test_other_seeds_are_other_histories() -> None:
    assert run_world(1).digest != run_world(2).digest
