"""A KeyboardInterrupt at every place of a node's begin and end: it is closed, and nobody hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Final

import pytest

from crdtpubsub import ClosedError, SyncNode
from crdtpubsub.blocking import run
from tests.api.helpers import WAIT_S, held, wait_until
from tests.api.test_interrupts import SPARED
from tests.interrupts import interrupted

pytestmark = pytest.mark.net

EVERY: Final = {"start": 1, "close": 1, "drain": 5}  # a drain has some hundred places


@pytest.fixture
def safe_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Thread.start` itself cannot be broken into without harm, and is not ours."""
    start = threading.Thread.start

    def start_unharmed(thread: threading.Thread) -> None:
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_unharmed)


@pytest.mark.usefixtures("safe_threads")
@pytest.mark.parametrize("what", EVERY)
def test_an_interrupt_anywhere_in_the_begin_or_end_of_a_node_ends_it(what: str) -> None:
    """Its thread was noted, and not begun: whoever closed it waited for ever."""
    spared = SPARED | {"start_unharmed"}
    for place in count(0, EVERY[what]):
        node = SyncNode("tcp://127.0.0.1:*")
        calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "start": node._node.start,
            "close": node._node.close,
            "drain": lambda: node._node.drain(timeout=WAIT_S),  # noqa: B023
        }
        if what != "start":
            node.start()
            node.client("c").join("room")
        call = calls[what]()
        broken = interrupted(place, lambda: run(call), spared=spared)  # noqa: B023
        call.close()
        node.close()
        wait_until(lambda: not held()[0])
        with pytest.raises(ClosedError):
            node.members("room")
        if not broken:
            break
    assert place > 20
