"""The queue checker: what a receipt says was delivered was, once, and nothing else was.

After Jepsen's total-queue (https://jepsen-io.github.io/jepsen/jepsen.checker.html#var-total-queue).
For each confirmed publication and owner: `lost` = clients acknowledged - clients that received.
Owners whose life ended are not judged: what their clients had not yet read died with them, and
what came of a message whose answer was still under way is `unknown` to its publisher.
`duplicated` and `unexpected` are judged for unconfirmed publications as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.history import Ended, Entry, Publication, Taken

__all__ = ["Queue", "check"]

SHOWN_MAX = 20
DELIVERED = re.compile(r"delivered\D*(\d+)?")


@dataclass(slots=True)
class Queue:
    """The verdict. With `confirmed` publications it is valid only if some were acknowledged."""

    published: int = 0
    confirmed: int = 0
    acknowledged: int = 0  # messages into clients' queues, as the receipts say
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    unknown: int = 0  # outcomes of confirmed publications: it may have arrived
    refused: int = 0
    unjudged: int = 0  # acknowledged by an owner whose life ended
    why: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        worked = self.acknowledged > 0 if self.confirmed else self.received > 0
        return worked and not (self.lost or self.duplicated or self.unexpected)

    def blame(self, text: str) -> None:
        if len(self.why) < SHOWN_MAX:
            self.why.append(text)


def check(history: Iterable[Entry]) -> Queue:
    """Judge a history."""
    entries = list(history)
    verdict = Queue()
    ended = {e.life for e in entries if isinstance(e, Ended)}
    publications = {e.number: e for e in entries if isinstance(e, Publication)}  # the last one
    taken: Counter[tuple[str, str, int]] = Counter()
    for entry in entries:
        if isinstance(entry, Taken):
            for client, number in entry.messages:
                taken[entry.life, client, number] += 1
                publication = publications.get(number)
                if publication is None or publication.began > entry.at:
                    verdict.unexpected += 1
                    verdict.blame(f"unexpected: {client}@{entry.life[:6]} got {number}")
    verdict.received = taken.total()
    for (life, client, number), times in taken.items():
        if times > 1:
            verdict.duplicated += 1
            verdict.blame(f"duplicated: {client}@{life[:6]} got {number} {times} times")
    clients: Counter[tuple[str, int]] = Counter((life, number) for life, _, number in taken)
    for publication in publications.values():
        _judge(verdict, publication, clients, ended)
    return verdict


def _judge(
    verdict: Queue,
    publication: Publication,
    clients: Counter[tuple[str, int]],
    ended: set[str],
) -> None:
    verdict.published += 1
    verdict.confirmed += publication.confirmed
    if publication.owners is None:
        return  # it died, or was not let: every outcome is possible
    for life, outcome in publication.owners.items():
        got = clients[life, publication.number]
        if outcome.startswith("refused"):
            verdict.refused += 1
            if got:
                verdict.unexpected += got
                verdict.blame(f"unexpected: {publication.number} was {outcome} by {life[:6]}")
        elif outcome.startswith("unknown"):
            verdict.unknown += 1
        elif publication.confirmed and (match := DELIVERED.match(outcome)):
            told = int(match[1] or 0)
            if life in ended:
                verdict.unjudged += told
                continue
            verdict.acknowledged += told
            if got < told:
                verdict.lost += told - got
                verdict.blame(
                    f"lost: {publication.number}: {life[:6]} says {told} clients, {got} got it"
                )
            elif got > told:
                verdict.unexpected += got - told
                verdict.blame(
                    f"unexpected: {publication.number}: {life[:6]} says {told}, {got} got it"
                )
