"""How two lives meet: HELLO, WELCOME, ECHO; seeds; the address book.

    A dials B's endpoint, the handshake is done
    A -> B   HELLO(fact A, nonce a)         to anybody, on A's link
    B dials A's endpoint, as the fact names it
    B -> A   WELCOME(echo a, nonce b, fact B, whom B knows)      on B's own link
    A        its link to B is up: a came back
    A -> B   ECHO(b)
    B        its link to A is up: b came back

Nothing else is said on a link before it is up.
"""

from __future__ import annotations

from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.effects import Bind, Redial
from crdtpubsub.engine.peers import PATIENCE_MAX_S, PATIENCE_MIN_S, Link, PeerState
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import ANYBODY, Echo, Fact, Hello, Taken, Welcome

__all__ = ["Introduction"]

KNOWN_MAX = 500
KNOWN_BYTES_MAX = 512 * 1024
MINE_MAX = 256
"""Addresses of my own; one that is not kept is found out anew when somebody names it."""
MYSELF_AGAIN_S = 30.0
"""A seed that led to myself is tried again then: a name or a balancer may lead elsewhere."""
COMPLAIN_S = 3.0
TRIAL_S = 3.0
DOWN_GREETINGS_PER_S = 50
REDIALS_PER_ROUND = 2  # of HELLOs: a dial costs the driver half a millisecond
SLACK_S = 0.1
"""What is not urgent is done a little early or late, with what is due anyway: an idle node
that wakes half as often costs half as much."""


