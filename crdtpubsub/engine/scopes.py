"""One open scope: a set, its gossip, its routes. A shard would be one more of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.intervals import Runs, difference, from_births
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine.antientropy import AntiEntropy
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.delivery import Router
from crdtpubsub.engine.dice import Dice
from crdtpubsub.engine.effects import Deliver, DeliverRun
from crdtpubsub.engine.groups import Grade, Turns, in_turn
from crdtpubsub.engine.ledger import Ledger
from crdtpubsub.engine.peers import Peer, PeerState
from crdtpubsub.errors import ClosedError, ConfigError
from crdtpubsub.names import NodeId
from crdtpubsub.wire.limits import SCOPES_MAX
from crdtpubsub.wire.messages import Addressed, Publication, Publications

__all__ = ["OpenScopes", "ScopeState", "take_run"]

SKIP_INTERVAL_S = 1.0


def _grade_of(cluster: Cluster, owner: NodeId) -> Grade:
    """As far as links tell."""
    if owner == cluster.me.node:
        return Grade.GOOD
    peer = cluster.peers.get(owner)
    if peer is None or not peer.linked:
        return Grade.UNLINKED
    doubtful = peer.lagging or peer.state is not PeerState.ALIVE
    return Grade.DOUBTFUL if doubtful else Grade.GOOD


class ScopeState:
    """An overlay this node takes part in."""

    def __init__(self, scope: str, members: MemberSet, cluster: Cluster, dice: Dice) -> None:
        self.scope = scope
        self.members = members
        self.gossip = AntiEntropy(scope, members, cluster.config, dice, cluster.count)
        turns = Turns(dice, partial(_grade_of, cluster))
        self.router = Router(members, cluster.listed, cluster.link_of, turns)
        self.ledger = Ledger()
        # Births of mine that neither the ledger nor the next push knows yet, see `settle`: the
        # first of those minted, or 0, and those that my clients ended themselves.
        self.fresh = 0
        self.ended: list[int] = []
        self.flush_at = float("-inf")
        self._cluster = cluster
        self._skipped_at = float("-inf")  # when births that others claim were last passed over
        self.equal_stamp: dict[NodeId, int] = {}  # peer -> the last AskRows it answered equally

    def wrote(self, owner: NodeId, births: Runs, *, removed: bool = False) -> None:
        """I have joined, updated or removed these; a token shall say so."""
        if births:
            version = 0 if removed else self.members.live(owner, births)[1].get(births[0], 0)
            self.ledger.wrote(owner, births, removed=removed, version=version)

    def settle(self) -> None:
        """Joins and leaves in a row are noted as one. Twice does no harm.

        The first of them is told to `gossip` when it is made: something is pending.
        """
        me = self.members.me
        if self.fresh:
            runs: Runs = (self.fresh, self.members.next_birth)
            if runs[0] < runs[1]:
                self.gossip.push(me, runs)
                self.ledger.wrote(me, runs, removed=False, version=0)
            self.fresh = 0
        if self.ended:
            runs = from_births(self.ended)
            self.gossip.push(me, runs)
            self.ledger.wrote(me, runs, removed=True, version=0)
            self.ended = []

    def agreed(self, peer: NodeId, peers: Iterable[Peer], covered: Sequence[NodeId]) -> None:
        """That peer has all that I wrote of the lives covered."""
        self.settle()
        if self.ledger:
            held = [p.node for p in peers if self.scope in p.fact.scopes]
            lives = [*covered, *[x for x in self.ledger.owners() if not self.members.holds(x)]]
            self.ledger.equal(peer, held, lives)

    def observed(self, channel: str) -> list[tuple[NodeId, Runs]]:
        """The births of a channel by owner, of down ones too, sorted."""
        return [
            (owner, from_births(clients.values()))
            for owner, clients in sorted(self.members.by_owner(channel).items())
        ]

    def beyond(self, delta: Delta, members_max: int) -> bool:
        """Whether its owner has as many members here as it may, and `delta` would add some."""
        members, owner = self.members, delta.owner
        if not delta.entries or not members.holds(owner) or members.size(owner) < members_max:
            return False
        return bool(difference(delta.runs, members.seen(owner)))  # else updates and removals

    def clients_for(self, publication: Publication | Publications | Addressed) -> tuple[str, ...]:
        """My clients that it is for; of a queue group one, in the order to try them."""
        me, channel = self.members.me, publication.channel
        if isinstance(publication, Addressed) and publication.group:
            mine = in_turn(
                dict(self.router.route(channel).mine).get(publication.group, ()), publication.client
            )
            return tuple([client for client in mine if (me, client) != publication.exclude])
        if isinstance(publication, Addressed) and (client := publication.client):
            if channel and client not in self.members.clients(me, channel):
                return ()
            return (client,)  # whether a client that need not be a member exists, its driver knows
        if isinstance(publication, Publications):
            return self.router.route(channel).clients
        owner, member = publication.exclude or ("", None)
        return self.router.local(channel, member if owner == me else None)

    def told_lies(self, beyond: int, sender: NodeId, now: float) -> None:
        """Somebody holds births of mine that I never minted: mint none of them, and say so.

        Else what I join next would be taken for removed there. Once a second: a liar cannot use
        up the numbers, and an honest node that was lied to says it again.
        """
        self._cluster.noted("claimed", f"{sender} asserts births up to {beyond - 1}", whom=sender)
        if now - self._skipped_at >= SKIP_INTERVAL_S:
            self._skipped_at = now
            self._cluster.count("births_skipped")
            self.gossip.push(self.members.me, self.members.skip(beyond))


def take_run(
    scopes: OpenScopes,
    cluster: Cluster,
    run: Publications | Sequence[Publication],
    sender: NodeId,
    *,
    late: bool,
) -> None:
    """Publications in a row to one channel: nearly all that comes where much is said."""
    first: Publication | Publications
    if isinstance(run, Publications):
        first, count = run, len(run.payloads)
    else:
        first, count = run[0], len(run)
    if sender not in cluster.peers:
        cluster.counters["from_stranger"] += count
        return
    state = None if late else scopes.get(first.scope)
    clients = () if state is None else state.clients_for(first)
    if not clients:
        cluster.counters["publications_late" if late else "publications_nobody"] += count
    elif isinstance(run, Publications):
        cluster.out.append(DeliverRun(sender, run.channel, run.payloads, clients))
    elif count == 1:
        cluster.out.append(Deliver(sender, run[0], clients))
    else:
        payloads, headers = [p.payload for p in run], [p.headers for p in run]
        cluster.out.append(DeliverRun(sender, run[0].channel, payloads, clients, headers))


class OpenScopes(dict[str, ScopeState]):
    """The open ones by name. Who names another in a local call is told so."""

    def check_room(self, scope: str) -> None:
        """Raise if one more would not fit into what a life says of itself."""
        if len(self) >= SCOPES_MAX:
            raise ConfigError(f"{SCOPES_MAX} scopes are open here; close one before {scope!r}")

    def __missing__(self, scope: str) -> ScopeState:
        raise ClosedError(f"scope {scope!r} is not open on this node; open it with node.scope()")
