"""Races that were found by reading, each as the shortest story that shows it."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import Any, ClassVar, cast

import pytest

from crdtpubsub import Client, ClosedError, Config, Exit, Message, Node, NodeId
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.runtime import Mailbox
from crdtpubsub.runtime.loop import Loop
from tests.api.helpers import at_once, message, nodes, story

SENDER = NodeId("0" * 32)


def test_a_reader_beside_a_full_queue_does_not_stop_the_node() -> None:
    """`drop_oldest` looked at the oldest item while a reader in another thread took it. The
    IndexError (or `deque mutated during iteration`) ended the I/O thread, and the node."""
    mailbox = Mailbox(max_pending=1, overflow="drop_oldest")
    taken: list[Message | Exit] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set() or len(mailbox):
            if (item := mailbox.take()) is not None:
                taken.append(item)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60_000):
            mailbox.put(Message("room", b"", SENDER, {}))
            if number % 3 == 0:
                mailbox.put_exit(Exit("room", "removed"))
    finally:
        done.set()
        reader.join()
        sys.setswitchinterval(interval_s)
    exits = [item for item in taken if isinstance(item, Exit)]
    assert len(exits) == 20_000, "an Exit is never dropped"
    assert len(taken) - len(exits) + mailbox.dropped == 60_000
    assert mailbox.put(Message("room", b"", SENDER, {}))


def test_a_link_that_drained_before_its_lag_was_noted_is_not_lagging_for_ever() -> None:
    """A caller's write overflowed the outbox after the I/O thread had looked for that, and the
    same turn emptied it. Noted in the next turn, the lag was never taken back: no more pushes."""
    handled: list[ev.Event] = []

    class Engine:
        me = "0" * 32

        def listed(self, _life: str) -> bool:
            return True

        def handle(self, event: ev.Event, _now: float) -> None:
            handled.append(event)

        def take(self) -> list[ef.Effect]:
            return []

    class Core:
        lock = threading.Lock()
        engine = Engine()
        config = Config()
        counters: ClassVar[Counter[str]] = Counter()

        class sender:  # noqa: N801
            @staticmethod
            def line(_endpoint: str) -> None:
                return None

        class transport:  # noqa: N801
            @staticmethod
            def wake() -> None: ...

        def perform(self, _effects: object) -> None: ...

    loop = Loop(cast("Any", Core()), cast("Any", None), cast("Any", None))
    loop._lagging("tcp://127.0.0.1:1")
    endpoint = "tcp://127.0.0.1:1"
    assert handled == [ev.LinkLagging(endpoint), ev.LinkDrained(endpoint)]


@pytest.mark.net
@story
async def test_a_join_that_a_close_overtook_leaves_no_member_behind() -> None:
    """Between the look at the client and the write, another thread closed it."""
    async with Node() as node:
        client = node.client("alice")
        await client.join("room")
        runtime = node._runtime
        mailbox = client._mailbox
        await client.close()
        with pytest.raises(ClosedError):
            runtime.joiner.join("hall", "alice", mailbox)
        assert node.members("hall") == ()


def test_knobs_beyond_the_wire_are_refused() -> None:
    """A payload no frame can hold was accepted, and ended the I/O thread that had to send it."""
    for knob, value in [("payload_bytes_max", 16 * 1024 * 1024 + 1), ("meta_bytes_max", 4097)]:
        with pytest.raises(ValueError, match=knob):
            Config(**cast("Any", {knob: value}))


@story
async def test_who_opens_the_id_of_a_client_that_two_close_at_once_stays_a_member() -> None:
    """The slower of the two ended the memberships of the next client of that id."""
    async with nodes(1) as [node]:
        client = node.client("ann")
        await client.join("room")
        runtime, found = node._runtime, list[Client]()

        def and_then_the_other_was_quicker(client_id: str) -> tuple[str, ...]:
            at_once(client.close())
            found.append(node.client(client_id))
            at_once(found[0].join("room"))
            return ("room",)

        runtime.close_mailbox("ann", client._mailbox, and_then_the_other_was_quicker)
        assert [member.id for member in node.members("room")] == ["ann"]
        await node.publish("room", "hello")
        assert (await message(found[0])).data == "hello"
