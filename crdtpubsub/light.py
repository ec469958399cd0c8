"""What every message, event and effect is made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

__all__ = ["light"]

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def light(cls: type[_T]) -> type[_T]:
    """A data class that is frozen to mypy and to the reader, and not at run time.

    To make one costs less than half: `frozen=True` pays a call of `object.__setattr__` for
    each field, and a node makes some ten of these for every frame. It compares and hashes by
    its fields, so nobody may assign to one.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
