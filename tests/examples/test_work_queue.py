"""The work queue, as its first lines say to start it: each job is done once, by one of two."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from tests.net.cluster import ROOT, STRICT, without_slowness

pytestmark = pytest.mark.net

COMMAND = [sys.executable, *STRICT, "examples/work_queue.py"]


def test_two_workers_share_the_jobs() -> None:
    with tempfile.TemporaryDirectory(prefix="jobs-") as world:
        env = {**os.environ, "XDG_RUNTIME_DIR": world}
        start = subprocess.PIPE
        workers = [
            subprocess.Popen([*COMMAND, "work"], cwd=ROOT, env=env, text=True, stdout=start)
            for _ in range(2)
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "worker: ready\n"
            ran = subprocess.run(
                [*COMMAND, "20"],
                cwd=ROOT,
                env=env,
                check=False,
                capture_output=True,
                text=True,
                timeout=100,
            )
        finally:
            for worker in workers:
                worker.kill()
        lines = [line for worker in workers for line in worker.communicate()[0].splitlines()]
        assert (ran.returncode, without_slowness(ran.stderr)) == (0, "")
        assert ran.stdout in (f"20 of 20 jobs, to {n} nodes\n" for n in (1, 2))
        assert sorted(lines) == sorted(f"worker: job {n}" for n in range(20))
