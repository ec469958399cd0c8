"""Docstrings of public names are complete; the Python that they write in one line is Python.

Complete: every parameter is described, times in seconds, sizes in bytes, other numbers with their
bounds; every public error that the code is seen to raise (`raising.py` says how it looks, and what
it cannot see) is named; who waits says what cancelling does; classes say what threads may do. A
sentence of a class holds for all of its calls, and "as for `publish`" refers to what stands there.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import pytest

from crdtpubsub import Client, Message, Node
from crdtpubsub.names import check_channel
from tests.house.raising import ERRORS, raised, waits
from tests.house.surface import CALLS, CLASSES, Called, ours, plain

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


# ---------------------------------------------------------------- complete

SECTION: Final = re.compile(r"^(Args|Raises|Attributes|Returns)\b.*:$", re.MULTILINE)
REFERS: Final = re.compile(r"\b[Aa]s (?:for |it )?((?:`[\w.]+`(?: and | or |, )?)+)")
SEE: Final = re.compile(r"\bsee ((?:`[\w.]+`(?: and |, )?)+)")
BOUNDED: Final = re.compile(r"\d|at least|up to|so many|how many")
MADE_BY_US: Final = ("Use `", "Made by ")
BY_ID: Final = {str(called): called for called in CALLS}


def section(text: str, title: str) -> str:
    """What stands below `Raises:` and the like, as far as it is indented."""
    found: list[str] = []
    for begin in SECTION.finditer(text):
        if begin[1] == title:
            below = text[begin.end() :].lstrip("\n").splitlines()
            end = next((n for n, line in enumerate(below) if line[:1].strip()), len(below))
            found += below[:end]
    return "\n".join(found)


def entries(text: str, title: str) -> dict[str, str]:
    """`name: what is said of it`, below a title; several names may share one text."""
    said: dict[str, str] = {}
    names: list[str] = []
    for line in section(text, title).splitlines():
        if begin := re.match(r" {4}([\w*]+(?:, [\w*]+)*)(?::|$)(.*)", line):
            names = begin[1].replace("*", "").split(", ")
            said |= dict.fromkeys(names, begin[2])
        elif line.strip():
            said |= {name: said[name] + " " + line.strip() for name in names}
    return said


def referred(text: str, called: Called) -> list[Called]:
    """The calls that "as for `publish`" and "see `Node.join`" mean."""
    where = " ".join(text.split())
    names = [n for said in (REFERS, SEE) for m in said.findall(where) for n in CODE.findall(m)]
    own = f"{called.cls.__name__}." if called.cls else ""
    found = [
        BY_ID.get(f"{name}.__init__" if name in CLASSES else name if "." in name else own + name)
        for name in names
    ]
    return [one for one in found if one is not None and str(one) != str(called)]


def of_parameter(called: Called, name: str) -> str:
    """All that is said of it, here and where it refers to."""
    prose = SECTION.split(called.said)[0]
    if (said := entries(called.said, "Args").get(name)) is None:
        sentences = re.split(r"(?<=[.:;])\s", prose)
        said = " ".join(one for one in sentences if f"`{name}`" in one)
    elsewhere = referred(said or prose, called)
    return " ".join([said, *[of_parameter(one, name) for one in elsewhere]]).strip()


def missing_of(called: Called) -> Iterator[str]:
    """What its docstring does not say about its parameters."""
    for name, parameter in inspect.signature(called.function).parameters.items():
        if name in ("self", "cls"):
            continue
        said, kind = of_parameter(called, name), str(parameter.annotation)
        if not said:
            yield f"{called}: what is {name}?"
        elif "float" in kind and not re.search(r"\bseconds?\b|\bs\b", said):
            yield f"{called}: {name} is in seconds?"
        elif "bytes" in name and not re.search(r"\bbytes?\b", said):
            yield f"{called}: {name} is in bytes?"
        elif re.search(r"\bint\b", kind) and not BOUNDED.search(said):
            yield f"{called}: how large may {name} be?"


def class_says(called: Called) -> str:
    """What holds for all calls of its class."""
    return (called.cls and inspect.getdoc(called.cls)) or ""


def errors_named(called: Called, above: tuple[str, ...] = ()) -> set[str]:
    """Those that its docstring, its class, or what it refers to, name."""
    if str(called) in above:
        return set()
    text = section(called.said, "Raises")
    named = set(re.findall(r"\w+Error", text)) | set(entries(class_says(called), "Raises"))
    where = text if text.strip() else SECTION.split(called.said)[0]
    return named.union(
        *[errors_named(one, (*above, str(called))) for one in referred(where, called)]
    )


PUBLIC_CALLS: Final = [c for c in CALLS if not c.said.startswith(MADE_BY_US)]


def unnamed_of(called: Called) -> Iterator[str]:
    """The errors that it can raise, and does not name."""
    for error in sorted(raised(called) - errors_named(called)):
        yield f"{called}: when {error}?"
    for error in re.findall(r"\b[A-Z]\w+Error\b", called.said):
        if error not in ERRORS and error != "WireError":
            yield f"{called}: {error} is no public error"


def uncancelled_of(called: Called) -> Iterator[str]:
    """Whether it waits, and does not say what becomes of that."""
    function, said = called.function, called.said + class_says(called)
    waiting = inspect.iscoroutinefunction(function) and waits(called)
    waiting = waiting or inspect.isasyncgenfunction(function)
    if waiting and not re.search("cancel", said, re.IGNORECASE):
        yield f"{called}: what if it is cancelled?"


@pytest.mark.parametrize("check", [missing_of, unnamed_of, uncancelled_of])
def test_docstrings_are_complete(check: Callable[[Called], Iterator[str]]) -> None:
    assert [complaint for called in PUBLIC_CALLS for complaint in check(called)] == []


class Vague:
    """Says little."""

    async def wait(self, count: int, size_bytes: int, timeout: float | None) -> None:
        """Wait for `count`, with `size_bytes` and `timeout`."""
        await asyncio.sleep(0)
        if timeout == count == size_bytes:
            raise TimeoutError
        check_channel("")


def test_what_a_vague_docstring_leaves_open_is_found() -> None:
    vague = Called(Vague, "wait", Vague.wait)
    complaints = [*missing_of(vague), *unnamed_of(vague), *uncancelled_of(vague)]
    assert [complaint.removeprefix("Vague.wait: ") for complaint in complaints] == [
        "how large may count be?",
        "size_bytes is in bytes?",
        "timeout is in seconds?",
        "when InvalidNameError?",
        "when TimeoutError?",
        "what if it is cancelled?",
    ]


def is_a_value(cls: type) -> bool:
    """Frozen, or raised: for every thread without a word."""
    frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return frozen or issubclass(cls, Exception | Enum)


@pytest.mark.parametrize("cls", [c for c in CLASSES.values() if not is_a_value(c)], ids=str)
def test_a_class_says_what_threads_may_do(cls: type) -> None:
    assert "thread" in (inspect.getdoc(cls) or "")


def with_words_below(cls: type) -> set[str]:
    """Fields and attributes with a string below them; one may stand for several in a row."""
    found: set[str] = set()
    for base in ours(cls):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        bodies = [
            node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)
        ]
        for body in bodies:
            names: set[str] = set()
            for statement in body:
                match statement:
                    case ast.AnnAssign(target=target) | ast.Assign(targets=[target]):
                        names |= {n.attr for n in ast.walk(target) if isinstance(n, ast.Attribute)}
                        names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
                    case ast.Expr(value=ast.Constant(value=str())):
                        found |= names
                        names = set()
                    case _:
                        names = set()
    return found


def given(cls: type) -> set[str]:
    """Its public fields, and what its `__init__` sets for others to read."""
    names = {field.name for field in fields(cls)} if is_dataclass(cls) else set()
    for base in ours(cls):
        if (made := plain(vars(base).get("__init__"))) is not None and not is_dataclass(cls):
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(made)))):
                match node:
                    case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                        names.add(name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda cls: cls.__name__)
def test_every_attribute_is_described(cls: type) -> None:
    text = inspect.getdoc(cls) or ""
    said = set(CODE.findall(text)) | set(entries(text, "Attributes")) | with_words_below(cls)
    assert sorted(given(cls) - said) == []
