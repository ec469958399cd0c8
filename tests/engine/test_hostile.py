"""What a peer may say and what comes of it: each attack as the shortest story that shows it.

The attacker holds the secret, if there is one: he is admitted, and knows the protocol.
"""

from __future__ import annotations

import random

import pytest

from crdtpubsub.config import Config
from crdtpubsub.crdt.admission import JUMP_MAX, RUNS_MAX
from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.addresses import is_local
from crdtpubsub.engine.antientropy import SEGMENT_BIRTHS, SEGMENTS_MAX, segment_count
from crdtpubsub.engine.cluster import INCARNATION_JUMP_MAX
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.inbound import OVERRULED_S
from crdtpubsub.engine.introduction import MINE_MAX
from crdtpubsub.engine.peers import WELCOMES_PER_S
from crdtpubsub.engine.slicing import slices
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.messages import ANYBODY, Fact, Frame, Header
from tests.engine.test_stories import (
    HER,
    HERS,
    HIM,
    ME,
    MINE,
    delivered,
    engine,
    fact_of,
    nonce_on,
    publication,
    said,
)

HIS = "tcp://127.0.0.1:3"
U32 = 2**32 - 1


def met(node: Engine, life: NodeId, endpoint: str, link: int, now: float = 0.1) -> None:
    """A life is admitted and linked; its next frame is number 2 of its link 1."""
    fact = fact_of(life, endpoint)
    node.handle(said(life, msg.Hello(fact, 7), to=ANYBODY), now)
    node.handle(ev.LinkUp(endpoint, link), now)
    node.handle(said(life, msg.Welcome(nonce_on(node, endpoint), 8, fact, ()), seq=1), now)
    node.take()


def two(node: Engine) -> None:
    """She is wicked; he is honest, and she speaks in his name."""
    met(node, HER, HERS, 1)
    met(node, HIM, HIS, 2)


def asked(node: Engine, kind: type[msg.Message]) -> list[msg.Message]:
    """What was said of that kind since the last time."""
    return [
        e.message
        for e in node.take()
        if isinstance(e, ef.Send | ef.Greet) and isinstance(e.message, kind)
    ]


def peer(node: Engine, life: NodeId) -> Fact:
    return next(p.fact for p in node.peers() if p.node == life)


def answer(node: Engine, life: NodeId, fact: Fact, seq: int, now: float, link: int = 1) -> None:
    """He answers the probe that is on its way to him, or that her accusation sends."""
    node.handle(said(HER, msg.Accuse(life, U32, msg.Opinion.SUSPECT), seq=900 + seq), now)
    probes = [
        e.message
        for e in node.take()
        if isinstance(e, ef.Send) and isinstance(e.message, msg.Probe) and HIS in e.endpoints
    ]
    node.handle(said(life, msg.Ack(probes[-1].nonce, fact), seq=seq, link=link), now)


# ---------------------------------------------------------------- counters that were poisoned


def test_births_that_others_claim_are_passed_over() -> None:
    """She told everybody that all my births were seen, and not live. What I joined next would
    have been taken for removed by all, for ever."""
    node = engine()
    two(node)
    lie = Delta(ME, (1, 1000), {})
    node.handle(said(HER, msg.Deltas(DEFAULT_SCOPE, (lie,)), seq=2), 0.2)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.3)
    assert node.members(DEFAULT_SCOPE, "room") == ((ME, "alice", 1000),)
    assert node.set_of(DEFAULT_SCOPE).seen(ME) == (1, 1001)
    other = MemberSet(HIM)  # he believed her
    other.hold(ME)
    other.merge(lie)
    change = other.merge(node.set_of(DEFAULT_SCOPE).delta(ME, (1, 2**62)))
    assert [row[1] for row in change.joined] == ["alice"]


def test_a_row_that_claims_births_of_mine_is_heard_too() -> None:
    """The lie itself went past me; an honest node that believed it says so in its row."""
    node = engine()
    two(node)
    row = msg.Row(ME, (1, 500), 0, 0)
    node.handle(said(HIM, msg.Rows(DEFAULT_SCOPE, 1, (row,), reply=True), seq=2), 0.2)
    assert node.set_of(DEFAULT_SCOPE).next_birth == 500


