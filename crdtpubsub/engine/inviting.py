"""Clients of mine that others have join a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from crdtpubsub.engine import events as ev
from crdtpubsub.engine.replication import Replication
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Invite

__all__ = ["Inviting"]

INVITE_COST: Final = 20
"""Units of a peer's allowance: it may have my clients join 5,000 times a second."""


def _nobody(scope: str, client: str) -> bool:
    del scope, client
    return False


class Inviting:
    """Does what the client could have done itself, and nothing for clients that are not there."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self.has_client: Callable[[str, str], bool] = _nobody  # of a scope; the driver knows

    def accept(self, invite: Invite, sender: NodeId, now: float) -> tuple[int, int]:
        """How many clients joined, and how many had no room: (1, 0), (0, 1), or (0, 0): none."""
        replication, cluster = self._replication, self._replication.cluster
        state = replication.scopes.get(invite.scope)
        if state is None or not self.has_client(invite.scope, invite.client):
            cluster.count("invites_nobody")
            return 0, 0
        if not cluster.allows(sender, now):
            return 0, 1
        cluster.peers[sender].allowance.spend(INVITE_COST)
        members = state.members
        if members.size(members.me) >= replication.config.owner_members_max:
            about = f"{sender} would have {invite.client!r} join {invite.channel!r}"
            cluster.noted("invites_full", about, whom=sender)
            return 0, 1
        who = invite.scope, invite.channel, invite.client
        replication.join(ev.Join(*who, invite.group, invite.meta), now)
        cluster.count("invites_accepted")
        return 1, 0
