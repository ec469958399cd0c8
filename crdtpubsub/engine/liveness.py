"""Who is still there: probes, helpers, accusations, refusals, forgetting.

    A -> T   PROBE(nonce)                    every probe interval, one peer in turn
    T -> A   ACK(nonce)
    no answer in time:
    A -> H   PROBE_FOR(nonce, T)             to three helpers, those with a link to T first
    H -> T   PROBE(own nonce) ; T -> H ACK
    H -> A   RELAYED_ACK(nonce, T, fact)     or none, with what H's own connection said
    H has no link to T:
    H -> G   PROBE_FOR(own nonce, T, through A)    to who last brought H an answer of T

Only my own probes, unanswered directly and through others, make a life suspect or down.
"""

from __future__ import annotations

from dataclasses import dataclass

from crdtpubsub.engine.allowance import PROBE_FOR_COST
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.effects import Release
from crdtpubsub.engine.peers import Peer, PeerState, Sign
from crdtpubsub.names import NodeId
from crdtpubsub.wire.limits import RELAYS_MAX
from crdtpubsub.wire.messages import Accuse, Ack, Fact, Probe, ProbeFor, RelayedAck, Taken

__all__ = ["Liveness"]

GOSSIPED_FACTS = 6
CANDIDATE_SILENCES_MAX = 3
CANDIDATE_NONCES_MAX = 1024
ACCUSED_PROBE_S = 0.5
RELAYING_MAX = 1024


@dataclass(slots=True)
class _Relay:
    """A request to probe that I deal with, by my own link and through `helper`."""

    asker: NodeId
    nonce: int
    target: NodeId
    helper: NodeId | None
    ends: float


