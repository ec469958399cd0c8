"""Hostile frames through the whole node: decoder, slices, engine, outboxes, and back to bytes.

A real `Engine` with its codec, driven as the runtime does it, meets admitted peers that are
malicious. Messages come from the strategies and are bent to the node's own situation: lives it
knows, its scopes, nonces it just asked, births near what was minted; field by field, so that a new
kind of record is bent too. Some frames are spoiled once more as bytes. After every input: nothing
raised, its own members are those it joined less those it gave up with an `Exit`, every table is
within its bound, and everything it says can be decoded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass, replace
from random import Random
from typing import Any, Final

from crdtpubsub.config import Config
from crdtpubsub.crdt.admission import JUMP_MAX, RUNS_MAX
from crdtpubsub.crdt.intervals import Runs
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.cluster import LEFT_MAX
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.inbound import STRANGERS_MAX
from crdtpubsub.engine.introduction import MINE_MAX
from crdtpubsub.engine.liveness import RELAYING_MAX
from crdtpubsub.engine.outbox import URGENT, Outbox, Sent
from crdtpubsub.engine.slicing import slices
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.codec import Assemblies, Decoder, Encoder, FrameError, chunk, frame
from crdtpubsub.wire.messages import ANYBODY, Fact, Frame, Header, Message
from tests.fuzz.corpus import CLUSTER, encode, messages, spoil

BLOCK: Final = 5_000
CONFIG: Final = Config(candidates_max=32, peers_max=24, outbox_bytes_max=2**20)
ME: Final = NodeId("e" * 32)
MINE: Final = "tcp://10.0.0.1:7400"
SCOPES: Final = (DEFAULT_SCOPE, "jobs")
CHECK_EACH: Final = 250


class Victim:
    """A node, what it was told to do, and the checks."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.now = 100.0
        self.engine = Engine(
            ME,
            name="me",
            endpoint=MINE,
            seeds=("tcp://10.0.0.9:7400",),
            config=CONFIG,
            dice=Random(dice.getrandbits(32)),
            now=self.now,
        )
        self.encoder = Encoder()
        self.decoder = Decoder(CLUSTER)
        self.echo = Decoder(CLUSTER)  # reads what the victim says
        self.links: dict[str, Outbox] = {}
        self.links_made = 0
        self.nonces: list[int] = [0]
        self.joined: set[tuple[str, str, str]] = set()
        self.counters: Counter[str] = Counter()
        self.sent = Sent()
        self.assemblies = Assemblies(
            ME,
            self.decoder,
            CONFIG.assemblies_bytes_max,
            held=self.engine.listed,
            count=lambda what, _sender: self.counters.update((what,)),
        )
        self.next_births = dict.fromkeys(SCOPES, 1)
        self.handle(ev.OpenScope("jobs"))

    # ---------------------------------------------------------------- the driver

    def handle(self, event: ev.Event) -> None:
        """One event, and the effects of it, performed."""
        self.engine.handle(event, self.now)
        dials: list[str] = []
        for effect in self.engine.take():
            self.perform(effect, dials)
        for outbox in list(self.links.values()):
            self.drain(outbox)
        for endpoint in dials:
            if self.dice.getrandbits(3) and endpoint in self.links:
                self.links_made += 1
                self.links[endpoint].connected(self.links_made)
                self.handle(ev.LinkUp(endpoint, self.links_made))

    def perform(self, effect: ef.Effect, dials: list[str]) -> None:
        """What the runtime does, without sockets."""
        match effect:
            case ef.Send(endpoints, message):
                record = self.encoder.message(message)
                self.note(message)
                for endpoint in endpoints:
                    outbox = self.links[endpoint]
                    if isinstance(message, URGENT):
                        outbox.put_urgent(record)
                    else:
                        outbox.put(record, publication=False)
            case ef.Greet(endpoint, to, message):
                self.note(message)
                record = self.encoder.message(message)
                if endpoint in self.links:  # else dropped by what was found out meanwhile
                    self.links[endpoint].greet(to, record)
            case ef.Connect(endpoint):
                assert endpoint not in self.links, "dialled twice"
                self.links[endpoint] = Outbox(
                    CONFIG.outbox_bytes_max, CONFIG.link_credit_bytes, chunk, self.sent
                )
                dials.append(endpoint)
            case ef.Disconnect(endpoint):
                del self.links[endpoint]
            case ef.Bind(endpoint, life):
                if endpoint in self.links:
                    self.links[endpoint].bind(life)
            case ef.Release(endpoint, link, seq):
                if endpoint in self.links:
                    self.links[endpoint].release(link, seq, self.now)
            case ef.Deliver(sender, msg.Addressed() as asked, clients) if asked.counter:
                self.engine.answered(sender, asked.counter, took=len(clients), full=0)
            case ef.Replied(sender, reply):
                self.engine.answered(sender, reply.counter, took=reply.id % 2, full=0)
            case ef.Exited(scope, channel, client, _):
                key = (scope, channel, client)
                assert key in self.joined, f"an Exit of {key}, which is no member"
                self.joined.discard(key)
                self.counters["exits"] += 1
            case _:
                pass

    def note(self, message: Message) -> None:
        """The nonces it asks: a peer knows those it was asked."""
        for word in ("nonce", "table"):
            if (said := getattr(message, word, None)) is not None:
                self.nonces.append(said)
        del self.nonces[:-12]

    def drain(self, outbox: Outbox) -> None:
        """What leaves must be good: a peer that cannot read it is lost."""
        while (drawn := outbox.draw(CONFIG.frame_bytes, self.now)) is not None:
            to, records, published = drawn
            header = Header(CLUSTER, ME, to, outbox.link, outbox.number(), published)
            said = self.echo.decode(frame(self.encoder.header(header), records))
            assert len(said.messages) == len(records)
            self.counters["frames said"] += 1
        outbox.release(outbox.link, outbox.seq, self.now)

    def receive(self, data: bytes) -> bool:
        """A frame from outside; whether it passed the decoder."""
        try:
            arrived = self.assemblies.take(self.decoder.decode(data))
        except FrameError:
            return False
        size = len(data)
        for part in slices(arrived, CONFIG.slice_births):
            self.handle(ev.Received(part, size))
            size = 0
        return True

    # ---------------------------------------------------------------- honest life

    def live(self) -> None:
        """Time passes; its own clients come and go; links break and come back."""
        self.now += self.dice.random() * 0.2
        if self.now >= self.engine.next_deadline():
            self.handle(ev.Tick())
            self.assemblies.sweep()
        turn = self.dice.getrandbits(6)
        scope = SCOPES[turn & 1]
        key = (scope, "abc"[turn % 3], f"c{turn % 7}")
        if turn < 6:
            if key not in self.joined:
                self.joined.add(key)
            self.handle(ev.Join(key[0], key[1], key[2], meta=bytes([turn])))
        elif turn < 8 and key in self.joined:
            self.joined.discard(key)
            self.handle(ev.Leave(key[0], key[1], ME, key[2], by_client=True))
        elif turn == 8 and self.links:
            endpoint = self.dice.choice(sorted(self.links))
            self.handle(ev.LinkDown(endpoint))
            if endpoint in self.links:
                self.links_made += 1
                self.links[endpoint].connected(self.links_made)
                self.handle(ev.LinkUp(endpoint, self.links_made))
        elif turn == 9 and self.links:
            self.handle(ev.LinkRefused(self.dice.choice(sorted(self.links))))

    # ---------------------------------------------------------------- checks

    def check(self) -> None:
        """After every input: cheap."""
        for scope in SCOPES:
            members = self.engine.set_of(scope)
            wanted = sum(key[0] == scope for key in self.joined)
            assert members.size(ME) == wanted, "its own members changed, and nobody was told"
            jumped = members.next_birth - self.next_births[scope]
            assert 0 <= jumped <= JUMP_MAX + 1, f"its own counter jumped by {jumped}"
            self.next_births[scope] = members.next_birth
        cluster = self.engine._cluster
        assert len(cluster.peers) <= CONFIG.peers_max
        assert len(cluster.candidates) <= CONFIG.candidates_max + CONFIG.peers_max
        assert len(cluster.links) <= 2 * (CONFIG.peers_max + CONFIG.candidates_max) + 64

    def check_all(self) -> None:
        """Now and then: everything, by recomputation."""
        for scope in SCOPES:
            members = self.engine.set_of(scope)
            members.check()
            mine = {
                (scope, channel, client)
                for channel in members.channels_of(ME)
                for client in members.clients(ME, channel)
            }
            assert mine == {key for key in self.joined if key[0] == scope}
            for owner in members.owners():
                assert len(members.seen(owner)) <= 2 * RUNS_MAX
                assert owner == ME or owner in self.engine._cluster.peers, "an unknown writer"
        cluster, live = self.engine._cluster, self.engine._liveness
        assert len(cluster.left) <= LEFT_MAX + CONFIG.peers_max
        assert len(cluster.mine) <= MINE_MAX
        assert len(cluster.aliases) <= len(cluster.seeds)
        assert len(cluster.book) <= CONFIG.address_book_max
        assert len(cluster.inbound) <= STRANGERS_MAX + 4 * CHECK_EACH + CONFIG.peers_max
        assert len(live._relays) <= RELAYING_MAX
        assert len(live._candidate_nonces) <= 4 * (CONFIG.candidates_max + CONFIG.peers_max)
        assert set(self.links) == set(cluster.links), "driver and engine differ about links"
        assert all(box.queued_bytes <= box.bytes_max for box in self.links.values())
        for peer in cluster.peers.values():
            assert not peer.linked or cluster.links[peer.endpoint].up, "linked without a link"
        everybody = {*cluster.peers, ME}
        for state in self.engine._replication.scopes.values():
            gossip = state.gossip
            for table in (gossip._pending, gossip._pulls, gossip._differences, gossip._stubborn):
                assert everybody.issuperset(table), "a table remembers somebody forgotten"
            assert everybody.issuperset(state.equal_stamp)


