"""What the documents point at exists, and the Python they show runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from crdtpubsub.config import Config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DOCS = sorted((ROOT / "docs").rglob("*.md"))

CODE = re.compile(r"`([^`\n]+)`")
IN_CODE = re.compile(r"([\w./-]+\.py)(?::([A-Za-z_][\w.]*)|::(\w+))?")
RUN = re.compile(r"python -m ((?:tests|benchmarks)[.\w]*)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```[ \t]*$", re.DOTALL | re.MULTILINE)

MADE_BY_THE_READER = {"births.py"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def names_in(path: Path) -> frozenset[str]:
    """Every dotted name a module defines: classes, functions, assignments, and theirs."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for statement in body:
            match statement:
                case ast.ClassDef(name=name, body=inner):
                    yield prefix + name
                    yield from walk(inner, f"{prefix}{name}.")
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield prefix + name
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    yield prefix + name

    return frozenset(walk(ast.parse(path.read_text("utf-8")).body, ""))


def find(path: str) -> Path | None:
    """A file, named from the root of the repository or from that of the package."""
    return next((p for p in (ROOT / path, ROOT / "crdtpubsub" / path) if p.is_file()), None)


def broken(page: Path) -> Iterator[str]:
    """What the page names in `code` and nobody finds."""
    text = page.read_text("utf-8")
    for module in RUN.findall(text):
        path = module.rstrip(".").replace(".", "/")
        if not find(f"{path}.py") and not find(f"{path}/__main__.py"):
            yield f"no module {module} to run"
    for code in CODE.findall(FENCED.sub("", text)):
        for path, name, test in IN_CODE.findall(code):
            if path in MADE_BY_THE_READER:
                continue
            if (file := find(path)) is None:
                yield f"no file {path}"
            elif (wanted := name or test) and wanted not in names_in(file):
                yield f"no {wanted} in {path}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_names_in_the_code_exists(page: Path) -> None:
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_links_to_exists(page: Path) -> None:
    targets = (t for t in LINK.findall(page.read_text("utf-8")) if "://" not in t)
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_calls_a_knob_is_one(page: Path) -> None:
    known = {field.name for field in fields(Config)} | set(dir(Config))
    named = re.findall(r"`Config\.(\w+)`", page.read_text("utf-8"))
    assert [knob for knob in named if knob not in known] == []


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """That of the README is run by test_readme.py."""
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8"))):
        program = tmp_path / f"block{number}.py"
        program.write_text(block, "utf-8")
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", str(program)],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
