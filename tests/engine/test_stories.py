"""Bugs that were found by reading, each as the shortest story that shows it. Pure."""

from __future__ import annotations

import random
from collections import Counter

from crdtpubsub.config import Config
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.antientropy import SEGMENTS_MAX, AntiEntropy, segment_count, segments
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.inbound import STRANGERS_MAX, Inbound
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.messages import ANYBODY, Fact, Frame, Header

ME, HER, HIM = (NodeId(f"{number:032x}") for number in (1, 2, 3))
MINE, HERS = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"


def engine() -> Engine:
    return Engine(ME, name="me", endpoint=MINE, dice=random.Random(1), now=0.0)


def said(
    by: NodeId,
    message: msg.Message,
    *,
    link: int = 1,
    seq: int = 0,
    to: NodeId = ME,
    published: int = 0,
) -> ev.Received:
    return ev.Received(Frame(Header(b"", by, to, link, seq, published), (message,)), 100)


def fact_of(life: NodeId, endpoint: str) -> Fact:
    return Fact(life, "peer", endpoint, 0, (DEFAULT_SCOPE,))


def nonce_on(node: Engine, endpoint: str) -> int:
    """What this node last asked on that link."""
    hellos = [e.message for e in node.take() if isinstance(e, ef.Greet) and e.endpoint == endpoint]
    (hello,) = [m for m in hellos if isinstance(m, msg.Hello)]
    return hello.nonce


def linked(node: Engine, now: float = 0.1) -> None:
    """Her link 1 to this node and its own to her are up; her next frame is number 2."""
    her = fact_of(HER, HERS)
    node.handle(said(HER, msg.Hello(her, 7), to=ANYBODY), now)
    node.handle(ev.LinkUp(HERS, 1), now)
    welcome = msg.Welcome(nonce_on(node, HERS), 8, her, ())
    node.handle(said(HER, welcome, seq=1), now)
    (peer,) = node.peers()
    assert peer.linked
    node.take()


def publication(number: int) -> msg.Publication:
    return msg.Publication(DEFAULT_SCOPE, "room", str(number).encode())


def delivered(node: Engine) -> list[bytes]:
    return [e.publication.payload for e in node.take() if isinstance(e, ef.Deliver)]


def test_a_second_name_of_a_seed_does_not_make_the_first_link_stale() -> None:
    """She dials me twice, as 127.0.0.1 and as localhost. She drops the later one again; what she
    says on the earlier one was late for ever: publications dropped, no credit released."""
    node = engine()
    linked(node)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.2)
    node.handle(said(HER, msg.Hello(fact_of(HER, HERS), 9), link=2, to=ANYBODY), 0.3)
    node.take()
    node.handle(said(HER, publication(1), seq=2), 0.4)
    assert delivered(node) == [b"1"]
    assert not node.counters["late_frame"]


def test_a_new_link_ends_the_old_one_with_its_first_frame_to_me() -> None:
    inbound = Inbound()
    assert inbound.place(HER, 1, 0, 0) == (False, False)
    assert not inbound.greeted(HER, 2, 0)
    assert not inbound.greeted(HER, 2, 1)
    assert inbound.place(HER, 1, 1, 0) == (False, False)
    assert inbound.place(HER, 2, 2, 0) == (False, False)
    assert inbound.place(HER, 1, 2, 0) == (True, False)
    assert inbound.greeted(HER, 2, 4), "number 3 was lost"
    assert inbound.place(HER, 3, 1, 0) == (False, True), "its number 0 was lost"


def test_what_was_taken_is_told_again_on_a_new_link() -> None:
    """My Taken went down with my link. She was out of credit, so she sent no more, so I never
    told her again: for minutes, until probes alone made 64 kB."""
    node = engine()
    linked(node)
    node.handle(ev.LinkDown(HERS), 0.2)
    big = ev.Received(Frame(Header(b"", HER, ME, 1, 2), (publication(1),)), 1024 * 1024)
    node.handle(big, 0.3)
    node.take()
    node.handle(ev.LinkUp(HERS, 2), 0.4)
    welcome = msg.Welcome(nonce_on(node, HERS), 8, fact_of(HER, HERS), ())
    node.handle(said(HER, welcome, seq=3), 0.5)
    told = [e.message for e in node.take() if isinstance(e, ef.Send)]
    assert msg.Taken(1, 3) in told or msg.Taken(1, 2) in told


