"""A KeyboardInterrupt at every place of a confirmed message to clients of another node.

Nobody hangs, nothing comes twice, and nothing stays open: neither here, where it was asked, nor
there, where its answer is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest

from crdtpubsub import Message, Node, Receipt, SyncClient, SyncNode
from crdtpubsub.blocking import IN_PLACE, run
from crdtpubsub.runtime.confirming import Ticket
from crdtpubsub.runtime.core import Core
from crdtpubsub.transport.zmq import ZmqTransport
from tests.api.helpers import WAIT_S, at_once, story, wait_until
from tests.api.test_interrupts import PLACES_MIN, SPARED, check
from tests.interrupts import interrupted

pytestmark = [
    pytest.mark.net,
    # Python itself swallows what comes while it drops a generator that was not run to its end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Ask = Callable[[int], Coroutine[Any, Any, Receipt]]


def started(call: Coroutine[Any, Any, Receipt]) -> asyncio.Future[None] | None:
    """Run it until it waits; for what, or None if it need not."""
    try:
        waits_for: asyncio.Future[None] = call.send(None)
    except StopIteration:
        return None
    return waits_for


def left_open(core: Core) -> dict[str, object]:
    """All that a node keeps of what it has asked and was not answered."""
    asking, picking = core.engine._asking, core.engine.picking
    with core.lock:
        owners = asking._owners.values()
        kept = {
            "open": [counter for owner in owners for counter in owner.open],
            "window": [counter for owner in owners for counter in owner.asked],
            "bytes": [owner.bytes for owner in owners if owner.bytes],
            "all bytes": asking._bytes,
            "at how many": dict(asking._asked),
            "picked": [*picking._asked, *picking._mine],
            "tickets": list(core.tickets),
        }
    return {what: some for what, some in kept.items() if some}


def answers_kept(core: Core, asker: Node) -> int:
    """How many answers that owner keeps for `asker`, in case it asks again."""
    with core.lock:
        return len(core.engine._answering._tables[asker.id].answers)


class Afar:
    """A node to be broken into, and clients of another one, and of its own, in queue groups too."""

    def __init__(self, here: SyncNode, there: SyncNode) -> None:
        self.here, self.there = here, there
        self.one, self.two = there.client("one"), there.client("two")
        self.one.join("room")
        self.two.join("room")
        self.two.join("work", queue="workers")
        self.own = here.client("own")
        self.own.join("own work", queue="workers")
        here.wait_for("room", 2, timeout=WAIT_S)
        here.wait_for("work", 1, timeout=WAIT_S)
        self.node = here._node
        self.core, self.core_there = (n._node._runtime.core for n in (here, there))

    def asks(self) -> dict[str, tuple[Ask, tuple[SyncClient, ...]]]:
        """Every way to confirm, and who gets it."""
        node, one = self.node, self.one.address
        member = next(m for m in node.members("room") if m.id == "one")
        return {
            "publish": (
                lambda n: node.publish("room", n, confirm=WAIT_S),
                (self.one, self.two),
            ),
            "publish to a group": (
                lambda n: node.publish("work", n, confirm=WAIT_S),
                (self.two,),
            ),
            "publish to a group of this node": (
                lambda n: node.publish("own work", n, confirm=WAIT_S),
                (self.own,),
            ),
            "send to a client": (lambda n: node.send(one, n, confirm=WAIT_S), (self.one,)),
            "send to a member": (lambda n: node.send(member, n, confirm=WAIT_S), (self.one,)),
        }

    def judge(self, place: int, who: tuple[SyncClient, ...], *, broken: bool) -> None:
        """The node works on, and of that message nothing is left but what was delivered."""
        check(self.node)
        for client in who:
            receipt = self.here.send(client.address, "next", confirm=WAIT_S)
            assert receipt.clients == {client.address.node: 1}, (place, receipt)
        wait_until(lambda: not left_open(self.core))
        transport = self.core.transport
        assert isinstance(transport, ZmqTransport)
        wait_until(lambda: not transport._sleep._awake)  # the I/O thread hears who wakes it
        for client in who:
            got = [self.data(client) for _ in range(client.pending)]
            assert got.count("next") == 1, (place, got)
            assert got.count(place) in ((0, 1) if broken else (1,)), (place, got)
            assert len(got) == 1 + got.count(place), (place, got)

    def end(self) -> None:
        """The window moved on, there too; and the node may go."""
        assert self.here.send(self.one.address, "last", confirm=WAIT_S).clients
        assert answers_kept(self.core_there, self.node) <= 2
        self.here.drain(timeout=WAIT_S)

    @staticmethod
    def data(client: SyncClient) -> object:
        """The next message's."""
        item = client.get(timeout=WAIT_S)
        assert isinstance(item, Message)
        return item.data


