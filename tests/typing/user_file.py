# pyright: strict
"""Every public name as a user writes it, and the type it has. Checked, and never run.

mypy checks it with the rest of the tree, pyright in `test_user_file.py`, if it is there. A new
public name goes here, into both halves; that test says which are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, assert_never, assert_type

from crdtpubsub import (
    LIMITS,
    Address,
    BindError,
    Cause,
    Change,
    Claimed,
    Client,
    ClosedError,
    Config,
    ConfigError,
    CrdtPubSubError,
    DrainError,
    Events,
    Exit,
    ForkedError,
    Gap,
    InvalidNameError,
    LimitReached,
    Lost,
    Member,
    Message,
    Missed,
    NameShared,
    Node,
    NodeId,
    NoMembersError,
    Notice,
    NotSeenError,
    Outcome,
    PayloadError,
    PayloadTooLargeError,
    Peer,
    PeerDown,
    PeerLeft,
    PeerUp,
    QueueFullError,
    Receipt,
    Refused,
    Replied,
    Scope,
    SlowConsumer,
    SlowWatcher,
    Snapshot,
    Stats,
    Subscription,
    SyncClient,
    SyncEvents,
    SyncNode,
    SyncScope,
    SyncSubscription,
    SyncWatch,
    Token,
    Unanswered,
    UnreachableError,
    Watch,
)


def errors(error: CrdtPubSubError) -> Mapping[str, tuple[str, object]]:
    """What each error carries."""
    match error:
        case DrainError():
            assert_type(error.publications, dict[str, tuple[str, int]])
            return error.publications
        case NotSeenError():
            assert_type(error.missing, dict[str, tuple[str, str]])
            return error.missing
        case PayloadTooLargeError():
            assert_type((error.size_bytes, error.limit_bytes), tuple[int, int])
        case InvalidNameError():
            assert_type((error.kind, error.complaint), tuple[str, str])
        case BindError():
            assert_type((error.endpoint, error.reason), tuple[str, str])
        case NoMembersError() | UnreachableError():
            pass
        case ConfigError() | ClosedError() | ForkedError() | PayloadError() | QueueFullError():
            pass
        case _:
            pass
    return {}


def notices(notice: Notice) -> tuple[str | NodeId, str | int]:
    """What each notice carries."""
    found: tuple[str, str | int] = "", 0
    match notice:
        case PeerUp() | PeerDown() | PeerLeft():
            found = notice.node, notice.name or notice.endpoint
        case NameShared():
            found = notice.node, notice.about
        case Claimed():
            found = notice.about, notice.times
        case Unanswered():
            found = notice.endpoint, notice.about
        case Refused() | Lost():
            found = notice.reason, notice.publications
        case Gap():
            found = notice.node, notice.publications
        case SlowConsumer():
            found = notice.client, notice.dropped
        case SlowWatcher():
            found = notice.watched, notice.changes
        case LimitReached():
            assert_type(LIMITS[notice.limit], str)
            found = notice.whom or notice.about, notice.times
        case Missed():
            found = "", notice.notices
        case _:
            assert_never(notice)
    return found


def items(item: Message | Exit) -> str:
    """What a client gets is one of two, and an exit has one of two reasons."""
    match item:
        case Message():
            return item.channel
        case Exit():
            match item.reason:
                case "removed" | "closed":
                    return item.reason
                case _:
                    assert_never(item.reason)
        case _:
            assert_never(item)


def outcomes(outcome: Outcome) -> bool | None:
    """Whether somebody has it; None if nobody knows."""
    match outcome:
        case Outcome.QUEUED | Outcome.UNKNOWN:
            return None
        case Outcome.DELIVERED:
            return True
        case (
            Outcome.REFUSED_NO_LINK
            | Outcome.REFUSED_LAGGING
            | Outcome.REFUSED_SILENT
            | Outcome.REFUSED_NOBODY
            | Outcome.REFUSED_FULL
            | Outcome.REFUSED_RESTARTED
            | Outcome.REFUSED_LEFT
        ):
            return False
        case _:
            assert_never(outcome)


def causes(cause: Cause) -> bool:
    """Whether they may come back by themselves."""
    match cause:
        case Cause.NODE_DOWN | Cause.NODE_UP:
            return True
        case Cause.OP | Cause.SCOPE_CLOSED:
            return False
        case _:
            assert_never(cause)


def values(
    member: Member, peer: Peer, stats: Stats, receipt: Receipt, message: Message, ended: Exit
) -> None:
    """What can be read of each."""
    assert_type((member.channel, member.id, member.node), tuple[str, str, NodeId])
    assert_type((member.packed_meta, member.meta, member.down), tuple[bytes, object, bool])
    assert_type(member.group, str)
    assert_type((peer.node, peer.name, peer.endpoint), tuple[NodeId, str, str])
    assert_type((peer.state, peer.linked), tuple[str, bool])
    assert_type(stats.counters, Mapping[str, int])
    assert_type((stats.peers, stats.channels), tuple[Mapping[str, int], int])
    assert_type(receipt.members, int)
    assert_type(receipt.owners, Mapping[NodeId, Outcome])
    assert_type(receipt.clients, Mapping[NodeId, int])
    assert_type(receipt.groups, Mapping[str, Outcome])
    for outcome in receipt.owners.values():
        assert_type((outcome.refused, outcome.reason), tuple[bool, str])
    if Outcome.UNKNOWN in receipt.owners.values():
        return
    assert_type((message.channel, message.sender), tuple[str, NodeId])
    assert_type((message.data, message.payload, message.size_bytes), tuple[object, bytes, int])
    assert_type(message.headers, Mapping[str, str])
    assert_type(ended.channel, str)
    assert_type(ended.reason, Literal["removed", "closed"])
    address = Address.parse(str(Address(member.node, member.id)))
    assert_type(address, Address)
    assert_type((address.node, address.client), tuple[NodeId, str])
    assert_type(Token.parse("text"), Token)
    config = Config(probe_interval_s=0.5)
    assert_type((config.suspicion_min_s(5), config.suspicion_max_s(5)), tuple[float, float])


def watched(item: Snapshot | Change) -> tuple[Member, ...]:
    """A snapshot or a change, and nothing else."""
    match item:
        case Snapshot():
            return item.members
        case Change():
            assert_type(item.cause, Cause)
            return item.joined + item.left + item.updated
        case _:
            assert_never(item)


async def with_asyncio() -> None:  # noqa: PLR0915 - every name once
    """`Node` and what it makes."""
    assert_type(Node.from_env(name="n"), Node)
    async with Node(
        "tcp://127.0.0.1:*",
        seeds=["dns://fleet:7400"],
        advertise=None,
        name="n",
        cluster="c",
        secret=["one secret, long enough", "another one, as long"],
        insecure=False,
        config=Config(),
    ) as node:
        assert_type(node, Node)
        assert_type((node.id, node.name, node.endpoint), tuple[NodeId, str, str])
        assert_type(node.node, Node)
        assert_type(node.peers(), tuple[Peer, ...])
        assert_type(node.stats(), Stats)

        client = node.client("ann", max_pending=10, max_pending_bytes=1000, overflow="drop_newest")
        assert_type(client, Client)
        await node.add_channel("room")
        await node.join("room", client, meta={"desk": 4}, wait="all", timeout=5)
        assert_type(await node.leave("room", client), bool)
        members = node.members("room", include_down=True)
        assert_type(members, tuple[Member, ...])
        assert_type(await node.leave("room", members[0]), bool)
        assert_type(node.local_members("room"), tuple[Member, ...])
        assert_type(node.count("room"), int)
        assert_type(node.channels("r"), tuple[str, ...])
        assert_type(node.local_channels(), tuple[str, ...])
        assert_type(await node.del_channel("room"), int)

        receipt = await node.publish(
            "room", [1, None, "x"], headers={"a": "b"}, exclude=client, confirm=5.0
        )
        assert_type(receipt, Receipt)
        assert_type(await node.publish("room", 1, after=node.token()), Receipt)
        assert_type(node.publish_nowait("room", b"", exclude=members[0]), int)
        assert_type(await node.send(members[0], 1, headers=None, confirm=1), Receipt)
        assert_type(await node.send(client.address, 1), Receipt)

        reply = await node.request("room", 1, timeout=5, headers={"a": "b"}, exclude=client)
        assert_type(reply, Message)
        assert_type(reply.wants_reply, bool)
        assert_type(reply.reply({"ok": True}, headers=None), Replied)
        assert_type(await reply.reply(1), bool)
        assert_type(await node.request(members[0], 1, timeout=5), Message)
        assert_type(await node.request(client.address, 1, timeout=5), Message)
        await node.join("hall", members[0], timeout=5)

        assert_type(await node.wait_for("room", 2, timeout=5), tuple[Member, ...])
        assert_type(node.token(), Token)
        await node.synced(node.token(), timeout=5)
        assert_type(await node.converged(timeout=5), tuple[Peer, ...])

        assert_type(client.node, Node)
        assert_type((client.id, client.address), tuple[str, Address])
        assert_type(client.channels, tuple[str, ...])
        assert_type((client.pending, client.pending_bytes, client.dropped), tuple[int, int, int])
        assert_type(client.closed, bool)
        await client.join("room", meta=None, wait=2, timeout=None)
        await client.update("room", meta={"desk": 5})
        assert_type(await client.leave("room"), bool)
        assert_type(await client.get(timeout=1), Message | Exit)
        assert_type(await client.get_many(9, timeout=1), list[Message | Exit])
        async for item in client:
            assert_type(item, Message | Exit)
        await client.close()

        waiting = node.subscribe("room", "hall", id="bob", meta=1, queue="workers")
        assert_type(waiting, Subscription)
        assert_type(await waiting, Subscription)
        async with node.subscribe("room") as messages:
            assert_type(messages, Subscription)
            assert_type((messages.client, messages.exits), tuple[Client, list[Exit]])
            assert_type(await messages.get(timeout=1), Message)
            assert_type(await messages.get_many(), list[Message])
            async for message in messages:
                assert_type(message, Message)
        await messages.close()

        watch = node.watch(prefix="r")
        assert_type(watch, Watch)
        async for seen in watch:
            assert_type(watched(seen), tuple[Member, ...])
        watch.close()
        events = node.events()
        assert_type(events, Events)
        async for notice in events:
            notices(notice)
        events.close()

        scope = node.scope("games")
        assert_type(scope, Scope)
        assert_type((scope.name, scope.node), tuple[str, Node])
        await scope.join("room", scope.client())
        await scope.close()
        await node.drain(timeout=5)
    assert_type(await node.start(), Node)
    await node.close()


def with_threads() -> None:  # noqa: PLR0915 - every name once
    """`SyncNode` and what it makes."""
    assert_type(SyncNode.from_env(name="n"), SyncNode)
    with SyncNode("tcp://127.0.0.1:*", seeds=(), secret="one secret, long enough") as node:
        assert_type(node, SyncNode)
        assert_type((node.id, node.name, node.endpoint), tuple[NodeId, str, str])
        assert_type(node.node, SyncNode)
        assert_type(node.peers(), tuple[Peer, ...])
        assert_type(node.stats(), Stats)

        client = node.client("ann", max_pending=10, overflow="drop_oldest")
        assert_type(client, SyncClient)
        node.add_channel("room")
        node.join("room", client, meta={"desk": 4}, wait=1, timeout=5)
        members = node.members("room")
        assert_type(members, tuple[Member, ...])
        assert_type(node.leave("room", members[0]), bool)
        assert_type(node.leave("room", client), bool)
        assert_type(node.local_members("room"), tuple[Member, ...])
        assert_type(node.count("room"), int)
        assert_type(node.channels(), tuple[str, ...])
        assert_type(node.local_channels("r"), tuple[str, ...])
        assert_type(node.del_channel("room"), int)

        assert_type(node.publish("room", 1, exclude=client, confirm=5.0), Receipt)
        assert_type(node.publish_nowait("room", 1, exclude=members[0]), int)
        assert_type(node.send(members[0], 1), Receipt)
        assert_type(node.send(client.address, 1), Receipt)

        reply = node.request("room", 1, timeout=5, exclude=client)
        assert_type(reply, Message)
        assert_type(bool(reply.reply(1)), bool)
        node.join("hall", members[0], timeout=5)

        assert_type(node.wait_for("room", timeout=5), tuple[Member, ...])
        node.synced(node.token(), timeout=5)
        assert_type(node.converged(timeout=5), tuple[Peer, ...])

        assert_type(client.node, SyncNode)
        assert_type((client.id, client.address), tuple[str, Address])
        assert_type(client.channels, tuple[str, ...])
        assert_type((client.pending, client.pending_bytes, client.dropped), tuple[int, int, int])
        assert_type(client.closed, bool)
        client.join("room", meta=None)
        client.update("room", meta={"desk": 5})
        assert_type(client.leave("room"), bool)
        assert_type(client.get(timeout=1), Message | Exit)
        assert_type(client.get_many(9, timeout=1), list[Message | Exit])
        for item in client:
            assert_type(item, Message | Exit)
        client.close()

        with node.subscribe("room", id="bob", queue="workers") as messages:
            assert_type(messages, SyncSubscription)
            assert_type((messages.client, messages.exits), tuple[SyncClient, list[Exit]])
            assert_type(messages.get(timeout=1), Message)
            assert_type(messages.get_many(), list[Message])
            for message in messages:
                assert_type(message, Message)
        messages.close()

        watch = node.watch("room")
        assert_type(watch, SyncWatch)
        for seen in watch:
            assert_type(watched(seen), tuple[Member, ...])
        watch.close()
        events = node.events()
        assert_type(events, SyncEvents)
        for notice in events:
            notices(notice)
        events.close()

        scope = node.scope("games")
        assert_type(scope, SyncScope)
        assert_type((scope.name, scope.node), tuple[str, SyncNode])
        scope.join("room", scope.client())
        scope.close()
        node.drain(timeout=5)
    assert_type(node.start(), SyncNode)
    node.close()
