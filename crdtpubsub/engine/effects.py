"""Everything an engine can ask its driver to do, in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from crdtpubsub.crdt.delta import Row as MemberRow
from crdtpubsub.crdt.owner import Roll
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.light import light
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Addressed, Message, Publication, Reply

__all__ = [
    "Agreed",
    "Bind",
    "Cause",
    "Changed",
    "Connect",
    "Deliver",
    "DeliverRun",
    "Disconnect",
    "Effect",
    "Exited",
    "Gap",
    "Greet",
    "Limited",
    "Noted",
    "PeerChanged",
    "Redial",
    "Release",
    "Replied",
    "Send",
    "Settled",
]


class Cause(StrEnum):
    """Why memberships appeared or vanished."""

    OP = "op"
    NODE_UP = "node_up"
    NODE_DOWN = "node_down"
    SCOPE_CLOSED = "scope_closed"


# ---------------------------------------------------------------- towards the network


@light
class Connect:
    """Dial `endpoint` and keep redialling until `Disconnect`; report `LinkUp` at each handshake."""

    endpoint: str


@light
class Redial:
    """Dial `endpoint` afresh: the link there hangs. Report `LinkDown` first if it was up."""

    endpoint: str


@light
class Disconnect:
    """Drop the link to `endpoint` with whatever is queued, and stop redialling."""

    endpoint: str


@light
class Greet:
    """Say `message` on the link to `endpoint` to `to`, in a frame of its own, ahead of the queue.

    The only way to speak on a link that is not bound: HELLO goes to ANYBODY, WELCOME and ECHO
    to the life they answer.
    """

    endpoint: str
    to: NodeId
    message: Message


@light
class Bind:
    """From now on frames on the link to `endpoint` are for `life`.

    If that is another life than before, what was queued is dropped.
    """

    endpoint: str
    life: NodeId


@light
class Release:
    """The peer at `endpoint` has dealt with the frames of link `link` up to `seq`."""

    endpoint: str
    link: int
    seq: int


@light
class Send:
    """Say `message` on each of these links, best effort, in the order of the effects.

    Encoded once for all. A link without a connection is skipped: anti-entropy catches its
    peer up, and a publication is at most once by contract.
    """

    endpoints: tuple[str, ...]  # sorted, so that equal decisions read equal
    message: Message


# ---------------------------------------------------------------- towards the application


@light
class Deliver:
    """Put a publication into the queues of these clients of mine.

    One that has a counter evicts nothing, and its sender gets an answer: hand what became of it
    to `Engine.answered` before anything else.
    """

    sender: NodeId
    publication: Publication | Addressed
    clients: tuple[str, ...]  # sorted


@light
class Replied:
    """A client of `sender` answers a request of mine. Hand what became of it to `Engine.answered`:
    one took it, or nobody waits for it any more."""

    sender: NodeId
    reply: Reply


@light
class DeliverRun:
    """Put all of these into the queues of the same clients of mine, in this order."""

    sender: NodeId
    channel: str
    payloads: Sequence[bytes]
    clients: tuple[str, ...]  # sorted
    headers: Sequence[dict[str, str]] = ()  # of each, or none: then nobody has any


@light
class Exited:
    """A membership of my client was ended by somebody else: it gets one `Exit`."""

    scope: str
    channel: str
    client: str
    cause: Cause


@light
class Changed:
    """What users see of a channel differs now: these members of `owner` came, left, changed."""

    scope: str
    owner: NodeId
    joined: tuple[MemberRow, ...] | Roll
    left: tuple[MemberRow, ...] | Roll
    updated: tuple[MemberRow, ...]
    cause: Cause
    whole: bool = False  # all of that owner at once; nobody is named while nobody watches
    channels: tuple[str, ...] = ()  # where more joined, who are not named: nobody watches


@light
class Agreed:
    """A peer that was asked has shown rows equal to mine; see `Engine.unequal`."""

    scope: str
    node: NodeId


@light
class PeerChanged:
    """What this node holds of a life differs now. `state` is a `PeerState` value."""

    node: NodeId
    name: str
    state: str
    endpoint: str


@light
class Settled:
    """What became of a confirmed publication of mine at one owner. Each owner is settled once."""

    counter: int  # what `Engine.ask` returned
    node: NodeId
    outcome: Outcome
    clients: int  # of `node`, which took it into their queues


@light
class Gap:
    """So many publications of `node`, sent to me, are lost on the way. Exact; each told once."""

    node: NodeId
    publications: int


@light
class Limited:
    """Something reached its limit, and what came beyond was not taken. Counted under `what`."""

    what: str  # a counter
    whom: str  # a life, or an endpoint


@light
class Noted:
    """Something an operator may want to know; logged, rate-limited, by the driver."""

    what: str  # a fixed word: "claimed", "foreign_claim", "unanswered"
    about: str
    whom: str  # a life, or an endpoint


Effect = (
    Agreed
    | Connect
    | Disconnect
    | Redial
    | Greet
    | Bind
    | Release
    | Send
    | Deliver
    | Replied
    | DeliverRun
    | Settled
    | Exited
    | Changed
    | PeerChanged
    | Gap
    | Limited
    | Noted
)
