"""The short run of what `python -m tests.fuzz` does at length, and that it would notice."""

from __future__ import annotations

from typing import Any

import pytest

from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine.replication import Replication
from crdtpubsub.wire import fields
from tests.fuzz import decoder, handler
from tests.fuzz.__main__ import main

DECODER_INPUTS = 100_000
HANDLER_INPUTS = 10_000


def test_the_decoder_takes_or_refuses_whatever_comes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--decoder", str(DECODER_INPUTS), "--seed", "1"]) == 0
    assert "accepted" in capsys.readouterr().out


def test_a_node_among_liars_keeps_its_own_and_its_bounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--handler", str(HANDLER_INPUTS), "--seed", "1"]) == 0
    said = capsys.readouterr().out
    for path in ("late_frame", "claimed", "births_skipped", "fact_refused", "loopback_refused"):
        assert path in said, f"the fuzzer does not reach {path} any more"


def test_a_block_is_one_history() -> None:
    assert handler.run(5, 3, 400) == handler.run(5, 3, 400)
    assert decoder.run(5, 3, 2_000) == decoder.run(5, 3, 2_000)


def _plant(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Replication._apply
    match bug:
        case "a check that lets a list pass":
            monkeypatch.setattr(fields, "number", lambda _what, value, _most: value)
        case "it raises on a gap":

            def gap(*_args: object) -> None:
                raise KeyError("planted")

            monkeypatch.setattr(Replication, "gap", gap)
        case "a client is not told":

            def silent(self: Replication, state: Any, change: Any, **_kw: object) -> None:
                apply(self, state, change, by_client=True)

            monkeypatch.setattr(Replication, "_apply", silent)
        case "own births run away":
            monkeypatch.setattr(MemberSet, "skip", _runaway)


def _runaway(self: MemberSet, beyond: int) -> tuple[int, ...]:
    self._next = beyond
    return ()


@pytest.mark.parametrize(
    "bug",
    [
        "a check that lets a list pass",
        "it raises on a gap",
        "a client is not told",
        "own births run away",
    ],
)
def test_a_planted_bug_is_noticed(
    bug: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _plant(bug, monkeypatch)
    assert main(["--decoder", "20000", "--handler", "5000", "--seed", "1"]) == 1
    assert "again: python -m tests.fuzz --" in capsys.readouterr().out
