"""What a driver reads of the engine: sets, peers, members, routes."""

from __future__ import annotations

from collections.abc import Mapping

from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.delivery import Route
from crdtpubsub.engine.peers import Peer
from crdtpubsub.engine.replication import Replication
from crdtpubsub.names import DECLARATION, NodeId
from crdtpubsub.wire.messages import Fact

__all__ = ["MemberKey", "Reading"]

MemberKey = tuple[NodeId, str, int]
"""`(owner, client id, birth)` of one member of a channel known from context."""


class Reading:
    """The reading half of `Engine`: nothing here changes anything."""

    _replication: Replication
    _cluster: Cluster

    @property
    def fact(self) -> Fact:
        """What this life says of itself."""
        return self._cluster.me

    def set_of(self, scope: str) -> MemberSet:
        """The set itself. KeyError if the scope is not open."""
        return self._replication.scopes[scope].members

    def scopes(self) -> tuple[str, ...]:
        """The open scopes, sorted."""
        return self._cluster.me.scopes

    def link_of(self, life: NodeId) -> str | None:
        """The endpoint of my working link to that life, if there is one."""
        return self._cluster.link_of(life)

    def listed(self, life: NodeId) -> bool:
        """Whether the members of that life are shown."""
        return self._cluster.listed(life)

    def peers(self) -> tuple[Peer, ...]:
        """Every other life held, sorted by id. Live objects: copy what you keep."""
        return tuple(peer for _, peer in sorted(self._cluster.peers.items()))

    def members(
        self, scope: str, channel: str, *, include_down: bool = False
    ) -> tuple[MemberKey, ...]:
        """The members of a channel, sorted."""
        state = self._replication.scopes.get(scope)
        if state is None:
            return ()
        found = [
            (owner, client, birth)
            for owner, clients in state.members.by_owner(channel).items()
            if include_down or self._cluster.listed(owner)
            for client, birth in clients.items()
            if client != DECLARATION
        ]
        return tuple(sorted(found))

    def count(self, scope: str, channel: str) -> int:
        """How many they are. O(owners)."""
        by_owner = self._replication.scopes[scope].members.by_owner(channel)
        listed = self._cluster.listed
        return sum([len(c) - (DECLARATION in c) for who, c in by_owner.items() if listed(who)])

    def channels(self, scope: str) -> tuple[str, ...]:
        """Every channel that has a listed member or was declared by a listed life, sorted."""
        state = self._replication.scopes.get(scope)
        if state is None:
            return ()
        listed, by_owner = self._cluster.listed, state.members.by_owner
        names = state.members.channel_names()
        return tuple(sorted(name for name in names if any(map(listed, by_owner(name)))))

    def route(self, scope: str, channel: str) -> Route:
        """Where a publication to `channel` goes."""
        return self._replication.scopes[scope].router.route(channel)

    def routes(self, scope: str) -> Mapping[str, Route]:
        """Those that hold. Live: whoever keeps one looks whether it is still there."""
        return self._replication.scopes[scope].router.routes
