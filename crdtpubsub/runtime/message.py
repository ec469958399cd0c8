"""What a client receives: messages, made late where many come at a time, and exits."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from crdtpubsub.errors import ConfigError
from crdtpubsub.names import NodeId
from crdtpubsub.wire.payload import unpack

__all__ = ["Exit", "Message", "Replied", "Run"]

_UNREAD: Final = object()


class Replied:
    """What `Message.reply` returns. True: the reply is on its way. False: nobody waits for it.

    `await` it for the same as a bool, in any thread; it waits for nothing, and in blocking code
    need not be.
    """

    __slots__ = ("_sent",)

    def __init__(self, sent: bool) -> None:
        """Made by `Message.reply`."""
        self._sent = sent

    def __bool__(self) -> bool:
        return self._sent

    def __await__(self) -> Generator[None, None, bool]:
        yield from ()
        return self._sent

    def __repr__(self) -> str:
        return f"Replied({self._sent})"


class Message:
    """A publication, as one client gets it. All clients of a node share one object.

    Made by the node; for every thread to read.

    Attributes:
        channel: where it was published.
        sender: the node that published it.
        headers: what the publisher sent along; str to str.
        payload: the packed data, as it travelled.
        size_bytes: what it counts in a queue: payload and headers.
    """

    __slots__ = ("_data", "channel", "headers", "payload", "sender", "size_bytes")

    def __init__(
        self, channel: str, payload: bytes, sender: NodeId, headers: Mapping[str, str]
    ) -> None:
        """Made by the node that hands it over."""
        self.channel = channel
        self.payload = payload
        self.sender = sender
        self.headers = headers
        self.size_bytes = len(payload) + (_size_bytes(headers) if headers else 0)
        self._data: object = _UNREAD

    @property
    def data(self) -> object:
        """What was published, unpacked on first access. Lists are lists. Shared: do not change.

        Raises:
            PayloadError: the payload does not unpack; `payload` still has the bytes.
        """
        if self._data is _UNREAD:
            self._data = unpack(self.payload)
        return self._data

    @property
    def wants_reply(self) -> bool:
        """Whether it is a request, unanswered, whose sender still waits, as far as is known here.

        False of everything that was published or sent.
        """
        return False

    def reply(self, data: object, *, headers: Mapping[str, str] | None = None) -> Replied:
        """Answer a request: `await message.reply(data)`; in blocking code without `await`.

        It is queued when this returns, waits for nobody, and is said again until the asking node
        has it, as long as that waits. Whoever has it has seen what this node joined and left
        before. From any thread; also while the node drains.

        Args:
            data: as for `Node.publish`.
            headers: as for `Node.publish`.

        Returns:
            True if it is on its way. False if nobody waits for it any more: the time that `request`
            was given is over, or its node is gone; nothing was sent.

        Raises:
            ConfigError: this is no request (see `wants_reply`), or was answered before.
            PayloadError, PayloadTooLargeError, ClosedError, ForkedError: nothing was sent.
            QueueFullError: the asking node has 4,096 replies, or as many bytes as an outbox holds,
                not acknowledged; nothing was sent, and it may be tried again.
        """
        del data, headers
        raise ConfigError("nobody waits for a reply: this was published or sent, not requested")

    def __repr__(self) -> str:
        return f"Message(channel={self.channel!r}, {len(self.payload)} bytes, {self.sender!r})"


def _size_bytes(headers: Mapping[str, str]) -> int:
    return sum(map(len, headers)) + sum(map(len, headers.values()))


class Run:
    """Messages in a row to the same clients: one thing in each queue, until somebody reads.

    A message is made when the first of them reads, and not while thousands wait: then the
    collector of garbage would look at each of them again and again.
    """

    __slots__ = ("_channel", "_headers", "_made", "_payloads", "_sender", "count", "size_bytes")

    def __init__(
        self,
        channel: str,
        sender: NodeId,
        payloads: Sequence[bytes],
        headers: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """At least one; `headers` of each, or of none."""
        self._channel = channel
        self._sender = sender
        self._payloads = payloads
        self._headers = headers
        self._made: list[Message] = []
        self.count = len(payloads)
        self.size_bytes = sum(map(len, payloads)) + sum(map(_size_bytes, headers))

    @classmethod
    def of(cls, messages: list[Message]) -> Run:
        """Of messages that have been made."""
        run = cls.__new__(cls)  # the rest is for those that have not been made
        run._made = messages  # noqa: SLF001
        run.count = len(messages)
        run.size_bytes = sum([message.size_bytes for message in messages])
        return run

    def messages(self) -> list[Message]:
        """All of them, the same for all who read. Not to be changed."""
        if not (made := self._made):
            if self._headers:
                said = zip(self._payloads, self._headers, strict=True)
                made = [Message(self._channel, each, self._sender, h) for each, h in said]
            else:
                made = _plain(self._channel, self._sender, self._payloads)
            self._made = made
        return made


def _plain(channel: str, sender: NodeId, payloads: Sequence[bytes]) -> list[Message]:
    """As `Message` for each, at half of its price: a call of `__init__` is the other half."""
    headers: dict[str, str] = {}
    unread = _UNREAD
    made = [*map(Message.__new__, [Message] * len(payloads))]
    for message, payload in zip(made, payloads, strict=True):
        message.channel = channel
        message.payload = payload
        message.sender = sender
        message.headers = headers
        message.size_bytes = len(payload)
        message._data = unread  # noqa: SLF001
    return made


@dataclass(frozen=True, slots=True)
class Exit:
    """A membership of this client was ended by somebody else. One for each, never dropped.

    Attributes:
        channel: where it was a member.
        reason: `removed` (a removal or `del_channel`, here or on any node) or `closed` (the scope
            was closed).
    """

    channel: str
    reason: Literal["removed", "closed"]
