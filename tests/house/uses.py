"""Which public names the tests use, each with its class: `message.data` is no use of `Sample.data`.

The tests are read, and not run. What a variable is, is told by its annotation, by what it is made
of (a class, or a call whose annotation says what it returns), by `isinstance` and by `case`; one
that may be several things is all of them, and what cannot be told is no use of anything. A knob of
`Config` may stand between quotes, for `Config(**knobs)`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from crdtpubsub import Config
from tests.house.surface import CLASSES, attributes_of, ours, plain

__all__ = ["definer", "uses", "uses_in"]

TESTS: Final = Path(__file__).resolve().parents[1]
MEANS_US: Final = re.compile(r"^from (crdtpubsub|tests\.api|tests\.net)\b", re.MULTILINE)
NOT_RUN: Final = ("typing", "house")
"""What is there is never run, or looks at the names themselves."""

ATTRIBUTES: Final = {name: attributes_of(cls) for name, cls in CLASSES.items()}
Types = list[ast.expr]
Env = dict[str, Types]
BINDING: Final = (
    ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.withitem, ast.For, ast.AsyncFor,
    ast.comprehension, ast.Call, ast.match_case, ast.ExceptHandler, ast.Match,
)  # fmt: skip
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


def definer(cls: type, name: str) -> str:
    """The class that a name comes from: `Node.join` and `Scope.join` are one."""
    for base in ours(cls):
        if name in vars(base) or name in getattr(base, "__annotations__", {}):
            return base.__name__
    return cls.__name__


def uses() -> set[tuple[str, str]]:
    """Class and name of each, and "" and the name of each class or function."""
    found: set[tuple[str, str]] = set()
    for path in sorted(TESTS.rglob("*.py")):
        if path.relative_to(TESTS).parts[0] not in NOT_RUN and MEANS_US.search(path.read_text()):
            found |= _Reader(_parsed(path)).read()
    return found


def uses_in(text: str) -> set[tuple[str, str]]:
    """The same of one file."""
    return _Reader(ast.parse(text)).read()


def flat(annotation: ast.expr | None) -> Types:
    """The alternatives of an annotation."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return flat(left) + flat(right)
        case ast.Constant(value=str(text)):
            return flat(ast.parse(text, mode="eval").body)
        case ast.Subscript(value=ast.Name(id="Annotated" | "Final"), slice=inner):
            return flat(inner)
        case ast.expr():
            return [annotation]
    return []


def class_of(kind: ast.expr) -> type | None:
    """The public class that it is."""
    return CLASSES.get(kind.id) if isinstance(kind, ast.Name) else None


def elements(kind: ast.expr) -> Types:
    """What one gets that goes through it."""
    if (cls := class_of(kind)) is not None:
        for name in ("__aiter__", "__iter__"):
            if hasattr(cls, name):
                said = returned(cls, name)
                step = returned(cls, name.replace("iter", "next"))
                return step or [one for kind in said for one in elements(kind)]
        return []
    if not isinstance(kind, ast.Subscript):
        return []
    inner = kind.slice.elts[0] if isinstance(kind.slice, ast.Tuple) else kind.slice
    return flat(inner)


@cache
def returned(cls: type, name: str) -> Types:
    """What a method returns, or a property or a field is."""
    value = inspect.getattr_static(cls, name, None)
    function: Any = value.fget if isinstance(value, property) else plain(value)
    said = getattr(function, "__annotations__", {}).get("return")
    if said is None:
        for base in ours(cls):
            said = said or getattr(base, "__annotations__", {}).get(name)
    if not isinstance(said, str):
        return []
    return [
        ast.Name(cls.__name__) if isinstance(kind, ast.Name) and kind.id == "Self" else kind
        for kind in flat(ast.parse(said, mode="eval").body)
    ]


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