class Attacker:
    """Lives that the victim admitted, and frames in their name."""

    def __init__(self, victim: Victim, corpus: dict[type[Message], list[Message]]) -> None:
        self.victim = victim
        self.dice = victim.dice
        self.corpus = list(corpus.values())
        self.lives = [self.life() for _ in range(4)]
        self.seqs: dict[NodeId, int] = {}
        self.recent: list[bytes] = []

    def life(self) -> NodeId:
        """Another life."""
        return NodeId(f"{self.dice.getrandbits(128) | 1:032x}")

    @staticmethod
    def endpoint(life: NodeId) -> str:
        """Where that life listens."""
        return f"tcp://10.1.{int(life[:2], 16)}.{int(life[2:4], 16)}:7400"

    def fact(self, life: NodeId) -> Fact:
        """What that life would honestly say."""
        return Fact(life, "peer", self.endpoint(life), 0, SCOPES)

    def introduce(self, life: NodeId) -> None:
        """An honest handshake, so that what follows is heard."""
        victim, endpoint = self.victim, self.endpoint(life)
        self.say(life, msg.Hello(self.fact(life), 7), to=ANYBODY)
        link = victim.engine._cluster.links.get(endpoint)
        if link is None:
            return
        if not link.handshaken:
            victim.links_made += 1
            victim.links[endpoint].connected(victim.links_made)
            victim.handle(ev.LinkUp(endpoint, victim.links_made))
        self.say(life, msg.Welcome(link.nonce, 8, self.fact(life), ()))

    def say(self, life: NodeId, message: Message, to: NodeId = ME) -> None:
        """One honest frame."""
        self.victim.receive(encode(Frame(self.header(life, to), (message,))))

    def header(self, life: NodeId, to: NodeId = ME) -> Header:
        """The next place on its link."""
        seq = self.seqs[life] = self.seqs.get(life, -1) + 1
        return Header(CLUSTER, life, to, 1, seq)

    def keep_in(self) -> None:
        """Whoever was thrown out, or is down, comes back, or another one for him."""
        for at, life in enumerate(self.lives):
            cluster = self.victim.engine._cluster
            if life in cluster.left or self.dice.getrandbits(6) == 0:
                life = self.lives[at] = self.life()
            peer = cluster.peers.get(life)
            if peer is None or not (peer.up and peer.linked):
                self.introduce(life)

    # ---------------------------------------------------------------- bending

    def next_input(self) -> bytes:
        """A frame: mostly well formed and wicked, at times spoiled, at times said before."""
        dice = self.dice
        kind = dice.getrandbits(4)
        if kind == 0 and self.recent:
            return dice.choice(self.recent)  # a replay
        life = dice.choice(self.lives)
        many = 1 + (dice.getrandbits(2) if dice.getrandbits(1) else 0)
        said = tuple(self.bend(dice.choice(dice.choice(self.corpus))) for _ in range(many))
        header = self.header(life)
        if kind == 1:
            header = replace(
                header,
                sender=self.bent_life(),
                to=dice.choice((ME, ANYBODY, self.bent_life())),
                link=dice.choice((0, 1, 2, 2**32 - 1)),
                seq=dice.choice((0, 1, header.seq, header.seq + 7, 2**64 - 1)),
                published=dice.choice((0, 1, 2**64 - 1)),
            )
        elif kind == 2:
            header = replace(header, to=ANYBODY)
        data = encode(Frame(header, said))
        if kind in (3, 4):
            data = spoil(data, dice, self.recent or [data])
        self.recent.append(data)
        del self.recent[:-40]
        return data

    def bent_life(self) -> NodeId:
        """Somebody who matters here."""
        if self.dice.getrandbits(2) == 0:
            return ME
        if self.dice.getrandbits(3) == 0:
            return self.life()
        return self.dice.choice(self.lives)

    def bent_runs(self) -> Runs:
        """Births that were minted, some beyond, and at times all there are."""
        dice = self.dice
        top = max(self.victim.next_births.values())
        low = max(dice.choice((1, 1 + dice.getrandbits(16) % top, top - dice.getrandbits(4))), 1)
        ends = (low + 1, low + 3, top, top + 5, top + 2**32, 2**62)
        high = max(dice.choice(ends), low + 1)
        if dice.getrandbits(3) == 0:
            return tuple(range(low, low + 2 * dice.getrandbits(9) + 2))
        return (low, min(high, 2**62))

    def bend(self, value: Any) -> Any:
        """The same message about this node's own affairs."""
        if isinstance(value, msg.Row):
            return replace(value, owner=self.bent_life(), runs=self.bent_runs(), count=1)
        if isinstance(value, msg.Live):
            runs = self.bent_runs()
            births = {b: self.dice.choice((0, 1, 2**32 - 1)) for b in runs[::2][:50]}
            return replace(
                value, scope=self.scope(), owner=self.bent_life(), runs=runs, births=births
            )
        if type(value).__name__ == "Delta":
            return self.bent_delta(value)
        if not is_dataclass(value):
            return value
        changed: dict[str, Any] = {}
        for field in fields(value):
            held = getattr(value, field.name)
            if (bent := self.bent(field.name, str(field.type), held)) is not held:
                changed[field.name] = bent
        return replace(value, **changed) if changed and not isinstance(value, type) else value

    def bent(self, name: str, kind: str, held: Any) -> Any:
        """One field."""
        dice = self.dice
        if dice.getrandbits(3) == 0:
            return held
        if isinstance(held, str) and name in ("node", "owner", "target"):
            return self.bent_life()
        if name == "scope":
            return self.scope()
        if name in ("nonce", "echo", "answers", "id", "table") and kind == "int":
            return dice.choice((0, 1, 2, *self.victim.nonces))
        if name == "endpoint":
            return dice.choice((held, self.endpoint(self.bent_life()), MINE, "tcp://127.0.0.1:22"))
        if name == "scopes":
            return dice.choice((held, SCOPES, (DEFAULT_SCOPE,)))
        if name == "channel":
            return dice.choice("abc")
        if kind == "Runs":
            return self.bent_runs()
        if isinstance(held, tuple):
            return tuple(self.bend(item) for item in held)
        return self.bend(held)

    def bent_delta(self, delta: Any) -> Any:
        """Removals mostly, phantoms at times; the births of entries stay inside the runs."""
        runs = self.bent_runs()
        entries: dict[str, dict[str, int]] = {}
        extras: dict[int, tuple[int, str, bytes]] = {}
        if self.dice.getrandbits(1):
            for number, birth in enumerate(runs[::2][:40]):
                entries.setdefault("abc"[number % 3], {})[f"c{number}"] = birth
                if self.dice.getrandbits(2) == 0:
                    extras[birth] = (self.dice.choice((1, 2, 2**32 - 1)), "", b"\xc0")
        return replace(delta, owner=self.bent_life(), runs=runs, entries=entries, extras=extras)

    def scope(self) -> str:
        """Mostly an open one."""
        return self.dice.choice((*SCOPES, *SCOPES, "other"))


def run(seed: int, block: int, inputs: int) -> Counter[str]:
    """One block: a node that is born, attacked, and checked."""
    victim = Victim(Random(f"handler {seed} {block}"))
    attacker = Attacker(victim, messages(seed))
    outcomes: Counter[str] = Counter()
    for number in range(inputs):
        if number % 20 == 0:
            attacker.keep_in()
        outcomes["passed the decoder" if victim.receive(attacker.next_input()) else "refused"] += 1
        victim.live()
        victim.check()
        if number % CHECK_EACH == 0:
            victim.check_all()
    victim.check_all()
    return outcomes + victim.counters + victim.engine.counters
