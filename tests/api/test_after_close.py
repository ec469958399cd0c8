"""The whole API after `close`: each public name does what this table says, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import pytest

from crdtpubsub import (
    Client,
    ClosedError,
    ConfigError,
    Node,
    Scope,
    Subscription,
    SyncClient,
    SyncNode,
    SyncScope,
    SyncSubscription,
)
from tests.api.helpers import story

CLOSED: Final = "raises ClosedError"
Call = Callable[[Any, Any], object]

OVERLAY: Final[dict[str, tuple[Call, object]]] = {
    "add_channel": (lambda o, _: o.add_channel("room"), CLOSED),
    "channels": (lambda o, _: o.channels(), CLOSED),
    "client": (lambda o, _: o.client("new"), CLOSED),
    "converged": (lambda o, _: o.converged(timeout=5), CLOSED),
    "count": (lambda o, _: o.count("room"), CLOSED),
    "del_channel": (lambda o, _: o.del_channel("room"), CLOSED),
    "join": (lambda o, c: o.join("room", c), CLOSED),
    "leave": (lambda o, c: o.leave("room", c), CLOSED),
    "local_channels": (lambda o, _: o.local_channels(), CLOSED),
    "local_members": (lambda o, _: o.local_members("room"), CLOSED),
    "members": (lambda o, _: o.members("room"), CLOSED),
    "node": (lambda o, _: o.node is not None, True),
    "publish": (lambda o, _: o.publish("room", 1), CLOSED),
    "publish_nowait": (lambda o, _: o.publish_nowait("room", 1), CLOSED),
    "request": (lambda o, _: o.request("room", 1, timeout=5), CLOSED),
    "send": (lambda o, c: o.send(c.address, 1), CLOSED),
    "subscribe": (lambda o, _: o.subscribe("room"), CLOSED),
    "events": (lambda o, _: o.events() is not None, True),
    "stats": (lambda o, _: o.stats(), CLOSED),
    "synced": (lambda o, _: o.synced(timeout=5), CLOSED),
    "token": (lambda o, _: o.token(), CLOSED),
    "wait_for": (lambda o, _: o.wait_for("room", 1, timeout=5), CLOSED),
    "watch": (lambda o, _: o.watch("room") is not None, True),
    "close": (lambda o, _: o.close(), None),
    "name": (lambda o, _: bool(o.name), True),
}
NODE: Final = {
    **OVERLAY,
    "drain": (lambda o, _: o.drain(), CLOSED),
    "endpoint": (lambda o, _: bool(o.endpoint), True),
    "from_env": (lambda o, _: type(o).from_env() is not None, True),  # makes another one
    "id": (lambda o, _: len(o.id), 32),
    "peers": (lambda o, _: o.peers(), CLOSED),
    "scope": (lambda o, _: o.scope("other"), CLOSED),
    "start": (lambda o, _: o.start(), "raises ConfigError"),  # a node runs once
}
CLIENT: Final[dict[str, tuple[Call, object]]] = {
    "address": (lambda o, _: str(o.address)[:4], "ann@"),
    "channels": (lambda o, _: o.channels, ()),
    "close": (lambda o, _: o.close(), None),
    "closed": (lambda o, _: o.closed, True),
    "dropped": (lambda o, _: o.dropped, 0),
    "get": (lambda o, _: o.get(timeout=5), CLOSED),
    "get_many": (lambda o, _: o.get_many(timeout=5), CLOSED),
    "id": (lambda o, _: o.id, "ann"),
    "join": (lambda o, _: o.join("room"), CLOSED),
    "leave": (lambda o, _: o.leave("room"), CLOSED),
    "node": (lambda o, _: o.node is not None, True),
    "pending": (lambda o, _: o.pending, 0),
    "pending_bytes": (lambda o, _: o.pending_bytes, 0),
    "update": (lambda o, _: o.update("room", meta=1), CLOSED),
}
SUBSCRIPTION: Final[dict[str, tuple[Call, object]]] = {
    "close": (lambda o, _: o.close(), None),
    "get": (lambda o, _: o.get(timeout=5), CLOSED),
    "get_many": (lambda o, _: o.get_many(timeout=5), CLOSED),
}


async def outcome(call: Call, of: object, client: object) -> object:
    try:
        result = call(of, client)
        return await result if inspect.isawaitable(result) else result
    except (ClosedError, ConfigError) as error:
        return f"raises {type(error).__name__}"


async def outcomes(table: dict[str, tuple[Call, object]], of: object, client: object) -> None:
    said = {name: await outcome(call, of, client) for name, (call, _) in table.items()}
    assert said == {name: expected for name, (_, expected) in table.items()}


@story
async def test_asyncio() -> None:
    node = Node("tcp://127.0.0.1:*", name="n")
    async with node:
        ann, other = node.client("ann"), node.scope("other")
        ben = other.client("ben")
        messages = await node.subscribe("room")
    await outcomes(NODE, node, ann)
    await outcomes(OVERLAY, other, ben)
    await outcomes(CLIENT, ann, ann)
    await outcomes(SUBSCRIPTION, messages, ann)
    assert [notice async for notice in node.events()] == []
    assert [item async for item in ann] == []
    assert [item async for item in messages] == []


@story
async def test_blocking() -> None:
    with SyncNode("tcp://127.0.0.1:*", name="n") as node:
        ann, other = node.client("ann"), node.scope("other")
        ben = other.client("ben")
        messages = node.subscribe("room")
    await outcomes(NODE, node, ann)
    await outcomes(OVERLAY, other, ben)
    await outcomes(CLIENT, ann, ann)
    await outcomes(SUBSCRIPTION, messages, ann)
    assert (list(node.events()), list(ann), list(messages)) == ([], [], [])


@pytest.mark.parametrize(
    ("kinds", "table"),
    [
        ((Node, SyncNode), NODE),
        ((Scope, SyncScope), OVERLAY),
        ((Client, SyncClient), CLIENT),
        ((Subscription, SyncSubscription), SUBSCRIPTION),
    ],
)
def test_the_tables_name_every_public_method(
    kinds: tuple[type, ...], table: dict[str, tuple[Call, object]]
) -> None:
    for kind in kinds:
        public = {name for name in dir(kind) if not name.startswith("_")}
        assert public - table.keys() == set(), kind
