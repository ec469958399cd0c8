"""The control map: channels, members, clients, their metadata and their exits."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import msgpack  # type: ignore[import-untyped,unused-ignore]
import pytest

from crdtpubsub import (
    Client,
    ClosedError,
    ConfigError,
    Exit,
    InvalidNameError,
    Member,
    Node,
    NodeId,
    PayloadError,
    PayloadTooLargeError,
)
from crdtpubsub.names import DEFAULT_SCOPE
from tests.api.helpers import WAIT_S, exits, message, nodes, story, until

pytestmark = pytest.mark.net


def fresh(node: Node, channel: str) -> tuple[Member, ...]:
    """What is kept must be what would be built at the same moment."""
    core, views = node._runtime.core, node._views
    while True:
        node.members(channel)
        with core.lock:
            kept = views.listed.get(channel)
            built = views._build(channel, include_down=False)
            count = core.engine.count(DEFAULT_SCOPE, channel)
        if kept is not None:  # else something came in between
            assert kept == built
            assert [m.meta for m in kept] == [m.meta for m in built]
            assert count == len(built)
            return kept


@story
async def test_my_own_writes_are_visible_when_the_call_returns() -> None:
    async with Node() as node:
        client = node.client("c")
        assert not client.channels
        await client.join("room", meta={"nick": "ada"})
        (member,) = node.members("room")
        assert (member.channel, member.id, member.node) == ("room", "c", node.id)
        assert member.meta == {"nick": "ada"}
        assert node.local_members("room") == node.members("room")
        assert {node.channels(), node.local_channels(), client.channels} == {("room",)}
        assert await client.leave("room")
        assert not await client.leave("room")
        assert node.members("room") == ()
        assert node.channels() == ()


@story
async def test_a_channel_exists_while_declared_or_joined() -> None:
    async with nodes(2) as (a, b):
        await a.add_channel("room")
        await a.add_channel("room")
        assert a.channels() == a.local_channels() == ("room",)
        await until(lambda: b.channels() == ("room",))
        assert b.local_channels() == ()
        assert (a.count("room"), a.members("room"), b.members("room")) == (0, (), ())
        assert (await a.publish("room", 1)).owners == {}
        assert a.publish_nowait("room", 1) == 0
        assert await b.del_channel("room") == 0
        await until(lambda: a.channels() == ())
        await a.add_channel("room")
        await until(lambda: b.channels() == ("room",))


@story
async def test_channels_by_prefix() -> None:
    async with Node() as node:
        client = node.client()
        for channel in ("b", "user:2", "user:1"):
            await client.join(channel)
        await node.add_channel("user:3")
        assert node.channels("user:") == node.local_channels("user:")
        assert node.channels("user:") == ("user:1", "user:2", "user:3")
        assert node.channels("z") == ()


@story
async def test_deleting_counts_and_each_client_gets_one_exit() -> None:
    async with nodes(3) as (a, b, c):
        clients = [node.client(f"c{n}") for node in (a, b, c) for n in range(3)]
        for client in clients:
            await client.join("room")
            await client.join("other")
        await a.wait_for("room", 9, timeout=WAIT_S)
        assert await a.del_channel("room") == 9
        assert await a.del_channel("room") == 0
        assert fresh(a, "room") == ()
        for client in clients:
            assert await exits(client) == Exit("room", "removed")
            assert client.channels == ("other",)
        for node in (a, b, c):
            await node.converged(timeout=WAIT_S)
            assert fresh(node, "room") == ()
            assert node.channels() == ("other",)
        assert [client.pending for client in clients] == [0] * 9


@story
async def test_deleting_what_nobody_is_in() -> None:
    async with Node() as node:
        assert await node.del_channel("never") == 0


@story
async def test_whose_membership_others_end_gets_one_exit_and_may_come_again() -> None:
    async with nodes(2) as (a, b):
        client = a.client("c")
        await client.join("room")
        (member,) = await b.wait_for("room", timeout=WAIT_S)
        assert await b.leave("room", member)
        assert not await b.leave("room", member)
        assert await exits(client) == Exit("room", "removed")
        assert client.channels == ()
        await client.join("room")
        (again,) = await b.wait_for("room", timeout=WAIT_S)
        assert again == member
        assert not await a.leave("room", Member("room", "nobody", a.id))
        assert not await a.leave("room", Member("room", "c", NodeId("f" * 32)))
        assert client.pending == 0


@story
async def test_through_its_own_handle_there_is_no_exit_and_through_a_member_there_is() -> None:
    async with Node() as node:
        client = node.client("c")
        await client.join("room")
        assert await node.leave("room", client)
        assert client.pending == 0
        await client.join("room")
        (member,) = node.members("room")
        assert await node.leave("room", member)
        assert await exits(client) == Exit("room", "removed")


@story
async def test_metadata() -> None:
    async with nodes(2) as (a, b):
        client = a.client("c")
        with pytest.raises(ConfigError, match="join it first"):
            await client.update("room", meta=1)
        await client.join("room")
        assert (await b.wait_for("room", timeout=WAIT_S))[0].meta is None
        for meta in ({"nick": "ada", "tags": [1, 2]}, "text", 0, b"\x00", {}):
            await client.update("room", meta=meta)
            (member,) = fresh(a, "room")
            assert member.meta == meta
            assert msgpack.unpackb(member.packed_meta) == meta
            await until(lambda meta=meta: b.members("room")[0].meta == meta)  # type: ignore[misc]
            await client.join("room")  # says nothing about metadata, so changes none
            assert fresh(a, "room")[0].meta == meta
        await client.join("room", meta="by join")
        await until(lambda: b.members("room")[0].meta == "by join")
        assert client.pending == 0


@story
async def test_metadata_that_cannot_be() -> None:
    async with Node() as node:
        client = node.client("c")
        too_long: dict[str, Any] = {"meta": "x" * 4096}
        with pytest.raises(PayloadTooLargeError, match="metadata is 4099 bytes"):
            await client.join("room", **too_long)
        with pytest.raises(PayloadError, match="cannot pack"):
            await client.join("room", meta=object())
        assert node.members("room") == ()
        await client.join("room", meta="x" * 4093)
        with pytest.raises(PayloadTooLargeError):
            await client.update("room", **too_long)
        assert node.members("room")[0].meta == "x" * 4093


@story
async def test_names_are_checked_before_anything_happens() -> None:
    async with Node() as node:
        client = node.client("c")
        for name in ("", "a\nb", "x" * 256):
            for call in (
                lambda name=name: client.join(name),
                lambda name=name: client.leave(name),
                lambda name=name: node.add_channel(name),
                lambda name=name: node.del_channel(name),
                lambda name=name: node.publish(name, 1),
                lambda name=name: node.wait_for(name),
            ):
                with pytest.raises(InvalidNameError):
                    await call()
            with pytest.raises(InvalidNameError):
                node.client(name)
            with pytest.raises(InvalidNameError):
                node.subscribe("fine", name)
        assert node.channels() == ()


@story
async def test_clients() -> None:
    async with nodes(2) as (a, b):
        client = a.client("c")
        assert client.node is a
        with pytest.raises(ConfigError, match="is open on this node"):
            a.client("c")
        twin = b.client("c")  # another node, another member
        await client.join("room")
        await twin.join("room")
        assert len(await a.wait_for("room", 2, timeout=WAIT_S)) == 2
        for call in (b.join("room", client), b.leave("room", client)):
            with pytest.raises(ConfigError, match="lives on 'n0'"):
                await call
        assert a.client().id != a.client().id
        with pytest.raises(ConfigError, match="drop_oldest"):
            a.client(overflow="explode")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="at least 1"):
            a.client(max_pending=0)
        with pytest.raises(ConfigError, match="max_pending_bytes"):
            a.client(max_pending_bytes=0)
        with pytest.raises(ConfigError, match="at least one channel"):
            a.subscribe()


@story
async def test_closing_a_client_ends_its_memberships_without_an_exit() -> None:
    async with nodes(2) as (a, b):
        client = a.client("c")
        await client.join("one")
        await client.join("two")
        await b.wait_for("two", timeout=WAIT_S)
        await a.publish("one", "left behind")
        await client.close()
        await client.close()
        assert client.closed
        assert client.channels == ()
        assert fresh(a, "one") == fresh(a, "two") == ()
        await until(lambda: b.channels() == ())
        assert (await message(client)).data == "left behind"
        for call in (client.get(), client.join("one"), client.leave("one")):
            with pytest.raises(ClosedError, match="'c' is closed"):
                await call
        again = a.client("c")
        await again.join("one")
        assert a.count("one") == 1
        await client.close()  # the old handle does nothing to its successor
        assert a.count("one") == 1


@story
async def test_a_node_that_leaves_takes_its_members_along() -> None:
    async with nodes(2) as (a, b):
        await a.client("c").join("room")
        await b.wait_for("room", timeout=WAIT_S)
        assert len(fresh(b, "room")) == 1
        await a.close()
        await until(lambda: b.members("room") == ())
        assert fresh(b, "room") == ()
        assert b.peers() == ()
        assert b.channels() == ()
        assert b.members("room", include_down=True) == ()  # it left; it is not down


@story
async def test_what_members_caches_is_never_stale() -> None:
    """A walk through every kind of change, both nodes checked against what was done."""
    dice = random.Random(5)
    rooms = [f"room-{n}" for n in range(4)]
    async with nodes(2) as both:
        clients: dict[tuple[NodeId, str], Client] = {}
        for node in both:
            for n in range(3):
                clients[node.id, f"c{n}"] = node.client(f"c{n}")
        model: dict[str, dict[tuple[NodeId, str], object]] = defaultdict(dict)
        for step in range(300):
            node, room = dice.choice(both), dice.choice(rooms)
            key = (node.id, f"c{dice.randrange(3)}")
            match dice.randrange(5):
                case 0 | 1:
                    await clients[key].join(room, meta=step)
                    model[room][key] = step
                case 2:
                    assert await clients[key].leave(room) == (key in model[room])
                    model[room].pop(key, None)
                case 3:
                    if key in model[room]:
                        await clients[key].update(room, meta=[step])
                        model[room][key] = [step]
                case 4 if dice.random() < 0.3:
                    await node.converged(timeout=WAIT_S)
                    assert await node.del_channel(room) == len(model[room])
                    model[room].clear()
                    await node.converged(timeout=WAIT_S)
            mine = {(m.node, m.id): m.meta for m in fresh(node, room) if m.node == node.id}
            assert mine == {k: meta for k, meta in model[room].items() if k[0] == node.id}
        for node in both:
            await node.converged(timeout=WAIT_S)
            for room in rooms:
                assert {(m.node, m.id): m.meta for m in fresh(node, room)} == model[room]
                assert list(node.members(room)) == sorted(
                    node.members(room), key=lambda m: (m.node, m.id)
                )


@story
async def test_waiting_for_members() -> None:
    async with nodes(2) as (a, b):
        with pytest.raises(TimeoutError, match=r"'room' has 0 members after 0\.02 s, not 1"):
            await a.wait_for("room", timeout=0.02)
        assert await a.wait_for("room", 0, timeout=0) == ()
        await b.client("c").join("room")
        assert [m.id for m in await a.wait_for("room", timeout=WAIT_S)] == ["c"]
        with pytest.raises(TimeoutError, match="'room' has 1 members after 0 s, not 2"):
            await a.wait_for("room", 2, timeout=0)


@story
async def test_converged_alone_and_together() -> None:
    async with Node() as node:
        await node.converged(timeout=WAIT_S)
    async with nodes(3) as (a, b, c):
        client = a.client()
        for n in range(50):
            await client.join(f"room-{n}")
        await a.converged(timeout=WAIT_S)
        for node in (b, c):
            assert len(node.channels()) == 50


@story
async def test_stats_and_peers() -> None:
    async with nodes(2) as (a, b):
        (peer,) = a.peers()
        assert (peer.node, peer.name, peer.endpoint) == (b.id, b.name, b.endpoint)
        assert (peer.state, peer.linked) == ("alive", True)
        await a.client().join("room")
        await b.wait_for("room", timeout=WAIT_S)
        stats = b.stats()
        assert stats.channels == 1
        assert stats.peers == {"alive": 1}
        assert stats.counters["transport_frames_in"] > 0
        with pytest.raises(AttributeError):
            stats.channels = 5  # type: ignore[misc]
