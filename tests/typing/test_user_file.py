"""`user_file.py` uses every public name, and type checkers find nothing wrong with it."""

from __future__ import annotations

import ast
import inspect
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Final

import pytest

import crdtpubsub
from crdtpubsub import Config, Outcome, Token

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
FILE: Final = HERE / "user_file.py"
TREE: Final = ast.parse(FILE.read_text("utf-8"))
WITHOUT_FIELDS: Final = (Config, Token)
"""Knobs are many and alike; what is in a token is nobody's business."""


def used(tree: ast.AST) -> set[str]:
    """Attributes, and names of classes."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def half(name: str) -> set[str]:
    """What one function of the file uses."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    (one,) = [n for n in TREE.body if isinstance(n, functions) and n.name == name]
    return used(one)


def public(cls: type) -> set[str]:
    """Methods, properties, fields."""
    names = {name for base in cls.__mro__ if base is not object for name in vars(base)}
    if issubclass(cls, Exception | str):  # only what is ours
        names = {n for b in cls.__mro__ if b.__module__.startswith("crdtpubsub") for n in vars(b)}
    if cls is Outcome:
        names -= set(Outcome.__members__)
    if is_dataclass(cls):
        fields = set(cls.__dataclass_fields__)
        names = names - fields if cls in WITHOUT_FIELDS else names | fields
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(n for n in crdtpubsub.__all__ if not n.startswith("_")))
def test_every_public_name_is_used(name: str) -> None:
    value = getattr(crdtpubsub, name)
    assert name in used(TREE), f"use {name} in {FILE.name}"
    if not inspect.isclass(value) or name == "Cause":  # an alias, a table, a list of words
        return
    where = used(TREE)
    if name in {"Node", "Client", "Subscription", "Watch", "Events", "Scope"}:
        where = half("with_asyncio")
    elif name.startswith("Sync"):
        where = half("with_threads")
    missing = public(value) - where
    assert not missing, (
        f"use these of {name} in {FILE.name}, and say what type they have: {missing}"
    )


def test_pyright_finds_nothing() -> None:
    """mypy has been here with everything else, in `python -m tests`."""
    beside = Path(sys.executable).parent / "pyright"
    program = str(beside) if beside.exists() else shutil.which("pyright")
    if program is None:
        pytest.skip("pyright is not installed: pip install 'pyright[nodejs]'")
    ran = subprocess.run(
        [program, "--pythonpath", sys.executable, str(FILE)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