def test_a_welcome_that_comes_after_the_link_broke_makes_no_link() -> None:
    node = engine()
    her = fact_of(HER, HERS)
    node.handle(said(HER, msg.Hello(her, 7), to=ANYBODY), 0.1)
    node.handle(ev.LinkUp(HERS, 1), 0.1)
    nonce = nonce_on(node, HERS)
    node.handle(ev.LinkDown(HERS), 0.2)
    node.handle(said(HER, msg.Welcome(nonce, 8, her, ()), seq=1), 0.3)
    assert not any(peer.linked for peer in node.peers())


def test_sums_over_all_births_there_could_be_cost_nothing() -> None:
    """Their segments would have been 2**50 tuples, made under the lock."""
    members = MemberSet(ME)
    members.hold(HER)
    paths: Counter[str] = Counter()
    gossip = AntiEntropy(
        DEFAULT_SCOPE, members, Config(), random.Random(1), lambda path: paths.update([path])
    )
    assert gossip.on_sums(msg.Sums(DEFAULT_SCOPE, HER, (1, 2**62), (1, 2, 3))) == []
    assert paths["sums_misfit"] == 1
    # A life that claims many is believed, as far as it may jump: to compare them is cheap, too.
    members.merge(members.delta(HER, ()).__class__(HER, (1, 2**62), {}))
    theirs = msg.Row(HER, members.seen(HER), 1, 1)
    rows = msg.Rows(DEFAULT_SCOPE, 1, (theirs,), reply=False)
    compared = gossip.compare(rows, HER, [ME, HER], 1.0, gap_free=True)
    (sums,) = compared.messages
    assert isinstance(sums, msg.Sums)
    assert 0 < len(sums.sums) <= SEGMENTS_MAX
    assert segment_count(sums.runs) == len(sums.sums)


def test_segments_are_counted_as_they_are_cut() -> None:
    for runs in [(), (1, 2), (1, 4096), (1, 4097), (1, 10, 20, 4097), (4095, 4097, 9000, 9001)]:
        assert segment_count(runs) == len(segments(runs))


def test_strangers_leave_no_memory() -> None:
    """A frame's sender is what the frame says."""
    node = engine()
    linked(node)
    for number in range(10, 10 + 3 * STRANGERS_MAX):
        life = NodeId(f"{number:032x}")
        node.handle(said(life, msg.Goodbye() if number % 2 else publication(1)), 0.2)
    node.handle(said(HER, publication(1), seq=2), 0.3)
    for life in (HER, HIM):
        node.handle(said(life, msg.Accuse(HIM, 0, msg.Opinion.DOWN), seq=3), 0.3)
    node.handle(ev.Tick(), 0.9)
    assert len(node._cluster.inbound) <= 2 * STRANGERS_MAX
    assert node._cluster.inbound.taken(HER) == (1, 3), "who is held is not forgotten"


def test_a_wrong_address_of_a_life_is_dialled_no_longer_than_it_is_a_candidate() -> None:
    node = engine()
    linked(node)
    node.handle(said(HER, msg.Facts((fact_of(HIM, "tcp://127.0.0.1:99"),)), seq=2), 0.2)
    node.take()
    his = fact_of(HIM, "tcp://127.0.0.1:3")
    node.handle(said(HIM, msg.Hello(his, 7), to=ANYBODY), 0.3)
    node.handle(ev.LinkUp(his.endpoint, 2), 0.3)
    node.handle(said(HIM, msg.Welcome(nonce_on(node, his.endpoint), 8, his, ()), seq=1), 0.4)
    assert ef.Disconnect("tcp://127.0.0.1:99") in node.take()


def test_seeds_are_dialled_at_once() -> None:
    """The first tick waited 100 ms, and two nodes met no sooner."""
    seed = "tcp://seed:1"
    node = Engine(ME, name="me", endpoint=MINE, seeds=(seed,), dice=random.Random(1), now=7.0)
    assert node.next_deadline() <= 7.0
    node.handle(ev.Tick(), 7.0)
    assert seed in [effect.endpoint for effect in node.take() if isinstance(effect, ef.Connect)]


def test_a_seed_that_says_it_listens_where_i_do_stays_a_seed() -> None:
    """It was admitted without a link, and its address taken for another name of that life."""
    seed = "tcp://seed:1"
    node = Engine(ME, name="me", endpoint=MINE, seeds=(seed,), dice=random.Random(1), now=0.0)
    node.handle(ev.Tick(), 1.0)
    node.handle(ev.LinkUp(seed, 1), 1.1)
    welcome = msg.Welcome(nonce_on(node, seed), 8, fact_of(HER, MINE), ())
    node.handle(said(HER, welcome, seq=1), 1.2)
    assert node.peers() == ()
    assert node.counters["foreign_claim"] == 1
    assert ef.Disconnect(seed) not in node.take()
