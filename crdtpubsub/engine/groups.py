"""Queue groups: of each, one member gets a publication, and all get as many. So of requests.

The publisher picks, in turn, over all members of the group wherever they live, and names the one it
has picked. The owner gives it to that one, or if it is gone to another of its own in the group.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import chain
from typing import Final

from crdtpubsub.engine.dice import Dice
from crdtpubsub.names import NodeId

__all__ = ["NO_GROUP", "Grade", "InGroup", "Turns", "in_turn"]

InGroup = tuple[str, NodeId]
"""A member of a group: client id, owner. Sorted by these, neighbours live on different nodes."""


NO_GROUP: Final = ""
"""All members of a channel, whatever groups they are in: of these a request asks one."""


class Grade(IntEnum):
    """How sure a member is to get what it is sent now."""

    GOOD = 0
    DOUBTFUL = 1  # suspect, or slow: only if there is no better one
    UNLINKED = 2  # no link of mine reaches its owner


class Turns:
    """Whose turn it is, by channel and group, in one scope. A publisher knows its own picks only.

    The first turn is drawn: else all publishers would begin with the same member, and those that
    publish once never get beyond it. From then on the next one is the next in order after the one
    picked last, whoever came or went meanwhile; one that is passed over waits a round.
    """

    TURNS_MAX = 65_536

    def __init__(self, dice: Dice, grade: Callable[[NodeId], Grade]) -> None:
        """`grade` tells how sure an owner is reached."""
        self._dice = dice
        self._grade = grade
        self._last: dict[tuple[str, str], InGroup] = {}

    def order(
        self,
        channel: str,
        group: str,
        members: tuple[InGroup, ...],
        *,
        slow: Callable[[InGroup], bool] = lambda _member: False,
        unlinked: bool = False,
    ) -> Iterator[InGroup]:
        """The members in the order in which to try them: in turn, and the doubtful ones last.

        Args:
            channel: the channel.
            group: the group.
            members: all of it, sorted.
            slow: whether the driver knows that one is slow.
            unlinked: whether to give those too that cannot be reached now, at the very end.
        """
        last = self._last.get((channel, group))
        if last is not None:
            start = bisect_right(members, last)
        else:
            start = int(self._dice.random() * len(members))
        worse: tuple[list[InGroup], list[InGroup]] = ([], [])
        for at in chain(range(start, len(members)), range(start)):
            member = members[at]
            grade = self._grade(member[1])
            if grade is Grade.UNLINKED:
                worse[1].append(member)
            elif grade is Grade.DOUBTFUL or slow(member):
                worse[0].append(member)
            else:
                yield member
        yield from worse[0]
        if unlinked:
            yield from worse[1]

    def took(self, channel: str, group: str, member: InGroup) -> None:
        """It was its turn; the next one's is next."""
        if len(self._last) >= self.TURNS_MAX and (channel, group) not in self._last:
            self._last.clear()
        self._last[channel, group] = member


def in_turn(mine: tuple[str, ...], client: str) -> tuple[str, ...]:
    """My members of a group, sorted, as they come: the picked one, or who follows, first."""
    at = bisect_left(mine, client)
    return (*mine[at:], *mine[:at])
