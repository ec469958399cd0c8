"""What a client receives, and the bounded queue it waits in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal

from crdtpubsub.errors import ConfigError
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.runtime.bell import Bell
from crdtpubsub.wire.payload import unpack

__all__ = ["MAX_PENDING_BYTES", "Exit", "Mailbox", "Message", "Overflow", "Replied", "Underway"]

Overflow = Literal["drop_oldest", "drop_newest", "close"]
"""What a full queue does: lose its oldest message, refuse the newest, or close its client."""

MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
"""What a client's queue holds unless told otherwise: one payload of the longest, or many."""

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
        self.size_bytes = len(payload)
        if headers:
            self.size_bytes += sum(map(len, headers)) + sum(map(len, headers.values()))
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


class Underway:
    """What is meant for queues of this node and not in them yet: here, nothing. See `Spread`."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def settle(self) -> None:
        """Put it there. Under the runtime's lock."""

    def look(self) -> None:
        """The same for those who do not hold it."""


_NOTHING: Final = Underway()


class Mailbox:
    """The queue of one client: filled by the runtime under its lock, emptied by the reader.

    Bounded in messages and in bytes; one that is empty takes a message of any size. An `Exit`
    queues behind the messages before it, counts for nothing, and is never dropped.
    Nothing is handed to a waiter: waiters are only woken, and take for themselves, so that a
    cancelled one, or one whose event loop was closed, loses nothing.
    """

    __slots__ = (
        "_came_bytes",
        "_exits",
        "_items",
        "_on_drop",
        "_taking",
        "_underway",
        "_went_bytes",
        "bell",
        "channels",
        "client",
        "closed",
        "dropped",
        "exits_told",
        "had",
        "max_pending",
        "max_pending_bytes",
        "overflow",
        "scope",
    )

    def __init__(
        self,
        *,
        max_pending: int,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        overflow: Overflow,
        on_drop: Callable[[], object] = lambda: None,
        scope: str = DEFAULT_SCOPE,
        client: str = "",
        underway: Underway = _NOTHING,
    ) -> None:
        """`on_drop` is called for each message that is lost, by who puts, under its lock.

        Whatever is asked of it, what is `underway` to it is in it before.
        """
        self.client = client
        self.max_pending = max_pending
        self.scope = scope  # its client is a member there
        self.channels: set[str] = set()  # of these, kept by `Core`; derived from the set
        self.max_pending_bytes = max_pending_bytes
        self.overflow: Overflow = overflow
        self.dropped = 0
        self.exits_told = 0  # ever: `Core.recover` asks whether one came
        self.closed = False
        self.had = 0  # the last run that it was given, or refused
        self.bell = Bell()
        self._underway = underway
        self._items: deque[Message | Exit] = deque()
        self._exits = 0
        self._came_bytes = 0  # two counters, each with one kind of writer: who puts and who takes
        self._went_bytes = 0
        self._on_drop = on_drop
        self._taking = Lock()  # the reader takes without the runtime's lock, while others put

    def __len__(self) -> int:
        self.look()
        return len(self._items)

    def ready(self) -> bool:
        """Whether a reader need not wait."""
        return bool(self._items or self._underway.messages or self.closed)

    def look(self) -> None:
        """What was put is here. Not under the runtime's lock, unless nothing is underway."""
        if self._underway.messages:
            self._underway.look()

    def shut(self) -> None:
        """Take nothing more. Not under the runtime's lock."""
        self.look()
        self.closed = True

    @property
    def pending_bytes(self) -> int:
        """What the queued messages count."""
        self.look()
        return self._came_bytes - self._went_bytes

    def _fits(self, size_bytes: int) -> bool:
        queued = len(self._items) - self._exits
        return queued <= 0 or (
            queued < self.max_pending
            and self._came_bytes - self._went_bytes + size_bytes <= self.max_pending_bytes
        )

    def put(self, message: Message) -> bool:
        """Queue a message; False if it was refused. A full queue does what `overflow` says."""
        self._underway.settle()
        return self.queue(message)

    def queue(self, message: Message) -> bool:
        """The same, whatever is underway."""
        if self.closed:
            return False
        size_bytes = message.size_bytes
        if self._fits(size_bytes):
            self._came_bytes += size_bytes
            self._items.append(message)
            return True
        if self.overflow != "drop_oldest":
            self.dropped += 1
            self._on_drop()
            self.closed = self.overflow == "close"
            return False
        with self._taking:
            while not self._fits(size_bytes):  # it may have been read meanwhile
                self.dropped += 1
                self._on_drop()
                self._drop_oldest()
            self._came_bytes += size_bytes
            self._items.append(message)
        return True

    def has_room(self, size_bytes: int) -> bool:
        """Whether a message of that size would be taken now, and nothing lost for it."""
        self._underway.settle()
        return not self.closed and self._fits(size_bytes)

    def put_run(self, messages: Sequence[Message], size_bytes: int, number: int = 0) -> bool:
        """Queue all of these if there is room for all, else none: then they are put one by one.

        That it has had that run is known when they are there, and not before.
        """
        items = self._items
        queued_bytes = self._came_bytes - self._went_bytes
        if (
            self.closed
            or len(items) - self._exits + len(messages) > self.max_pending
            or queued_bytes + size_bytes > self.max_pending_bytes
        ):
            return False
        self._came_bytes += size_bytes  # from here to the end no signal is looked for
        items += messages
        self.had = number
        return True

    def offer(self, message: Message) -> bool:
        """Queue a message if there is room: nothing is evicted for it, and nobody is closed."""
        self._underway.settle()
        size_bytes = message.size_bytes
        if self.closed or not self._fits(size_bytes):
            return False
        self._came_bytes += size_bytes
        self._items.append(message)
        return True

    def put_exit(self, notice: Exit) -> None:
        """Queue an exit, whatever else is there."""
        self._underway.settle()
        with self._taking:
            if self.closed:
                return
            try:
                self._items.append(notice)
                self._exits += 1
                self.exits_told += 1
            except BaseException:  # told or not, nothing in between
                if self._items and self._items[-1] is notice:
                    self._items.pop()
                self._exits = sum(isinstance(item, Exit) for item in self._items)
                raise

    def take(self) -> Message | Exit | None:
        """The next item, or None. An interrupt loses none: it is the next one's."""
        if self._underway.messages:
            self._underway.look()
        items = self._items
        if not items:
            return None
        taken: Message | Exit | None = None
        exits = size_bytes = 0
        try:
            with self._taking:
                if not items:
                    return None
                item = items[0]
                if item.__class__ is Exit:
                    exits = 1
                else:
                    size_bytes = item.size_bytes  # type: ignore[union-attr]
                del items[0]  # from here to the end of the block no signal is looked for
                self._exits -= exits
                self._went_bytes += size_bytes
                taken = item
        except BaseException:
            if taken is not None:
                with self._taking:
                    self._exits += exits
                    self._went_bytes -= size_bytes
                    items.appendleft(taken)
            raise
        return taken

    def take_many(self, at_most: int | None = None) -> list[Message | Exit]:
        """What there is, or so many of it; maybe nothing. An interrupt loses none."""
        if self._underway.messages:
            self._underway.look()
        items = self._items
        taken: list[Message | Exit] = []
        if not items:
            return taken
        try:
            if at_most is not None and at_most < len(items):
                while len(taken) < at_most and (item := self.take()) is not None:
                    taken.append(item)
                return taken
            with self._taking:
                # From here to the end of the block no signal is looked for, and no other thread
                # puts: CPython does both after calls, and operators are none.
                taken = [*items]
                items *= 0
                self._went_bytes = self._came_bytes
                self._exits = 0
        except BaseException:
            with self._taking:
                exits = [item for item in taken if item.__class__ is Exit]
                self._exits += len(exits)
                self._went_bytes -= sum([m.size_bytes for m in taken if isinstance(m, Message)])
                items.extendleft(reversed(taken))
            raise
        return taken

    def wake(self) -> None:
        """Wake every waiter. Not under the runtime's lock."""
        self.bell.ring()

    def _drop_oldest(self) -> None:
        for place, item in enumerate(self._items):
            if not isinstance(item, Exit):
                self._went_bytes += item.size_bytes
                del self._items[place]
                return
