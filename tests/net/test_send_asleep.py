"""A frame is sent from a caller's thread while the I/O thread sleeps: safely, and in order."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crdtpubsub.transport import FRAME_BYTES_MAX, Connected, FrameIn, Happening, ZmqTransport
from tests.api.helpers import WAIT_S, nodes, story, until
from tests.net.test_transport import ANY, Make, fill, make
from tests.net.test_transport import until as poll_until

__all__ = ["make"]

pytestmark = pytest.mark.net


@contextmanager
def polled(transport: ZmqTransport) -> Iterator[list[Happening]]:
    """Somebody else's thread polls it, in long sleeps; what happened."""
    seen: list[Happening] = []
    over = threading.Event()

    def live() -> None:
        while not over.is_set():
            seen.extend(transport.poll(WAIT_S))

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        transport.wake()
        thread.join()


def sent(transport: ZmqTransport, endpoint: str, frame: bytes) -> bool:
    """Try until the owner is asleep."""
    deadline_s = time.monotonic() + WAIT_S
    while not transport.send_asleep(endpoint, frame):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.001)
    return True


def test_who_sends_while_the_owner_sleeps_does_not_wake_it(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    poll_until(a, Connected(there))
    assert not a.send_asleep(there, b"the owner is here, and awake")
    with polled(a) as seen:
        frames = [b"%d" % n for n in range(50)]
        for frame in frames:
            assert sent(a, there, frame)
        assert not a.send_asleep(there, bytes(FRAME_BYTES_MAX + 1))
        assert not a.send_asleep("tcp://127.0.0.1:1", b"not dialled")
        poll_until(b, *map(FrameIn, frames))
    assert seen == []
    assert a.stats["frames_out"] == len(frames)


def test_a_link_without_room_is_left_to_the_owner(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    poll_until(a, Connected(there))
    fill(a, there, b"x" * 100_000)
    with polled(a):
        for _ in range(20):
            assert not a.send_asleep(there, b"there is no room")


@story
async def test_messages_keep_their_order_whichever_thread_sends_them() -> None:
    """Pauses of all lengths: alone, in pairs, in streams; with joins in between."""
    dice = random.Random(9)
    rounds, expected = 600, 0
    async with nodes(2) as (node, other):
        reader = await other.subscribe("room", max_pending=100_000)
        other_reader = node.client("reader")
        await node.wait_for("room", 1, timeout=WAIT_S)
        for n in range(rounds):
            for _ in range(dice.choice((1, 1, 2, 5))):
                assert (await node.publish("room", expected)).members == 1
                expected += 1
            if n % 20 == 0:
                await other_reader.join(f"room-{n}")
            await asyncio.sleep(dice.choice((0, 0, 0.0002, 0.001, 0.002)))
        heard = [(await reader.get(timeout=WAIT_S)).data for _ in range(expected)]
        assert heard == list(range(expected))
        await until(lambda: len(other.channels()) == rounds // 20 + 1)
        for one in (node, other):
            assert one.stats().counters.get("gap_link", 0) == 0


@story
async def test_a_publication_on_a_quiet_node_leaves_its_io_thread_asleep() -> None:
    async with nodes(2) as (node, other):
        reader = await other.subscribe("room")
        await node.wait_for("room", 1, timeout=WAIT_S)
        core = node._runtime.core
        sleeps = 0
        for n in range(50):
            await until(lambda: core.sleeping)
            await node.publish("room", n)
            sleeps += core.sleeping
            assert (await reader.get(timeout=WAIT_S)).data == n
        assert sleeps, "every publication woke the I/O thread"
