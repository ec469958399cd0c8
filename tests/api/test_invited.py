"""`join(channel, member)` and `leave(channel, member)` of a client of another node."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from crdtpubsub import (
    Client,
    ClosedError,
    ConfigError,
    Exit,
    Member,
    Node,
    NodeId,
    QueueFullError,
    SyncNode,
    UnreachableError,
)
from tests.api.helpers import WAIT_S, exits, message, nodes, story, until
from tests.cancelling import cancelled_everywhere

pytestmark = pytest.mark.net


async def ann_of(there: Node, here: Node) -> tuple[Client, Member]:
    """A client of one node, in the lobby; and the member that another node sees."""
    ann = there.client("ann")
    await ann.join("lobby")
    (member,) = await here.wait_for("lobby", 1, timeout=WAIT_S)
    return ann, member


@story
async def test_a_client_of_another_node_joins_and_is_seen_when_the_call_returns() -> None:
    async with nodes(3) as (here, there, third):
        ann, member = await ann_of(there, here)
        await here.join("room", member, meta={"by": "here"})
        assert [(m.id, m.node, m.meta) for m in here.members("room")] == [
            ("ann", there.id, {"by": "here"})
        ]
        assert ann.channels == ("lobby", "room")
        await here.publish("room", "hello")
        assert (await message(ann)).data == "hello"
        await here.join("room", member)  # again: nothing changes
        assert here.members("room")[0].meta == {"by": "here"}
        await here.join("room", member, meta=2)
        assert here.members("room")[0].meta == 2
        await here.join("room", member, meta=2, wait="all", timeout=WAIT_S)
        assert [m.meta for m in third.members("room")] == [2]
        assert await here.leave("room", here.members("room")[0])
        assert await exits(ann) == Exit("room", "removed")
        await here.join("room", member, wait=2, timeout=WAIT_S)
        assert third.count("room") == there.count("room") == 1


@story
async def test_a_client_of_this_node_named_by_its_member_joins_too() -> None:
    async with nodes(1) as (node,):
        ann = node.client("ann")
        await ann.join("lobby")
        await node.join("room", node.members("lobby")[0], meta=1)
        assert [m.meta for m in node.members("room")] == [1]
        with pytest.raises(ClosedError, match="no client 'bob'"):
            await node.join("room", Member("lobby", "bob", node.id))
        await ann.close()
        with pytest.raises(ClosedError):
            await node.join("room", Member("lobby", "ann", node.id))


@story
async def test_who_is_not_there_does_not_join() -> None:
    async with nodes(2) as (here, there):
        ann, member = await ann_of(there, here)
        with pytest.raises(ClosedError, match="'bob' of node 'n1' is no open client"):
            await here.join("room", Member("lobby", "bob", there.id))
        east = here.scope("east")
        with pytest.raises(ClosedError, match="of this scope"):
            await east.join("room", member)  # `there` has not opened it
        there.scope("east")
        with pytest.raises(ClosedError, match="of this scope"):
            await east.join("room", member)  # ann is of another one
        with pytest.raises(UnreachableError, match="no link; nothing was changed"):
            await here.join("room", Member("lobby", "ann", NodeId("ab" * 16)))
        with pytest.raises(ConfigError, match="is no client"):
            await here.join("room", "ann")  # type: ignore[arg-type]
        await ann.close()
        with pytest.raises(ClosedError, match="nothing was changed"):
            await here.join("room", member)
        assert not here.members("room")
        assert not there.members("room")
        assert there.stats().counters["invites_nobody"] == 4
        await there.close()
        await until(lambda: not here.peers())
        with pytest.raises(UnreachableError, match="nothing was changed"):
            await here.join("room", member)


@story
async def test_an_owner_with_as_many_members_as_it_may_have_takes_no_more() -> None:
    async with nodes(2) as (here, there):
        _ann, member = await ann_of(there, here)
        object.__setattr__(there._runtime.config, "owner_members_max", 1)
        with pytest.raises(QueueFullError, match="takes no more just now; nothing was changed"):
            await here.join("room", member)
        assert there.stats().counters["invites_full"] == 1
        object.__setattr__(there._runtime.config, "owner_members_max", 2)
        await here.join("room", member)


@story
async def test_one_who_asks_too_often_is_told_so_and_harms_nobody() -> None:
    async with nodes(2) as (here, there):
        _ann, member = await ann_of(there, here)
        allowance = there._runtime.core.engine.peers()[0].allowance
        allowance._at, allowance._left = monotonic(), -1e9  # it may never have been asked before
        with pytest.raises(QueueFullError, match="just now"):
            await here.join("room", member)
        allowance._left = 1e5
        await here.join("room", member)
        assert there.count("room") == 1


@story
async def test_cancelled_anywhere_it_can_be_asked_again() -> None:
    async with nodes(2) as (here, there):
        _ann, member = await ann_of(there, here)
        tried = 0

        async def attempt(cancelling: object) -> None:
            nonlocal tried
            tried += 1
            await cancelling(here.join(f"room-{tried}", member, wait="all"))  # type: ignore[operator]
            assert not here._runtime.asker.requests._by_counter
            await here.join(f"room-{tried}", member)
            assert here.count(f"room-{tried}") == 1

        assert await cancelled_everywhere(attempt) >= 2
        assert len(here._runtime.bell) == 0


@story
async def test_of_many_at_once_each_joins_once() -> None:
    async with nodes(2) as (here, there):
        ann, member = await ann_of(there, here)
        rooms = [f"room-{n}" for n in range(100)]
        await asyncio.gather(*(here.join(room, member) for room in rooms for _ in range(2)))
        assert [here.count(room) for room in rooms] == [1] * 100
        assert len(ann.channels) == 101


def test_blocking_code_has_another_nodes_client_join() -> None:
    with SyncNode(name="a") as here, SyncNode(name="b", seeds=[here.endpoint]) as there:
        ann = there.client("ann")
        ann.join("lobby")
        (member,) = here.wait_for("lobby", 1, timeout=WAIT_S)
        here.join("room", member, meta=1, wait="all", timeout=WAIT_S)
        assert ann.channels == ("lobby", "room")
        assert here.leave("room", here.members("room")[0])
