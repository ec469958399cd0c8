"""Scripts of joins and leaves: the same seed is the same script, in every process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

__all__ = ["Step", "memberships_after", "steps"]

HOT_CHANNELS = 5


@dataclass(frozen=True, slots=True)
class Step:
    client: int
    channel: str
    joins: bool


def steps(seed: int, clients: int, channels: int) -> Iterator[Step]:
    """For ever: a random client joins a random channel, or leaves it if it is in it."""
    dice = random.Random(seed)
    present: set[tuple[int, int]] = set()
    while True:
        # Half of the steps go to a few channels, so that many a client leaves and comes again.
        channel = dice.randrange(HOT_CHANNELS if dice.random() < 0.5 else channels)
        pair = (dice.randrange(clients), channel)
        joins = pair not in present
        (present.add if joins else present.remove)(pair)
        yield Step(pair[0], f"room-{channel}", joins)


def memberships_after(seed: int, clients: int, channels: int, taken: int) -> dict[str, set[str]]:
    """Channel -> client ids, after that many steps of the script."""
    held: dict[str, set[str]] = {}
    for step in islice(steps(seed, clients, channels), taken):
        members = held.setdefault(step.channel, set())
        (members.add if step.joins else members.remove)(f"c{step.client}")
    return {channel: members for channel, members in held.items() if members}