def test_nobody_uses_up_the_births_there_are() -> None:
    """Claimed up to the last one: I go on 2**32 at a time, once a second, and so do others."""
    node = engine()
    two(node)
    for seq in range(2, 200):
        lie = Delta(ME, (1, 2**62), {})
        node.handle(said(HER, msg.Deltas(DEFAULT_SCOPE, (lie,)), seq=seq), 0.2 + seq / 1000)
    assert node.set_of(DEFAULT_SCOPE).next_birth == 1 + JUMP_MAX
    node.handle(said(HER, msg.Deltas(DEFAULT_SCOPE, (Delta(HIM, (1, 2**62), {}),)), seq=201), 0.5)
    assert node.set_of(DEFAULT_SCOPE).seen(HIM) == (1, 1 + JUMP_MAX)


def test_honest_births_beyond_a_jump_are_reached_in_steps() -> None:
    """He had to pass over more than 2**32 while we did not hear him."""
    here = MemberSet(ME)
    here.hold(HIM)
    far = 3 * JUMP_MAX + 7
    his = Delta(HIM, (1, far + 1), {"room": {"bob": far}})
    steps = 0
    while here.size(HIM) == 0:
        here.merge(his)
        steps += 1
        assert steps < 10
    here.check()
    assert here.seen(HIM) == (1, far + 1)


def test_a_fact_that_jumps_is_refused_and_one_that_stuck_is_undone_by_his_own_answers() -> None:
    """With incarnation 2**32 - 1 in his name he could never again say where he listens."""
    node = engine()
    two(node)
    his = fact_of(HIM, HIS)
    lie = Fact(HIM, "liar", "tcp://127.0.0.1:66", U32, (DEFAULT_SCOPE,))
    node.handle(said(HIM, msg.Facts((lie,)), seq=2), 0.2)
    node.handle(said(HER, msg.Facts((lie,)), seq=2), 0.2)
    assert peer(node, HIM) == his
    assert node.counters["fact_refused"] == 1
    small = Fact(HIM, "liar", HIS, INCARNATION_JUMP_MAX, ())
    node.handle(said(HIM, msg.Facts((small,)), seq=3), 0.3)
    assert peer(node, HIM) == small, "within a jump nobody can tell"
    assert not node.set_of(DEFAULT_SCOPE).holds(HIM)
    node.handle(ev.Tick(), 1.0)
    answer(node, HIM, his, 4, 2.0)
    assert peer(node, HIM) == small, "one answer may be late"
    answer(node, HIM, his, 5, 3.0)
    assert peer(node, HIM) == his
    assert node.set_of(DEFAULT_SCOPE).holds(HIM)
    assert node.counters["fact_undone"] == 1


def test_an_accusation_from_the_far_future_does_not_end_refutation() -> None:
    node = engine()
    two(node)
    for second in range(3):
        accuse = msg.Accuse(ME, U32, msg.Opinion.DOWN)
        node.handle(said(HER, accuse, seq=2 + second), 1.0 + 1.1 * second)
    assert node.fact.incarnation == 3, "one at a time, once a second"
    assert node.counters["refuted"] == 3


@pytest.mark.parametrize(("link", "seq"), [(U32, 0), (1, 2**64 - 1)])
def test_a_forged_place_does_not_make_him_late_for_ever(link: int, seq: int) -> None:
    """One frame in his name from the last link there is: all he said was late, and dropped."""
    node = engine()
    two(node)
    his = fact_of(HIM, HIS)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.2)
    node.handle(said(HIM, msg.Echo(1), link=link, seq=seq), 0.3)
    node.take()
    node.handle(said(HIM, publication(1), seq=2), 0.4)
    assert delivered(node) == []
    assert node.counters["publications_late"] == 1
    answer(node, HIM, his, 3, 1.0)
    answer(node, HIM, his, 4, 1.0 + OVERRULED_S + 0.1)
    assert asked(node, msg.Taken) == [msg.Taken(1, 4)], "else he is out of credit for minutes"
    node.handle(said(HIM, publication(2), seq=5), 4.0)
    assert delivered(node) == [b"2"]


