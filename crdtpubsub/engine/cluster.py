"""The lives this node knows and the links it has: tables, admission, state changes.

`Introduction` and `Liveness` work on this; the engine listens to what it says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from crdtpubsub.config import Config
from crdtpubsub.engine.addresses import is_local
from crdtpubsub.engine.detector import Detector
from crdtpubsub.engine.dice import Dice
from crdtpubsub.engine.effects import (
    Cause,
    Connect,
    Disconnect,
    Effect,
    Greet,
    Limited,
    Noted,
    PeerChanged,
    Send,
)
from crdtpubsub.engine.inbound import Inbound
from crdtpubsub.engine.listening import Listener, Watcher
from crdtpubsub.engine.peers import AddressBook, Candidate, Link, Peer, PeerState, Sign
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Accuse, Fact, Facts, Message, Opinion

__all__ = ["Cluster"]

INTRODUCED_TO = 16
LEFT_MAX = 4096
INCARNATION_JUMP_MAX = 2**20
"""What a life can say of itself anew while nobody hears it: 12 days of one a second."""
DENIALS_MAX = 2
"""So many answers of a life itself undo what was held of it by mistake."""


class Cluster:
    """Who is who. Effects go to `out`, in order."""

    def __init__(
        self, fact: Fact, seeds: tuple[str, ...], config: Config, dice: Dice, listener: Listener
    ) -> None:
        self.me = fact
        self.seeds = seeds
        self.config = config
        self.dice = dice
        self.listener = listener
        self.watchers: tuple[Watcher, ...] = ()
        self.out: list[Effect] = []
        self.counters: Counter[str] = Counter()
        self.detector = Detector(config, dice)
        self.peers: dict[NodeId, Peer] = {}
        self._up: tuple[NodeId, ...] | None = None
        self.links: dict[str, Link] = {}
        self.aliases: dict[str, NodeId] = {}  # a seed's address -> the life found there
        self.mine: set[str] = {fact.endpoint}  # addresses that turned out to be my own
        self.candidates: dict[NodeId, Candidate] = {}
        self.left: dict[NodeId, float] = {}  # said goodbye: remembered until then
        self.book = AddressBook(config.address_book_max)
        self.inbound = Inbound()
        self.refuted_at = float("-inf")
        self.proved_by: NodeId | None = None  # who answered last, with a nonce of mine
        self._local = is_local(fact.endpoint)

    # ---------------------------------------------------------------- reading

    def listed(self, life: NodeId) -> bool:
        """Whether members of that life are shown."""
        if life == self.me.node:
            return True
        peer = self.peers.get(life)
        return peer is not None and peer.up

    def link_of(self, life: NodeId) -> str | None:
        """The endpoint of my working link to that life, if there is one."""
        peer = self.peers.get(life)
        return peer.endpoint if peer is not None and peer.linked else None

    def up(self) -> tuple[NodeId, ...]:
        """The lives held alive or suspect, sorted; mine is not among them."""
        if self._up is None:  # asked several times an event, and changes once in a while
            self._up = tuple(sorted(life for life, peer in self.peers.items() if peer.up))
        return self._up

    def recount(self) -> None:
        """Who is up is asked anew: a change may have been broken into."""
        self._up = None

    def reachable(self) -> list[Peer]:
        """The same, as far as my own links reach, sorted."""
        return [self.peers[life] for life in self.up() if self.peers[life].linked]

    # ---------------------------------------------------------------- saying

    def send(self, lives: Iterable[NodeId], message: Message) -> None:
        """Say it to each that my links reach."""
        endpoints = [e for e in map(self.link_of, lives) if e is not None]
        if endpoints:
            endpoints.sort()
            self.out.append(Send(tuple(endpoints), message))

    def tell_all(self, message: Message) -> None:
        """Say it to every life that is up and linked."""
        self.send((peer.node for peer in self.reachable()), message)

    def greet(self, endpoint: str, to: NodeId, message: Message) -> None:
        """Say it in a frame of its own."""
        self.out.append(Greet(endpoint, to, message))

    def count(self, path: str) -> None:
        """A rare path was taken."""
        self.counters[path] += 1

    def limit(self, what: str, *, whom: str) -> None:
        """Count and report that `whom` made something reach its limit."""
        self.counters[what] += 1
        self.out.append(Limited(what, whom))

    def noted(self, what: str, about: str, *, whom: str) -> None:
        """Count and report something unusual; `whom` is a life or an endpoint."""
        self.counters[what] += 1
        self.out.append(Noted(what, about, whom))

    def raise_incarnation(self, *, scopes: tuple[str, ...] | None = None) -> None:
        """Say something new of myself, to everybody."""
        self.me = replace(
            self.me,
            incarnation=self.me.incarnation + 1,
            scopes=self.me.scopes if scopes is None else scopes,
        )
        self.tell_all(Facts((self.me,)))

    # ---------------------------------------------------------------- links

    def connect(self, endpoint: str) -> Link | None:
        """The link to `endpoint`, dialled if there is none; None if that is this node itself."""
        if endpoint in self.mine:
            return None
        link = self.links.get(endpoint)
        if link is None:
            link = self.links[endpoint] = Link(endpoint)
            self.out.append(Connect(endpoint))
        return link

    def disconnect(self, endpoint: str) -> None:
        """Drop the link, unless it is to a seed: those are dialled for ever."""
        if endpoint in self.seeds and endpoint not in self.aliases and endpoint not in self.mine:
            return
        if self.links.pop(endpoint, None) is not None:
            self.out.append(Disconnect(endpoint))

    def disconnect_if_idle(self, endpoint: str) -> None:
        """Drop the link if no life held and no candidate is dialled there."""
        wanted = any(p.endpoint == endpoint for p in self.peers.values()) or any(
            c.fact is not None and c.fact.endpoint == endpoint for c in self.candidates.values()
        )
        if not wanted:
            self.disconnect(endpoint)

    def take_proof(self) -> NodeId | None:
        """Who answered me since this was last asked."""
        proved_by, self.proved_by = self.proved_by, None
        return proved_by

    def allows(self, life: NodeId, now: float) -> bool:
        """Whether that peer may ask for more just now; counted if not."""
        allowed = self.peers[life].allowance.allows(now)
        if not allowed:
            self.limit("over_budget", whom=life)
        return allowed

    def may_dial(self, endpoint: str) -> bool:
        """Whether somebody's word is enough to dial there.

        Whoever is dialled from elsewhere must not be led to the services of his own machine: a
        node that advertises a real address dials nobody on loopback or ipc, but for its seeds.
        """
        if self._local or endpoint in self.links or not is_local(endpoint):
            return True
        self.counters["loopback_refused"] += 1
        return False

    # ---------------------------------------------------------------- lives

    def hear_of(self, fact: Fact | None, node: NodeId, said_by: NodeId, now: float) -> None:
        """Somebody named a life: hearsay makes a candidate at most, and lists nobody."""
        if node in self.left or node == self.me.node:
            return
        peer = self.peers.get(node)
        if peer is not None:
            # Its own fact is not taken from others: they could make one that it cannot outdo.
            if peer.state is PeerState.DOWN and now - peer.last_helped.get(said_by, -1e9) > 1.0:
                peer.last_helped[said_by] = now
                self.candidates[node] = Candidate(node, peer.fact, said_by, now)
            return
        if node in self.candidates:
            known = self.candidates[node]
            known.fact = known.fact or fact
            return
        by_one = [c for c in self.candidates.values() if c.said_by == said_by]
        if (
            len(self.candidates) >= self.config.candidates_max
            or 2 * len(by_one) >= self.config.candidates_max  # one liar leaves room for others
        ):
            self.limit("candidates_refused", whom=said_by)
            return
        if fact is not None and not self.may_dial(fact.endpoint):
            fact = None
        # The dial comes first; when it stays unanswered, who said it is asked to probe.
        delay_s = self.config.hello_interval_s if fact is not None else 0.0
        self.candidates[node] = Candidate(node, fact, said_by, now + delay_s)
        if fact is not None:
            self.connect(fact.endpoint)

    def verified(self, fact: Fact, now: float, *, relayed_by: NodeId | None = None) -> None:
        """Something of mine came back from that life: admit it, or hold it alive again."""
        if fact.node in self.left or fact.node == self.me.node:
            return
        candidate = self.candidates.pop(fact.node, None)
        peer = self.peers.get(fact.node)
        if peer is None:
            if not self._room_for(fact):
                return
            peer = self.peers[fact.node] = Peer(fact.node, fact)
            self._up = None
            self.book.discard(fact.endpoint)
            if self.may_dial(fact.endpoint):
                self.connect(fact.endpoint)
            if relayed_by is not None:
                self.counters["relay_admitted"] += 1
            self._compare_names(peer)
            self.listener.admitted(peer)
            self.out.append(PeerChanged(peer.node, peer.name, str(peer.state), peer.endpoint))
            self._introduce(peer)
        self._reconcile(peer, fact, now, relayed=relayed_by is not None)
        peer.direct = relayed_by is None
        if relayed_by is None:
            peer.answered_at = now
        else:
            peer.relayed_by = relayed_by
            peer.refusal_exempt = peer.refusal_exempt or not peer.linked
        if candidate is not None and candidate.fact is not None:
            self.disconnect_if_idle(candidate.fact.endpoint)  # a wrong address of it, perhaps
        peer.refused_by.clear()
        peer.replaced = peer.replaced and relayed_by is not None
        self.detector.clear(peer.node)
        self.move(peer, Sign.VERIFIED, now)

    def _compare_names(self, new: Peer) -> None:
        """Names are labels and decide nothing; but who reads them should know of a second one.

        A restarted process is no second one: the connection to its old life broke before.
        """
        same = [p.node for p in self.reachable() if p.name == new.name and p is not new]
        same = [life for life in same if self.peers[life].state is PeerState.ALIVE]
        if same or new.name == self.me.name:
            other = same[0] if same else self.me.node
            self.noted("same_name", f"{other} is named {new.name}, too", whom=new.node)

    def _room_for(self, fact: Fact) -> bool:
        """Whether one more life may be held; one that is down gives way."""
        if len(self.peers) < self.config.peers_max:
            return True
        down = [peer for peer in self.peers.values() if peer.state is PeerState.DOWN]
        if down:
            longest = min(down, key=lambda peer: (peer.down_since, peer.node))
            self.limit("peers_replaced", whom=longest.node)
            self.purge(longest, remember=True)
            return True
        about = f"{fact.name} at {fact.endpoint} is not admitted: {len(self.peers)} lives are held"
        self.noted("peers_full", about, whom=fact.node)
        self.disconnect_if_idle(fact.endpoint)
        return False

    def _introduce(self, peer: Peer) -> None:
        """Name a new life to some others at once: probes would, but only in their turn."""
        others = [p.node for p in self.reachable() if p.node != peer.node]
        if others:
            some = self.dice.sample(others, min(INTRODUCED_TO, len(others)))
            self.send(some, Facts((peer.fact,)))

    def _reconcile(self, peer: Peer, fact: Fact, now: float, *, relayed: bool) -> None:
        """An answer carries a fact, fresh: whatever is held, the life itself knows better.

        Less than what is held, more than once: somebody spoke in its name. Who is linked is
        believed to my face alone.
        """
        if fact.incarnation >= peer.fact.incarnation:
            if fact is not peer.fact:
                peer.denied = 0
            if relayed:
                self.learn(peer, fact, now)
            elif fact.incarnation > peer.fact.incarnation:
                self._adopt(peer, fact, now)
            return
        if relayed and peer.linked:
            return
        peer.denied += 1
        if peer.denied >= DENIALS_MAX:
            peer.denied = 0
            self.counters["fact_undone"] += 1
            self._adopt(peer, fact, now)

    def learn(self, peer: Peer, fact: Fact, now: float) -> None:
        """A life's words about itself, as far as can be told; the newest hold."""
        ahead = fact.incarnation - peer.fact.incarnation
        if ahead > INCARNATION_JUMP_MAX:
            self.counters["fact_refused"] += 1
        elif ahead > 0:
            self._adopt(peer, fact, now)

    def _adopt(self, peer: Peer, fact: Fact, now: float) -> None:
        old = peer.fact
        if fact.endpoint != old.endpoint and not self.may_dial(fact.endpoint):
            return
        peer.fact = fact
        if fact.endpoint != old.endpoint:
            if peer.linked:
                peer.linked = False
                self.link_changed(peer, now)
            self.connect(fact.endpoint)
            self.disconnect_if_idle(old.endpoint)
        self.listener.fact_changed(peer, old, now)

    def move(self, peer: Peer, sign: Sign, now: float) -> None:
        """Let a sign act on a peer, and tell everybody who must know."""
        was_up, before = peer.up, peer.state
        if not peer.sign(sign):
            return
        self._up = None
        if peer.state is PeerState.SUSPECT:
            self.detector.suspect(peer.node, now, nodes=len(self.up()) + 1)
            self.tell_all(Accuse(peer.node, peer.fact.incarnation, Opinion.SUSPECT))
        elif peer.state is PeerState.DOWN:
            self._went_down(peer, sign, now)
        elif peer.state is PeerState.ALIVE and before is PeerState.DOWN:
            self.counters["returned"] += 1
        if peer.up != was_up:
            cause = Cause.NODE_UP if peer.up else Cause.NODE_DOWN
            if peer.state is PeerState.LEFT:
                cause = Cause.OP  # its clients left, all of them: it said so itself
            self.listener.state_changed(peer, was_up=was_up, cause=cause)
        self.out.append(PeerChanged(peer.node, peer.name, str(peer.state), peer.endpoint))

    def _went_down(self, peer: Peer, sign: Sign, now: float) -> None:
        self.detector.clear(peer.node)
        peer.down_since = now
        self.unlink(peer, now)
        link = self.links.get(peer.endpoint)
        if link is not None and link.life in (None, peer.node):
            link.up = False
            link.hello_at = now  # greeted until it answers or is forgotten
            link.silent_since = now
        self._forget_aliases(peer.node)  # a seed that led to it may lead to its successor
        if sign is not Sign.SLEPT:
            self.tell_all(Accuse(peer.node, peer.fact.incarnation, Opinion.DOWN))

    def unlink(self, peer: Peer, now: float) -> None:
        """My link to it no longer works."""
        if peer.linked:
            peer.linked = False
            self.link_changed(peer, now)

    def link_changed(self, peer: Peer, now: float) -> None:
        """It came up or went: `peer.linked` says which."""
        self.listener.link_changed(peer, now)
        for watcher in self.watchers:
            watcher.link_changed(peer, now)

    def replaced(self, peer: Peer, now: float) -> None:
        """Another life answers at its endpoint."""
        peer.replaced = True
        self.move(peer, Sign.REPLACED, now)
        for watcher in self.watchers:
            watcher.replaced(peer.node)

    def goodbye(self, life: NodeId, now: float) -> None:
        """The life itself said that it ends."""
        candidate = self.candidates.pop(life, None)
        peer = self.peers.get(life)
        if peer is not None or len(self.left) < LEFT_MAX:
            self.left[life] = now + self.config.goodbye_kept_s
            if len(self.left) > 2 * LEFT_MAX:  # strangers alone do not get that far
                del self.left[next(iter(self.left))]
        if peer is not None:
            self.move(peer, Sign.GOODBYE, now)
            self.purge(peer, remember=False)
        elif candidate is not None and candidate.fact is not None:
            self.disconnect_if_idle(candidate.fact.endpoint)

    def _forget_aliases(self, life: NodeId) -> None:
        for alias in [a for a, there in self.aliases.items() if there == life]:
            del self.aliases[alias]
            self.connect(alias)

    def purge(self, peer: Peer, *, remember: bool) -> None:
        """Forget a life, here and now and as if never met; perhaps keep its address."""
        self.counters["purged"] += 1
        del self.peers[peer.node]
        self._up = None
        self.candidates.pop(peer.node, None)
        for other in self.peers.values():
            other.refused_by.discard(peer.node)
            other.last_helped.pop(peer.node, None)
        self._forget_aliases(peer.node)
        self.detector.forget(peer.node)
        self.inbound.forget(peer.node)
        self.disconnect_if_idle(peer.endpoint)
        if remember and peer.endpoint not in self.links and self.may_dial(peer.endpoint):
            self.book.add(peer.endpoint)
        left = peer.state is PeerState.LEFT
        cause = Cause.OP if left else Cause.NODE_DOWN
        self.listener.purged(peer.node, cause)
        for watcher in self.watchers:
            watcher.purged(peer.node, cause)
