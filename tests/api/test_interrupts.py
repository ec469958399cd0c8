"""A KeyboardInterrupt at every place of a write: the node goes on, and nobody is told half."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final

import pytest

from crdtpubsub import Client, Exit, Member, Message, Node
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.runtime.core import Core
from crdtpubsub.runtime.handover import HandOverLock
from tests.api.helpers import WAIT_S, at_once, nodes, story, until
from tests.interrupts import interrupted

pytestmark = pytest.mark.net

SPARED: Final = frozenset({"recover", "rouse", "_rebuild"})
PLACES_MIN: Final = 40
STRIKES: Final = 200
AFAR_EVERY: Final = 5  # a member on another node takes 20 ms more
SCOPE_AFAR_EVERY: Final = 20  # and a scope more than that


def free(lock: HandOverLock) -> bool:
    """Whether another thread can take it."""
    took: list[bool] = []

    def take() -> None:
        took.append(lock._turnstile.acquire(timeout=WAIT_S) and lock._lock.acquire(timeout=WAIT_S))
        if took[0]:
            lock._lock.release()
            lock._turnstile.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return took[0]


def channels_of(core: Core, scope: str, client: str) -> set[str]:
    """The channels of one client, as a look at all of them tells."""
    me, scopes = core.engine.me, core.engine._replication.scopes
    if scope not in scopes:
        return set()
    members = scopes[scope].members
    return {name for name in members.channels_of(me) if client in members.clients(me, name)}


def check(node: Node) -> None:
    """Everything derived is what its recomputation gives."""
    core = node._runtime.core
    assert free(core.lock), "the lock is held"
    with core.lock:
        members = core.engine.set_of(DEFAULT_SCOPE)
        members.check()
        router = core.engine._replication.scopes[DEFAULT_SCOPE].router
        for channel, route in router._routes.items():
            assert route == router._build(channel), channel
        for channel, seen in node._views.listed.items():
            assert seen == node._views._build(channel, include_down=False), channel
        for line in core.sender._lines.values():
            queued = sum(len(record) for record, _ in line.outbox._records)
            assert line.outbox.queued_bytes == queued
        for client, mailbox in core.mailboxes.items():
            assert mailbox.channels == channels_of(core, mailbox.scope, client), client
            assert mailbox._exits == sum(isinstance(item, Exit) for item in mailbox._items)


class Stage:
    """A node to be broken into, one that looks on, and a client of each in one channel."""

    def __init__(self, node: Node, other: Node) -> None:
        self.node, self.other = node, other
        self.mine = node.client("mine")
        self.theirs = other.client("theirs")

    async def members(self) -> set[str]:
        return {m.id for m in self.node.members("room")}

    async def agree(self) -> None:
        """The other sees what this node sees, and its recomputation agrees."""
        await self.node.converged(timeout=WAIT_S)
        await until(lambda: self.other.members("room") == self.node.members("room"))
        assert self.other.channels() == self.node.channels()
        check(self.node)


def breaks(place: int, call: Coroutine[Any, Any, object]) -> bool:
    """Break into `call`, which needs not wait for anything."""
    try:
        return interrupted(place, lambda: at_once(call), spared=SPARED)
    finally:
        call.close()


async def exits(client: Client) -> int:
    """How many exits it was told of; takes everything."""
    found = 0
    while client.pending:
        found += isinstance(await client.get(), Exit)
    return found


async def everywhere(break_in: Callable[[int], Any]) -> int:
    """Break in at the first place, the second ... until it is through; how many there were."""
    at = 0
    while await break_in(at):
        at += 1
    assert at > PLACES_MIN
    return at


@story
async def test_an_interrupt_anywhere_in_a_join() -> None:
    async with nodes(2) as (node, other):
        stage = Stage(node, other)
        await stage.theirs.join("room")
        await node.wait_for("room", 1, timeout=WAIT_S)

        async def at(place: int) -> bool:
            join = stage.mine.join("room", meta=place)
            broken = breaks(place, join)
            check(node)
            assert await stage.members() in ({"theirs"}, {"theirs", "mine"})
            await stage.agree()
            await stage.mine.join("room", meta=-place)
            assert [m.meta for m in node.members("room") if m.id == "mine"] == [-place]
            await stage.mine.leave("room")
            return broken

        await everywhere(at)
        assert await exits(stage.mine) == 0


@story
async def test_an_interrupt_anywhere_in_a_plain_join() -> None:
    """Without metadata it goes a shorter way."""
    async with nodes(2) as (node, other):
        stage = Stage(node, other)
        waits = asyncio.create_task(other.wait_for("room", 1, timeout=WAIT_S))
        at, broken = 0, True
        while broken:
            broken = breaks(at, stage.mine.join("room"))
            check(node)
            assert await stage.members() in (set(), {"mine"})
            await stage.mine.join("room")
            assert await stage.members() == {"mine"}
            if not broken:
                await stage.agree()
                await waits
            await stage.mine.leave("room")
            at += 1
        assert at > PLACES_MIN
        assert await exits(stage.mine) == 0


@story
async def test_an_interrupt_anywhere_in_a_leave() -> None:
    async with nodes(2) as (node, other):
        stage = Stage(node, other)
        await stage.theirs.join("room")

        async def at(place: int) -> bool:
            await stage.mine.join("room")
            leave = stage.mine.leave("room")
            broken = breaks(place, leave)
            check(node)
            await stage.agree()
            return broken

        await everywhere(at)
        assert await exits(stage.mine) == 0


@story
async def test_an_interrupt_anywhere_in_a_removal_tells_once_who_was_removed() -> None:
    async with nodes(2) as (node, other):
        stage = Stage(node, other)

        async def at(place: int) -> bool:
            await stage.mine.join("room")
            leave = node.leave("room", Member("room", "mine", node.id))
            broken = breaks(place, leave)
            check(node)
            gone = not await stage.members()
            assert await exits(stage.mine) == gone, place
            await stage.agree()
            return broken

        await everywhere(at)


@story
async def test_an_interrupt_anywhere_in_the_end_of_a_channel_tells_each_once() -> None:
    async with nodes(2) as (node, other):
        stage = Stage(node, other)
        more = [node.client("more")]

        async def at(place: int) -> bool:
            for client in (stage.mine, *more):
                await client.join("room")
            await node.add_channel("room")
            if afar := place % AFAR_EVERY == 0:
                await stage.theirs.join("room")
                await node.wait_for("room", 3, timeout=WAIT_S)
                await other.wait_for("room", 3, timeout=WAIT_S)
            end = node.del_channel("room")
            broken = breaks(place, end)
            check(node)
            left = await stage.members()
            for client in (stage.mine, *more):
                assert await exits(client) == (client.id not in left), (place, client)
            if afar:
                await stage.agree()
            await node.del_channel("room")
            for client in (stage.mine, *more):
                assert await exits(client) == (client.id in left), (place, client)
            if afar:
                await until(lambda: stage.theirs.pending)
                assert await exits(stage.theirs) == 1
            return broken

        await everywhere(at)


@story
async def test_an_interrupt_anywhere_in_the_end_of_a_client_leaves_it_to_be_ended_again() -> None:
    async with nodes(1) as (node,):

        async def at(place: int) -> bool:
            client = node.client("mine")
            for channel in ("room", "hall"):
                await client.join(channel)
            broken = breaks(place, client.close())
            check(node)
            await client.close()
            assert not node.channels()
            assert not node._runtime.core.mailboxes
            return broken

        await everywhere(at)


@story
async def test_an_interrupt_anywhere_in_the_end_of_a_scope_leaves_it_to_be_ended_again() -> None:
    """Of whom it ends, each is told once of each; and no birth is minted a second time."""
    async with nodes(2) as (node, other):
        looking_on = other.scope("games")
        player = node.scope("games").client("player")
        births = 0

        async def at(place: int) -> bool:
            nonlocal births
            scope = node.scope("games")
            next_birth = node._runtime.core.engine.set_of("games").next_birth
            assert next_birth >= births, place
            await player.join("chess")
            await player.join("go")
            births = next_birth + 2
            if afar := place % SCOPE_AFAR_EVERY == 0:
                await looking_on.wait_for("go", 1, timeout=WAIT_S)
            broken = breaks(place, scope.close())
            check(node)
            await scope.close()
            assert not player.channels
            if afar:
                await until(lambda: not looking_on.channels())
            assert await exits(player) == 2, place
            return broken

        await everywhere(at)


@story
async def test_an_interrupt_anywhere_in_a_publication() -> None:
    async with nodes(2) as (node, other):
        stage = Stage(node, other)
        for client in (stage.mine, stage.theirs):
            await client.join("room")
        await node.wait_for("room", 2, timeout=WAIT_S)

        async def at(place: int) -> bool:
            publish = node.publish("room", place)
            broken = breaks(place, publish)
            check(node)
            receipt = await node.publish("room", "next")
            assert receipt.members == 2
            for client in (stage.mine, stage.theirs):
                got: list[object] = []
                while not got or got[-1] != "next":
                    item = await client.get(timeout=WAIT_S)
                    assert isinstance(item, Message)
                    got.append(item.data)
                assert got in ([place, "next"], ["next"]), client
                if not broken:
                    assert got == [place, "next"]
            return broken

        await everywhere(at)


@story
async def test_an_interrupt_anywhere_in_what_is_sent_to_one_client() -> None:
    async with nodes(2) as (node, other):
        stage = Stage(node, other)
        to = stage.theirs.address

        async def at(place: int) -> bool:
            broken = breaks(place, node.send(to, place))
            check(node)
            await node.send(to, "next")
            got: list[object] = []
            while not got or got[-1] != "next":
                item = await stage.theirs.get(timeout=WAIT_S)
                assert isinstance(item, Message)
                got.append(item.data)
            assert got in ([place, "next"], ["next"])
            if not broken:
                assert got == [place, "next"]
            return broken

        await everywhere(at)


@story
async def test_an_interrupt_anywhere_in_a_confirmed_publication_leaves_none_delivered_twice() -> (
    None
):
    """Of a client of this node: what is asked of others waits, and is no call any more."""
    async with nodes(1) as (node,):
        client = node.client("mine")
        await client.join("room")

        async def at(place: int) -> bool:
            calls = (
                node.publish("room", place, confirm=WAIT_S),
                node.send(client.address, place, confirm=WAIT_S),
            )
            broken = [breaks(place, call) for call in calls]
            check(node)
            receipt = await node.publish("room", "next", confirm=WAIT_S)
            assert receipt.clients == {node.id: 1}
            got = []
            while client.pending:
                item = await client.get(timeout=WAIT_S)
                assert isinstance(item, Message)
                got.append(item.data)
            assert got[-1] == "next"
            assert got.count(place) + got.count("next") == len(got)
            assert broken.count(False) <= got.count(place) <= 2
            return any(broken)

        await everywhere(at)


@story
async def test_an_interrupt_anywhere_in_the_making_of_a_client_leaves_its_name_free() -> None:
    async with nodes(1) as (node,):
        at, made = 0, []
        while interrupted(at, lambda: made.append(node.client("c")), spared=SPARED):
            assert made or node._runtime.core.mailboxes == {}, at
            for client in made:  # it came after the client was handed over
                await client.close()
            made.clear()
            at += 1
        assert at > 10


@story
async def test_an_interrupted_call_leaves_nobody_asleep() -> None:
    """The wake-up was taken from the list, and then not done: a message lay there unread."""
    async with nodes(1) as (node,):
        client = node.client()
        await client.join("room")

        async def at(place: int) -> bool:
            getting = asyncio.create_task(client.get(timeout=WAIT_S))
            await until(lambda: len(client._mailbox.bell) == 1)
            publish = node.publish("room", place)
            broken = breaks(place, publish)
            if not client.pending:
                await node.publish("room", place)
            item = await getting
            assert isinstance(item, Message)
            while client.pending:
                await client.get()
            return broken

        await everywhere(at)


def swallows(frame: FrameType | None) -> bool:
    """Whether Python itself would swallow what is raised there: in a callback of a weak reference,
    or in a finalizer, both of which may run in the midst of any line.
    """
    while frame is not None:
        if frame.f_code.co_name in ("_remove", "__del__"):
            return True
        frame = frame.f_back
    return False


def test_interrupts_by_signals_at_random_moments() -> None:
    """The same with real signals, beside an I/O thread that wants the lock too."""
    dice, main, done = random.Random(1), threading.get_ident(), threading.Event()
    armed = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal armed
        if armed and not swallows(frame):
            armed = False
            raise KeyboardInterrupt

    def strike() -> None:
        while not done.wait(dice.uniform(0.0, 0.0005)):
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, on_signal)
    node = asyncio.run(Node().start())
    striker = threading.Thread(target=strike)
    striker.start()
    try:
        client = node.client("mine")
        broken = 0
        while broken < STRIKES:
            join, leave = client.join("room"), client.leave("room")
            try:
                armed = True
                at_once(join)
                node.publish_nowait("room", 1)
                at_once(leave)
                armed = False
            except KeyboardInterrupt:
                broken += 1
            join.close()
            leave.close()
        check(node)
        at_once(client.join("room"))
        assert [m.id for m in node.members("room")] == ["mine"]
    finally:
        armed = False
        done.set()
        striker.join()
        signal.signal(signal.SIGUSR1, before)
        asyncio.run(node.close())


def test_an_interrupt_while_the_lock_is_taken_or_let_go_leaves_it_free() -> None:
    lock = HandOverLock()

    def use() -> None:
        with lock:
            pass

    at = 0
    while interrupted(at, use):
        assert free(lock), at
        at += 1
    assert at >= 3
