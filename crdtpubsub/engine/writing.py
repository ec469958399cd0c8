"""What this life writes into its scopes, and who must hear of it."""

from __future__ import annotations

from abc import abstractmethod

from crdtpubsub.crdt.delta import Change
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.effects import Cause, Changed, Exited
from crdtpubsub.engine.scopes import OpenScopes, ScopeState
from crdtpubsub.names import NodeId

__all__ = ["Writing"]


class Writing:
    """Local writes: done at once in the set, pushed with the next flush."""

    me: NodeId
    scopes: OpenScopes
    cluster: Cluster

    @abstractmethod
    def flush(self, state: ScopeState, now: float) -> None:
        """Push what is pending."""

    @abstractmethod
    def view(self, state: ScopeState) -> list[NodeId]:
        """The peers that can be told something of this scope, sorted."""

    # ---------------------------------------------------------------- mine, where nobody watches

    def add(
        self, scope: str, channel: str, client: str, group: str, meta: bytes, now: float
    ) -> int:
        """My client becomes a member, and who calls knows that and tells whom it concerns.

        Returns:
            0 if it is one, and nothing was done. 2 if the driver has something to do: effects,
            or a flush to wake up for. Else 1: nearly always, where joins come in a row.
        """
        state = self.scopes[scope]
        birth = state.members.add(channel, client, group=group, meta=meta)
        if not birth:
            return 0
        state.router.forget(channel)
        first = not state.fresh
        if first:
            state.fresh = birth
        return self._kept(state, birth, now) if first or now >= state.flush_at else 1

    def end(self, scope: str, channel: str, client: str, now: float) -> int:
        """My client leaves by itself; as `add`, and 0 if it was no member."""
        state = self.scopes[scope]
        birth = state.members.end(channel, client)
        if not birth:
            return 0
        state.router.forget(channel)
        state.ended.append(birth)
        first = len(state.ended) == 1
        return self._kept(state, birth, now) if first or now >= state.flush_at else 1

    def _kept(self, state: ScopeState, birth: int, now: float) -> int:
        """The first that `state` keeps back: something is pending from now on, or is pushed."""
        state.gossip.push(self.me, (birth, birth + 1))
        if now >= state.flush_at:
            self.flush(state, now)
        return 2

    # ---------------------------------------------------------------- any, and everybody is told

    def join(self, event: ev.Join, now: float) -> int:
        """My client becomes a member, or its membership changes."""
        state = self.scopes[event.scope]
        change, births = state.members.join(
            event.channel, event.client, group=event.group, meta=event.meta
        )
        state.wrote(self.me, births)
        self._written(state, change, births, now)
        return len(change.joined)

    def update(self, event: ev.Update, now: float) -> int:
        """My member gets other metadata; 0 if it is none, and then nothing is done."""
        if event.client not in self.scopes[event.scope].members.clients(self.me, event.channel):
            return 0
        self.join(ev.Join(event.scope, event.channel, event.client, meta=event.meta), now)
        return 1

    def leave(self, event: ev.Leave, now: float) -> int:
        """One membership ends, whoever owns it."""
        state = self.scopes[event.scope]
        birth = state.members.clients(event.owner, event.channel).get(event.client)
        if birth is None:
            return 0
        change, births = state.members.remove(event.owner, (birth, birth + 1))
        state.wrote(event.owner, births, removed=True)
        self._written(state, change, births, now, by_client=event.by_client)
        return len(change.removed)

    def delete_channel(self, event: ev.DeleteChannel, now: float) -> int:
        """Every observed membership and declaration of the channel ends."""
        state = self.scopes[event.scope]
        ended = 0
        for owner, births in state.observed(event.channel):
            change, removed = state.members.remove(owner, births)
            state.wrote(owner, removed, removed=True)
            self._written(state, change, removed, now)
            ended += len(change.removed)
        return ended

    def _written(
        self,
        state: ScopeState,
        change: Change,
        births: tuple[int, ...],
        now: float,
        *,
        by_client: bool = False,
    ) -> None:
        self._apply(state, change, by_client=by_client)
        state.gossip.push(change.owner, births)
        if now >= state.flush_at:
            self.flush(state, now)

    def _apply(self, state: ScopeState, change: Change, *, by_client: bool = False) -> None:
        """After every write and every merge: who must be told, whatever way the news came."""
        if not change.touched:
            return
        owner = change.owner
        state.router.changed(change)
        if owner == self.me and not by_client:
            for channel, client, _, _ in change.removed:
                self.cluster.out.append(Exited(state.scope, channel, client, Cause.OP))
        if self.cluster.listed(owner):
            if change:
                self.cluster.out.append(
                    Changed(
                        state.scope,
                        owner,
                        tuple(change.joined),
                        tuple(change.removed),
                        tuple(change.updated),
                        Cause.OP,
                        channels=tuple(change.channels),
                    )
                )
        elif change.removed:
            # Nobody hears of it from its owner: see to it that all agree before it returns.
            state.gossip.dirty(owner, self.view(state))
