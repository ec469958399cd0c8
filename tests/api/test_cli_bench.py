"""`crdtpubsub bench`: two real processes, every message counted."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path

import pytest

from crdtpubsub.cli.__main__ import main
from tests.api.cli import run_process, running
from tests.api.helpers import wait_until
from tests.api.test_demo import wait_gone

net = pytest.mark.net


@net
def test_every_message_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--messages", "2000", "--size", "64", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said.pop("seconds") > 0
    assert said.pop("bytes_per_s") >= said.pop("messages_per_s") > 0
    assert said == {
        "messages": 2000, "size_bytes": 64, "lost": 0, "refused": 0, "disordered": 0,
    }  # fmt: skip


@net
def test_a_line_for_people_and_no_word_beside_it() -> None:
    with tempfile.TemporaryDirectory(prefix="cli-") as world:
        done = run_process(world, "bench", "--messages", "500")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("500 messages of 128 B from one process to another: ")
    assert done.stdout.endswith(", 0 lost\n")
    assert "msgs/sec" in done.stdout


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@net
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_a_bench_that_was_ended(how: signal.Signals) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="cli-") as world,
        running(world, "bench", "--messages", "100000000") as bench,
    ):
        pid = bench.process.pid
        # With a thread of its own a child runs a node: it was started, and not half.
        wait_until(
            lambda: len([child for child in children(pid) if threads(child) > 1]) == 2, timeout=20
        )
        started = children(pid)
        code, out, err = bench.end(how)
        assert (code, out, err) == (130 if how is signal.SIGINT else -how, "", "")
        wait_gone(started)


@pytest.mark.parametrize("option", [["--messages", "0"], ["--size", "7"], ["--size", "x"]])
def test_limits_exit_with_2(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", *option])
    assert left.value.code == 2
    assert "usage: crdtpubsub" in capsys.readouterr().err
