"""Lists of members that were read are mended where something changes, and never wrong."""

from __future__ import annotations

import random
import threading
from functools import partial

import pytest

from crdtpubsub import ClosedError, Member, Node, views
from crdtpubsub.runtime import rosters
from tests.api.helpers import WAIT_S, nodes, story, until

pytestmark = pytest.mark.net


def built(node: Node, channel: str) -> tuple[Member, ...]:
    with node._runtime.core.lock:
        return node._views._build(channel, include_down=False)


def as_built(node: Node) -> bool:
    mended, anew = node.members("room"), built(node, "room")
    return mended == anew and [m.meta for m in mended] == [m.meta for m in anew]


@story
@pytest.mark.parametrize("under_lock", [0, 256])
async def test_a_list_that_was_read_is_mended(
    monkeypatch: pytest.MonkeyPatch, under_lock: int
) -> None:
    """Joins, leaves and updates here and there, many or few between two reads."""
    monkeypatch.setattr(views, "_BUILT_UNDER_LOCK", under_lock)
    monkeypatch.setattr(rosters, "TOUCHED_MAX", 8)
    dice = random.Random(1)
    async with nodes(2) as (one, other):
        clients = [home.client(f"c{n:02}") for n in range(20) for home in (one, other)]
        for turn in range(60):
            for client in dice.sample(clients, dice.choice((1, 3, 12))):
                if "room" in client.channels and dice.random() < 0.6:
                    await client.leave("room")
                else:
                    await client.join("room", meta=dice.choice((None, turn)))
            for node in (one, other):  # what the other wrote may come between the two reads
                await until(partial(as_built, node))
        await one.converged(timeout=WAIT_S)
        await until(lambda: one.members("room") == other.members("room"))
        assert one.members("room") == built(one, "room")
        assert one._views._rosters.rosters, "they are kept"
        seen = one.members("room")
        assert one.members("room") is seen, "what did not change is not made anew"
        theirs = {m for m in seen if m.node == other.id}
        assert theirs
        await other.close()
        await until(lambda: not theirs.intersection(one.members("room")))


@story
async def test_a_channel_that_nobody_reads_costs_no_rows() -> None:
    async with nodes(2) as (one, other):
        assert one.members("read") == ()
        for n in range(20):
            client = other.client(f"c{n}")
            await client.join("read")
            await client.join("unread")
        await until(lambda: one.count("unread") == 20)
        await until(lambda: len(one.members("read")) == 20)
        assert list(one._views._rosters.rosters) == ["read"]
        assert one.members("unread") == built(one, "unread")


@story
async def test_more_channels_than_are_kept_are_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rosters, "ROSTERS_MAX", 3)
    async with Node() as node:
        client = node.client("ann")
        for n in range(8):
            await client.join(f"room{n}")
            assert [m.id for m in node.members(f"room{n}")] == ["ann"]
            assert len(node._views._rosters.rosters) <= 3
        for n in range(8):
            assert [m.id for m in node.members(f"room{n}")] == ["ann"]


@story
async def test_no_list_outlives_its_node() -> None:
    """What is cached is read without asking whether the node runs: it must be gone before."""
    async with Node() as node:
        client = node.client("ann")
        await client.join("room")
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    node.members("room")
                except ClosedError:
                    return

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            await node.close()
            with pytest.raises(ClosedError):
                node.members("room")
        finally:
            for reader in readers:
                reader.join(WAIT_S)
            stop.set()
        assert not any(reader.is_alive() for reader in readers)
        with pytest.raises(ClosedError):
            node.members("room")
