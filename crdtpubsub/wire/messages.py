"""Everything one node can say to another.

A frame is a header and some messages. The header names the life that speaks, the life it
speaks to, and where in which link the frame stands; the messages are below. docs/PROTOCOL.md
shows them in their exchanges.
"""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum
from typing import Final

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.intervals import Runs
from crdtpubsub.crdt.token import Writes
from crdtpubsub.light import light
from crdtpubsub.names import NodeId
from crdtpubsub.wire.asked import (
    REFUSALS,
    Addressed,
    Answers,
    Counted,
    Invite,
    Reply,
    Request,
    Terms,
)

__all__ = [
    "ANYBODY",
    "REFUSALS",
    "Accuse",
    "Ack",
    "Addressed",
    "Answers",
    "Ask",
    "Chunk",
    "Counted",
    "Deltas",
    "Echo",
    "Fact",
    "Facts",
    "Frame",
    "Goodbye",
    "Header",
    "Hello",
    "Invite",
    "Live",
    "Message",
    "Opinion",
    "Probe",
    "ProbeFor",
    "Publication",
    "Pull",
    "RelayedAck",
    "Reply",
    "Request",
    "Row",
    "Rows",
    "Seen",
    "Sums",
    "Taken",
    "Terms",
    "Welcome",
]

ANYBODY: Final = NodeId("0" * 32)
"""The destination of a HELLO: whoever listens there."""


@light
class Header:
    """The first bytes of every frame."""

    cluster: bytes  # 8 bytes: a hash of the cluster's name
    sender: NodeId
    to: NodeId  # a life, or ANYBODY in a HELLO
    link: int  # rises with every connection this sender makes to anybody
    seq: int  # 0, 1, 2, ... on that link
    published: int = 0  # unconfirmed publications to that life ahead of this frame, on any link


@light
class Fact:
    """What a life says of itself. Of two, the one with the higher incarnation holds."""

    node: NodeId
    name: str
    endpoint: str
    incarnation: int
    scopes: tuple[str, ...]  # the open ones, sorted


class Opinion(IntEnum):
    """What somebody holds of a life; hearsay to everybody else."""

    ALIVE = 0
    SUSPECT = 1
    DOWN = 2


# ---------------------------------------------------------------- introduction


@light
class Hello:
    """Here I am; if you hear me, answer to the endpoint in my fact. First on every connection."""

    fact: Fact
    nonce: int
    capabilities: int = 0


@light
class Welcome:
    """I heard your HELLO: its nonce back, my own nonce for this link, and whom I know."""

    echo: int
    nonce: int
    fact: Fact
    known: tuple[Fact, ...] = ()


@light
class Echo:
    """The third frame: your nonce back, so that you too know that your link works."""

    echo: int


@light
class Goodbye:
    """This life ends now. Final; only the life itself can say it."""


# ---------------------------------------------------------------- failure detection


@light
class Probe:
    """Are you there?"""

    nonce: int
    facts: tuple[Fact, ...] = ()


@light
class Ack:
    """Yes: the nonce of your probe back, and my own fact."""

    nonce: int
    fact: Fact


@light
class ProbeFor:
    """I cannot reach `target`: probe it for me, or have it probed by somebody who can.

    `through` are the lives the request has passed before its sender, nearest to the first
    asker first: none of them is asked again, and at most `RELAYS_MAX` pass it on.
    """

    nonce: int
    target: NodeId
    through: tuple[NodeId, ...] = ()


@light
class RelayedAck:
    """What came of a `ProbeFor`.

    `fact` is the target's own if it answered me, None if it did not in time; `refused` says
    that its endpoint refused a connection of mine just now.
    """

    nonce: int
    target: NodeId
    fact: Fact | None
    refused: bool = False


@light
class Facts:
    """Lives I hold alive, as they described themselves. Hearsay: it makes candidates, no peers."""

    facts: tuple[Fact, ...]


@light
class Accuse:
    """To me `target`, at that incarnation, looks suspect or down. Refuted by the target alone."""

    target: NodeId
    incarnation: int
    opinion: Opinion


@light
class Taken:
    """I have dealt with every frame of your link `link` up to `seq`: send on.

    Said after so many bytes, never after each frame: two idle nodes do not talk about it.
    """

    link: int
    seq: int


# ---------------------------------------------------------------- anti-entropy, per scope


@light
class Deltas:
    """Pushed at once to every live peer of the scope; also the answer to a `Pull`."""

    scope: str
    deltas: tuple[Delta, ...]
    answers: int = 0  # the id of the Pull; 0: a push
    more: bool = False  # further frames of that answer follow this one


@light
class Row:
    """One owner in a nutshell: the births seen, and count and sum of what is live."""

    owner: NodeId
    runs: Runs
    count: int
    sum: int


@light
class Rows:
    """A round of gossip: the root over the lives held alive or suspect, and rows if they matter.

    `rows` None: only the root is said; who has another root answers with rows.
    `stamp` is chosen by who asks and comes back in the reply.
    """

    scope: str
    root: int
    rows: tuple[Row, ...] | None
    reply: bool
    stamp: int = 0  # not 0: please reply with rows even if all is equal


@light
class Pull:
    """I lack these births, and your row says that you have them. Always answered."""

    scope: str
    owner: NodeId
    runs: Runs
    id: int


@light
class Sums:
    """Same births, another sum, much of it: here are mine per segment of 4096 births. Where?"""

    scope: str
    owner: NodeId
    runs: Runs
    sums: tuple[int, ...]  # of `runs` inside each segment that `runs` touch, rising


@light
class Live:
    """A delta without bodies: of `runs`, exactly `births` (birth -> version) is live here."""

    scope: str
    owner: NodeId
    runs: Runs
    births: dict[int, int]


@light
class Ask:
    """Have you seen all of this?"""

    scope: str
    id: int
    writes: tuple[Writes, ...]


@light
class Seen:
    """What was asked under that id: yes, or not yet."""

    scope: str
    id: int
    seen: bool


# ---------------------------------------------------------------- between users


@light
class Publication:
    """A message to every member of a channel that the receiving node owns."""

    scope: str
    channel: str
    payload: bytes
    sender: str = ""  # a client id of the sending node, or ''
    headers: dict[str, str] = field(default_factory=dict)
    exclude: tuple[NodeId, str] | None = None  # the one member that does not get it
    after: tuple[Delta, ...] = ()  # what its receiver must know first, in one record with it


@light
class Publications:
    """The same for many in a row to one channel, with no more to them than their payloads."""

    scope: str
    channel: str
    payloads: tuple[bytes, ...]  # one at least, and no more than an array may hold: `CHUNK`


# ---------------------------------------------------------------- on the way


@light
class Chunk:
    """Some bytes of a record that is too long to go in one piece.

    `data` are those from `at` on, of `size` in all. The chunks of a record leave in order on
    one link, with nothing between them but what says that the sender lives.
    """

    id: int  # counts the records cut on that link
    size: int
    at: int
    data: bytes


Message = (
    Hello
    | Welcome
    | Echo
    | Goodbye
    | Probe
    | Ack
    | ProbeFor
    | RelayedAck
    | Facts
    | Accuse
    | Taken
    | Deltas
    | Rows
    | Pull
    | Sums
    | Live
    | Ask
    | Seen
    | Publication
    | Publications
    | Chunk
    | Addressed
    | Request
    | Reply
    | Invite
    | Terms
    | Answers
)


@light
class Frame:
    """What arrives: a header and messages, all of them checked."""

    header: Header
    messages: tuple[Message, ...]
    part: int = 0  # not on the wire: which slice of a frame the driver cut up (engine/slicing.py)
