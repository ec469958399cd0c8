"""What a publisher is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId

__all__ = ["Outcome", "Receipt", "receipt_of"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `publish` or `send` did.

    Attributes:
        members: how many members the owners that took it have, as far as this node knows. With
            `confirm=`: how many clients took it into their queues, for certain.
        owners: every owner of a listed member, this node included, and what became of it there.
        clients: with `confirm=`: of each owner that is `DELIVERED`, how many of its clients.
        groups: of each queue group of the channel, what became of it at the one that was picked.
            It counts as one of `members`, and its owner is in `owners`.
    """

    members: int
    owners: Mapping[NodeId, Outcome]
    clients: Mapping[NodeId, int] = field(default_factory=dict)
    groups: Mapping[str, Outcome] = field(default_factory=dict)


def receipt_of(
    me: NodeId, route: Route, refused: dict[NodeId, Outcome], exclude: tuple[NodeId, str] | None
) -> Receipt:
    """What is known when an unconfirmed publication has been queued."""
    owners = {owner: Outcome.QUEUED for owner, _ in route.links}
    if route.clients:
        owners[me] = Outcome.DELIVERED
    owners.update(refused)
    members = sum(n for owner, n in route.counts if owner not in refused)
    if exclude is not None:
        members -= exclude[0] in owners and exclude[0] not in refused
    return Receipt(members, owners)
