"""A, B, U, N and T13: the suites of Phoenix.PubSub and of delta subscribers, in our meaning.

There are no pools here, and no call that reaches one node only: what a *direct* broadcast does, a
`send` to an address does; what a *local* one does, nobody asked for: it is a channel that one
node is in.
"""

from __future__ import annotations

import asyncio

import pytest

from crdtpubsub import (
    Address,
    Change,
    Client,
    ConfigError,
    CrdtPubSubError,
    Node,
    NodeId,
    Snapshot,
    Watch,
)
from tests.api.helpers import WAIT_S, message, nodes, story, until


async def joined(node: Node, id: str, *channels: str) -> Client:
    client = node.client(id)
    for channel in channels:
        await client.join(channel, wait="all", timeout=WAIT_S)
    return client


async def nothing_before(client: Client, node: Node) -> None:
    """What comes next is what is sent now: nothing else was on its way."""
    await node.send(client.address, "the next")
    assert (await message(client)).data == "the next"


@story
async def test_b01_everybody_on_both_nodes_gets_it_twice() -> None:
    async with nodes(2) as (one, two):
        here, there = await joined(one, "a", "room"), await joined(two, "a", "room")
        for text in ("first", "second"):
            assert (await one.publish("room", text)).members == 2
        for client in (here, there):
            assert [(await message(client)).data for _ in range(2)] == ["first", "second"]


@story
async def test_b02_a_channel_that_is_only_here_reaches_nobody_elsewhere() -> None:
    async with nodes(2) as (one, two):
        here = await joined(one, "a", "only here")
        there = await joined(two, "b", "room")
        assert (await one.publish("only here", 1)).owners.keys() == {one.id}
        assert (await message(here)).data == 1
        await nothing_before(there, one)


@story
async def test_b03_what_is_sent_to_one_node_reaches_only_that() -> None:
    async with nodes(3) as (one, two, three):
        here = await joined(two, "a", "room")
        there = await joined(three, "a", "room")
        await one.send(here.address, "direct")
        assert (await message(here)).data == "direct"
        await nothing_before(there, one)


def test_u01_what_lacks_is_said_in_words() -> None:
    with pytest.raises(ConfigError, match="no address"):
        Address.parse("nobody")
    with pytest.raises(CrdtPubSubError):
        Node(name="")


@story
async def test_a01_a_node_has_a_name_and_a_life() -> None:
    async with Node(name="web-1") as node:
        assert (node.name, len(node.id), isinstance(node.id, str)) == ("web-1", 32, True)


@story
async def test_a02_members_are_none_one_and_none_again() -> None:
    async with Node() as node:
        assert node.count("room") == 0
        ann = await joined(node, "ann", "room")
        assert node.count("room") == 1
        assert await ann.leave("room")
        assert node.count("room") == 0


@story
async def test_a03_to_a05_members_get_it_others_do_not_and_one_can_be_spared() -> None:
    async with Node() as node:
        ann, bob = await joined(node, "ann", "room"), await joined(node, "bob", "room")
        others = [await joined(node, f"other {n}", f"channel {n}") for n in range(11)]
        assert (await node.publish("room", "all")).members == 2  # A03
        assert node.publish_nowait("room", "not to ann", exclude=ann) == 1  # A05
        assert [(await message(bob)).data for _ in range(2)] == ["all", "not to ann"]
        assert (await message(ann)).data == "all"
        await nothing_before(ann, node)
        for other in others:  # A04
            await nothing_before(other, node)


@story
async def test_a06_leaving_where_one_is_not_is_no_error() -> None:
    async with Node() as node:
        assert not await node.client("ann").leave("room")


@story
async def test_a07_what_is_sent_to_a_client_of_ones_own_arrives() -> None:
    async with Node() as node:
        ann = node.client("ann")
        await node.send(ann.address, "to you")
        assert (await message(ann)).data == "to you"


@story
async def test_a08_to_a_node_that_nobody_knows_nothing_is_delivered_and_it_says_so() -> None:
    """Theirs says ok; ours reports a refusal in the receipt."""
    async with Node() as node:
        ann = await joined(node, "ann", "room")
        unknown = NodeId("ab" * 16)
        receipt = await node.send(Address(unknown, "ann"), "to nobody")
        assert receipt.owners[unknown].refused
        await nothing_before(ann, node)


@story
async def test_a09_and_a10_delivery_here_needs_no_peer_and_can_spare_the_sender() -> None:
    async with Node() as node:
        ann, bob = await joined(node, "ann", "room"), await joined(node, "bob", "room")
        assert node.publish_nowait("room", 1) == 2
        assert node.publish_nowait("room", 2, exclude=bob) == 1
        assert [(await message(ann)).data for _ in range(2)] == [1, 2]
        assert (await message(bob)).data == 1
        await nothing_before(bob, node)