def test_a_replay_of_an_older_link_delivers_nothing_and_changes_no_place() -> None:
    node = engine()
    two(node)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.2)
    node.take()
    node.handle(said(HIM, publication(1), link=1, seq=2), 0.3)
    node.handle(said(HIM, publication(2), link=2, seq=0), 0.4)
    assert delivered(node) == [b"1", b"2"]
    for _ in range(5):
        node.handle(said(HIM, publication(1), link=1, seq=2), 0.5)
    assert delivered(node) == []
    node.handle(said(HIM, publication(3), link=2, seq=1), 0.6)
    assert delivered(node) == [b"3"]


# ---------------------------------------------------------------- claims


def test_p22_what_is_said_of_my_own_members_changes_none_of_them() -> None:
    """A forged join of mine, and metadata of mine: only the owner adds."""
    node = engine()
    two(node)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.2)
    forged = Delta(ME, (1, 2), {"room": {"mallory": 1}})
    loud = Delta(ME, (1, 2), {"room": {"alice": 1}}, {1: (U32, "", b"\xc3")})
    for seq, delta in enumerate((forged, loud)):
        node.handle(said(HER, msg.Deltas(DEFAULT_SCOPE, (delta,)), seq=2 + seq), 0.3)
    assert node.members(DEFAULT_SCOPE, "room") == ((ME, "alice", 1),)
    assert node.set_of(DEFAULT_SCOPE).extra(ME, 1)[0] == 0


def test_removal_by_anybody_is_allowed_and_the_client_hears_of_it_once() -> None:
    """What a holder of the secret can do: it is what `del_channel` is made of."""
    node = engine()
    two(node)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.2)
    node.take()
    for seq in (2, 3):
        live = msg.Live(DEFAULT_SCOPE, ME, (1, 2**62), {})
        node.handle(said(HER, live, seq=seq), 0.3)
    exits = [e for e in node.take() if isinstance(e, ef.Exited)]
    assert [e.client for e in exits] == ["alice"]
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.4)
    assert node.members(DEFAULT_SCOPE, "room") != ()


def test_an_unknown_writer_is_stored_nowhere() -> None:
    node = engine()
    two(node)
    ghost = NodeId("f" * 32)
    deltas = msg.Deltas(DEFAULT_SCOPE, (Delta(ghost, (1, 9), {"room": {"x": 1}}),))
    live = msg.Live(DEFAULT_SCOPE, ghost, (1, 9), {3: 0})
    sums = msg.Sums(DEFAULT_SCOPE, ghost, (1, 9), (5,))
    rows = msg.Rows(DEFAULT_SCOPE, 1, (msg.Row(ghost, (1, 9), 1, 1),), reply=True)
    pull = msg.Pull(DEFAULT_SCOPE, ghost, (), 1)
    messages: tuple[msg.Message, ...] = (deltas, live, sums, rows, pull)
    for seq, message in enumerate(messages):
        node.handle(said(HER, message, seq=2 + seq), 0.3)
    assert not node.set_of(DEFAULT_SCOPE).holds(ghost)
    assert node.channels(DEFAULT_SCOPE) == ()
    assert [p.node for p in node.peers()] == [HER, HIM]


def test_my_own_words_sent_back_to_me_do_not_cost_me_a_link() -> None:
    """She knows the nonce I said to her; echoed in my name it looked like a dial of myself."""
    node = engine()
    node.handle(said(HER, msg.Hello(fact_of(HER, HERS), 7), to=ANYBODY), 0.1)
    node.handle(ev.LinkUp(HERS, 1), 0.1)
    nonce = nonce_on(node, HERS)
    node.handle(said(HER, msg.Welcome(nonce, 8, fact_of(HER, HERS), ()), seq=1), 0.1)
    node.handle(said(ME, msg.Hello(node.fact, nonce), to=ANYBODY), 0.2)
    assert ef.Disconnect(HERS) not in node.take()
    assert node.peers()[0].linked