class Introduction:
    """Links from dialled to up, and whom to dial."""

    def __init__(self, cluster: Cluster, now: float) -> None:
        self._cluster = cluster
        self._redial_at = now - SLACK_S  # at once
        self._links_at = now
        self._myself_at = now + MYSELF_AGAIN_S

    # ---------------------------------------------------------------- my links

    def link_up(self, endpoint: str, number: int, now: float) -> None:
        """A handshake: say HELLO first, then the WELCOMEs that waited for it."""
        cluster = self._cluster
        link = cluster.links.get(endpoint)
        if link is None:
            return  # dropped in the meantime
        self._unlink(link, now)
        link.handshaken, link.up, link.link = True, False, number
        link.nonce = cluster.dice.getrandbits(63) | 1
        link.greeted_since = link.silent_since = now
        link.complained = False
        self._hello(link, now)
        for life, nonce in sorted(link.owed.items()):
            self._welcome(link, life, nonce)
        link.owed.clear()

    def link_down(self, endpoint: str, now: float) -> NodeId | None:
        """The connection broke; whose it was."""
        link = self._cluster.links.get(endpoint)
        if link is None:
            return None
        life = link.life
        self._unlink(link, now)
        link.handshaken = link.up = False
        return life

    def _unlink(self, link: Link, now: float) -> None:
        peer = None if link.life is None else self._cluster.peers.get(link.life)
        if peer is not None and peer.endpoint == link.endpoint:
            self._cluster.unlink(peer, now)

    def _hello(self, link: Link, now: float) -> None:
        cluster = self._cluster
        down = link.life is not None and not cluster.listed(link.life)
        wait_s = cluster.config.redial_interval_s if down else cluster.config.hello_interval_s
        link.hello_at = now + wait_s
        link.greeted_at = now
        self._links_at = min(self._links_at, link.hello_at)
        cluster.greet(link.endpoint, ANYBODY, Hello(cluster.me, link.nonce))

    def _welcome(self, link: Link, life: NodeId, nonce: int) -> None:
        cluster = self._cluster
        known: list[Fact] = []
        size_bytes = 0  # a greeting is one frame
        for other in cluster.up()[:KNOWN_MAX]:
            fact = cluster.peers[other].fact
            letters = len(fact.name) + len(fact.endpoint) + sum(map(len, fact.scopes))
            size_bytes += 4 * letters + 64 + len(fact.scopes)
            if size_bytes > KNOWN_BYTES_MAX:
                break
            if other != life:
                known.append(fact)
        cluster.greet(link.endpoint, life, Welcome(nonce, link.nonce, cluster.me, tuple(known)))

    # ---------------------------------------------------------------- seeds

    def seeds_changed(self, seeds: tuple[str, ...]) -> None:
        """Dial the new ones; of those that are gone, what nobody else is reached by is dropped."""
        cluster = self._cluster
        gone = [seed for seed in cluster.seeds if seed not in seeds]
        cluster.seeds = seeds
        for seed in seeds:
            if seed not in cluster.aliases:
                cluster.connect(seed)
        for seed in gone:
            cluster.counters["seeds_gone"] += 1
            cluster.aliases.pop(seed, None)
            cluster.disconnect_if_idle(seed)

    def _dial_seeds(self, now: float) -> None:
        cluster = self._cluster
        if now >= self._myself_at:
            self._myself_at = now + MYSELF_AGAIN_S
            cluster.mine -= {seed for seed in cluster.seeds if seed != cluster.me.endpoint}
        for seed in cluster.seeds:
            if seed not in cluster.aliases:
                cluster.connect(seed)

    # ---------------------------------------------------------------- what others say

    def hello(self, hello: Hello, sender: NodeId, now: float) -> None:
        """Somebody dialled me: answer on my own link to where it says it can be dialled."""
        cluster = self._cluster
        if sender == cluster.me.node:
            self._dialled_myself(hello.nonce)
            return
        if hello.fact.node != sender or sender in cluster.left:
            return
        known = sender in cluster.peers or hello.fact.endpoint in cluster.links
        if not known and len(cluster.links) >= len(cluster.peers) + cluster.config.candidates_max:
            cluster.limit("strangers_refused", whom=sender)
            return
        if not cluster.may_dial(hello.fact.endpoint):
            return
        link = cluster.connect(hello.fact.endpoint)
        if link is None:
            cluster.noted("foreign_claim", f"{sender} says it listens where I do", whom=sender)
            return
        if link.until is None and not known:
            link.until = now + 4 * TRIAL_S
        if link.handshaken:
            if not link.may_welcome(now):
                cluster.counters["welcomes_refused"] += 1
                return
            self._welcome(link, sender, hello.nonce)
            if not link.up:
                link.hello_at = now  # who speaks may be listening again
                self._links_at = now
        elif len(link.owed) < 16 or sender in link.owed:
            link.owed[sender] = hello.nonce

    def welcome(self, welcome: Welcome, sender: NodeId, now: float) -> None:
        """My HELLO was heard, and by whom."""
        cluster = self._cluster
        link = self._by_nonce(welcome.echo)
        if link is None or welcome.fact.node != sender or sender in cluster.left:
            return
        if welcome.fact.endpoint in cluster.mine:
            cluster.noted("foreign_claim", f"{sender} says it listens where I do", whom=sender)
            return
        if welcome.fact.endpoint != link.endpoint:
            if not cluster.may_dial(welcome.fact.endpoint):
                return
            self._found_under_alias(link, welcome.fact, now)
        else:
            self._proved(link, welcome.fact, now)
            cluster.detector.took(sender, now - link.greeted_at)
            cluster.greet(link.endpoint, sender, Echo(welcome.nonce))
        for fact in welcome.known:
            cluster.hear_of(fact, fact.node, sender, now)

    def echo(self, nonce: int, sender: NodeId, now: float) -> None:
        """My WELCOME was heard."""
        peer = self._cluster.peers.get(sender)
        link = self._by_nonce(nonce)
        if link is not None and peer is not None and peer.endpoint == link.endpoint:
            self._proved(link, peer.fact, now)

    def _by_nonce(self, nonce: int) -> Link | None:
        """An answer that comes when the connection has broken says nothing of the link."""
        links = self._cluster.links.values()
        return next((x for x in links if x.handshaken and x.nonce == nonce), None)

    def _proved(self, link: Link, fact: Fact, now: float) -> None:
        """This life listens at the other end of this link."""
        cluster = self._cluster
        cluster.proved_by = fact.node
        link.until = None
        link.patience_s = PATIENCE_MIN_S
        fresh = not link.up or link.life != fact.node
        for other in [p for p in cluster.peers.values() if p.endpoint == link.endpoint]:
            if other.node != fact.node:
                cluster.replaced(other, now)
        link.up, link.life = True, fact.node
        if fresh:
            cluster.out.append(Bind(link.endpoint, fact.node))
        cluster.verified(fact, now)
        peer = cluster.peers.get(fact.node)
        if peer is not None and peer.endpoint == link.endpoint and not peer.linked:
            peer.linked = True
            peer.refusal_exempt = False
            cluster.link_changed(peer, now)
            if (taken := cluster.inbound.taken(peer.node)) is not None:
                # What I told it on my old link may be lost, and it may be out of credit by now.
                cluster.send([peer.node], Taken(*taken))

    def _found_under_alias(self, link: Link, fact: Fact, now: float) -> None:
        """A seed's address and what the node there advertises differ: use the advertised one."""
        cluster = self._cluster
        cluster.verified(fact, now)
        if fact.node in cluster.peers:
            cluster.connect(fact.endpoint)
            if link.endpoint in cluster.seeds:  # others are not dialled for ever anyway
                cluster.aliases[link.endpoint] = fact.node
        cluster.disconnect_if_idle(link.endpoint)  # it may be the address of another life

    def _dialled_myself(self, nonce: int) -> None:
        link = self._by_nonce(nonce)
        if link is not None and not link.up:  # where a life answered, it sends my words back
            if len(self._cluster.mine) < MINE_MAX:
                self._cluster.mine.add(link.endpoint)
            self._cluster.counters["self_dial"] += 1
            self._cluster.disconnect(link.endpoint)

    # ---------------------------------------------------------------- time

    def tick(self, now: float) -> None:
        """Repeat HELLOs, give up trials, dial the book and what lost its life."""
        cluster = self._cluster
        if now >= self._links_at - SLACK_S:
            self._links_at = now + cluster.config.hello_interval_s
            self._greet_links(now)
        if now >= self._redial_at - SLACK_S:
            self._redial_at = now + cluster.config.redial_interval_s
            self._dial_seeds(now)
            endpoint = cluster.book.next()
            if endpoint is not None and endpoint not in cluster.links:
                link = cluster.connect(endpoint)
                if link is not None:
                    link.until = now + TRIAL_S

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return min(self._links_at, self._redial_at) + SLACK_S

    def _hangs(self, link: Link, now: float) -> bool:
        """Whether it is time to dial afresh, since nobody answers on this link."""
        peer = None if link.life is None else self._cluster.peers.get(link.life)
        if link.silent_since is None:
            link.silent_since = now
        if link.up and peer is not None and peer.linked:
            if peer.direct or not peer.up:
                return False
            link.silent_since = max(link.silent_since, peer.answered_at)  # others reach it
        return now - link.silent_since >= link.patience_s

    def _redial(self, link: Link, now: float) -> None:
        link.silent_since = now
        link.patience_s = min(2 * link.patience_s, PATIENCE_MAX_S)
        self._cluster.counters["redialled"] += 1
        self._cluster.out.append(Redial(link.endpoint))

    def _greet_links(self, now: float) -> None:
        cluster = self._cluster
        greeted_down = redialled = 0
        for link in list(cluster.links.values()):
            if link.until is not None and now >= link.until:
                link.until = None
                cluster.disconnect_if_idle(link.endpoint)
                continue
            if redialled < REDIALS_PER_ROUND and self._hangs(link, now):
                self._redial(link, now)
                redialled += 1
                continue
            if not link.handshaken or link.up or now < link.hello_at:
                continue
            peer = None if link.life is None else cluster.peers.get(link.life)
            if peer is not None and peer.state is PeerState.DOWN:
                greeted_down += 1
                if greeted_down > DOWN_GREETINGS_PER_S * cluster.config.hello_interval_s / 2 + 1:
                    continue  # its turn comes: those greeted now are not due for a second
            self._hello(link, now)
            if now - link.greeted_since >= COMPLAIN_S and not link.complained and peer is None:
                link.complained = True
                cluster.noted(
                    "unanswered",
                    f"{link.endpoint} accepts connections but never answers: it is no node of "
                    f"this cluster, or it cannot reach {cluster.me.endpoint}, which this node "
                    "advertises",
                    whom=link.endpoint,
                )