class Liveness:
    """Turns silence, answers and refusals into signs."""

    def __init__(self, cluster: Cluster, now: float) -> None:
        self._cluster = cluster
        self._detector = cluster.detector
        self._probe_at = now + cluster.config.probe_interval_s * cluster.dice.random()
        self._relays: dict[int, _Relay] = {}  # my nonce -> for whom
        self._candidate_nonces: dict[int, NodeId] = {}
        self._accused_at: dict[NodeId, float] = {}
        self._housekeeping_at = now

    # ---------------------------------------------------------------- probing

    def probe(self, peer: Peer, now: float) -> None:
        """Ask a life whether it is there; without a link, through others at once."""
        nonce = self._detector.probe(peer.node, now)
        if nonce is None:
            return
        if peer.linked:
            self._cluster.send([peer.node], Probe(nonce, self._some_facts(peer.node)))
        else:
            self._detector.ask_others_now(peer.node, now)

    def _some_facts(self, but: NodeId) -> tuple[Fact, ...]:
        cluster = self._cluster
        lives = [life for life in cluster.up() if life != but]
        some = cluster.dice.sample(lives, min(GOSSIPED_FACTS, len(lives)))
        return tuple(cluster.peers[life].fact for life in sorted(some))

    def _ask_others(self, nonce: int, target: NodeId) -> None:
        """Those that lately brought an answer of it first: at a bridge, chance rarely finds it."""
        cluster = self._cluster
        peer = cluster.peers.get(target)
        helpers = [p.node for p in cluster.reachable() if p.node != target]
        chosen: list[NodeId] = []
        if peer is not None and peer.relayed_by in helpers:
            chosen.append(peer.relayed_by)
        rest = [life for life in helpers if life not in chosen]
        wanted = max(cluster.config.indirect_probes - len(chosen), 0)
        chosen += cluster.dice.sample(rest, min(wanted, len(rest)))
        if chosen:
            cluster.counters["indirect"] += 1
            cluster.send(chosen, ProbeFor(nonce, target))

    # ---------------------------------------------------------------- what others say

    def on_probe(self, probe: Probe, sender: NodeId, now: float) -> None:
        """Answer; and hear of whom it knows."""
        self._cluster.send([sender], Ack(probe.nonce, self._cluster.me))
        for fact in probe.facts:
            self._cluster.hear_of(fact, fact.node, sender, now)

    def on_ack(self, ack: Ack, sender: NodeId, now: float) -> None:
        """A probe of mine came back: for me, or for somebody I help."""
        cluster = self._cluster
        if ack.fact.node != sender:
            return
        relay = self._relays.pop(ack.nonce, None)
        if relay is not None and relay.target == sender:
            cluster.send([relay.asker], RelayedAck(relay.nonce, sender, ack.fact))
        elif self._detector.answered(ack.nonce, now, direct=True) != sender:
            return  # late, or never asked
        cluster.proved_by = sender
        cluster.verified(ack.fact, now)

    def on_probe_for(self, request: ProbeFor, sender: NodeId, now: float) -> None:
        """Probe in somebody's place; without a link, ask the next on the way to do it."""
        cluster = self._cluster
        peer = cluster.peers.get(request.target)
        refused = peer is not None and cluster.me.node in peer.refused_by
        allowance = cluster.peers[sender].allowance
        busy = len(self._relays) >= RELAYING_MAX or not allowance.allows(now)
        allowance.spend(PROBE_FOR_COST)
        if peer is None or refused or busy:
            no = RelayedAck(request.nonce, request.target, None, refused)
            cluster.send([sender], no)
            return
        helper = self._next_on_the_way(peer, request, sender)
        nonce = cluster.dice.getrandbits(63) | 1
        wait_s = cluster.config.probe_timeout_max_s * (1 if helper is None else 2)
        self._relays[nonce] = _Relay(sender, request.nonce, request.target, helper, now + wait_s)
        # Without a link nothing goes, but my own connection may be refused in a moment.
        cluster.send([request.target], Probe(nonce))
        if helper is not None:
            cluster.counters["relayed_on"] += 1
            through = (*request.through, sender)
            cluster.send([helper], ProbeFor(nonce, request.target, through))

    def _next_on_the_way(self, peer: Peer, request: ProbeFor, sender: NodeId) -> NodeId | None:
        """Who brought its last answer, unless the request has come from there. No guessing.

        None where the last answer came by itself: my link works, or will say that it does not.
        Each request is passed to one life at most and never to one that it has passed, so it
        ends; and what it finds is an answer of the target itself, however long the way was.
        """
        helper = None if peer.relayed_by is None else self._cluster.peers.get(peer.relayed_by)
        if helper is None or not helper.linked or not helper.up or (peer.linked and peer.direct):
            return None
        passed = (sender, self._cluster.me.node, *request.through)
        if helper.node in passed or len(request.through) >= RELAYS_MAX:
            return None
        return helper.node

    def on_relayed_ack(self, answer: RelayedAck, sender: NodeId, now: float) -> None:
        """A helper's answer; its word that the target answered *it* just now is what counts."""
        cluster = self._cluster
        if answer.fact is not None and answer.fact.node != answer.target:
            return
        relay = self._relays.get(answer.nonce)
        if relay is not None:
            # Without an answer wait on: my own link may bring one. Its refusal is not mine.
            if answer.fact is not None and (relay.helper, relay.target) == (sender, answer.target):
                del self._relays[answer.nonce]
                cluster.send([relay.asker], RelayedAck(relay.nonce, relay.target, answer.fact))
                cluster.verified(answer.fact, now, relayed_by=sender)
            return
        if answer.fact is None:
            peer = cluster.peers.get(answer.target)
            if answer.refused and peer is not None:
                self._refused_too(peer, sender, now)
            return
        wanted = self._candidate_nonces.pop(answer.nonce, None)
        asked = wanted or self._detector.answered(answer.nonce, now, direct=False)
        if asked == answer.target:
            cluster.verified(answer.fact, now, relayed_by=sender)

    def on_accuse(self, accuse: Accuse, sender: NodeId, now: float) -> None:
        """Hearsay: refute it if it is about me, else look for myself. Never adopted."""
        cluster = self._cluster
        if accuse.target == cluster.me.node:
            if accuse.incarnation >= cluster.me.incarnation and now - cluster.refuted_at >= 1.0:
                cluster.refuted_at = now
                cluster.counters["refuted"] += 1
                self._detector.unwell()
                cluster.raise_incarnation()
            return
        peer = cluster.peers.get(accuse.target)
        if peer is None or accuse.incarnation < peer.fact.incarnation:
            return
        self._detector.confirm(accuse.target, sender, now)
        last = self._accused_at.get(accuse.target, float("-inf"))
        if peer.up and now - last >= ACCUSED_PROBE_S:
            self._accused_at[accuse.target] = now
            self.probe(peer, now)

    def on_taken(self, taken: Taken, sender: NodeId, now: float) -> None:
        """It deals with what I send: as good as an answer to a probe, which waits behind it."""
        cluster = self._cluster
        peer = cluster.peers[sender]
        link = cluster.links.get(peer.endpoint)
        if link is None or not peer.linked or link.link != taken.link:
            return
        cluster.out.append(Release(peer.endpoint, taken.link, taken.seq))
        cluster.verified(peer.fact, now)

    # ---------------------------------------------------------------- what the connection says

    def link_lost(self, life: NodeId | None, now: float) -> None:
        """A connection broke: look at once."""
        peer = None if life is None else self._cluster.peers.get(life)
        if peer is not None and peer.up:
            self.probe(peer, now)

    def refused(self, endpoint: str, now: float) -> None:
        """Nobody listens where a link of mine was a moment ago."""
        cluster = self._cluster
        cluster.book.refused(endpoint)
        for peer in [p for p in cluster.peers.values() if p.endpoint == endpoint and p.up]:
            if peer.linked or peer.refusal_exempt:
                continue
            peer.refused_by.add(cluster.me.node)
            cluster.move(peer, Sign.REFUSED, now)
            self.probe(peer, now)
            self._detector.ask_others_now(peer.node, now)
            for nonce, relay in list(self._relays.items()):
                if relay.target == peer.node:
                    del self._relays[nonce]
                    no = RelayedAck(relay.nonce, relay.target, None, refused=True)
                    cluster.send([relay.asker], no)
            others = [p for p in cluster.reachable() if p.node != peer.node]
            if not others or len(peer.refused_by) > 1:
                cluster.move(peer, Sign.REFUSED_TWICE, now)

    def _refused_too(self, peer: Peer, by: NodeId, now: float) -> None:
        peer.refused_by.add(by)
        if self._cluster.me.node in peer.refused_by and not peer.refusal_exempt:
            self._cluster.move(peer, Sign.REFUSED_TWICE, now)

    # ---------------------------------------------------------------- time

    def slept(self, now: float) -> None:
        """This node was away for longer than a suspicion: nobody is verified any more."""
        for life in self._cluster.up():
            self._cluster.move(self._cluster.peers[life], Sign.SLEPT, now)
        for link in self._cluster.links.values():
            link.hello_at = now

    def tick(self, now: float) -> None:
        """Probe the next, follow up the unanswered, forget the long gone."""
        cluster = self._cluster
        if now >= self._probe_at:
            late_s = now - self._probe_at
            if late_s > cluster.config.probe_interval_s:
                self._detector.unwell()  # my own clockwork lags: accuse with more patience
            self._probe_at = now + cluster.config.probe_interval_s
            target = self._detector.next_target(cluster.up())
            suspects = [p.node for p in cluster.peers.values() if p.state is PeerState.SUSPECT]
            for life in dict.fromkeys([*([target] if target else []), *suspects]):
                self.probe(cluster.peers[life], now)
        due = self._detector.due(now)
        for nonce, target in due.indirect:
            self._ask_others(nonce, target)
        for target in due.failed:
            if (peer := cluster.peers.get(target)) is not None:
                cluster.move(peer, Sign.PROBE_FAILED, now)
        for target in due.expired:
            if (peer := cluster.peers.get(target)) is not None:
                cluster.move(peer, Sign.EXPIRED, now)
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + 0.2
            self._house_keeping(now)

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        # When nothing waits for the housekeeping, the next probe brings it along.
        keeping = self._housekeeping_at + 0.5
        if self._relays:
            ends = min([relay.ends for relay in self._relays.values()])
            keeping = min(keeping, max(ends, self._housekeeping_at))
        return min(self._probe_at, self._detector.next_deadline(), keeping)

    def _house_keeping(self, now: float) -> None:
        cluster = self._cluster
        for nonce, relay in list(self._relays.items()):
            if now >= relay.ends:
                del self._relays[nonce]
                peer = cluster.peers.get(relay.target)
                refused = peer is not None and cluster.me.node in peer.refused_by
                no = RelayedAck(relay.nonce, relay.target, None, refused)
                cluster.send([relay.asker], no)
        for candidate in list(cluster.candidates.values()):
            if now >= candidate.probe_at:
                self._probe_candidate(candidate.node, now)
        for life in [life for life, until in cluster.left.items() if now >= until]:
            del cluster.left[life]
        for life in [x for x, at in self._accused_at.items() if now - at >= ACCUSED_PROBE_S]:
            del self._accused_at[life]
        for nonce in [n for n, x in self._candidate_nonces.items() if x not in cluster.candidates]:
            del self._candidate_nonces[nonce]
        cluster.inbound.forget_strangers(cluster.peers)
        for peer in [p for p in cluster.peers.values() if p.state is PeerState.DOWN]:
            after_s = cluster.config.forget_after_s
            if peer.replaced:
                after_s = cluster.config.suspicion_min_s(len(cluster.peers) + 1)
            if now - peer.down_since >= after_s:
                cluster.purge(peer, remember=True)

    def _probe_candidate(self, life: NodeId, now: float) -> None:
        cluster = self._cluster
        candidate = cluster.candidates[life]
        if candidate.silences >= CANDIDATE_SILENCES_MAX:
            del cluster.candidates[life]
            if candidate.fact is not None:
                cluster.disconnect_if_idle(candidate.fact.endpoint)
            return
        candidate.silences += 1
        candidate.probe_at = now + cluster.config.hello_interval_s
        if candidate.said_by is not None:
            nonce = cluster.dice.getrandbits(63) | 1
            self._candidate_nonces[nonce] = life
            if len(self._candidate_nonces) > CANDIDATE_NONCES_MAX:  # the oldest waits in vain
                del self._candidate_nonces[next(iter(self._candidate_nonces))]
            cluster.send([candidate.said_by], ProbeFor(nonce, life))