def test_somebody_else_at_his_address_does_not_leave_him_linked_to_nothing() -> None:
    """A life that advertises another endpoint answered on the link to his: the link was dropped,
    and all that was said to him went nowhere, unnoticed."""
    node = engine()
    two(node)
    node.handle(ev.LinkDown(HIS), 0.2)
    node.handle(ev.LinkUp(HIS, 5), 0.3)
    nonce = nonce_on(node, HIS)
    node.handle(said(HER, msg.Welcome(nonce, 8, fact_of(HER, HERS), ()), seq=2), 0.4)
    assert ef.Disconnect(HIS) not in node.take()


# ---------------------------------------------------------------- dials


def test_a_stranger_from_elsewhere_that_advertises_loopback_is_refused() -> None:
    """Its HELLO would have this node knock at the services of its own machine."""
    node = Engine(ME, name="me", endpoint="tcp://10.0.0.1:1", dice=random.Random(1), now=0.0)
    for number, endpoint in enumerate(
        (
            "tcp://127.0.0.1:22",
            "tcp://localhost:22",
            "tcp://[::1]:22",
            "tcp://127.1:22",
            "tcp://0x7f.0.0.1:22",
            "tcp://2130706433:22",
            "tcp://0.0.0.0:22",
            "ipc:///run/x.sock",
            "tcp://[::ffff:127.0.0.1]:22",
        )
    ):
        life = NodeId(f"{number + 10:032x}")
        node.handle(said(life, msg.Hello(fact_of(life, endpoint), 7), to=ANYBODY), 0.1)
        assert not [e for e in node.take() if isinstance(e, ef.Connect)], endpoint
    assert node.counters["loopback_refused"] == 9
    met(node, HER, "tcp://10.0.0.2:1", 1)
    node.handle(said(HER, msg.Facts((fact_of(HIM, "tcp://127.0.0.1:22"),)), seq=2), 0.3)
    moved = Fact(HER, "peer", "tcp://127.0.0.1:22", 1, (DEFAULT_SCOPE,))
    node.handle(said(HER, msg.Facts((moved,)), seq=3), 0.3)
    assert not [e for e in node.take() if isinstance(e, ef.Connect)]
    assert not is_local("tcp://10.0.0.2:1")
    assert not is_local("tcp://node-7.example:1")
    assert not is_local("tcp://[2001:db8::1]:1")


def test_a_flood_of_hellos_dials_few_and_lets_them_go() -> None:
    """Each names another's endpoint: the victim of it is he who listens there."""
    node = Engine(ME, name="me", endpoint="tcp://10.0.0.1:1", dice=random.Random(1), now=0.0)
    dialled = dropped = 0
    now = 0.1
    for number in range(20_000):
        life = NodeId(f"{number + 10:032x}")
        fact = fact_of(life, f"tcp://10.{number % 250}.{number // 250}.1:80")
        node.handle(said(life, msg.Hello(fact, 7), to=ANYBODY), now)
        now += 0.001
        if number % 50 == 0:
            node.handle(ev.Tick(), now)
        effects = node.take()
        dialled += sum(isinstance(e, ef.Connect) for e in effects)
        dropped += sum(isinstance(e, ef.Disconnect) for e in effects)
    assert dialled <= 256 * (20 / 12 + 1)
    assert dialled - dropped <= 256
    assert node.counters["strangers_refused"] > 15_000


def test_one_liar_leaves_room_for_other_candidates() -> None:
    node = engine()
    two(node)
    many = tuple(fact_of(NodeId(f"{n + 10:032x}"), f"tcp://10.0.0.1:{n + 1}") for n in range(5000))
    node.handle(said(HER, msg.Facts(many), seq=2), 0.2)
    assert len([e for e in node.take() if isinstance(e, ef.Connect)]) == 128
    honest = fact_of(NodeId("a" * 32), "tcp://10.0.0.2:1")
    node.handle(said(HIM, msg.Facts((honest,)), seq=2), 0.3)
    assert ef.Connect(honest.endpoint) in node.take()