@contextmanager
def afar() -> Iterator[Afar]:
    """Two nodes that know each other."""
    with (
        SyncNode(name="here", seeds=["tcp://127.0.0.1:1"]) as here,
        SyncNode(name="there", seeds=[here.endpoint]) as there,
    ):
        wait_until(lambda: all(sum(p.linked for p in n.peers()) == 1 for n in (here, there)))
        yield Afar(here, there)


@pytest.mark.parametrize(
    "what",
    [
        "publish",
        "publish to a group",
        "publish to a group of this node",
        "send to a client",
        "send to a member",
    ],
)
def test_an_interrupt_anywhere_in_a_confirmed_message(what: str) -> None:
    """From its first line to its return, the wait for the answer included."""
    with afar() as stage:
        ask, who = stage.asks()[what]
        for place in count():
            call = ask(place)
            broken = interrupted(place, lambda: run(call), spared=SPARED)  # noqa: B023
            call.close()
            stage.judge(place, who, broken=broken)
            if not broken:
                break
        assert place > PLACES_MIN
        stage.end()


@story
async def test_an_interrupt_anywhere_in_the_same_call_of_asyncio() -> None:
    """Until it suspends, and from when it is resumed: in between it is the event loop's."""
    with afar() as stage:
        ask, who = stage.asks()["publish"]
        for place in count():
            call = ask(place)
            broken = interrupted(place, lambda: started(call), spared=SPARED)  # noqa: B023
            call.close()
            stage.judge(place, who, broken=True)  # it was not waited for
            if not broken:
                break
        assert place > PLACES_MIN
        for later in count():
            call = ask(place + later)
            while (waits_for := started(call)) is None:  # answered before it had looked
                stage.judge(place + later, who, broken=False)
                call = ask(place + later)
            await asyncio.wait([waits_for])
            broken = interrupted(later, lambda: at_once(call), spared=SPARED)  # noqa: B023
            call.close()
            stage.judge(place + later, who, broken=False)  # it was answered
            if not broken:
                break
        assert later
        stage.end()


def test_an_interrupt_in_telling_who_waits_leaves_nobody_untold() -> None:
    """What another thread had been told was taken from the list, and then told to nobody."""
    with SyncNode() as node:
        core, place, broken = node._node._runtime.core, 0, True
        while broken:
            told: list[str] = []
            with core.lock:
                core.tell(Ticket(IN_PLACE, partial(told.append, "one")))
                core.tell(Ticket(IN_PLACE, partial(told.append, "two")))
            broken = interrupted(place, lambda: core.let_go(wake=False), spared=SPARED)
            if broken:
                core.rouse()
            wait_until(lambda: {*told} == {"one", "two"})  # noqa: B023
            place += 1
        assert place > 10


def test_an_interrupt_in_a_wake_up_leaves_the_sleeper_to_be_woken() -> None:
    """The flag said that it was woken, and no byte had been sent: from then on it was deaf, and
    all that this node wrote and said left as late as its next timer.
    """
    transport = ZmqTransport()
    place, broken = 0, True
    while broken:
        broken = interrupted(place, transport.wake)
        transport.wake()
        before_s = time.monotonic()
        transport.poll(WAIT_S)
        assert time.monotonic() < before_s + WAIT_S / 2, place
        place += 1
    assert place > 3
    transport.close()
