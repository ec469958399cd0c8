"""What `benchmarks.regress` calls worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import regress
from benchmarks.regress import figure, worse


def release(lost: float = 0, **figures: dict[str, Any]) -> dict[str, Any]:
    return {"version": "0", "lost": lost, "figures": figures, "facts": {}}


def test_a_figure_is_the_median_and_its_ends() -> None:
    assert figure([0.5, 0.3, 0.4], "higher") == {
        "ratio": 0.4,
        "low": 0.3,
        "high": 0.5,
        "better": "higher",
    }


def test_within_a_tenth_nothing_is_worse() -> None:
    old = release(rate=figure([0.50], "higher"), time=figure([1.50], "lower"))
    new = release(rate=figure([0.46], "higher"), time=figure([1.62], "lower"))
    assert worse(old, new) == []


def test_worse_is_less_of_a_rate_and_more_of_a_time() -> None:
    old = release(rate=figure([0.50], "higher"), time=figure([1.50], "lower"))
    new = release(rate=figure([0.40], "higher"), time=figure([1.80], "lower"))
    assert [line.split(":")[0] for line in worse(old, new)] == ["rate", "time"]
    assert worse(new, old) == []


def test_noise_of_either_run_excuses() -> None:
    old = release(rate=figure([0.5, 0.5, 0.5], "higher"))
    new = release(rate=figure([0.2, 0.4, 0.5], "higher"))
    assert worse(old, new) == []


def test_a_figure_that_is_gone_and_a_loss_are_worse() -> None:
    old = release(rate=figure([0.5], "higher"))
    assert worse(old, release(lost=3)) == ["rate: not measured any more", "messages lost: 3"]


def test_the_command_compares_two_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(release(rate=figure([0.5], "higher"))))
    new.write_text(json.dumps(release(rate=figure([0.2], "higher"))))
    monkeypatch.setattr("sys.argv", ["regress", "--compare", str(old), str(new)])
    assert regress.main() == 1
    assert "60% worse" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["regress", "--compare", str(old), str(old)])
    assert regress.main() == 0


def test_a_release_is_measured_beside_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(system: str, *args: object) -> dict[str, float]:
        asked.append(system)
        return {"per_s": 1.0 if system == "ours" else 2.0, "lost": 0.0}

    figures = {"rate": (ask, (1, 100), "bare-batched", "per_s", "higher")}
    monkeypatch.setattr(regress, "FIGURES", figures)
    said = regress.measured(2)
    assert said["figures"]["rate"]["ratio"] == 0.5
    assert asked == ["ours", "bare-batched"] * 2
