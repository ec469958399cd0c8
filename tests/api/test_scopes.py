"""Scopes: the same control map and messages, in an overlay of their own."""

from __future__ import annotations

import asyncio

import pytest

from crdtpubsub import (
    Cause,
    Change,
    ClosedError,
    ConfigError,
    Exit,
    InvalidNameError,
    Message,
    Scope,
    Snapshot,
    SyncNode,
)
from crdtpubsub.wire.limits import SCOPES_MAX
from tests.api.helpers import WAIT_S, message, nodes, story, until


@story
async def test_a_scope_has_the_control_map_and_messages_of_a_node() -> None:
    async with nodes(2) as (a, b):
        one, other = a.scope("games"), b.scope("games")
        assert isinstance(one, Scope)
        assert (one.name, one.node) == ("games", a)
        client = other.client("c")
        assert client.node is b
        await client.join("room", meta={"x": 1})
        (member,) = await one.wait_for("room", 1, timeout=WAIT_S)
        assert (member.id, member.node, member.meta) == ("c", b.id, {"x": 1})
        assert one.count("room") == 1
        assert one.local_members("room") == ()
        assert other.local_members("room") == (member,)
        await one.add_channel("declared")
        assert one.channels() == ("declared", "room")
        assert one.local_channels() == ("declared",)
        assert client.channels == ("room",)
        assert (await one.publish("room", "hello")).members == 1
        assert (await message(client)).data == "hello"
        assert (await one.publish("room", "sure", confirm=WAIT_S)).clients == {b.id: 1}
        assert (await message(client)).data == "sure"
        assert one.publish_nowait("room", "now") == 1
        assert (await message(client)).data == "now"
        await one.send(member, "to you")
        assert (await message(client)).data == "to you"
        await client.update("room", meta=2)
        await until(lambda: one.members("room")[0].meta == 2)
        await one.converged(timeout=WAIT_S)
        assert await one.leave("room", member)
        assert await client.get(timeout=WAIT_S) == Exit("room", "removed")
        await client.join("room")
        await one.wait_for("room", 1, timeout=WAIT_S)
        assert await one.del_channel("room") == 1
        assert await client.get(timeout=WAIT_S) == Exit("room", "removed")


@story
async def test_scopes_and_the_node_know_nothing_of_each_other() -> None:
    async with nodes(1) as (node,):
        red, blue = node.scope("red"), node.scope("blue")
        async with (
            red.subscribe("room") as of_red,
            blue.subscribe("room") as of_blue,
            node.subscribe("room") as of_node,
        ):
            for where in (red, blue, node):
                await where.publish("room", repr(where))
            for where, heard in ((red, of_red), (blue, of_blue), (node, of_node)):
                assert (await heard.get(timeout=WAIT_S)).data == repr(where)
                assert heard.client.pending == 0
                assert where.count("room") == 1
            assert await red.del_channel("room") == 1
            assert (blue.count("room"), node.count("room")) == (1, 1)
            for client, where in ((of_blue.client, red), (of_node.client, blue)):
                with pytest.raises(ConfigError, match="belongs to scope"):
                    await where.join("room", client)
            with pytest.raises(ConfigError, match="is open on this node"):
                red.client(of_node.client.id)  # one name, one mailbox: an address names no scope


@story
async def test_a_node_that_has_not_opened_a_scope_gets_none_of_its_traffic() -> None:
    async with nodes(3) as (a, b, outsider):
        talk = a.scope("games")
        listener = b.scope("games").client(max_pending=10_000)
        await listener.join("room")
        await talk.wait_for("room", 1, timeout=WAIT_S)
        before = outsider.stats().counters
        seen = b.stats().counters["publications_received"]
        churning = talk.client()
        for n in range(500):
            await churning.join("room" if n % 2 else "hall")
            await churning.leave("hall" if n % 2 else "room")
            await talk.publish("room", bytes(1000))
        await talk.publish("room", "over", confirm=WAIT_S)
        await talk.converged(timeout=WAIT_S)
        after = outsider.stats().counters
        assert b.stats().counters["publications_received"] - seen == 500
        grew = {name: after.get(name, 0) - before.get(name, 0) for name in after}
        assert grew.get("scope_not_open", 0) == 0
        assert grew.get("publications_received", 0) == 0
        assert grew.get("publications_nobody", 0) == 0
        assert grew["transport_bytes_in"] < 100_000  # beside 500 kB: probes, and rounds of its own
        assert outsider.channels() == ()


@story
async def test_an_address_is_reached_from_outside_its_scope() -> None:
    async with nodes(2) as (a, b):
        client = b.scope("games").client("c")
        assert (await a.send(client.address, 1, confirm=WAIT_S)).clients == {b.id: 1}
        assert (await message(client)).data == 1


