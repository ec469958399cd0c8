"""Each bound that others can reach, reached: its counter rises, and `LimitReached` tells of it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Final

import pytest
import zmq

import crdtpubsub
from crdtpubsub import LIMITS, Config, LimitReached, Node, NodeId, QueueFullError
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.allowance import BURST
from crdtpubsub.engine.outbox import URGENT_MAX
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.runtime import requests
from crdtpubsub.transport import door
from crdtpubsub.transport.zmq import ZmqTransport
from crdtpubsub.wire import messages as msg
from crdtpubsub.wire.codec import Encoder, chunk, cluster_tag, frame
from crdtpubsub.wire.limits import ANSWERS_MAX
from crdtpubsub.wire.messages import ANYBODY, Fact, Frame, Header
from tests.api.helpers import WAIT_S, nodes, story, until

SMALL: Final = Config(
    owner_members_max=2, candidates_max=2, peers_max=1, outboxes_bytes_max=17 * 1024 * 1024
)
TAG: Final = cluster_tag("default")
ARCHITECTURE: Final = Path(__file__).resolve().parents[2] / "docs" / "ARCHITECTURE.md"
TELLS: Final = {"SlowConsumer", "SlowWatcher", "Refused", "LimitReached", "Missed"}
NOTHING_LOST: Final = {"asked_too_early", "pull_many_frames", "self_dial", "noted_..."}
"""Counters of the table that count work, or a word said again, and nothing that was dropped."""


def life(number: int) -> NodeId:
    return NodeId(f"{number + 1000:032x}")


def fact_of(number: int) -> Fact:
    """Of a process that does not exist."""
    return Fact(life(number), "n", f"ipc:///nowhere/{number}", 0, (DEFAULT_SCOPE,))


def hears(node: Node, by: NodeId, *said: msg.Message, to: NodeId | None = None) -> None:
    """A frame comes in, as the I/O thread hands it in."""
    header = Header(TAG, by, node.id if to is None else to, 1, 1, 0)
    happens(node, ev.Received(Frame(header, said), 100))


def happens(node: Node, *events: ev.Event) -> None:
    core = node._runtime.core
    with core.lock:
        for event in events:
            core.engine.handle(event, monotonic())
            core.perform(core.engine.take())
    core.let_go(wake=True)


def says(node: Node, *frames: bytes) -> None:
    """Bytes come in over a connection of a stranger."""
    context = zmq.Context()
    with context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, int(WAIT_S * 1000))
        dealer.connect(node.endpoint)
        for data in frames:
            dealer.send(data)


def chunk_of(node: Node, by: NodeId, number: int) -> bytes:
    header = Encoder().header(Header(TAG, by, node.id, 1 << 31, number))
    return frame(header, [chunk(number, 1000, 0, b"x" * 10)])


def transport_of(node: Node) -> ZmqTransport:
    transport = node._runtime.core.transport
    assert isinstance(transport, ZmqTransport)
    return transport


async def assemblies_dropped(here: Node, there: Node) -> str:
    says(here, chunk_of(here, there.id, 1), chunk_of(here, there.id, 2))
    return there.id


async def candidates_refused(here: Node, there: Node) -> str:
    hears(here, there.id, msg.Facts(tuple(fact_of(n) for n in range(5))))
    return there.id


async def chunks_refused(here: Node, there: Node) -> str:
    says(here, chunk_of(here, life(1), 1))
    return life(1)


async def confirmed_beyond_limit(here: Node, there: Node) -> str:
    asked = [
        msg.Addressed(n, DEFAULT_SCOPE, "room", "", b"", {}) for n in range(1, ANSWERS_MAX + 2)
    ]
    with here._runtime.core.lock:
        table = here._runtime.core.engine._answering._tables[there.id].id
    hears(here, there.id, msg.Terms(table, 1, 0), *asked)
    return there.id


async def confirmed_full(here: Node, there: Node) -> str:
    ann = here.client("ann", max_pending=1)
    await ann.join("room", wait="all", timeout=WAIT_S)
    for n in range(2):
        await there.publish("room", n, confirm=WAIT_S)
    return ann.id


async def dials_refused(here: Node, there: Node) -> str:
    # Of a process; `tests/net/test_open_files.py` has one that may open few.
    setattr(transport_of(here), "links_max", 0)  # noqa: B010
    hears(here, life(1), msg.Hello(fact_of(1), 7), to=ANYBODY)
    return fact_of(1).endpoint


async def dropped_gossip(here: Node, there: Node) -> str:
    """A link that takes nothing while a lot is queued."""
    core = here._runtime.core
    with core.lock:
        while core.sender.put(there.endpoint, bytes(2**20), publication=False):
            pass
        line = core.sender.line(there.endpoint)
        assert line is not None
        line.outbox.clear()
    return there.id


outboxes_full = dropped_gossip  # as one outbox may hold 16 MiB, and all together 17, half is left


async def dropped_urgent(here: Node, there: Node) -> str:
    core = here._runtime.core
    record = core.sender.encoder.message(msg.Ack(1, here._runtime.core.engine.fact))
    with core.lock:
        for _ in range(URGENT_MAX + 1):
            core.sender.put_urgent(there.endpoint, record)
    return there.id


async def frames_malformed(here: Node, there: Node) -> str:
    says(here, b"no frame of ours")
    return ""


async def over_budget(here: Node, there: Node) -> str:
    core = here._runtime.core
    with core.lock:
        allowance = core.engine._cluster.peers[there.id].allowance
        allowance.allows(monotonic())
        allowance.spend(10 * BURST)
    hears(here, there.id, msg.Pull(DEFAULT_SCOPE, here.id, (1, 2), 1))
    return there.id


async def invites_full(here: Node, there: Node) -> str:
    ann = here.client("ann")
    for room in ("one", "two"):
        await ann.join(room, wait="all", timeout=WAIT_S)
    with pytest.raises(QueueFullError):
        await there.join("three", there.members("one")[0])
    return there.id


async def requests_full(here: Node, _there: Node) -> str:
    await here.client("ann").join("room")
    none = pytest.MonkeyPatch()
    none.setattr(requests, "REQUESTS_MAX", 0)
    try:
        with pytest.raises(QueueFullError):
            await here.request("room", 1, timeout=WAIT_S)
    finally:
        none.undo()
    return ""


async def owner_full(here: Node, there: Node) -> str:
    clients = [there.client(f"c{n}") for n in range(3)]
    for client in clients[:2]:
        await client.join("room", wait="all", timeout=WAIT_S)
    await clients[2].join("room")
    await until(lambda: here.stats().counters.get("owner_full"))
    return there.id


async def peers_full(here: Node, there: Node) -> str:
    core = here._runtime.core
    with core.lock:
        core.engine._cluster.verified(fact_of(1), monotonic())
        core.perform(core.engine.take())
    return life(1)


async def peers_replaced(here: Node, there: Node) -> str:
    happens(here, ev.LinkDown(there.endpoint), ev.LinkRefused(there.endpoint))
    await peers_full(here, there)
    return there.id


async def strangers_refused(here: Node, there: Node) -> str:
    for n in range(5):
        hears(here, life(n), msg.Hello(fact_of(n), 7), to=ANYBODY)
    return life(4)


async def transport_connections_shut(here: Node, there: Node) -> str:
    transport_of(here)._door._open_max = 0
    host, port = here.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as stranger:
        assert await asyncio.to_thread(_ended, stranger)
    return ""


def _ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(100):
            pass
    except ConnectionResetError:
        pass
    return True


async def transport_files_short(here: Node, there: Node) -> str:
    """`tests/net/test_open_files.py` has a process that really has none left."""
    none_left = pytest.MonkeyPatch()
    none_left.setattr(door, "_spare", lambda: None)
    try:
        transport_of(here)._door.look()
        transport_of(here)._door._look_at = 0.0
        transport_of(here)._door.look()
    finally:
        none_left.undo()
    return ""


Reach = Callable[[Node, Node], Awaitable[str]]
REACHES: Final[dict[str, Reach]] = {limit: globals()[limit] for limit in LIMITS}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_that_is_reached_is_counted_and_told(limit: str) -> None:
    @story
    async def told() -> None:
        async with nodes(2, config=SMALL) as [here, there]:
            events = here.events()
            whom = await REACHES[limit](here, there)
            counted = 0
            async with asyncio.timeout(WAIT_S):
                async for notice in events:
                    if isinstance(notice, LimitReached) and notice.limit == limit:
                        counted += notice.times
                        assert notice.about == LIMITS[limit]
                        if notice.whom == whom:
                            break
            assert 0 < counted <= here.stats().counters[limit]

    told()


def test_the_table_of_what_can_grow_names_an_event_for_each_counter_and_each_limit() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    section = text.split("## What can grow, and where it ends")[1].split("\n## ")[0]
    rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| ")][1:]
    untold: list[str] = []
    named: set[str] = set()
    for row in rows:
        words = set(re.findall(r"`([\w.]+)`", row[3]))
        counters = {word for word in words if word.islower()}
        named |= counters
        assert words - counters <= set(crdtpubsub.__all__), row[0]
        untold += [
            counter
            for counter in sorted(counters - NOTHING_LOST)
            if not (counter in LIMITS and "LimitReached" in words)
            and not words & (TELLS - {"LimitReached"})
        ]
    assert untold == []
    assert set(LIMITS) <= named
