"""The driver on real sockets and real time: performs effects, feeds events, owns the clock."""

from crdtpubsub.runtime.asked import Asked
from crdtpubsub.runtime.asking import To
from crdtpubsub.runtime.bell import Bell
from crdtpubsub.runtime.confirming import Waker
from crdtpubsub.runtime.mailbox import MAX_PENDING_BYTES, Mailbox, Overflow
from crdtpubsub.runtime.message import Exit, Message, Replied
from crdtpubsub.runtime.notices import Feed, Notice
from crdtpubsub.runtime.receipts import Outcome, Receipt
from crdtpubsub.runtime.runtime import Runtime
from crdtpubsub.runtime.watchers import WatchFeed

__all__ = [
    "MAX_PENDING_BYTES",
    "Asked",
    "Bell",
    "Exit",
    "Feed",
    "Mailbox",
    "Message",
    "Notice",
    "Outcome",
    "Overflow",
    "Receipt",
    "Replied",
    "Runtime",
    "To",
    "Waker",
    "WatchFeed",
]
