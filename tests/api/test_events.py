"""What `Node.events` tells, in which order, how often, and what it costs who does not read it."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Final

import pytest

from crdtpubsub import (
    BindError,
    Claimed,
    Gap,
    Lost,
    Missed,
    Node,
    NodeId,
    Notice,
    Outcome,
    PeerLeft,
    PeerUp,
    Refused,
    SlowConsumer,
)
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.runtime.notices import FEED_MAX, NoticeBoard, Tallies, claimed, slow_consumer
from crdtpubsub.waiting import Events
from tests.api.helpers import WAIT_S, nodes, story, until

NOBODY: Final = NodeId("0" * 32)


async def next_notice(events: Events) -> Notice:
    async with asyncio.timeout(WAIT_S):
        return await anext(events)


@story
async def test_a_node_that_comes_and_leaves_is_told() -> None:
    here = Node(name="here")
    events = here.events()
    async with here:
        async with Node(name="there", seeds=[here.endpoint]) as there:
            assert await next_notice(events) == PeerUp(there.id, "there", there.endpoint)
        assert await next_notice(events) == PeerLeft(there.id, "there", there.endpoint)
    assert [notice async for notice in events] == []


@story
async def test_an_iterator_of_a_node_that_cannot_start_ends() -> None:
    async with Node() as node:
        second = Node(node.endpoint)
        events = second.events()
        with pytest.raises(BindError):
            await second.start()
        assert [notice async for notice in events] == []
        assert [notice async for notice in second.events()] == []


@story
async def test_a_slow_consumer_is_told_at_most_once_a_second_and_with_its_number() -> None:
    async with nodes(1) as [node]:
        events = node.events()
        slow, other = node.client("slow", max_pending=2), node.client("other")
        for client in (slow, other):
            await client.join("room")
        began_s, told = time.monotonic(), list[SlowConsumer]()
        for expected in (48, 98):
            for n in range(50):
                await node.publish("room", n)
            while sum(notice.dropped for notice in told) < expected:
                notice = await next_notice(events)
                assert isinstance(notice, SlowConsumer)
                told.append(notice)
            assert sum(notice.dropped for notice in told) == expected == slow.dropped
        assert {notice.client for notice in told} == {"slow"}
        assert len(told) <= 2 + time.monotonic() - began_s


def test_what_happens_often_is_told_once_a_second_and_nothing_of_it_is_lost() -> None:
    tallies = Tallies()
    told: list[Notice] = []
    for tenth in range(100):
        for _ in range(tenth):
            tallies.add(slow_consumer, "ann")
            tallies.add(claimed, NOBODY, 1, f"word {tenth}")
        told += tallies.due(tenth / 10)
    told += tallies.due(float("inf"))
    assert not tallies
    drops = [notice.dropped for notice in told if isinstance(notice, SlowConsumer)]
    assert sum(drops) == sum(range(100))
    assert len(drops) <= 11
    claims = [notice for notice in told if isinstance(notice, Claimed)]
    assert sum(claim.times for claim in claims) == sum(range(100))
    assert (claims[-1].node, claims[-1].about) == (NOBODY, "word 99")


def test_more_than_can_be_told_apart_are_told_of_nobody_in_particular() -> None:
    tallies = Tallies()
    for n in range(10_000):
        tallies.add(slow_consumer, f"c{n}", 2)
    told = [notice for notice in tallies.due(1.0) if isinstance(notice, SlowConsumer)]
    assert len(told) == 4097
    assert sum(notice.dropped for notice in told) == 20_000


def test_who_reads_too_slowly_is_told_how_many_it_missed() -> None:
    board = NoticeBoard()
    feed = board.feed()
    for n in range(FEED_MAX + 7):
        board.post(SlowConsumer("ann", n))
    assert feed.take() == Missed(7)
    assert [feed.take() for _ in range(FEED_MAX)] == [
        SlowConsumer("ann", n) for n in range(7, FEED_MAX + 7)
    ]
    assert feed.take() is None


def test_an_iterator_that_nobody_holds_costs_nothing() -> None:
    board = NoticeBoard()
    kept = board.feed()
    for _ in range(10):
        board.feed()
        gc.collect()
    board.post(SlowConsumer("ann", 1))
    assert len(board._feeds) <= 2
    assert kept.take() == SlowConsumer("ann", 1)


@story
async def test_a_cancelled_reader_loses_nothing_and_close_ends_the_iteration() -> None:
    async with nodes(1) as [node]:
        events = node.events()
        waiting = asyncio.create_task(anext(events))
        await until(lambda: len(events._feed.bell))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        node._runtime.board.post(SlowConsumer("ann", 1))
        assert await next_notice(events) == SlowConsumer("ann", 1)
        events.close()
        events.close()
        node._runtime.board.post(SlowConsumer("ann", 2))
        assert [notice async for notice in events] == []


@story
async def test_losses_are_told_with_their_numbers() -> None:
    """The effects of the engine and of the outboxes, as they come in the I/O thread."""
    async with nodes(2) as [here, there]:
        events = here.events()
        core = here._runtime.core
        with core.lock:
            for _ in range(3):
                core.perform([ef.Gap(there.id, 2)])
            core.sender.sent.lose(there.id, unsent=4, unknown=5)
        told: set[Notice] = set()
        while len(told) < 3:
            notice = await next_notice(events)
            if not isinstance(notice, PeerUp):  # it may come late
                told.add(notice)
        assert told == {
            Gap(there.id, 6),
            Lost(there.id, 4, "unsent"),
            Lost(there.id, 5, "unknown"),
        }


@story
async def test_what_was_refused_for_want_of_a_link_is_told_with_its_number() -> None:
    """As often as receipts said so."""
    async with nodes(2) as [here, there]:
        await there.client("ann").join("room", wait="all", timeout=WAIT_S)
        events, core, refused = here.events(), here._runtime.core, 0
        async with asyncio.timeout(WAIT_S):
            while refused < 3:
                with core.lock:  # it comes back by itself
                    core.engine.handle(ev.LinkDown(there.endpoint), time.monotonic())
                    core.perform(core.engine.take())
                receipt = await here.publish("room", 1)
                refused += receipt.owners.get(there.id) is Outcome.REFUSED_NO_LINK
        told = list[Refused]()
        while sum(notice.publications for notice in told) < refused:
            notice = await next_notice(events)
            if isinstance(notice, Refused):
                told.append(notice)
        assert sum(notice.publications for notice in told) == refused
        assert {(notice.node, notice.reason) for notice in told} == {(there.id, "no link")}
