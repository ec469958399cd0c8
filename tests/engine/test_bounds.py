"""What a hostile or busy cluster can make grow, and where it ends. Pure.

The list of all of it, with the tests of the rest, stands in docs/ARCHITECTURE.md.
"""

from __future__ import annotations

import random

from crdtpubsub.config import Config
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.introduction import MINE_MAX
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.codec import FRAME_BYTES_MAX, Encoder
from crdtpubsub.wire.messages import ANYBODY, Fact, Frame, Header

ME = NodeId(f"{1:032x}")


def engine(config: Config | None = None, *seeds: str) -> Engine:
    return Engine(
        ME,
        name="me",
        endpoint="tcp://127.0.0.1:1",
        seeds=seeds,
        config=config,
        dice=random.Random(1),
        now=0.0,
    )


def life(number: int) -> NodeId:
    return NodeId(f"{number + 1000:032x}")


def at(number: int) -> str:
    return f"tcp://127.0.0.1:{number + 1000}"


def said(by: NodeId, message: msg.Message, *, seq: int = 0, to: NodeId = ME) -> ev.Received:
    return ev.Received(Frame(Header(b"", by, to, 1, seq, 0), (message,)), 100)


def fact_of(number: int, *, endpoint: str | None = None, scopes: int = 1) -> Fact:
    names = (DEFAULT_SCOPE, *[f"{n:02}".ljust(255, "s") for n in range(scopes - 1)])
    return Fact(life(number), "n" * 255, endpoint or at(number), 0, tuple(sorted(names)))


def meet(node: Engine, number: int, now: float, fact: Fact | None = None) -> bool:
    """That life says HELLO, is dialled, and proves that it heard; whether it is held then."""
    fact = fact or fact_of(number)
    node.handle(said(fact.node, msg.Hello(fact_of(number), 7), to=ANYBODY), now)
    node.handle(ev.LinkUp(at(number), number + 1), now)
    hellos = [
        effect.message
        for effect in node.take()
        if isinstance(effect, ef.Greet)
        and effect.endpoint == at(number)
        and isinstance(effect.message, msg.Hello)
    ]
    for hello in hellos[-1:]:
        node.handle(said(fact.node, msg.Welcome(hello.nonce, 8, fact, ()), seq=1), now)
    return fact.node in [peer.node for peer in node.peers()]


def test_ten_thousand_lives_of_one_host_are_no_more_than_may_be_held() -> None:
    node = engine(Config(peers_max=10))
    for number in range(500):
        meet(node, number, now=0.1)
    assert len(node.peers()) == 10
    assert node.counters["peers_full"] == 490
    assert len(node._cluster.links) <= 10


def test_a_newcomer_takes_the_place_of_who_is_down_the_longest() -> None:
    node = engine(Config(peers_max=3, forget_after_s=1200.0))
    assert all(meet(node, number, now=0.1) for number in range(3))
    for number, when in ((1, 1.0), (0, 2.0)):
        node.handle(ev.LinkDown(at(number)), when)
        node.handle(ev.LinkRefused(at(number)), when)
    for step in range(40):  # suspicions run out
        node.handle(ev.Tick(), 2.0 + step)
    held = {peer.node: peer.state for peer in node.peers()}
    assert held[life(0)] == held[life(1)] == "down"
    assert meet(node, 7, now=43.0)
    assert life(1) not in [peer.node for peer in node.peers()]
    assert node.counters["peers_replaced"] == 1


def test_addresses_that_lead_elsewhere_are_not_collected() -> None:
    """Each HELLO from a new address, answered as another, left an alias for ever."""
    node = engine()
    for number in range(300):
        meet(node, number, now=0.1, fact=fact_of(7, endpoint="tcp://127.0.0.1:9"))
    cluster = node._cluster
    assert len(cluster.aliases) == 0
    assert len(cluster.links) <= 2


def test_addresses_said_to_be_my_own_are_few() -> None:
    """Who knows the nonce of my link can say it in my name, from ever new addresses."""
    node = engine()
    for number in range(MINE_MAX + 100):
        node.handle(said(life(number), msg.Hello(fact_of(number), 7), to=ANYBODY), 0.1)
        node.handle(ev.LinkUp(at(number), number + 1), 0.1)
        nonce = node._cluster.links[at(number)].nonce
        mine = Fact(ME, "me", at(number), 0, (DEFAULT_SCOPE,))
        node.handle(said(ME, msg.Hello(mine, nonce), to=ANYBODY), 0.1)
        node.take()
    cluster = node._cluster
    assert len(cluster.mine) == MINE_MAX
    assert len(cluster.links) == 0


def test_goodbyes_of_many_lives_are_forgotten_in_their_order() -> None:
    node = engine()
    for number in range(9000):
        node.handle(said(life(number), msg.Goodbye()), 0.1)
    assert len(node._cluster.left) <= 4096


def test_a_greeting_fits_into_a_frame_whoever_is_known() -> None:
    """500 lives with 64 scopes of 255 bytes each were 8 MB in one frame: the node was closed."""
    node = engine()
    for number in range(60):
        assert meet(node, number, 0.1, fact_of(number, scopes=64))
    node.handle(said(life(99), msg.Hello(fact_of(99), 7), to=ANYBODY), 0.1)
    node.handle(ev.LinkUp(at(99), 99), 0.1)
    welcomes = [
        effect.message
        for effect in node.take()
        if isinstance(effect, ef.Greet) and isinstance(effect.message, msg.Welcome)
    ]
    (welcome,) = welcomes
    assert 0 < len(welcome.known) < 60
    assert len(Encoder().message(welcome)) < FRAME_BYTES_MAX


def test_an_owner_with_as_many_members_as_may_be_gets_no_more() -> None:
    node = engine(Config(owner_members_max=100))
    assert meet(node, 1, now=0.1)
    her = MemberSet(life(1))
    told = [her.join(f"room-{n % 7}", f"c{n}") for n in range(150)]
    for seq, (_, births) in enumerate(told, start=2):
        deltas = msg.Deltas(DEFAULT_SCOPE, (her.delta(life(1), births),))
        node.handle(said(life(1), deltas, seq=seq), 0.2)
    mine = node.set_of(DEFAULT_SCOPE)
    assert mine.size(life(1)) == 100
    assert node.counters["owner_full"] == 50

    # What goes makes room, and what was left out is asked for and comes.
    _, gone = her.remove(life(1), (1, 41))
    node.handle(said(life(1), msg.Deltas(DEFAULT_SCOPE, (her.delta(life(1), gone),)), seq=152), 0.3)
    assert mine.size(life(1)) == 60
    rest = her.delta(life(1), (101, 131))
    node.handle(said(life(1), msg.Deltas(DEFAULT_SCOPE, (rest,)), seq=153), 0.3)
    assert mine.size(life(1)) == 90
