"""The verbs that join, as a user runs them: real processes that find each other."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

import pytest

from crdtpubsub import SyncNode
from crdtpubsub.cli import output
from crdtpubsub.cli.__main__ import main
from tests.api.cli import WITHIN_S, Running, records, run, run_process, running
from tests.api.helpers import wait_until

net = pytest.mark.net
SECRET = "a secret for the tests of the command line"


@pytest.fixture
def world() -> Iterator[str]:
    """A rendezvous directory of our own, with a short path: those of ipc are limited."""
    with tempfile.TemporaryDirectory(prefix="cli-") as path:
        yield path


def ready(sub: Running) -> None:
    assert " is in room" in sub.word()


# -------------------------------------------------------------------- two terminals


@net
def test_two_terminals_without_configuration(world: str) -> None:
    with running(world, "sub", "room", "--id", "ann") as sub:
        ready(sub)
        said = run_process(world, "pub", "room", "hello")
        assert (said.returncode, said.stdout, said.stderr) == (0, "room: 1 client took it\n", "")
        assert sub.line() == "hello"
        header, row = run(world, "members", "room").stdout.splitlines()
        assert header.split() == ["MEMBER", "NODE", "LIFE", "QUEUE", "META", "REACHABLE"]
        assert row.split()[0] == "ann"
        assert sub.end() == (130, "", "")


@net
def test_who_publishes_first_waits_for_a_member(world: str) -> None:
    with running(world, "node", "--json") as node:
        node.record()
        with running(world, "pub", "room", "hello", "--timeout", "20") as pub:
            assert node.record()["event"] == "PeerUp"
            with running(world, "sub", "room", "--count", "1") as sub:
                assert sub.line() == "hello"
                assert sub.process.wait(timeout=10) == 0
            assert pub.process.wait(timeout=10) == 0


@net
def test_one_terminal_asks_and_the_other_answers(world: str) -> None:
    with running(world, "sub", "room", "--id", "ann", "--reply", "42", "--json") as sub:
        ready(sub)
        said = run(world, "request", "room", "how many?", "--timeout", "20")
        assert (said.returncode, said.stdout, said.stderr) == (0, "42\n", "")
        asked = sub.record()
        assert (asked["data"], asked["wants_reply"]) == ("how many?", True)
        (answer,) = records(run(world, "request", "room", "-", "--json", stdin=b"again"))
        assert (answer["channel"], answer["data"], answer["headers"]) == ("room", "42", {})
        assert answer["name"].startswith("cli-sub-")
        assert sub.record()["data"] == "again"
        run(world, "pub", "room", "no question")
        assert "wants_reply" not in sub.record()
        assert sub.end()[0] == 130


@net
def test_an_echo_and_nobody_who_answers(world: str) -> None:
    with running(world, "sub", "room", "--count", "1", "--echo", "--json") as sub:
        ready(sub)
        said = run(world, "request", "room", '{"a": [1]}', "--parse", "--json", "--timeout", "20")
        assert [answer["data"] for answer in records(said)] == [{"a": [1]}]
        assert sub.record()["data"] == {"a": [1]}
        assert sub.process.wait(timeout=30) == 0
    with running(world, "sub", "room", "--id", "ann") as sub:
        ready(sub)
        silent = run(world, "request", "room", "well?", "--timeout", "2")
        assert (silent.returncode, silent.stdout) == (1, "")
        assert silent.stderr.startswith("crdtpubsub: ")
        nobody = run(world, "request", "hall", "well?")
        assert (nobody.returncode, nobody.stdout) == (1, "")
        assert "'hall' has no member" in nobody.stderr
        wrong = run(world, "request", "room", "{", "--parse")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert run(world, "sub", "room", "--echo", "--reply", "x").returncode == 2


@net
def test_everything_as_objects(world: str) -> None:
    with running(world, "sub", "room", "hall", "--id", "ann", "--json", "--name", "one") as sub:
        ready(sub)
        (peer,) = records(run(world, "peers", "--json"))
        assert set(peer) == {"node", "name", "endpoint", "state", "linked"}
        assert (peer["name"], peer["state"], peer["linked"]) == ("one", "alive", True)
        (member,) = records(run(world, "members", "room", "--json"))
        assert member == {
            "channel": "room", "id": "ann", "node": peer["node"], "name": "one",
            "group": "", "meta": None, "down": False,
        }  # fmt: skip
        assert records(run(world, "channels", "--json")) == [
            {"channel": "hall", "members": 1},
            {"channel": "room", "members": 1},
        ]
        looks = records(run(world, "top", "--count", "6", "--every", "0.1", "--json"))
        look = looks[-1]
        assert any(one["frames_per_s"] > 0 for one in looks)
        assert any(isinstance(one["lag_ms"], float) and one["lag_ms"] >= 0 for one in looks)
        assert look["largest"] == {"hall": 1, "room": 1}
        assert (look["channels"], look["memberships"], len(look["nodes"])) == (2, 2, 1)
        done = run(
            world, "pub", "room", "--parse", "--json", "--header", "k=v", stdin=b'{"a": [1, null]}'
        )
        assert records(done) == [
            {
                "channel": "room", "members": 1, "owners": {peer["node"]: "delivered"},
                "groups": {},
            }
        ]  # fmt: skip
        got = sub.record()
        assert len(got.pop("sender")) == 32
        assert got == {"channel": "room", "data": {"a": [1, None]}, "headers": {"k": "v"}}
        run(world, "pub", "hall", stdin=b"\xff\x00")  # what is no text travels as bytes
        assert sub.record()["data"] == {"base64": "/wA="}


@net
def test_who_shares_the_work_is_shown_with_its_queue_group(world: str) -> None:
    with running(world, "sub", "room", "--queue", "workers", "--id", "ann", "--json") as sub:
        assert " is in room as one of workers, on " in sub.word()
        _, row = run(world, "members", "room").stdout.splitlines()
        assert row.split()[3] == "workers"
        (member,) = records(run(world, "members", "room", "--json"))
        assert (member["id"], member["group"]) == ("ann", "workers")
        (said,) = records(run(world, "pub", "room", "a job", "--json"))
        assert said["groups"] == {"workers": "delivered"}
        assert said["owners"] == {member["node"]: "delivered"}
        got = sub.record()
        assert (got["data"], got["group"]) == ("a job", "workers")
        with running(world, "watch", "room", "--json") as watch:
            shown = watch.record()
            while shown.get("id") != "ann":
                shown = watch.record()
            assert shown["group"] == "workers"


@net
def test_lines_of_stdin_arrive_in_order(world: str) -> None:
    with running(world, "sub", "room", "--count", "700") as sub:
        ready(sub)
        text = "".join(f"line {n}\n" for n in range(700)).encode()
        done = run(world, "pub", "room", "--lines", stdin=text)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "published 700 to room, 0 refused by an owner\n"
        assert [sub.line() for _ in range(700)] == [f"line {n}" for n in range(700)]


@net
def test_two_processes_share_the_work_of_a_queue(world: str) -> None:
    one = running(world, "sub", "room", "--queue", "workers", "--id", "ann")
    two = running(world, "sub", "room", "--queue", "workers", "--id", "bob")
    with one as ann, two as bob:
        done: list[str] = []

        def read(sub: Running) -> None:
            while line := sub.line():
                done.append(line)

        for sub in (ann, bob):
            ready(sub)
            threading.Thread(target=read, args=(sub,), daemon=True).start()
        text = "".join(f"job {n}\n" for n in range(40)).encode()
        said = run(world, "pub", "room", "--lines", stdin=text)
        assert (said.returncode, said.stderr) == (0, "")
        wait_until(lambda: len(done) >= 40, timeout=WITHIN_S, why=lambda: f"only {done}")
        assert sorted(done) == sorted(f"job {n}" for n in range(40))


@net
def test_watch_tells_who_comes_and_goes(world: str) -> None:
    with running(world, "watch", "room", "--json") as watch:
        assert watch.record() == {"event": "snapshot", "members": 0}
        with running(world, "sub", "room", "--id", "ann", "--name", "one") as sub:
            ready(sub)
            joined = watch.record()
            life = joined["node"]
            sub.end()
        left = watch.record()
        assert {**joined, "cause": ""} == {
            "event": "joined", "cause": "", "channel": "room", "id": "ann", "node": life,
            "name": "one", "group": "", "meta": None,
        }  # fmt: skip
        assert (left["event"], left["cause"], left["id"], left["node"]) == (
            "left", "op", "ann", life,
        )  # fmt: skip
        assert left["name"] == "one"  # its node is gone, and was known
        assert watch.end() == (130, "", "")


@net
def test_top_for_people(world: str) -> None:
    with running(world, "sub", "room", "--name", "one") as sub:
        ready(sub)
        with running(world, "top", "--every", "0.2") as top:
            assert top.line().startswith("1 other node, 1 channel, 1 membership, ")
            assert top.line() == ""
            assert top.line().split() == ["NODE", "LIFE", "STATE", "LINK"]
            code, _, err = top.end()
            assert (code, err) == (130, "")


# -------------------------------------------------------------------- tcp, secrets, clusters


@net
def test_over_tcp_with_a_secret_from_a_file_or_the_environment(world: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".secret") as file:
        file.write(f"{SECRET}\n")
        file.flush()
        join = ("--bind", "tcp://127.0.0.1:*", "--secret-file", file.name, "--cluster", "blue")
        with running(world, "node", "--json", *join) as node:
            seed = node.record()["endpoint"]
            assert seed.startswith("tcp://127.0.0.1:")
            ask = ("peers", "--seed", seed, "--cluster", "blue", "--json")
            (peer,) = records(run(world, *ask, CRDTPUBSUB_SECRET=SECRET))
            assert peer["endpoint"] == seed
            stranger = run(world, *ask, "--timeout", "1")
            assert (stranger.returncode, stranger.stdout) == (1, "")
            assert "doctor" in stranger.stderr
            assert SECRET not in stranger.stderr


@net
def test_a_secret_in_rotation_and_seeds_from_the_environment_are_lists_as_for_a_node(
    world: str,
) -> None:
    """`old,new` was taken for one secret: nobody could look into a cluster in rotation."""
    with SyncNode("tcp://127.0.0.1:*", name="old", secret=SECRET) as node:
        env = {
            "CRDTPUBSUB_SECRET": f"{SECRET}, another one that comes next",
            "CRDTPUBSUB_SEEDS": f"tcp://127.0.0.1:1, {node.endpoint}",
        }
        (peer,) = records(run(world, "peers", "--json", "--timeout", "20", stdin=b"", **env))
    assert (peer["name"], peer["linked"]) == ("old", True)


# -------------------------------------------------------------------- how they end


@net
def test_a_node_tells_who_comes_and_leaves_and_ends_on_sigterm(world: str) -> None:
    with running(world, "node", "--json", "--name", "seed") as node:
        started = node.record()
        assert (started["event"], started["name"]) == ("Started", "seed")
        assert run(world, "peers").returncode == 0
        assert [node.record()["event"], node.record()["event"]] == ["PeerUp", "PeerLeft"]
        assert node.end(signal.SIGTERM) == (0, "", "")


@net
def test_ctrl_c_while_stdin_is_awaited(world: str) -> None:
    with running(world, "node", "--json") as node:
        node.record()
        with running(world, "sub", "room") as sub, running(world, "pub", "room", "--lines") as pub:
            ready(sub)
            assert pub.process.stdin is not None
            pub.process.stdin.write("first\n")
            pub.process.stdin.flush()
            assert sub.line() == "first"
            assert pub.end() == (130, "", "")


@net
def test_nobody_there_is_a_failure_and_a_removed_member_one_too(world: str) -> None:
    done = run(world, "pub", "room", "hello", "--timeout", "0.5")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no other node answered within 0.5 s" in done.stderr
    done = run(world, "sub", "room", "--timeout", "0.3")
    assert done.returncode == 1
    assert done.stderr.endswith("--timeout: 0.3 s are over\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["pub", "room", "x", "--seed", "nonsense"],
        ["pub", "room", "x", "--bind", "tcp://0.0.0.0:7400"],
        ["pub", "room", "{", "--parse"],
        ["pub", "room", "x", "--lines"],
        ["pub", "room", "x", "--secret-file", "/nowhere/at/all"],
        ["watch", "room", "--prefix", "r"],
        ["members", "a\x1bchannel", "--seed", "tcp://127.0.0.1:*"],
    ],
)
def test_what_makes_no_sense_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRDTPUBSUB_SECRET", raising=False)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"crdtpubsub: {arguments[0]}: ")


@pytest.mark.parametrize(
    "arguments", [["sub"], ["sub", "room", "--count", "0"], ["peers", "--timeout", "-1"],
                  ["pub", "room", "x", "--header", "novalue"]],
)  # fmt: skip
def test_wrong_options_exit_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: crdtpubsub" in capsys.readouterr().err


# -------------------------------------------------------------------- how it looks


def test_what_would_steer_a_terminal_is_escaped() -> None:
    assert output.shown("plain ünï") == "plain ünï"
    assert output.shown("\x1b[2J\n") == "\\x1b[2J\\n"
    assert output.shown({"k": b"\x00"}) == '{"k": {"base64": "AA=="}}'


@pytest.mark.parametrize("rich", [True, False])
def test_a_table_on_a_terminal(
    rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if rich:
        pytest.importorskip("rich")
    monkeypatch.setattr(output, "_HAS_RICH", rich)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.table(("name", "count"), [("[bold]x[/bold]", 1)])
    said = capsys.readouterr().out
    assert "[bold]x[/bold]" in said  # nobody's markup is obeyed
    assert ("┃" in said) == rich


def test_a_verb_says_what_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crdtpubsub.cli", "pub", "--help"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "CRDTPUBSUB_SEEDS" in done.stdout
