"""Every figure of the README comes from the recorded run, and none is by hand."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.record import BEGIN, END, README, RECORDED, block


def _said() -> str:
    return README.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def test_the_figures_are_those_that_were_recorded() -> None:
    recorded = block(RECORDED)
    if recorded:
        assert _said() == recorded, "run: python -m benchmarks.record --readme"
    else:  # an older form: the file that it names has them
        named = re.findall(r"\(docs/benchmarks/(\S+\.jsonl)\)", _said())
        assert named
        assert all(Path(RECORDED, name).exists() for name in named)


def test_what_the_figures_point_to_is_there() -> None:
    for name in re.findall(r"\(docs/benchmarks/([^)]+)\)", README.read_text("utf-8")):
        assert Path(RECORDED, name).exists(), name
