"""Each benchmark runs, at its smallest: its `main`, real nodes, real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from multiprocessing import forkserver
from typing import Any

import pytest

import benchmarks.__main__ as all_of_them
from benchmarks import growth, micro

pytestmark = pytest.mark.net

QUICK: dict[str, tuple[str, ...]] = {
    "publish_throughput": (
        *("--repeat", "1", "--messages", "300"),
        *("--receivers", "1", "--payload-bytes", "100"),
    ),
    "publish_latency": ("--repeat", "1", "--messages", "50"),
    "join_visible": ("--repeat", "1", "--rounds", "3", "--pace-ms", "1"),
    "joins_bulk": ("--joins", "200"),
    "join_under_load": ("--memberships", "2000"),
    "slow_reader": ("--messages", "50"),
    "idle": ("--nodes", "2", "--seconds", "0.2"),
    "confirmed_under_resets": ("--messages", "300", "--receivers", "1"),
    "detection": ("--kills", "1", "--silences", "0"),
    "micro": ("--repeat", "1"),
    "growth": ("--quick", "--heal", "0", "--cut", "0"),  # a silence is waited for in the soak
}
LONGER: dict[str, tuple[str, ...]] = {
    "publish_throughput": ("--repeat", "1", "--messages", "900"),
    "detection": ("--kills", "1", "--silences", "1"),
    "idle": ("--nodes", "10", "--seconds", "2"),
    "confirmed_under_resets": ("--messages", "20000", "--reset-every-s", "0.5"),
    "growth": (
        *("--nodes", "5", "--simulated", "4", "10", "--channels", "10", "1000", "--idle-s", "1"),
        *("--members", "1000", "3000", "--churn", "10", "1000", "--heal", "20000", "--cut", "400"),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(growth, "SETTLED_S", 0.1)
    patch.setattr(growth, "CHURN_S", 0.1)
    patch.setattr(micro, "SMALLER", 100)
    yield
    patch.undo()
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", QUICK)
def test_it_runs_and_prints_its_lines(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in lines_of(name, QUICK[name], monkeypatch, capsys):
        assert line["benchmark"] == name
        assert line["facts"]["python"]
        assert not any(line.get(key) for key in ("lost", "refused", "missing", "disordered"))


@pytest.mark.soak
@pytest.mark.parametrize("name", LONGER)
def test_its_other_cases_run_too(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines_of(name, LONGER[name], monkeypatch, capsys)


def lines_of(
    name: str,
    arguments: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[dict[str, Any]]:
    monkeypatch.setattr("sys.argv", [name, *arguments])
    with nullcontext() if name != "confirmed_under_resets" else pytest.raises(SystemExit) as end:
        assert not import_module(f"benchmarks.{name}").main()
    assert end is None or not end.value.code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines
    return lines


def test_none_is_forgotten() -> None:
    assert set(QUICK) >= set(all_of_them.ALL)
