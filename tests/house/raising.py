"""Which public errors a call can raise, as far as the text of the code shows it.

Followed are plain names, `self.` and `super().`, what a function returns, properties, lambdas and
inner functions, and the receivers of `HELD`, which are of one class everywhere. What a handler
catches and does not raise again is not raised. Not followed: what is called through any other
variable, above all the engine. So it may say too little; too much only of a branch that is never
taken.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import crdtpubsub
from crdtpubsub import Client, CrdtPubSubError, Subscription
from crdtpubsub.overlay import Overlay
from crdtpubsub.runtime import Runtime
from crdtpubsub.runtime.asking import Asker
from crdtpubsub.runtime.requests import Requests
from crdtpubsub.views import Views
from crdtpubsub.waiting import Events
from crdtpubsub.watching import Watch, WatchReader
from tests.house.surface import Called, plain

__all__ = ["ERRORS", "raised", "waits"]

Function = Callable[..., Any]
Key = tuple[type | None, Function]

ERRORS: Final = {"TimeoutError"} | {
    name
    for name in crdtpubsub.__all__
    if inspect.isclass(value := getattr(crdtpubsub, name)) and issubclass(value, CrdtPubSubError)
}
HELD: Final[dict[str, type]] = {
    "_runtime": Runtime,
    "runtime": Runtime,
    "_views": Views,
    "asker": Asker,
    "requests": Requests,
    "_requests": Requests,
    "client": Client,
    "_client": Client,
    "_home": Overlay,
    "_overlay": Overlay,
    "_scope": crdtpubsub.Scope,
    "_node": crdtpubsub.Node,
    "_subscription": Subscription,
    "reader": WatchReader,
    "_reader": WatchReader,
    "_watch": Watch,
    "_events": Events,
}


def raised(called: Called) -> set[str]:
    """The public errors, by name."""
    return _reached((called.cls, called.function), ())


def waits(called: Called) -> bool:
    """Whether it can suspend: it awaits something that is not a coroutine which never does."""
    return _waits((called.cls, called.function), ())


def _waits(key: Key, above: tuple[Key, ...]) -> bool:
    if key in above:
        return False
    for node in ast.walk(_tree(key[1])):
        if isinstance(node, ast.AsyncFor | ast.AsyncWith):
            return True
        if isinstance(node, ast.Await):
            inner = list(_callees(node.value, key)) if isinstance(node.value, ast.Call) else []
            if not inner or any(_waits(one, (*above, key)) for one in inner):
                return True
    return False


@cache
def _tree(function: Function) -> ast.FunctionDef | ast.AsyncFunctionDef:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    return tree


_known: dict[Key, set[str]] = {}
_cut: list[Key] = []


def _reached(key: Key, above: tuple[Key, ...]) -> set[str]:
    if key in above:
        _cut.append(key)
        return set()
    if key not in _known:
        before = len(_cut)
        found = _in_all(_tree(key[1]).body, key, (*above, key))
        if len(_cut) > before and above:
            return found  # of a circle that was entered elsewhere: there may be more
        _known[key] = found
    return set(_known[key])


def _in_all(nodes: list[Any], key: Key, above: tuple[Key, ...]) -> set[str]:
    return set().union(*[_in(node, key, above) for node in nodes])


def _in(node: ast.AST, key: Key, above: tuple[Key, ...]) -> set[str]:
    if isinstance(node, ast.Try):
        found = _in_all(node.body, key, above)
        for handler in node.handlers:
            again = any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(handler))
            if not again and handler.type is not None:
                found -= {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
            found |= _in_all(handler.body, key, above)
        return found | _in_all([*node.orelse, *node.finalbody], key, above)
    found = _in_all(list(ast.iter_child_nodes(node)), key, above)
    if isinstance(node, ast.With):
        for item in node.items:  # `with suppress(TimeoutError):`
            if isinstance(call := item.context_expr, ast.Call) and "suppress" in ast.dump(
                call.func
            ):
                found -= {
                    n.id for one in call.args for n in ast.walk(one) if isinstance(n, ast.Name)
                }
    if isinstance(node, ast.Raise) and node.exc is not None:
        found |= _named(node.exc, key)
    if isinstance(node, ast.Call | ast.Attribute):
        for callee in _callees(node, key):
            found |= _reached(callee, above) - _without_end(node, callee[1])
    return found


def _without_end(call: ast.AST, callee: Function) -> set[str]:
    """Who is given no time does not run out of it."""
    if not isinstance(call, ast.Call):
        return set()
    names = [name for name in inspect.signature(callee).parameters if name != "self"]
    ends = {"timeout", "timeout_s"} & set(names)
    given = {keyword.arg for keyword in call.keywords} | set(names[: len(call.args)])
    return {"TimeoutError"} if ends and not ends & given else set()


def _named(raised: ast.expr, key: Key) -> set[str]:
    """The class that is raised here, or that the function which makes it says it returns."""
    call = raised.func if isinstance(raised, ast.Call) else raised
    if isinstance(call, ast.Name) and call.id in ERRORS:
        return {call.id}
    made = _callees(raised, key) if isinstance(raised, ast.Call) else []
    return {str(returns) for _, f in made if (returns := f.__annotations__.get("return"))} & ERRORS


def _callees(node: ast.AST, key: Key) -> Iterator[Key]:
    cls, function = key
    target = node.func if isinstance(node, ast.Call) else node
    match target:
        case ast.Name(id=name):
            yield from _made_or_called(function.__globals__.get(name))
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if cls:
            where = next((n for n, base in enumerate(cls.__mro__) if function in _own(base)), 0)
            for base in cls.__mro__[where + 1 :]:
                if name in vars(base):
                    yield from _method(base, name, cls, called=True)
                    return
        case ast.Attribute(value=ast.Call(func=ast.Name(id=maker)), attr=name):
            made = function.__globals__.get(maker)
            returns = getattr(made, "__annotations__", {}).get("return")
            of = made.__globals__.get(str(returns)) if inspect.isfunction(made) else made
            if inspect.isclass(of):
                yield from _method(of, name, of, called=isinstance(node, ast.Call))
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if cls:
            yield from _method(cls, name, cls, called=isinstance(node, ast.Call))
        case ast.Attribute(value=ast.Name(id=held) | ast.Attribute(attr=held), attr=name):
            if (of := HELD.get(held)) is not None:
                yield from _method(of, name, of, called=isinstance(node, ast.Call))


def _own(base: type) -> list[object]:
    return [plain(value) for value in vars(base).values()]


def _made_or_called(value: object) -> Iterator[Key]:
    if inspect.isclass(value) and value.__module__.startswith("crdtpubsub"):
        if not issubclass(value, Exception) and "__init__" in vars(value):
            yield from _method(value, "__init__", value, called=True)
    elif inspect.isfunction(value) and value.__module__.startswith("crdtpubsub"):
        yield None, value


def _method(base: type, name: str, cls: type, *, called: bool) -> Iterator[Key]:
    value = inspect.getattr_static(base, name, None)
    if isinstance(value, property):
        function = value.fget if not called else None
    else:
        function = plain(value) if called else None
    if function is not None and function.__module__.startswith("crdtpubsub"):
        try:
            _tree(function)
        except (OSError, AssertionError, ValueError):  # written by dataclass
            return
        yield cls, function