class _Reader:
    """One file of tests."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: set[tuple[str, str]] = set()
        self.tree = tree
        self.makers: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
                module = TESTS.parent / ((node.module or "").replace(".", "/") + ".py")
                names = {alias.name for alias in node.names}
                if module.is_file():
                    self._know([f for f in _functions(_parsed(module)) if f.name in names])
        self._know(_functions(self.tree))

    def _know(self, functions: list[ast.FunctionDef | ast.AsyncFunctionDef]) -> None:
        self.makers |= {function.name: function for function in functions}

    def read(self) -> set[tuple[str, str]]:
        """Everything that is used in it."""
        self._scope(self.tree, {})
        return self.found

    def _scope(self, scope: ast.AST, outer: Env) -> None:
        """A function, with what is around it. Twice, for what is bound below its use."""
        env = dict(outer)
        inner: list[ast.AST] = []
        if isinstance(scope, FUNCTIONS):
            arguments = scope.args
            for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                env[one.arg] = flat(one.annotation)
        nodes = list(_within(scope, inner))
        binding = [node for node in nodes if isinstance(node, BINDING)]
        for _ in range(2):
            for binds in binding:
                self._bind(binds, env)
        for node in nodes:
            self._note(node, env)
        for function in inner:
            self._scope(function, env)

    def _bind(self, node: ast.AST, env: Env) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._give(target, self._types(value, env), env)
            case ast.AnnAssign(target=target, annotation=said):
                self._give(target, flat(said), env)
            case ast.NamedExpr(target=target, value=value):
                self._give(target, self._types(value, env), env)
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                self._give(target, self._entered(value, env), env)
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                kinds = [one for kind in self._types(node.iter, env) for one in elements(kind)]
                self._give(node.target, kinds, env)
            case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name() as target, cls]):
                self._give(target, flat(cls), env)
            case ast.match_case(pattern=ast.MatchAs(pattern=ast.MatchClass(cls=cls), name=name)):
                env[name or ""] = [*env.get(name or "", []), *flat(cls)]
            case ast.ExceptHandler(type=ast.expr() as said, name=str(name)):
                kinds = said.elts if isinstance(said, ast.Tuple) else [said]
                env[name] = [*env.get(name, []), *kinds]
            case ast.Match(subject=ast.Name() as subject, cases=cases):
                for case in cases:
                    for pattern in ast.walk(case.pattern):
                        if isinstance(pattern, ast.MatchClass):
                            self._give(subject, flat(pattern.cls), env)

    def _give(self, target: ast.expr, kinds: Types, env: Env) -> None:
        match target:
            case ast.Name(id=name):
                before = env.get(name, [])
                known = {ast.dump(kind) for kind in before}
                env[name] = [*before, *[k for k in kinds if ast.dump(k) not in known]]
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for n, part in enumerate(parts):
                    several = [_part(kind, n) for kind in kinds]
                    self._give(part, [one for some in several for one in some], env)
            case ast.Starred(value=value):
                self._give(value, kinds, env)

    def _entered(self, value: ast.expr, env: Env) -> Types:
        """What stands behind `as`."""
        kinds = self._types(value, env)
        if isinstance(value, ast.Call) and "raises" in ast.dump(value.func) and value.args:
            return [ast.Subscript(ast.Name("ExceptionInfo"), value.args[0])]
        return [
            one
            for kind in kinds
            for one in ([kind] if class_of(kind) is not None else elements(kind))
        ]

    def _types(self, value: ast.expr, env: Env) -> Types:
        match value:
            case ast.Name(id=name):
                return env.get(name, [])
            case ast.Await(value=inner) | ast.NamedExpr(value=inner) | ast.Starred(value=inner):
                return self._types(inner, env)
            case ast.Call(func=ast.Name(id=name)) if name in CLASSES:
                return [ast.Name(name)]
            case ast.Call(func=ast.Name(id="sorted" | "list" | "reversed"), args=[some, *_]):
                return self._types(some, env)
            case ast.Call(func=ast.Name(id="anext" | "next"), args=[some, *_]):
                return [one for kind in self._types(some, env) for one in elements(kind)]
            case ast.Call(func=ast.Name(id=name)) if name in self.makers:
                return flat(self.makers[name].returns)
            case ast.Call(func=ast.Name(id=_) as made, args=[first, *_]) if (
                env.get(made.id) is None
            ):
                return self._types(first, env)  # `at_once(node.join(...))`, `run(...)`
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if (
                name in CLASSES and name not in env
            ):
                return returned(CLASSES[name], attr)
            case ast.Call(
                func=ast.Attribute(attr="create_task" | "wait_for" | "ensure_future" | "run"),
                args=[ast.Call() as task, *_],
            ):
                return self._types(task, env)
            case ast.Call(func=ast.Attribute(value=of, attr=attr)):
                return self._attribute(of, attr, env)
            case ast.Attribute(value=of, attr=attr):
                return self._attribute(of, attr, env)
            case ast.Subscript(value=of):
                kinds = self._types(of, env)
                return [one for kind in kinds for one in _last(kind)]
            case ast.List(elts=[first, *_]) | ast.Tuple(elts=[first, *_]):
                return [ast.Subscript(ast.Name("list"), k) for k in self._types(first, env)]
            case ast.ListComp(elt=made) | ast.GeneratorExp(elt=made):
                return [ast.Subscript(ast.Name("list"), k) for k in self._types(made, env)]
            case ast.IfExp(body=one, orelse=other):
                return self._types(one, env) + self._types(other, env)
            case ast.BoolOp(values=values):
                return [kind for one in values for kind in self._types(one, env)]
        return []

    def _attribute(self, of: ast.expr, attr: str, env: Env) -> Types:
        found: Types = []
        for kind in self._types(of, env):
            if (cls := class_of(kind)) is not None:
                found += returned(cls, attr)
            elif attr in ("value", "values", "pop", "get", "result"):
                found += _last(kind)
        return found

    def _note(self, node: ast.AST, env: Env) -> None:
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if (
                name in CLASSES and name not in env
            ):
                self.found.add((definer(CLASSES[name], attr), attr))
            case ast.Attribute(value=of, attr=attr):
                for kind in self._types(of, env):
                    cls = class_of(kind)
                    if cls is not None and attr in ATTRIBUTES[cls.__name__]:
                        self.found.add((definer(cls, attr), attr))
            case ast.MatchClass(cls=ast.Name(id=name), kwd_attrs=names) if name in CLASSES:
                self.found |= {(definer(CLASSES[name], one), one) for one in names}
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in CLASSES:
                self._made(CLASSES[name], len(args), [word.arg or "" for word in keywords])
            case ast.Name(id=name, ctx=ast.Load()):
                self.found.add(("", name))
            case ast.Constant(value=str(word)) if word in Config.__dataclass_fields__:
                self.found.add(("Config", word))

    def _made(self, cls: type, args: int, words: list[str]) -> None:
        """A value that is written down has all of its fields compared, or read by us."""
        fields = list(getattr(cls, "__dataclass_fields__", {}))
        self.found |= {(definer(cls, name), name) for name in [*fields[:args], *words]}


def _part(kind: ast.expr, n: int) -> Types:
    """The n-th of a tuple, or one of a list."""
    match kind:
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=parts)):
            last = parts[-1]
            if not (isinstance(last, ast.Constant) and last.value is ...) and n < len(parts):
                return flat(parts[n])
    return elements(kind)


def _last(kind: ast.expr) -> Types:
    """What a table gives, or a list."""
    match kind:
        case ast.Subscript(slice=ast.Tuple(elts=[_, value])) if not isinstance(value, ast.Constant):
            return flat(value)
    return elements(kind)


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in tree.body if isinstance(node, FUNCTIONS)]


def _within(scope: ast.AST, inner: list[ast.AST]) -> Iterator[ast.AST]:
    """Every node of a function, but for the functions in it, which go to `inner`."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, FUNCTIONS):
            inner.append(node)
            continue
        yield node
        yield from _within(node, inner)
