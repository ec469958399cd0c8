"""What goes wrong, and when: one seed is one schedule. Pure; who performs it is the arena."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from random import Random
from typing import Final

__all__ = ["KINDS", "Rules", "Shape", "Step", "schedule"]

Way = tuple[str, str]
"""`(from, to)`: one direction between two nodes."""

LASTING_S: Final = (0.5, 1.5, 4.0, 8.0)
PAUSES_S: Final = (0.5, 2.0, 5.0)
ACTIVE_MAX: Final = 3
UP_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """What one direction does to what passes. A proxy of byte streams can only delay and limit."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    rate_bps: float = 0.0  # 0: no limit

    def __or__(self, other: Shape) -> Shape:
        """Both at once."""
        rates = [rate for rate in (self.rate_bps, other.rate_bps) if rate]
        return Shape(
            self.delay_s + other.delay_s,
            self.jitter_s + other.jitter_s,
            1 - (1 - self.loss) * (1 - other.loss),
            max(self.duplicate, other.duplicate),
            max(self.reorder, other.reorder),
            min(rates, default=0.0),
        )


CALM: Final = Shape()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a fault that lasts does to the network: mended by taking it away again."""

    drop: frozenset[Way] = frozenset()  # vanishes: a cable pulled, a firewall that drops
    reject: frozenset[Way] = frozenset()  # is answered by a reset: a firewall that rejects
    shape: Shape = CALM
    ways: frozenset[Way] = frozenset()  # where `shape` holds

    @staticmethod
    def of(active: Iterable[Rules], way: Way) -> Shape:
        """What several of them do to one direction."""
        shape = CALM
        for rules in active:
            if way in rules.ways:
                shape |= rules.shape
        return shape


@dataclass(frozen=True, slots=True)
class Step:
    """One accident. `who` it happens to; `rules` while it lasts; mended after `lasting_s`."""

    at_s: float
    kind: str
    who: tuple[str, ...]
    lasting_s: float
    rules: Rules = Rules()
    new_port: bool = False


def both(ways: Iterable[Way]) -> frozenset[Way]:
    """The same in both directions."""
    return frozenset(way for a, b in ways for way in ((a, b), (b, a)))


def between(one: Sequence[str], other: Sequence[str]) -> frozenset[Way]:
    """All directions between two groups."""
    return both((a, b) for a in one for b in other)


class _Devil:
    def __init__(self, dice: Random, nodes: Sequence[str], kinds: Sequence[str]) -> None:
        self.dice = dice
        self.nodes = list(nodes)
        self.kinds = list(kinds)

    def draw(self, at_s: float, able: list[str]) -> Step | None:
        """An accident for now; `able` are the nodes that are up and not meddled with."""
        dice = self.dice
        kind = dice.choice(self.kinds)
        lasting_s = dice.choice(LASTING_S) * dice.uniform(0.8, 1.2)
        if kind in PROCESS_KINDS:
            if len(able) <= UP_MIN:
                return None
            who = (dice.choice(able),)
            if kind == "pause":
                lasting_s = dice.choice(PAUSES_S)
            return Step(at_s, kind, who, lasting_s, new_port=dice.random() < 0.5)
        pair = tuple(dice.sample(self.nodes, 2))
        if kind == "reset":
            return Step(at_s, kind, pair, 0.0)
        if kind in ("cut", "one_way", "half_close", "reject"):
            return Step(at_s, kind, pair, lasting_s, self._pair(kind, pair))
        if kind in ("partition", "bridge", "reject_halves"):
            return self._halves(at_s, kind, lasting_s)
        assert kind in SHAPES, kind
        shape = SHAPES[kind]
        ways = frozenset(permutations(self.nodes, 2))
        if dice.random() < 0.5:  # one node's line, perhaps in one direction only
            victim = pair[0]
            ways = frozenset(w for w in ways if victim in w)
            if dice.random() < 0.5:
                ways = frozenset(w for w in ways if w[0] == victim)
        return Step(at_s, kind, pair[:1], lasting_s, Rules(shape=shape, ways=ways))

    def _pair(self, kind: str, pair: tuple[str, ...]) -> Rules:
        a, b = pair
        match kind:
            case "cut":
                return Rules(drop=both([(a, b)]))
            case "reject":
                return Rules(reject=both([(a, b)]))
            case "one_way":
                return Rules(drop=frozenset([(a, b)]))
            case _:
                return Rules()

    def _halves(self, at_s: float, kind: str, lasting_s: float) -> Step:
        order = self.dice.sample(self.nodes, len(self.nodes))
        bridge = [order.pop()] if kind == "bridge" else []
        cut = self.dice.randint(1, len(order) - 1)
        ways = between(order[:cut], order[cut:])
        rules = Rules(reject=ways) if kind == "reject_halves" else Rules(drop=ways)
        return Step(at_s, kind, (*bridge, *order[:cut]), lasting_s, rules)


PROCESS_KINDS: Final = ("kill", "goodbye", "pause", "stutter", "starve")
SHAPES: Final = {
    "delay": Shape(delay_s=0.1, jitter_s=0.02),
    "far": Shape(delay_s=0.2, jitter_s=0.1),
    "narrow": Shape(delay_s=0.01, rate_bps=1e6),
    "loss": Shape(loss=0.05),
    "heavy_loss": Shape(loss=0.1, delay_s=0.02, jitter_s=0.01),
    "awful": Shape(loss=0.3),
    "twice": Shape(duplicate=0.1),
    "shuffled": Shape(reorder=0.1, delay_s=0.005),
}
NETWORK_KINDS: Final = ("cut", "one_way", "partition", "bridge", "reject", "reject_halves", "reset")
KINDS: Final = {
    "netns": (*PROCESS_KINDS, *NETWORK_KINDS, *SHAPES),
    "proxy": (*PROCESS_KINDS, *NETWORK_KINDS, "half_close", "delay", "far", "narrow"),
}


def schedule(
    seed: int, *, seconds: float, nodes: Sequence[str], kinds: Sequence[str]
) -> list[Step]:
    """The accidents of `seed`, by time. Whatever lasts is mended before `seconds` are over.

    At least three nodes are up and untouched at any time, and at most three accidents last.
    """
    dice = Random(f"chaos {seed}")
    devil = _Devil(dice, nodes, kinds)
    steps: list[Step] = []
    at_s = 0.5
    while at_s < seconds - 1.0:
        lasting = [s for s in steps if s.at_s + s.lasting_s + 1.0 > at_s]
        if len(lasting) < ACTIVE_MAX:
            touched = {n for s in lasting if s.kind in PROCESS_KINDS for n in s.who}
            step = devil.draw(at_s, [n for n in nodes if n not in touched])
            if step is not None:
                ends_s = min(at_s + step.lasting_s, seconds - 0.5)
                short = Step(at_s, step.kind, step.who, ends_s - at_s, step.rules, step.new_port)
                steps.append(short)
        at_s += dice.uniform(0.4, 2.0)
    return steps
