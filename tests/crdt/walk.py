"""A seeded random walk over the machine's rules: shallow in wit, but fast and crowded.

Hypothesis finds the small story and shrinks it; the walk piles up late messages, purges and
re-joins until the rare paths meet. A failure names its seed: `walk(machine, seed)`.
"""

from __future__ import annotations

import random
from typing import Any

from crdtpubsub.crdt.intervals import Runs
from tests.crdt.machine import MembersAgainstTextbook
from tests.crdt.strategies import CHANNELS, CLIENTS, REPLICAS, flatten

WEIGHTS = {
    "join_or_update": 8,
    "remove": 2,
    "leave": 3,
    "del_channel": 1,
    "tell": 4,
    "tell_in_slices": 2,
    "split_on_the_way": 1,
    "deliver": 24,
    "assert_live": 3,
    "deliver_live": 4,
    "purge": 1,
    "sweep_a_slice": 2,
    "admit": 2,
}


def asked(dice: random.Random) -> Runs:
    """Everything, a prefix, one birth, a patchwork."""
    lo = dice.randint(1, 10)
    patchwork = flatten({dice.randint(1, 12) for _ in range(dice.randint(1, 6))})
    return dice.choice(((1, 1 << 20), (1, lo + 1), (lo, lo + 1), patchwork))


def walk(make: type[MembersAgainstTextbook], seed: int, steps: int = 60) -> None:
    """One history of `steps` rules; every invariant after every step, and the end."""
    dice = random.Random(seed)
    machine = make()
    messages: list[Any] = []
    lives: list[Any] = []
    rules, weights = list(WEIGHTS), list(WEIGHTS.values())
    try:
        for _ in range(steps):
            name = dice.choices(rules, weights)[0]
            at, owner = dice.choice(REPLICAS), dice.choice(REPLICAS)
            whom = {"at": at, "owner": owner}
            arguments: dict[str, Any]
            match name:
                case "join_or_update":
                    arguments = {
                        "at": at,
                        "channel": dice.choice(CHANNELS),
                        "client": dice.choice(CLIENTS),
                        "group": dice.choice(("", "g")),
                        "meta": dice.choice((None, b"1", b"2")),
                    }
                case "leave":
                    arguments = {
                        "at": at,
                        "channel": dice.choice(CHANNELS),
                        "client": dice.choice(CLIENTS),
                    }
                case "del_channel":
                    arguments = {"at": at, "channel": dice.choice(CHANNELS)}
                case "tell_in_slices":
                    arguments = {**whom, "births_max": dice.randint(1, 3)}
                case "remove" | "tell" | "assert_live":
                    arguments = {**whom, "runs": asked(dice)}
                case "purge" | "admit":
                    arguments = whom
                case "sweep_a_slice":
                    arguments = {}
                case "deliver_live" if lives:
                    arguments = {"to": at, "live": dice.choice(lives)}
                case "deliver" if messages:  # mostly what is fresh
                    late = dice.random() < 0.3
                    arguments = {"to": at, "sent": dice.choice(messages if late else messages[-4:])}
                case "split_on_the_way" if messages:
                    arguments = {"sent": dice.choice(messages), "runs": asked(dice)}
                case _:
                    continue
            result = getattr(machine, name)(**arguments)
            sent = getattr(result, "values", (result,))
            if name == "assert_live":
                lives.extend(sent)
            else:
                messages.extend(each for each in sent if each is not None)
            machine.every_replica_shows_what_the_textbook_shows()
            machine.nobody_claims_more_than_happened()
            machine.sums_and_indexes_are_those_of_a_recomputation()
            machine.a_watcher_knows_the_members()
    except BaseException:
        machine.undo()
        raise
    machine.teardown()


def walks(make: type[MembersAgainstTextbook], seeds: int) -> None:
    """Many of them, one after the other."""
    for seed in range(seeds):
        try:
            walk(make, seed)
        except Exception as broken:
            broken.add_note(f"walk({make.__name__}, {seed})")
            raise
