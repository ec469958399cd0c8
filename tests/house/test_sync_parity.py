"""`SyncNode` and what it makes have all that the asyncio doors have, with the same signatures."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import crdtpubsub
from crdtpubsub import (
    Client,
    Events,
    Node,
    Scope,
    Subscription,
    SyncClient,
    SyncEvents,
    SyncNode,
    SyncScope,
    SyncSubscription,
    SyncWatch,
    Watch,
)

TWINS: Final[dict[type, type]] = {
    Node: SyncNode,
    Scope: SyncScope,
    Client: SyncClient,
    Subscription: SyncSubscription,
    Events: SyncEvents,
    Watch: SyncWatch,
}
BY_NAME: Final = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
PACKAGE: Final = Path(crdtpubsub.__file__).parent
PUBLIC: Final = [
    (one, name)
    for one in TWINS
    for name in dict.fromkeys(name for cls in one.__mro__[:-1] for name in vars(cls))
    if name in BY_NAME or not name.startswith("_")
]


def plain(signature: inspect.Signature) -> list[tuple[str, object, object, str]]:
    """Its parameters and what it returns, in the words of asyncio."""
    said = [
        (p.name, p.kind, p.default, str(p.annotation).replace("Sync", ""))
        for p in signature.parameters.values()
    ]
    returned = str(signature.return_annotation).replace("Sync", "").replace("AsyncI", "I")
    return [*said, ("return", None, None, returned.replace("Iterator", "Iter"))]


def function(value: object) -> Callable[..., Any] | None:
    found = getattr(value, "__func__", value)
    return found if inspect.isfunction(found) else None


@pytest.mark.parametrize(("one", "name"), PUBLIC, ids=[f"{o.__name__}.{n}" for o, n in PUBLIC])
def test_each_public_name_has_a_twin_of_the_same_signature(one: type, name: str) -> None:
    other = TWINS[one]
    twin = inspect.getattr_static(other, BY_NAME.get(name, name))
    mine = inspect.getattr_static(one, name)
    asked, answered = function(mine), function(twin)
    if asked is None:
        assert type(twin) is type(mine)
        return
    assert answered is not None
    assert type(twin) is type(mine)  # a class method stays one
    assert not inspect.iscoroutinefunction(answered)
    assert not inspect.isasyncgenfunction(answered)
    assert plain(inspect.signature(answered)) == plain(inspect.signature(asked))


@pytest.mark.parametrize("one", TWINS, ids=lambda one: one.__name__)
def test_each_is_made_alike(one: type) -> None:
    if one is Node:
        assert plain(inspect.signature(SyncNode)) == plain(inspect.signature(Node))
    extra = {
        name
        for cls in TWINS[one].__mro__[:-1]
        for name in vars(cls)
        if not name.startswith("_") and inspect.getattr_static(one, name, None) is None
    }
    assert not extra, "a twin that nobody has"


@pytest.mark.parametrize("other", TWINS.values(), ids=lambda other: other.__name__)
def test_its_help_says_what_the_twin_says_in_blocking_words(other: type) -> None:
    one = next(one for one, twin in TWINS.items() if twin is other)
    for name, value in [item for cls in other.__mro__[:-1] for item in vars(cls).items()]:
        if name.startswith("_") or function(value) is None:
            continue
        said = inspect.getdoc(getattr(other, name)) or ""
        explained = inspect.getdoc(getattr(one, name)) or ""
        assert said.startswith("As `"), name
        assert said.count("\n") > explained.count("\n"), name
        body = said.split("\n", 1)[1]
        assert "await " not in body, name
        assert "async " not in body, name


def test_the_doors_wait_only_by_what_can_block_too() -> None:
    """One `asyncio` in a door, and its blocking twin could not run it to the end."""
    allowed = {"waiting.py", "waking.py", "blocking.py"}
    for path in sorted(PACKAGE.glob("*.py")):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert "asyncio" not in names, path.name
