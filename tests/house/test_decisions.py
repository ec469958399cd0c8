"""Each decision has a number of its own, and says it in its first line."""

from __future__ import annotations

from pathlib import Path

DECISIONS = Path(__file__).resolve().parents[2] / "docs" / "decisions"


def test_decisions_are_numbered_without_a_gap_or_a_double() -> None:
    files = sorted(DECISIONS.glob("*.md"))
    assert [file.name[:4] for file in files] == [f"{n:04}" for n in range(1, len(files) + 1)]
    for file in files:
        assert file.read_text(encoding="utf-8").startswith(f"# {file.name[:4]}: "), file.name
