"""How the command line is asked, and what it shows on the way: help, exit codes, bars."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from crdtpubsub import LimitReached, SyncNode
from crdtpubsub.cli import output, progress
from crdtpubsub.cli.__main__ import _parser, main
from crdtpubsub.cli.node import _show as show_notice
from crdtpubsub.cli.progress import Bar
from crdtpubsub.cli.top import _show
from tests.api.cli import COMMAND, WITHIN_S, records, run, running

net = pytest.mark.net
(VERBS,) = [a.choices for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture
def world() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="cli-") as path:
        yield path


# -------------------------------------------------------------------- help


@pytest.mark.parametrize("verb", VERBS)
def test_help_describes_every_option_and_its_examples_are_taken(verb: str) -> None:
    parser = VERBS[verb]
    assert [action.dest for action in parser._actions if not action.help] == []
    said = parser.format_help()
    examples = re.findall(rf"^  crdtpubsub ({verb}\b.*)$", said, re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(re.split(r"\s[<>#]", example)[0])
        assert callable(_parser().parse_args(words).run), example
    assert "exit code: 0 done, 1 failed, 2 asked wrongly, 130 Ctrl-C" in said


def test_the_readme_names_every_verb_and_the_exit_codes() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.split("## From a terminal")[1].split("\n## ")[0]
    assert [verb for verb in VERBS if not re.search(rf"`(?:crdtpubsub )?{verb}\b", table)] == []
    assert "0: done, 1: failed, 2: asked wrongly, 130: Ctrl-C" in " ".join(table.split())


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_nobody_knows_exits_with_2(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {"sub": ["room"], "pub": ["room"], "request": ["room"], "members": ["room"]}
    with pytest.raises(SystemExit) as left:
        main([verb, *needed.get(verb, []), "--nonsense"])
    assert left.value.code == 2
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sim", "--nodes", "x"], "'x' is no whole number between 4 and 32"),
        (["sim", "--loss", "x"], "'x' is no number between 0 and 0.5"),
        (["sim", "--until", "nan"], "'nan' is no number above 0"),
        (["top", "--every", "0"], "'0' is no number between 0.1 and 60"),
        (["top", "--count", "0"], "'0' is no whole number of at least 1"),
        (["peers", "--timeout", "inf"], "'inf' is no number of seconds above 0"),
        (["bench", "--messages", "1.5"], "between 1 and 100,000,000"),
    ],
)
def test_a_number_that_cannot_be_is_refused_in_words(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert says in capsys.readouterr().err


# -------------------------------------------------------------------- the environment


@pytest.mark.parametrize(
    ("variable", "value"),
    [("BIND", "7400"), ("ADVERTISE", "here"), ("NAME", "a\nb"), ("CLUSTER", "x" * 256),
     ("SEEDS", "nonsense"), ("SECRET", "short")],
)  # fmt: skip
def test_a_variable_that_makes_no_sense_is_named(world: str, variable: str, value: str) -> None:
    done = run(world, "peers", "--timeout", "0.2", stdin=b"", **{f"CRDTPUBSUB_{variable}": value})
    assert (done.returncode, done.stdout) == (2, "")
    assert f"CRDTPUBSUB_{variable}" in done.stderr


@net
def test_the_environment_is_read_as_a_node_reads_it_and_options_win(world: str) -> None:
    with SyncNode("tcp://127.0.0.1:*", name="there", cluster="blue") as node:
        events = node.events()
        env = {
            "CRDTPUBSUB_BIND": "tcp://127.0.0.1:*",
            "CRDTPUBSUB_SEEDS": node.endpoint,
            "CRDTPUBSUB_CLUSTER": "blue",
            "CRDTPUBSUB_NAME": "by the environment",
        }
        (peer,) = records(run(world, "peers", "--json", stdin=b"", **env))
        assert peer["name"] == "there"
        up: Any = next(events)
        assert (up.name, up.endpoint.partition(":")[0]) == ("by the environment", "tcp")
        next(events)  # it left
        wrong = {**env, "CRDTPUBSUB_CLUSTER": "green", "CRDTPUBSUB_NAME": "x"}
        run(world, "peers", "--cluster", "blue", "--name", "by an option", stdin=b"", **wrong)
        up = next(events)
        assert up.name == "by an option"


@net
def test_beside_the_node_of_a_container_another_port_is_to_be_given(world: str) -> None:
    """The environment says where that one listens, and what others dial."""
    with SyncNode("tcp://127.0.0.1:*", name="app") as node:
        env = {"CRDTPUBSUB_BIND": node.endpoint, "CRDTPUBSUB_ADVERTISE": node.endpoint}
        done = run(world, "peers", "--seed", node.endpoint, "--timeout", "1", stdin=b"", **env)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith("has it: add --bind 'tcp://127.0.0.1:*'\n")
        ask = ("peers", "--seed", node.endpoint, "--bind", "tcp://127.0.0.1:*", "--json")
        (peer,) = records(run(world, *ask, stdin=b"", **env))
        assert (peer["name"], peer["linked"]) == ("app", True)


@net
def test_a_port_that_is_taken_is_a_failure_and_no_word_of_the_environment(world: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(world, "node", "--bind", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert "CRDTPUBSUB" not in done.stderr


# -------------------------------------------------------------------- bars


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("total", [200, None])
def test_a_bar_is_shown_on_a_terminal_and_leaves_no_trace_on_stdout(
    rich: bool, total: int | None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if rich:
        pytest.importorskip("rich")
        monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress, "_HAS_RICH", rich)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Bar("worlds", total) as bar:
        bar.at(100)
    said = capsys.readouterr()
    assert said.out == ""
    assert "100" in said.err
    assert "worlds" in said.err
    assert ("/200" in said.err) == (total is not None)
    assert "\x1b[K" in said.err or "\x1b[2K" in said.err  # it is gone at the end


@pytest.mark.parametrize("rich", [True, False])
def test_without_a_terminal_there_is_no_bar_nor_one_that_runs_into_objects(
    rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_HAS_RICH", rich and progress._HAS_RICH)
    with Bar("worlds", 200) as bar:
        bar.at(100)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with Bar("worlds", 200, quiet=True) as bar:
        bar.at(100)
    assert capsys.readouterr() == ("", "")


def test_worlds_that_held_say_nothing_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--worlds", "2", "--nodes", "4"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("2 worlds held from seed 1 on: ")
    assert said.err == ""


# -------------------------------------------------------------------- words


def test_without_a_verb_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "crdtpubsub sub room" in said.err


@pytest.mark.parametrize("as_json", [True, False])
def test_a_node_says_what_to_do_about_a_limit(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    show_notice(LimitReached("peers_full", "ab" * 16, 3), as_json=as_json)
    said = capsys.readouterr().out
    assert "LimitReached" in said
    assert "raise Config.peers_max" in said


@net
def test_nobody_is_said_in_words_and_to_programs_by_nothing(world: str) -> None:
    with running(world, "node", "--json") as node:
        node.record()
        assert run(world, "members", "romo").stderr == "crdtpubsub: members: nobody is in 'romo'\n"
        assert run(world, "channels", "r").stderr.endswith("there is none that begins with 'r'\n")
        assert run(world, "members", "romo", "--json").stderr == ""


@net
def test_who_types_is_told_how_to_end_and_says_what_was_typed(world: str) -> None:
    """It stood there without a word, and looked as if it hung."""
    with running(world, "sub", "room", "--count", "1", "--json") as sub:
        assert " is in room" in sub.word()
        terminal, keyboard = os.openpty()
        command = [*COMMAND, "pub", "room"]
        environment = {**os.environ, "XDG_RUNTIME_DIR": world}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=keyboard, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as pub:  # fmt: skip
            assert pub.stderr is not None
            assert "Ctrl-D" in pub.stderr.readline()
            os.write(terminal, b"hello\n\x04")
            assert sub.record()["data"] == "hello\n"
            assert pub.wait(timeout=WITHIN_S) == 0
        os.close(terminal)
        os.close(keyboard)


def test_a_narrow_terminal_cuts_nothing_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    endpoint = "ipc:///run/user/1000/crdtpubsub/0123456789abcdef/0123456789ab.sock"
    output.table(("node", "endpoint"), [("one", endpoint)])
    cells = [line.split("│")[2] for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert "".join(cell.strip() for cell in cells) == endpoint


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (0, "0 other nodes, 0 channels, 0 memberships, "),
        (1, "1 other node, 1 channel, 1 membership, "),
    ],
)
def test_one_is_not_many(count: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"name": "n", "node": "0" * 32, "state": "alive", "linked": True}
    look = {
        "nodes": [node] * count, "channels": count, "memberships": count, "largest": {},
        "frames_per_s": 0.0, "lag_ms": 1.0,
    }  # fmt: skip
    _show(look, as_json=False)
    assert capsys.readouterr().out.startswith(says)


@net
def test_what_a_bench_measured_is_written_into_a_file_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    assert main(["bench", "--messages", "100", "--json", "--output", str(file)]) == 0
    assert json.loads(file.read_text("utf-8")) == json.loads(capsys.readouterr().out)
    assert main(["bench", "--output", str(tmp_path / "nowhere" / "bench.json")]) == 2
    assert "there is no such directory" in capsys.readouterr().err
