"""What is open of confirmed publications is bounded, at one owner and in all."""

from __future__ import annotations

import pytest

from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.errors import QueueFullError
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire import messages as msg
from tests.engine.test_stories import HER, HIM, engine, linked, said

MIB = 1024 * 1024


def question(size_bytes: int) -> msg.Addressed:
    return msg.Addressed(0, DEFAULT_SCOPE, "room", "", bytes(size_bytes))


def settled(node: Engine) -> list[tuple[int, NodeId, Outcome]]:
    effects = [effect for effect in node.take() if isinstance(effect, ef.Settled)]
    return [(effect.counter, effect.node, effect.outcome) for effect in effects]


def test_a_payload_that_many_are_asked_to_take_counts_once_and_many_payloads_have_a_limit() -> None:
    node = engine()
    linked(node)
    others = [NodeId(f"{number:032x}") for number in range(10, 30)]
    assert node.ask(question(16 * MIB), [HER, HIM, *others], 1.0, 0.2) == 1  # 352 MiB if copied
    for number, owner in enumerate(others[:3]):
        with pytest.raises(QueueFullError, match="16777216 bytes; nothing was sent"):
            node.ask(question(1), [owner], 1.0, 0.2)  # each owner has its own limit
        assert node.ask(question(16 * MIB), [NodeId(f"{number + 100:032x}")], 1.0, 0.2)
    with pytest.raises(QueueFullError, match="4 confirmed publications of 67108864 bytes"):
        node.ask(question(1), [NodeId("f" * 32)], 1.0, 0.2)
    node.take()
    node.handle(ev.Tick(), 1.1)
    assert {outcome for _, owner, outcome in settled(node) if owner not in (HER, HIM)} == {
        Outcome.REFUSED_NO_LINK
    }
    assert node.ask(question(16 * MIB), [HER], 2.0, 1.2) == 5


def test_each_owner_is_settled_once_whatever_it_answers() -> None:
    node = engine()
    linked(node)
    node.handle(said(HER, msg.Answers(7, 0, ()), seq=2), 0.2)
    counter = node.ask(question(1), [HER, HIM], 5.0, 0.3)
    assert node.terms(HER) == msg.Terms(7, counter)
    assert node.terms(HIM) is None
    answers = msg.Answers(7, 0, ((counter, 3, 2),))
    node.handle(said(HER, answers, seq=3), 0.4)
    node.handle(said(HER, answers, seq=4), 0.5)
    node.handle(said(HER, msg.Answers(8, 0, ()), seq=5), 0.6)
    assert settled(node) == [(counter, HER, Outcome.DELIVERED)]
    node.handle(ev.Tick(), 5.1)
    assert settled(node) == [(counter, HIM, Outcome.REFUSED_NO_LINK)]


def test_a_linked_owner_that_never_said_its_answer_table_is_not_called_unlinked() -> None:
    """`no link` sent people looking for a firewall between two nodes that were linked."""
    node = engine()
    linked(node)
    asked = node.ask(question(1), [HER], 1.0, 0.2)
    stranger = NodeId(f"{77:032x}")
    elsewhere = node.ask(question(1), [stranger], 1.0, 0.2)
    assert node.link_of(HER) is not None
    node.take()
    node.handle(ev.Tick(), 1.1)
    assert settled(node) == [
        (asked, HER, Outcome.REFUSED_SILENT),
        (elsewhere, stranger, Outcome.REFUSED_NO_LINK),
    ]
    assert Outcome.REFUSED_SILENT.refused
    assert Outcome.REFUSED_SILENT.reason == "no answer"
