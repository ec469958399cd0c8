"""`crdtpubsub demo` as a user runs it: real processes, and a story that can fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from crdtpubsub.cli import demo_narrator
from crdtpubsub.cli.__main__ import main
from tests.api.helpers import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
DEMO: Final = (sys.executable, "-X", "dev", "-W", "error", "-m", "crdtpubsub.cli", "demo")
STEPS: Final = [
    "start", "discover", "join", "publish", "delete", "kill", "restart", "cut", "heal", "agree",
    "leave", "summary",
]  # fmt: skip
GONE_WITHIN_S: Final = 10.0

net = pytest.mark.net


def run_demo(*options: str, **env: str) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [*DEMO, "--json", *options],
        cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@contextmanager
def demo_after(step: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A demo that has just told of this step, and the ids of its node processes."""
    with subprocess.Popen(
        [*DEMO, "--json"], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as demo:  # fmt: skip
        try:
            assert demo.stdout is not None
            pids: list[int] = []
            for line in demo.stdout:
                record = json.loads(line)
                pids += record.get("pids", {}).values()
                if record["step"] == step:
                    break
            yield demo, pids
        finally:
            demo.kill()


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # nobody here reaps the orphans of others


def wait_gone(pids: list[int]) -> None:
    wait_until(
        lambda: not any(map(runs, pids)),
        timeout=GONE_WITHIN_S,
        why=lambda: f"{[pid for pid in pids if runs(pid)]} of {pids} still run",
    )


# -------------------------------------------------------------------- the whole of it


@net
def test_the_demo_shows_what_is_promised() -> None:
    code, records, stderr = run_demo()
    *steps, summary = records
    assert (code, stderr) == (0, ""), (summary, stderr)
    assert [record["step"] for record in records] == STEPS
    assert all(record["ok"] for record in records)
    by_name = {record["step"]: record for record in steps}

    assert len(set(by_name["start"]["pids"].values())) == 5
    joined = by_name["join"]["views"]
    assert len(joined) == 5
    assert all(view == joined["athens"] for view in joined.values())
    assert len(joined["athens"]["lobby"]) == 5
    assert by_name["delete"]["survived"] == ["eli@essen"]
    assert by_name["delete"]["ended"] == by_name["delete"]["exits"] == 4
    assert set(by_name["kill"]["vanished_ms"]) == {"athens", "berlin", "delhi", "essen"}
    assert "cairo" not in json.dumps(by_name["kill"]["views"])
    assert by_name["restart"]["another_life"]
    assert by_name["restart"]["ghosts"] == []
    cut = by_name["cut"]["views"]
    assert cut["athens"]["lobby"] == ["ann@athens", "bob@berlin", "cat@cairo", "nia@cairo"]
    assert cut["essen"]["lobby"] == ["dan@delhi", "eve@essen", "noa@essen"]
    healed = by_name["heal"]["views"]
    assert all(view == healed["athens"] for view in healed.values())
    assert {"nia@cairo", "noa@essen"} <= set(healed["athens"]["lobby"])
    assert set(by_name["leave"]["exit_codes"].values()) == {0}

    told = {key: summary[key] for key in ("converged", "nodes", "processes", "lost", "duplicated")}
    assert told == {"converged": True, "nodes": 5, "processes": 6, "lost": 0, "duplicated": 0}
    assert summary["delivered"] == summary["expected"] > 400
    assert summary["exits"] == summary["exits_expected"] == 4
    assert summary["ghosts"] == 0
    wait_gone(list(by_name["start"]["pids"].values()))


@net
@pytest.mark.parametrize(
    ("fault", "failed_step", "wrong"),
    [
        ("berlin:lose-message", "publish", {"lost": 1}),
        ("delhi:repeat-exit", None, {"exits": 6, "exits_expected": 4, "lost": 0}),
        ("essen:hide-member", "join", {"converged": False}),
        ("athens:die", "delete", {"converged": False}),
    ],
)
def test_the_demo_fails_when_a_node_reports_something_else(
    fault: str, failed_step: str | None, wrong: dict[str, object]
) -> None:
    # Where every step but the last goes well, patience costs nothing; a busy machine needs it.
    patience_s = "8" if failed_step else "30"
    code, records, stderr = run_demo(
        CRDTPUBSUB_DEMO_FAULT=fault, CRDTPUBSUB_DEMO_PATIENCE_S=patience_s
    )
    assert (code, stderr) == (1, "")
    *steps, summary = records
    assert [record["step"] for record in steps if not record["ok"]] == (
        [] if failed_step is None else [failed_step]
    ), records
    assert not summary["ok"]
    assert summary["problems"]
    assert {key: summary[key] for key in wrong} == wrong


# -------------------------------------------------------------------- how it ends early


@net
@pytest.mark.parametrize("step", ["start", "join", "kill"])
def test_ctrl_c_leaves_within_a_second_and_without_a_word(step: str) -> None:
    with demo_after(step) as (demo, pids):
        began_at = time.monotonic()
        os.killpg(demo.pid, signal.SIGINT)
        _, stderr = demo.communicate(timeout=GONE_WITHIN_S)
        took_s = time.monotonic() - began_at
        assert (demo.returncode, stderr) == (130, "")
        assert took_s < 2.0  # one, and one more for a machine that is busy with other tests
        assert not [pid for pid in pids if runs(pid)]


@net
def test_no_node_outlives_a_demo_that_was_killed() -> None:
    with demo_after("join") as (demo, pids):
        assert len(pids) == 5
        demo.kill()
        demo.wait()
        wait_gone(pids)


@net
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_who_has_read_enough_is_no_reason_to_complain(options: list[str]) -> None:
    with subprocess.Popen(
        [*DEMO, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.readline()
        demo.stdout.close()  # as `| head -1` does
        assert demo.stderr.read() == b""
        assert demo.wait() == 1


# -------------------------------------------------------------------- the command


@pytest.mark.parametrize("arguments", [["unknown"], ["demo", "--unknown"], ["sim", "--nodes"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: crdtpubsub" in capsys.readouterr().err


def test_no_verb_is_wrong_usage_and_shows_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "keygen" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("crdtpubsub ")


def test_sim_is_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--seed", "1", "--nodes", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["converged"]


# -------------------------------------------------------------------- how it looks


def tell(narrator: demo_narrator.Narrator) -> None:
    narrator.begin("They meet")
    narrator.say("athens sees berlin", ms=3.14)
    narrator.view("athens", {"news": ["ann@athens", "bob@berlin", "cat@ghost-12"]}, ms=1234.5)
    narrator.end({"step": "meet", "ok": True, "took_ms": 7})
    narrator.end({"step": "fail", "ok": False, "error": "not seen", "expected": 1, "seen": 2})


@pytest.mark.parametrize("rich", [True, False])
def test_the_story_reads_the_same_with_rich_and_without(
    rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if rich:
        pytest.importorskip("rich")
    monkeypatch.setattr(demo_narrator, "_HAS_RICH", rich)
    tell(demo_narrator.StoryNarrator(["athens", "berlin"]))
    assert capsys.readouterr().out.splitlines() == [
        "",
        " 1  They meet",
        "      3.1 ms  athens sees berlin",
        "    1,234 ms  athens  news: ann bob cat",
        "           ✓  7 ms",
        "           ✗  not seen",
        "    expected  1",
        "        seen  2",
    ]


def test_colours_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_narrator, "_HAS_RICH", False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    tell(demo_narrator.StoryNarrator(["athens", "berlin"]))
    assert "\x1b[36mathens\x1b[0m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    tell(demo_narrator.StoryNarrator(["athens", "berlin"]))
    assert "\x1b" not in capsys.readouterr().out
