"""One question to one node, and who waits for what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.confirming import Ticket, Waker
from crdtpubsub.runtime.message import Message

if TYPE_CHECKING:
    from crdtpubsub.runtime.asking import To

__all__ = ["Asked"]

_NO_NODE: Final = NodeId("")


class Asked(Ticket):
    """One question to one node. Changed under the lock; read when `done` was called, or after.

    `outcome` says what became of the question there; `reply` is what came back.
    """

    __slots__ = ("channel", "client", "ended", "gone", "id", "outcome", "owner", "reply")

    def __init__(self, waker: Waker, done: Callable[[], object]) -> None:
        super().__init__(waker, done)
        self.owner = _NO_NODE  # who was asked
        self.client = ""
        self.channel = ""
        self.id = 0  # 0: no reply is asked for, only whether it was done
        self.outcome: Outcome | None = None
        self.reply: Message | None = None
        self.gone = False  # the node that was asked is down, or has left
        self.ended = False  # this node has

    def to(self, to: To) -> None:
        """That one is asked."""
        assert to.owner is not None
        self.owner, self.client, self.channel = to.owner, to.client, to.channel