@story
async def test_a11_a_reader_gets_message_metadata_and_sender_once_for_each_membership() -> None:
    """There is no dispatcher to plug in: what it would be told, each message and member says."""
    async with nodes(2) as (one, two):
        ann = one.client("ann")
        await ann.join("room", meta={"special": True}, wait="all", timeout=WAIT_S)
        await ann.join("hall", wait="all", timeout=WAIT_S)
        assert [member.meta for member in two.members("room")] == [{"special": True}]
        for channel in ("room", "hall"):
            await two.publish(channel, channel, headers={"k": "v"})
        for channel in ("room", "hall"):
            got = await message(ann)
            assert (got.channel, got.data, got.sender, dict(got.headers)) == (
                channel, channel, two.id, {"k": "v"},
            )  # fmt: skip


@story
async def test_t13_updating_who_is_no_member_raises() -> None:
    async with Node() as node:
        with pytest.raises(ConfigError):
            await node.client("ann").update("room", meta=1)


# -------------------------------------------------------------------- delta_subscriber_test.exs


async def following(watch: Watch, shown: dict[str, object]) -> None:
    """Replay what a watcher is told into `shown`: client -> metadata."""
    async for item in watch:
        if isinstance(item, Snapshot):
            shown.clear()
            shown.update({m.id: m.meta for m in item.members})
            continue
        for member in item.left:
            shown.pop(member.id, None)
        shown.update({m.id: m.meta for m in (*item.joined, *item.updated)})


async def next_change(watch: Watch) -> Change:
    async with asyncio.timeout(WAIT_S):
        item = await anext(watch)
    assert isinstance(item, Change)
    return item


@story
async def test_n01_and_n02_a_watcher_is_told_once_and_not_of_what_is_the_same() -> None:
    """Their two ways to subscribe (a function by name, a closure) are one: an iterator.

    Here and on another node, exactly: what says nothing new is no event, on neither.
    """
    async with nodes(2) as (one, two):
        ann = one.client("ann")
        watches = [one.watch("room"), two.watch("room"), two.watch()]
        for watch in watches:
            async with asyncio.timeout(WAIT_S):
                assert isinstance(await anext(watch), Snapshot)
        await ann.join("room", meta=1, wait="all", timeout=WAIT_S)
        await ann.join("room", meta=1)  # again the same: no event
        await ann.join("room")
        await ann.update("room", meta=1)
        await ann.update("room", meta=2)
        await one.synced(timeout=WAIT_S)
        await ann.leave("room")
        assert not await ann.leave("room")
        await one.synced(timeout=WAIT_S)
        await joined(one, "the end", "room")
        for watch in watches:
            said: list[tuple[str, str, object]] = []
            while ("joined", "the end", None) not in said:
                change = await next_change(watch)
                for what in ("joined", "left", "updated"):
                    said += [(what, m.id, m.meta) for m in getattr(change, what)]
            assert said == [
                ("joined", "ann", 1),
                ("updated", "ann", 2),
                ("left", "ann", 2),
                ("joined", "the end", None),
            ]
        assert two.stats().counters.get("watch_resyncs", 0) == 0


@story
async def test_n03_what_was_there_before_comes_as_one() -> None:
    async with Node("tcp://127.0.0.1:*") as one:
        for name in ("a", "b", "c"):
            await joined(one, name, "room")
        async with Node(seeds=[one.endpoint]) as two:
            watch, seen, items = two.watch("room"), set[str](), 0
            while len(seen) < 3:
                async with asyncio.timeout(WAIT_S):
                    item = await anext(watch)
                items += 1
                seen |= {
                    m.id for m in (item.members if isinstance(item, Snapshot) else item.joined)
                }
            assert items <= 3  # bundled: at the least, a snapshot is no change for each


@story
async def test_n04_changes_replayed_are_what_the_node_lists() -> None:
    async with nodes(2) as (one, two):
        shown: dict[str, object] = {}
        task = asyncio.create_task(following(two.watch("room"), shown))
        for n in range(100):
            client = one.client(f"c{n}")
            await client.join("room", meta=n)
            if n % 3 == 0:
                await client.update("room", meta=-n)
            if n % 5 == 0:
                await client.leave("room")
        await until(
            lambda: two.count("room") == 80 and shown == {m.id: m.meta for m in two.members("room")}
        )
        task.cancel()
