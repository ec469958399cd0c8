"""Public means documented, typed, exported."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import crdtpubsub

PACKAGE = Path(__file__).resolve().parents[2] / "crdtpubsub"
NAMES: list[str] = sorted(getattr(crdtpubsub, "__all__", []))


def documented_assignments() -> set[str]:
    """Constants and type aliases with a string below them, which is how one documents those."""
    documented: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        body = ast.parse(path.read_text("utf-8")).body
        for statement, below in pairwise(body):
            match statement, below:
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str())),
                ):
                    documented.add(name)
    return documented


def undocumented(name: str, value: object) -> Iterator[str]:
    """Which of `value` and its public attributes say nothing about themselves."""
    if not inspect.isclass(value):
        if not inspect.isroutine(value):
            if name not in documented_assignments():
                yield name
        elif not inspect.getdoc(value):
            yield name
        return
    own = vars(value).get("__doc__") or ""
    if not own or own.startswith(f"{name}("):  # the latter is what dataclass writes by itself
        yield name
    for attribute, member in vars(value).items():
        callable_or_property = inspect.isroutine(member) or isinstance(member, property)
        if attribute.startswith("_") or not callable_or_property:
            continue
        if not inspect.getdoc(getattr(value, attribute)):
            yield f"{name}.{attribute}"


@pytest.mark.skipif(not hasattr(crdtpubsub, "__all__"), reason="nothing is exported yet")
def test_something_is_exported() -> None:
    assert NAMES
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_name_exists_and_is_documented(name: str) -> None:
    value = getattr(crdtpubsub, name)
    if name.startswith("__"):  # __version__ needs no words
        return
    assert list(undocumented(name, value)) == []


def test_the_package_says_that_it_is_typed() -> None:
    """Without the marker, type checkers treat every name of an installed package as Any."""
    assert (PACKAGE / "py.typed").is_file()


def test_importing_the_package_is_silent_and_needs_no_extra() -> None:
    """The core is pyzmq and msgpack; whoever installs no extra must not miss one."""
    program = (
        "import sys, crdtpubsub\n"
        "extras = {'rich', 'hypothesis', 'pytest', 'django', 'channels', 'socketio',"
        " 'prometheus_client'}\n"
        "print(*sorted(extras & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")
