"""The project is about itself: no paths of somebody's machine, no unfinished marks, no halls."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 450

# Spelt in pieces, so that this file does not contain what it forbids.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:" + "|".join(["work", "farm", "tmp/bash_" + "jobs"]) + ")/"
)
UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")


def tracked() -> list[Path]:
    """The files git knows of; in an unpacked release, which has no git, those of the tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [p for top in ("crdtpubsub", "tests", "docs") for p in (ROOT / top).rglob("*.*")]
    return sorted(path for path in paths if path.is_file())


def lines_matching(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """`path:line: text` of every line the pattern is found in."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_matching(MACHINE_PATH, tracked()) == []


def test_no_module_is_marked_unfinished() -> None:
    """What is not done is an issue, not a comment."""
    assert lines_matching(UNFINISHED, [p for p in tracked() if p.suffix == ".py"]) == []


def test_every_module_is_one_room() -> None:
    """Above the limit, find the two things it does. Tests may be as long as their list of cases."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in tracked()
        if path.suffix == ".py" and "tests" not in path.relative_to(ROOT).parts
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}
