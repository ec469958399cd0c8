"""The queue checker: were confirmed publications delivered as their receipts say?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from crdtpubsub.engine.outcome import Outcome

__all__ = ["QueueCheck", "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of some confirmed publications. `lost`, `duplicated`, `unexpected` must be 0.

    Attributes:
        acknowledged: deliveries to clients that owners reported.
        received: deliveries that clients saw.
        refused: publications to an owner that it, or the publisher, refused.
        unknown: publications to an owner of which nobody can say.
        unknown_received: deliveries among those that clients saw nevertheless.
        lost: acknowledged and not received.
        duplicated: received more than once by one client.
        unexpected: received though never asked, or though refused, or by more clients than said.
        open: publications to an owner that were never settled.
    """

    acknowledged: int
    received: int
    refused: int
    unknown: int
    unknown_received: int
    lost: int
    duplicated: int
    unexpected: int
    open: int

    @property
    def valid(self) -> bool:
        """Whether every report was true, of at least one publication."""
        wrong = self.lost + self.duplicated + self.unexpected + self.open
        return self.acknowledged > 0 and not wrong


class QueueCheck:
    """A journal of what was asked, reported and received; it knows no node.

    Owners are numbered by the test; `what` names a publication and is never used twice.
    """

    def __init__(self) -> None:
        self._asked: set[tuple[str, int]] = set()
        self._settled: dict[tuple[str, int], tuple[Outcome, int]] = {}
        self._received: Counter[tuple[str, int, str]] = Counter()

    def asked(self, what: str, owner: int) -> None:
        """A confirmed publication was sent to an owner."""
        self._asked.add((what, owner))

    def settled(self, what: str, owner: int, outcome: Outcome, clients: int) -> None:
        """The receipt says what became of it there."""
        self._settled[what, owner] = (outcome, clients)

    def received(self, what: str, owner: int, client: str) -> None:
        """A client of that owner got it."""
        self._received[what, owner, client] += 1

    def verdict(self, *, given_up: AbstractSet[str] = frozenset()) -> Verdict:
        """Compare what was said with what was seen.

        Args:
            given_up: publications of publishers that ended: nobody is told, all is unknown.
        """
        seen = Counter((what, owner) for what, owner, _ in self._received)
        said: Counter[str] = Counter()
        for key in self._asked:
            outcome, clients = self._settled.get(
                key, (Outcome.UNKNOWN if key[0] in given_up else Outcome.QUEUED, 0)
            )
            got = seen[key]
            if outcome is Outcome.DELIVERED:
                said["acknowledged"] += clients
                said["lost"] += max(clients - got, 0)
                said["unexpected"] += max(got - clients, 0)
            elif outcome is Outcome.UNKNOWN:
                said["unknown"] += 1
                said["unknown_received"] += got
            elif outcome.refused:
                said["refused"] += 1
                said["unexpected"] += got
            else:
                said["open"] += 1
        said["unexpected"] += sum(n for key, n in seen.items() if key not in self._asked)
        return Verdict(
            acknowledged=said["acknowledged"],
            received=sum(self._received.values()),
            refused=said["refused"],
            unknown=said["unknown"],
            unknown_received=said["unknown_received"],
            lost=said["lost"],
            duplicated=sum(n - 1 for n in self._received.values()),
            unexpected=said["unexpected"],
            open=said["open"],
        )
