"""What is asked by counter, and answered: each is done once, and what became of it is told.

`Addressed` and what is like it stand in frames that begin with `Terms`; `Answers` says what became
of them. See docs/PROTOCOL.md, *Confirmed publication*.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.light import light
from crdtpubsub.names import NodeId

__all__ = ["REFUSALS", "Addressed", "Answers", "Counted", "Invite", "Reply", "Request", "Terms"]


@light
class Addressed:
    """A publication that asks for an answer, or one to a single client, or both.

    Only in a frame with `Terms` may `counter` be other than 0.

    With a `group` it is for one member of that queue group: `client`, whom the publisher has
    picked, or if that one is gone another of the receiving node.
    """

    counter: int  # of all such publications of its sender; 0: no answer is asked for
    scope: str
    channel: str  # '' if it goes to a client whatever it is a member of
    client: str  # '' for every member of the channel
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)
    exclude: tuple[NodeId, str] | None = None
    group: str = ""
    after: tuple[Delta, ...] = ()  # as in a publication; only with a group


@light
class Request(Addressed):
    """A message to one client, which shall say something back: a `Reply` that names `id`.

    Its counter is not 0: whether the client has it is told by `Answers`, ahead of the reply.
    """

    id: int = 0  # of all requests of its sender; not 0
    within_ms: int = 0  # how long somebody waits for the reply, from when it was said


@light
class Reply:
    """What a client says to the `Request` of that id. Given by the node that was asked alone."""

    counter: int
    id: int
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)


@light
class Invite:
    """Have that client of yours join the channel, as if it had done so itself.

    Answered with one client if it is a member now. Asked again of a member it changes the
    metadata, if there are some, its group, if one is named, and nothing else.
    """

    counter: int
    scope: str
    channel: str
    client: str
    meta: bytes | None = None  # packed; None leaves what is there
    group: str = ""  # the queue group it joins; '' leaves it where it is

    @property
    def payload(self) -> bytes:
        """What it counts among what is unanswered."""
        return self.meta or b""


@light
class Terms:
    """On which terms the `Addressed` of this frame are said.

    Attributes:
        table: the id of the answer table I ask of; under another id nothing is delivered.
        lowest: the lowest counter I still want an answer to: forget the answers below it.
        stamp: not 0: say again what you have answered, with this stamp, after what came before.
    """

    table: int
    lowest: int
    stamp: int = 0


REFUSALS: Final = 1 << 32
"""In an answer: less says how many clients took it; this and more, why none did."""


@light
class Answers:
    """What became of what you asked.

    Attributes:
        table: my answer table for you; another id than before: I have forgotten the old one.
        stamp: that of the `Terms` this replies to, 0 if to none. A reply lists all I remember.
        runs: `(first, count, answer)`: that many counters from `first` on have that answer.
    """

    table: int
    stamp: int
    runs: tuple[tuple[int, int, int], ...]


Counted = Addressed | Request | Reply | Invite
"""What is asked by counter."""
