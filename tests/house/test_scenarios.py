"""docs/TESTING.md names a test for each scenario of other projects that we retold."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTING = ROOT / "docs" / "TESTING.md"
RANGES = {"S": (3, 10), "T": (1, 16), "A": (1, 11), "B": (1, 3), "U": (1, 1), "K": (1, 15),
          "N": (1, 5)}  # fmt: skip
ROW = re.compile(r"^\| ([A-Z]\d\d) \| .* \| `([\w/.]+)::(test_\w+)` \|$", re.MULTILINE)


def test_each_scenario_has_its_row_and_its_test() -> None:
    rows = {found[1]: (found[2], found[3]) for found in ROW.finditer(TESTING.read_text("utf-8"))}
    wanted = {f"{k}{n:02}" for k, (low, high) in RANGES.items() for n in range(low, high + 1)}
    assert rows.keys() == wanted
    for id, (path, name) in rows.items():
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
        ids = re.findall(r"(?<=_)[a-z]\d\d(?=_)", name)
        low, high = min(ids), max(ids)
        assert low <= id.lower() <= high, f"{id} is no part of {name}"
