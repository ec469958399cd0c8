"""What the end of a client costs: as much as the channels it is in, whatever others there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from crdtpubsub import Client, Member, Node
from crdtpubsub.crdt.owner import Clients
from crdtpubsub.names import DEFAULT_SCOPE
from tests.api.helpers import at_once, exits, nodes, story, until

pytestmark = pytest.mark.net

CHANNELS: Final = 10_000


class Watched(dict[str, Clients]):
    """A node's own channels; which of them were looked at, and how often all of them were."""

    def __init__(self, channels: dict[str, Clients]) -> None:
        super().__init__(channels)
        self.looked_at: set[str] = set()
        self.walked = 0

    def __iter__(self) -> Iterator[str]:
        self.walked += 1
        return super().__iter__()

    def keys(self):  # type: ignore[no-untyped-def]
        self.walked += 1
        return super().keys()

    def values(self):  # type: ignore[no-untyped-def]
        self.walked += 1
        return super().values()

    def items(self):  # type: ignore[no-untyped-def]
        self.walked += 1
        return super().items()

    def get(self, channel, default=None):  # type: ignore[no-untyped-def]
        self.looked_at.add(channel)
        return super().get(channel, default)

    def __getitem__(self, channel: str) -> Clients:
        self.looked_at.add(channel)
        return super().__getitem__(channel)


def watched(node: Node) -> Watched:
    """Watch what happens to that node's channels from now on."""
    with node._runtime.core.lock:
        own = node._runtime.core.engine.set_of(DEFAULT_SCOPE)._owners[node.id]
        own.channels = channels = Watched(own.channels)
    return channels


async def in_many(node: Node) -> Client:
    """A client in so many channels."""
    client = node.client("everywhere")
    for number in range(CHANNELS):
        at_once(client.join(f"channel-{number}"))
    return client


@story
async def test_the_end_of_a_client_costs_as_much_as_it_is_in() -> None:
    async with nodes(1) as (node,):
        everywhere = await in_many(node)
        client = node.client("here")
        await client.join("room")
        await client.join("channel-7")
        channels = watched(node)
        assert [*client.channels] == ["channel-7", "room"]
        await client.close()
        assert channels.looked_at <= {"channel-7", "room"}
        assert not channels.walked
        assert [m.id for m in node.members("channel-7")] == ["everywhere"]
        assert len(everywhere.channels) == CHANNELS


@story
async def test_so_does_the_end_that_a_full_queue_makes_of_it() -> None:
    async with nodes(1) as (node,):
        await in_many(node)
        client = node.client("slow", max_pending=1, overflow="close")
        await client.join("room")
        channels = watched(node)
        for _ in range(2):
            await node.publish("room", "news")
        await until(lambda: "slow" not in node._runtime.core.mailboxes)
        assert channels.looked_at <= {"room"}
        assert not channels.walked
        assert node.members("room") == ()


@story
async def test_a_client_knows_its_channels_whoever_began_and_ended_them() -> None:
    async with nodes(2) as (node, other):
        client, next_door = node.client("ann"), node.client("bob")
        await client.join("mine")
        await next_door.join("next door")
        (ann,) = await other.wait_for("mine", 1, timeout=10.0)
        await other.join("invited", ann)
        assert [*client.channels] == ["invited", "mine"]
        await other.leave("invited", Member("invited", "ann", node.id))
        assert (await exits(client)).channel == "invited"
        assert [*client.channels] == ["mine"]
        await client.update("mine", meta=1)
        await client.leave("mine")
        assert not client.channels
        await client.join("mine")
        await node.del_channel("mine")
        assert not client.channels
        assert [*next_door.channels] == ["next door"]


@story
async def test_the_channels_of_a_scope_end_with_it_and_begin_anew() -> None:
    async with nodes(1) as (node,):
        scope = node.scope("games")
        player, client = scope.client("player"), node.client("client")
        await player.join("chess")
        await client.join("room")
        await scope.close()
        assert not player.channels
        assert [*client.channels] == ["room"]
        again = node.scope("games")
        await player.join("go")
        assert [*player.channels] == ["go"]
        await player.close()
        assert again.members("go") == ()