def test_lives_that_a_liar_answers_for_are_admitted_up_to_a_limit() -> None:
    config = Config(peers_max=40)
    node = Engine(ME, name="me", endpoint=MINE, config=config, dice=random.Random(1), now=0.0)
    met(node, HER, HERS, 1)
    rows = tuple(msg.Row(NodeId(f"{n + 10:032x}"), (1, 2), 1, 1) for n in range(100))
    node.handle(said(HER, msg.Rows(DEFAULT_SCOPE, 1, rows, reply=True), seq=2), 0.2)
    node.handle(ev.Tick(), 0.9)
    for seq, probe in enumerate(asked(node, msg.ProbeFor)):
        assert isinstance(probe, msg.ProbeFor)
        fact = fact_of(probe.target, f"tcp://10.0.0.1:{seq + 1}")
        said_by_her = msg.RelayedAck(probe.nonce, probe.target, fact)
        node.handle(said(HER, said_by_her, seq=3 + seq), 1.0)
    assert len(node.peers()) == 40
    assert node.counters["peers_full"] == 61


def test_addresses_that_turn_out_to_be_mine_or_aliases_are_few() -> None:
    node = engine()
    two(node)
    for number in range(500):
        life, endpoint = NodeId(f"{number + 10:032x}"), f"tcp://10.0.0.1:{number + 1}"
        now = 1.0 + number * 20
        node.handle(said(life, msg.Hello(fact_of(life, endpoint), 7), to=ANYBODY), now)
        node.handle(ev.LinkUp(endpoint, number + 10), now)
        nonce = nonce_on(node, endpoint)
        if number % 2:
            node.handle(said(ME, msg.Hello(node.fact, nonce), to=ANYBODY), now)
        else:
            welcome = msg.Welcome(nonce, 8, fact_of(HER, HERS), ())
            node.handle(said(HER, welcome, seq=number + 2), now)
        node.take()
    assert len(node._cluster.mine) <= MINE_MAX
    assert not node._cluster.aliases
    assert len(node._cluster.links) < 100


# ---------------------------------------------------------------- answers that cost


def crowd(node: Engine, births: int) -> None:
    """So many members of mine."""
    for meta in (None, b"\x01"):  # at version 1
        for number in range(births):
            node.handle(ev.Join(DEFAULT_SCOPE, "room", f"c{number}", meta=meta), 0.2)
    node.handle(ev.Flush(DEFAULT_SCOPE), 0.2)
    node.take()


def units(node: Engine) -> int:
    """Births, rows and sums that were said since the last time."""
    total = 0
    for effect in node.take():
        match getattr(effect, "message", None):
            case msg.Deltas(_, deltas):
                total += sum(len(c) for d in deltas for c in d.entries.values())
            case msg.Live(_, _, _, births):
                total += len(births)
            case msg.Rows(_, _, rows):
                total += len(rows or ())
            case msg.Sums(_, _, _, sums):
                total += len(sums)
    return total


@pytest.mark.parametrize("kind", ["pull", "sums", "rows", "live"])
def test_a_flood_of_questions_is_answered_up_to_a_budget(kind: str) -> None:
    """Sixty bytes ask for 1 600 births: a frame of such questions held the node for seconds."""
    node = engine()
    two(node)
    crowd(node, 3000)
    seen = node.set_of(DEFAULT_SCOPE).seen(ME)
    questions: dict[str, msg.Message] = {
        "pull": msg.Pull(DEFAULT_SCOPE, ME, (1, 2**62), 1),
        "sums": msg.Sums(DEFAULT_SCOPE, ME, seen, (1,) * segment_count(seen)),
        "rows": msg.Rows(DEFAULT_SCOPE, 1, (msg.Row(ME, seen, 0, 1),) * 500, reply=False),
        "live": msg.Live(DEFAULT_SCOPE, ME, seen, dict.fromkeys(range(1, 3001), 0)),
    }
    question = questions[kind]
    said_units = 0
    for seq in range(3000):
        node.handle(said(HER, question, seq=2 + seq), 0.3)
        said_units += units(node)
    assert node.counters["over_budget"] > 0 or kind == "rows"
    assert said_units < 520_000
    node.handle(said(HIM, msg.Pull(DEFAULT_SCOPE, ME, (1, 2**62), 9), seq=2), 0.3)
    assert units(node) == 1600, "others are served as before"
    node.handle(said(HER, msg.Pull(DEFAULT_SCOPE, ME, (1, 2**62), 9), seq=3002), 2.0)
    assert units(node) == 1600, "and so is she, when time has passed"


