"""Everything that can happen to an engine."""

from __future__ import annotations

from crdtpubsub.crdt.token import Token
from crdtpubsub.light import light
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Frame

__all__ = [
    "AskRows",
    "AskSeen",
    "CloseScope",
    "Declare",
    "DeleteChannel",
    "Event",
    "Flush",
    "Join",
    "Leave",
    "LinkDown",
    "LinkDrained",
    "LinkLagging",
    "LinkRefused",
    "LinkUp",
    "OpenScope",
    "Received",
    "SayGoodbye",
    "SeedsChanged",
    "Tick",
    "Update",
]

# ---------------------------------------------------------------- from the application


@light
class Join:
    """My client becomes a member, or its membership gets new metadata."""

    scope: str
    channel: str
    client: str
    group: str = ""
    meta: bytes | None = None  # packed; None leaves what is there


@light
class Update:
    """My member gets new metadata. Who is none stays none: a removal has won."""

    scope: str
    channel: str
    client: str
    meta: bytes


@light
class Leave:
    """A membership ends. `by_client`: through the client's own handle, so it gets no Exit."""

    scope: str
    channel: str
    owner: NodeId
    client: str
    by_client: bool


@light
class Declare:
    """The channel exists while this node lives, members or not."""

    scope: str
    channel: str


@light
class DeleteChannel:
    """Every membership and declaration of the channel that was observed here ends."""

    scope: str
    channel: str


@light
class OpenScope:
    """Take part in an overlay."""

    scope: str


@light
class CloseScope:
    """Leave an overlay: a goodbye there; its memberships end."""

    scope: str


@light
class Flush:
    """Push what is pending now: a publication is about to follow it."""

    scope: str


@light
class AskRows:
    """Ask every live linked peer of the scope for its rows; see `Engine.unequal`."""

    scope: str


@light
class AskSeen:
    """Ask every live linked peer that has not said yes whether it has seen `token`.

    `number` 0: a new question. See `Engine.answers`.
    """

    token: Token
    number: int = 0


@light
class SayGoodbye:
    """This life ends: tell everybody, then answer nothing more."""


# ---------------------------------------------------------------- from the network


@light
class Received:
    """A frame arrived, and the codec understood it."""

    frame: Frame
    size_bytes: int = 0  # as it arrived; 0 for the later slices of one that was cut up


@light
class LinkUp:
    """A connection of ours to `endpoint` finished its handshake, the first time or again."""

    endpoint: str
    link: int  # the id that frames on it carry; higher than any before


@light
class LinkDown:
    """Our connection to `endpoint` broke. The driver goes on redialling it."""

    endpoint: str


@light
class LinkRefused:
    """Right after a break, a connection of ours to `endpoint` was refused: nobody listens."""

    endpoint: str


@light
class LinkLagging:
    """The outbox of `endpoint` passed its limit; what was queued of gossip was dropped."""

    endpoint: str


@light
class LinkDrained:
    """The outbox of a lagging `endpoint` is empty again."""

    endpoint: str


@light
class SeedsChanged:
    """The endpoints to dial for ever are these now: a name may lead elsewhere."""

    seeds: tuple[str, ...]


@light
class Tick:
    """`Engine.next_deadline()` has come."""


Event = (
    Join
    | Update
    | Leave
    | Declare
    | DeleteChannel
    | OpenScope
    | CloseScope
    | Flush
    | AskRows
    | AskSeen
    | SayGoodbye
    | Received
    | LinkUp
    | LinkDown
    | LinkRefused
    | LinkLagging
    | LinkDrained
    | SeedsChanged
    | Tick
)
