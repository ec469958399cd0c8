"""Nodes and what is between them, for a devil to meddle with: in namespaces, or by proxies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import count

from tests.chaos.schedule import Rules, Shape, Way
from tests.net.cluster import STRICT, Cluster, Process

__all__ = ["Arena"]


class Arena(Cluster):
    """What lasts is a `Rules`: imposed, and lifted again; several hold at the same time."""

    transport = ""

    def __init__(self, names: Sequence[str], *, flags: tuple[str, ...] = STRICT) -> None:
        super().__init__(flags=flags)
        self.names = tuple(names)
        self._active: dict[int, Rules] = {}
        self._numbers = count()

    async def impose(self, rules: Rules) -> int:
        """From now on; the number lifts it."""
        number = next(self._numbers)
        self._active[number] = rules
        await self.obey()
        return number

    async def lift(self, number: int) -> None:
        """Mend what was imposed under that number."""
        del self._active[number]
        await self.obey()

    async def calm(self) -> None:
        """Mend everything."""
        self._active.clear()
        await self.obey()

    def drops(self, way: Way) -> bool:
        """Whether nothing gets through in that direction."""
        return any(way in rules.drop for rules in self._active.values())

    def rejects(self, way: Way) -> bool:
        """Whether what is sent in that direction is answered by a reset."""
        return any(way in rules.reject for rules in self._active.values())

    def shape(self, way: Way) -> Shape:
        """What else happens to what is sent in that direction."""
        return Rules.of(self._active.values(), way)

    @abstractmethod
    async def obey(self) -> None:
        """The rules are others than before: make them hold."""

    @abstractmethod
    async def reset(self, one: str, other: str) -> None:
        """Break every connection between two nodes, once."""

    @abstractmethod
    def move(self, process: Process) -> None:
        """Its next life shall be dialled at another port."""