def test_a_row_said_a_thousand_times_is_compared_once() -> None:
    node = engine()
    two(node)
    crowd(node, 100)
    lie = msg.Row(ME, node.set_of(DEFAULT_SCOPE).seen(ME), 5, 5)
    first = msg.Row(HER, (1, 50), 3, 3)
    rows = msg.Rows(DEFAULT_SCOPE, 1, (lie, first) * 1000, reply=True)
    node.handle(said(HER, rows, seq=2), 0.3)
    assert len(asked(node, msg.Pull)) == 1


def test_sums_over_more_segments_than_anybody_says_are_refused() -> None:
    node = engine()
    two(node)
    runs = (1, SEGMENT_BIRTHS * (SEGMENTS_MAX + 5))
    sums = msg.Sums(DEFAULT_SCOPE, ME, runs, (1,) * segment_count(runs))
    node.handle(said(HER, sums, seq=2), 0.3)
    assert node.counters["sums_misfit"] == 1


def test_runs_without_end_cost_what_they_weigh() -> None:
    """Each run that did not fit was tried against all that were seen."""
    here = MemberSet(ME)
    here.hold(HIM)
    here.merge(Delta(HIM, tuple(range(1, 4 * RUNS_MAX + 1, 2)), {}))
    assert len(here.seen(HIM)) <= 2 * RUNS_MAX
    here.merge(Delta(HIM, tuple(range(1000, 400_000, 2)), {}))
    assert len(here.seen(HIM)) <= 2 * RUNS_MAX
    here.check()


def test_hellos_are_welcomed_a_few_times_a_second() -> None:
    """A WELCOME names up to 500 lives: it is 400 times as long as the HELLO."""
    node = engine()
    two(node)
    for _ in range(1000):
        node.handle(said(HER, msg.Hello(fact_of(HER, HERS), 7), to=ANYBODY), 1.5)
    assert len(asked(node, msg.Welcome)) <= WELCOMES_PER_S
    assert node.counters["welcomes_refused"] > 900


def test_requests_to_probe_are_passed_on_up_to_a_budget() -> None:
    node = engine()
    two(node)
    for seq in range(5000):
        node.handle(said(HER, msg.ProbeFor(seq, HIM), seq=2 + seq), 0.3)
    assert len(asked(node, msg.Probe)) <= 260
    assert len(node._liveness._relays) <= 260


def test_each_costly_question_is_a_bite_of_its_own() -> None:
    """Whoever waits for the lock waits for one answer, not for a frame full of them."""
    pull = msg.Pull(DEFAULT_SCOPE, ME, (1, 9), 1)
    frame = Frame(Header(b"", HER, ME, 1, 2), (msg.Echo(1), pull, pull, msg.Echo(2), pull))
    parts = list(slices(frame, 128))
    assert [len(part.messages) for part in parts] == [2, 1, 2]
    assert [part.part for part in parts] == [0, 1, 2]
    assert sum((part.messages for part in parts), ()) == frame.messages


def test_what_differs_is_found_although_billions_of_births_were_passed_over() -> None:
    """Sums go over a part of so many births. A part by chance met a member once in 256 rounds."""
    node = engine()
    two(node)
    lie = Delta(ME, (1, 2**33), {})
    node.handle(said(HER, msg.Deltas(DEFAULT_SCOPE, (lie,)), seq=2), 0.2)
    node.handle(ev.Join(DEFAULT_SCOPE, "room", "alice"), 0.3)
    node.take()
    ((_, _, birth),) = node.members(DEFAULT_SCOPE, "room")
    row = msg.Row(ME, node.set_of(DEFAULT_SCOPE).seen(ME), 0, 0)  # she has no alice
    for seq, now in ((3, 0.4), (4, 1.6)):  # hearsay is acted on when it is said again
        node.handle(said(HER, msg.Rows(DEFAULT_SCOPE, 1, (row,), reply=True), seq=seq), now)
    (sums,) = asked(node, msg.Sums)
    assert isinstance(sums, msg.Sums)
    assert sums.runs[0] <= birth < sums.runs[-1]
    assert any(sums.sums)
