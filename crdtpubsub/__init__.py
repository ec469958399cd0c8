"""Processes that find each other, know who is in which channel, and publish, with no broker."""

from crdtpubsub.client import Client, Subscription
from crdtpubsub.config import Config
from crdtpubsub.crdt.token import Token
from crdtpubsub.engine.effects import Cause
from crdtpubsub.errors import (
    BindError,
    ClosedError,
    ConfigError,
    CrdtPubSubError,
    DrainError,
    ForkedError,
    InvalidNameError,
    NoMembersError,
    NotSeenError,
    PayloadError,
    PayloadTooLargeError,
    QueueFullError,
    UnreachableError,
)
from crdtpubsub.names import NodeId
from crdtpubsub.node import Node
from crdtpubsub.reading import SyncClient, SyncEvents, SyncSubscription, SyncWatch
from crdtpubsub.runtime import Exit, Message, Outcome, Receipt, Replied
from crdtpubsub.runtime.limits import LIMITS, LimitReached
from crdtpubsub.runtime.notices import (
    Claimed,
    Gap,
    Lost,
    Missed,
    NameShared,
    Notice,
    PeerDown,
    PeerLeft,
    PeerUp,
    Refused,
    SlowConsumer,
    SlowWatcher,
    Unanswered,
)
from crdtpubsub.scope import Scope
from crdtpubsub.sync import SyncNode
from crdtpubsub.sync_overlay import SyncScope
from crdtpubsub.views import Address, Member, Peer, Stats
from crdtpubsub.waiting import Events
from crdtpubsub.watching import Change, Snapshot, Watch

__all__ = [
    "LIMITS",
    "Address",
    "BindError",
    "Cause",
    "Change",
    "Claimed",
    "Client",
    "ClosedError",
    "Config",
    "ConfigError",
    "CrdtPubSubError",
    "DrainError",
    "Events",
    "Exit",
    "ForkedError",
    "Gap",
    "InvalidNameError",
    "LimitReached",
    "Lost",
    "Member",
    "Message",
    "Missed",
    "NameShared",
    "NoMembersError",
    "Node",
    "NodeId",
    "NotSeenError",
    "Notice",
    "Outcome",
    "PayloadError",
    "PayloadTooLargeError",
    "Peer",
    "PeerDown",
    "PeerLeft",
    "PeerUp",
    "QueueFullError",
    "Receipt",
    "Refused",
    "Replied",
    "Scope",
    "SlowConsumer",
    "SlowWatcher",
    "Snapshot",
    "Stats",
    "Subscription",
    "SyncClient",
    "SyncEvents",
    "SyncNode",
    "SyncScope",
    "SyncSubscription",
    "SyncWatch",
    "Token",
    "Unanswered",
    "UnreachableError",
    "Watch",
]
