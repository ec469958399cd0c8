"""The Python that docstrings and pages write in one line is Python, and names what exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from crdtpubsub import Client, Message, Node

ROOT: Final = Path(__file__).resolve().parents[2]
CODE: Final = re.compile(r"`([^`]+)`")
FENCED: Final = re.compile(r"^```.*?^```[ \t]*$", re.DOTALL | re.MULTILINE)
STATEMENT: Final = re.compile(r"(?:async|await|with|for) ")
OF: Final = {"node": Node, "client": Client, "message": Message}
CALLED: Final = re.compile(rf"(?<![\w.])({'|'.join(OF)})\.(?!py\b)([a-z]\w*)")
SOURCES: Final = sorted((ROOT / "crdtpubsub").glob("*.py"))
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def docstrings(path: Path) -> Iterator[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, documented) and (said := ast.get_docstring(node)):
            yield said


def words(path: Path) -> list[str]:
    """What stands between backticks, on one line."""
    texts = docstrings(path) if path.suffix == ".py" else [FENCED.sub("", path.read_text("utf-8"))]
    return [" ".join(code.split()) for text in texts for code in CODE.findall(text)]


def is_python(code: str) -> bool:
    """As statements, one in the other; `timeout=` alone stands for any value."""
    lines = re.split(r"(?<=:) (?=async |with |for )", re.sub(r"=(?=[),])", "=0", code))
    nested = "".join(f"\n{' ' * depth}{line}" for depth, line in enumerate(lines, 1))
    for text in (nested, nested + " pass", nested + ": pass"):
        try:
            ast.parse("async def f():" + text)
        except SyntaxError:
            continue
        return True
    return False


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: path.name)
def test_a_line_of_code_is_python_and_names_what_exists(path: Path) -> None:
    said = words(path)
    assert [code for code in said if STATEMENT.match(code) and not is_python(code)] == []
    named = {found for code in said for found in CALLED.findall(code)}
    assert [f"{of}.{name}" for of, name in sorted(named) if not hasattr(OF[of], name)] == []


def test_it_looks_at_something() -> None:
    said = [code for path in [*SOURCES, *PAGES] for code in words(path)]
    assert sum(map(bool, map(STATEMENT.match, said))) > 10
    assert {name for code in said for _, name in CALLED.findall(code)} > {"publish", "watch"}
