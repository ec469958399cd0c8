"""What is public: every class and function of `crdtpubsub.__all__`, with all of its members."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Final

import crdtpubsub

__all__ = ["CALLS", "CLASSES", "Called", "attributes_of", "ours"]

DOORS: Final = ("__init__", "__anext__", "__aiter__", "__next__", "__iter__")
"""Of what begins with an underscore, what users call without writing it."""


@dataclass(frozen=True)
class Called:
    """A public function, or a public method as it is found on that class."""

    cls: type | None
    name: str
    function: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.cls.__name__}.{self.name}" if self.cls else self.name

    @property
    def said(self) -> str:
        """Its docstring."""
        return inspect.getdoc(self.function) or ""


def ours(cls: type) -> list[type]:
    """That class, and what it inherits of this package."""
    return [base for base in cls.__mro__ if base.__module__.startswith("crdtpubsub")]


def plain(value: object) -> Callable[..., Any] | None:
    """The function behind a method, a class method or a static one."""
    found = getattr(value, "__func__", value)
    return found if inspect.isfunction(found) else None


def attributes_of(cls: type) -> set[str]:
    """Its public methods, properties and fields; of an enumeration, not its words."""
    names = {name for base in ours(cls) for name in vars(base)}
    if is_dataclass(cls):
        names |= {field.name for field in fields(cls)}
    if issubclass(cls, Enum):
        names -= set(cls.__members__)
    return {name for name in names if not name.startswith("_")}


def _called() -> Iterator[Called]:
    for name in crdtpubsub.__all__:
        value = getattr(crdtpubsub, name)
        if inspect.isfunction(value):
            yield Called(None, name, value)
        if not inspect.isclass(value):
            continue
        for member in dict.fromkeys(key for base in ours(value) for key in vars(base)):
            function = plain(inspect.getattr_static(value, member))
            if function is None or (member.startswith("_") and member not in DOORS):
                continue
            if member == "__init__" and (is_dataclass(value) or issubclass(value, Exception)):
                continue  # its fields say it; an error is made by us
            yield Called(value, member, function)


CLASSES: Final[dict[str, type]] = {
    name: value
    for name in crdtpubsub.__all__
    if inspect.isclass(value := getattr(crdtpubsub, name))
}
CALLS: Final = tuple(_called())
