"""What the logger `crdtpubsub` says: nothing while all is well, little when much goes wrong."""

from __future__ import annotations

import logging
from collections import Counter
from threading import RLock

import pytest
import zmq

from crdtpubsub import Node, NodeId
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine.peers import PeerState
from crdtpubsub.runtime.telling import FLAPS_TOLD, Teller
from tests.api.helpers import WAIT_S, message, nodes, story, until

PEER = NodeId("7" * 32)


def ours(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("crdtpubsub") and record.levelno >= level
    ]


def test_who_set_up_no_logging_is_shown_nothing() -> None:
    handlers = logging.getLogger("crdtpubsub").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_a_cluster_that_is_well_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    @story
    async def life() -> None:
        async with nodes(3) as (a, b, _):
            ann = a.client("ann")
            await ann.join("room", wait="all", timeout=WAIT_S)
            for n in range(100):
                await b.publish("room", n)
            for n in range(100):
                assert (await message(ann)).data == n
            await b.del_channel("room")

    with caplog.at_level(logging.DEBUG, "crdtpubsub"):
        life()
    assert any("is alive" in line for line in ours(caplog, logging.DEBUG))
    # On a machine so crowded that a probe comes late a node may be suspect for a moment.
    lines = [line for line in ours(caplog, logging.INFO) if "suspect" not in line]
    assert [line for line in lines if "is alive" not in line] == []


def test_a_flood_of_garbage_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    frames = 2_000

    @story
    async def flood() -> None:
        async with Node("tcp://127.0.0.1:*") as node:
            with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
                stranger.linger = 0
                stranger.connect(node.endpoint)
                for n in range(frames):
                    stranger.send(b"garbage %d" % n)
                await until(
                    lambda: node.stats().counters.get("frames_malformed", 0) >= frames,
                    timeout=2 * WAIT_S,
                )

    with caplog.at_level(logging.INFO, "crdtpubsub"):
        flood()
    lines = ours(caplog, logging.INFO)
    assert 1 <= len([line for line in lines if "dropped a frame" in line]) <= 4
    assert len(lines) < 20


def test_a_node_that_flaps_for_ever_is_told_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock = RLock()
    teller = Teller("n", Counter(), lock)  # type: ignore[arg-type]  # a lock as any
    with caplog.at_level(logging.INFO, "crdtpubsub"):
        for n in range(10 * FLAPS_TOLD):
            state = PeerState.DOWN if n % 2 else PeerState.ALIVE
            teller.tell(ef.PeerChanged(PEER, "flappy", state, "tcp://127.0.0.1:1"))
    assert FLAPS_TOLD <= len(ours(caplog, logging.INFO)) <= FLAPS_TOLD + 5
