"""Chance, handed in, so that one seed is one history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["Dice"]

T = TypeVar("T")


class Dice(Protocol):
    """The part of `random.Random` that an engine rolls."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits."""

    def choice(self, seq: Sequence[T]) -> T:
        """One of them."""

    def sample(self, population: Sequence[T], k: int) -> list[T]:
        """`k` different ones."""
