"""Processes that find each other, know who is in which channel, and publish, with no broker."""

from crdtpubsub.client import Client, Subscription
from crdtpubsub.config import Config
from crdtpubsub.errors import (
    BindError,
    ClosedError,
    ConfigError,
    CrdtPubSubError,
    ForkedError,
    InvalidNameError,
    PayloadError,
    PayloadTooLargeError,
    QueueFullError,
)
from crdtpubsub.names import NodeId
from crdtpubsub.node import Node
from crdtpubsub.runtime import Exit, Message, Outcome, Receipt
from crdtpubsub.views import Member, Peer, Stats

__all__ = [
    "BindError",
    "Client",
    "ClosedError",
    "Config",
    "ConfigError",
    "CrdtPubSubError",
    "Exit",
    "ForkedError",
    "InvalidNameError",
    "Member",
    "Message",
    "Node",
    "NodeId",
    "Outcome",
    "PayloadError",
    "PayloadTooLargeError",
    "Peer",
    "QueueFullError",
    "Receipt",
    "Stats",
    "Subscription",
]