@story
async def test_closing_is_leaving_and_opening_again_works() -> None:
    async with nodes(2) as (a, b):
        one, other = a.scope("games"), b.scope("games")
        client = other.client("c")
        subscription = await other.subscribe("room")
        await client.join("room")
        await one.wait_for("room", 2, timeout=WAIT_S)
        await other.close()
        await other.close()
        await until(lambda: one.count("room") == 0)
        assert await client.get(timeout=WAIT_S) == Exit("room", "closed")
        assert [message async for message in subscription] == []
        assert subscription.exits == [Exit("room", "closed")]
        assert client.channels == ()
        for call in (
            lambda: client.join("room"),
            lambda: other.publish("room", 1),
            lambda: other.publish("room", 1, confirm=1.0),
            lambda: other.add_channel("room"),
            lambda: other.del_channel("room"),
            lambda: other.wait_for("room"),
            lambda: other.synced(timeout=1.0),
        ):
            with pytest.raises(ClosedError, match="scope 'games' is not open"):
                await call()
        for read in (other.members, other.count, other.local_members):
            with pytest.raises(ClosedError, match="scope 'games' is not open"):
                read("room")
        for names in (other.channels, other.local_channels):
            with pytest.raises(ClosedError, match="scope 'games' is not open"):
                names()
        assert b.stats().counters.get("recovered", 0) == 0
        b.scope("games")
        await client.join("room")
        await one.wait_for("room", 1, timeout=WAIT_S)
        await one.publish("room", "again")
        assert isinstance(item := await client.get(timeout=WAIT_S), Message)
        assert item.data == "again"
        await client.close()
        await until(lambda: one.count("room") == 0)


@story
async def test_who_watches_a_scope_that_is_closed_sees_all_go_and_come_back() -> None:
    async with nodes(2) as (a, b):
        one, other = a.scope("games"), b.scope("games")
        mine, theirs = one.client("mine"), other.client("theirs")
        await mine.join("room")
        await theirs.join("room")
        await one.wait_for("room", 2, timeout=WAIT_S)
        watch = one.watch("room")
        snapshot = await anext(watch)
        assert isinstance(snapshot, Snapshot)
        here = {member.id for member in snapshot.members}
        assert here == {"mine", "theirs"}
        await one.close()
        while here:
            change = await asyncio.wait_for(anext(watch), WAIT_S)
            assert isinstance(change, Change)
            assert change.cause is Cause.SCOPE_CLOSED
            here -= {member.id for member in change.left}
        a.scope("games")
        back = await asyncio.wait_for(anext(watch), WAIT_S)
        assert isinstance(back, Change)
        assert [member.id for member in back.joined] == ["theirs"]


@story
async def test_a_drain_and_a_full_queue_end_what_is_in_scopes_too() -> None:
    async with nodes(2) as (a, b):
        one, other = a.scope("games"), b.scope("games")
        narrow = other.client("narrow", max_pending=1, overflow="close")
        wide = other.client("wide")
        for client in (narrow, wide):
            await client.join("room")
        await one.wait_for("room", 2, timeout=WAIT_S)
        for n in range(3):
            await one.publish("room", n)
        await until(lambda: [m.id for m in one.members("room")] == ["wide"])
        await b.drain(timeout=WAIT_S)
        await until(lambda: one.count("room") == 0)
        assert wide.pending == 3


@story
async def test_names_and_the_number_of_scopes_are_limited() -> None:
    async with nodes(1) as (node,):
        with pytest.raises(ConfigError, match="use the node"):
            node.scope("default")
        with pytest.raises(InvalidNameError):
            node.scope("")
        for n in range(SCOPES_MAX - 1):
            node.scope(f"s{n}")
        node.scope("s0")  # open already
        with pytest.raises(ConfigError, match="64 scopes are open"):
            node.scope("one more")
        await node.scope("s0").close()
        late = node.scope("one more")
    with pytest.raises(ClosedError):
        late.members("room")
    await late.close()
    await asyncio.gather(late.close(), late.close())


def test_blocking_code_has_scopes_too() -> None:
    with SyncNode("tcp://127.0.0.1:*") as node:
        scope = node.scope("games")
        assert (scope.name, scope.node) == ("games", node)
        with scope.subscribe("room") as messages:
            assert messages.client.node is node
            assert scope.publish("room", 1).members == 1
            assert messages.get(timeout=WAIT_S).data == 1
            assert (node.count("room"), scope.count("room")) == (0, 1)
        scope.close()
        with pytest.raises(ClosedError, match="scope 'games' is not open"):
            scope.members("room")
