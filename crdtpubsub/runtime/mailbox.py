"""The bounded queue of a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Final, Literal

from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.runtime.bell import Bell
from crdtpubsub.runtime.message import Exit, Message, Run

__all__ = ["MAX_PENDING_BYTES", "Mailbox", "Overflow", "Underway"]

Overflow = Literal["drop_oldest", "drop_newest", "close"]
"""What a full queue does: lose its oldest message, refuse the newest, or close its client."""

MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
"""What a client's queue holds unless told otherwise: one payload of the longest, or many."""


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
        "_came",
        "_came_bytes",
        "_exits",
        "_items",
        "_on_drop",
        "_taking",
        "_underway",
        "_went",
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
        self._items: deque[Message | Run | Exit] = deque()
        self._exits = 0
        self._came = self._came_bytes = 0  # messages; and each number has one kind of writer,
        self._went = self._went_bytes = 0  # who puts or who takes
        self._on_drop = on_drop
        self._taking = Lock()  # the reader takes without the runtime's lock, while others put

    def __len__(self) -> int:
        self.look()
        return self._came - self._went + self._exits

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
        queued = self._came - self._went
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
            self._came += 1
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
            self._came += 1
            self._came_bytes += size_bytes
            self._items.append(message)
        return True

    def has_room(self, size_bytes: int) -> bool:
        """Whether a message of that size would be taken now, and nothing lost for it."""
        self._underway.settle()
        return not self.closed and self._fits(size_bytes)

    def put_run(self, run: Run, number: int = 0) -> bool:
        """Queue all of it if there is room for all, else none: then they are put one by one.

        That it has had the run of that number is known when it is there, and not before.
        """
        if (
            self.closed
            or self._came - self._went + run.count > self.max_pending
            or self._came_bytes - self._went_bytes + run.size_bytes > self.max_pending_bytes
        ):
            return False
        items = self._items
        self._came += run.count  # from here to the end no signal is looked for
        self._came_bytes += run.size_bytes
        items += (run,)
        self.had = number
        return True

    def offer(self, message: Message) -> bool:
        """Queue a message if there is room: nothing is evicted for it, and nobody is closed."""
        self._underway.settle()
        size_bytes = message.size_bytes
        if self.closed or not self._fits(size_bytes):
            return False
        self._came += 1
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
                if items[0].__class__ is Run:
                    self._unfold()
                item: Any = items[0]
                if item.__class__ is Exit:
                    exits = 1
                else:
                    size_bytes = item.size_bytes
                del items[0]  # from here to the end of the block no signal is looked for
                self._exits -= exits
                self._went += 1 - exits
                self._went_bytes += size_bytes
                taken = item
        except BaseException:
            if taken is not None:
                self._give_back([taken])
            raise
        return taken

    def take_many(self, at_most: int) -> list[Message | Exit]:
        """What there is, or so many of it; maybe nothing. An interrupt loses none."""
        if self._underway.messages:
            self._underway.look()
        items = self._items
        taken: list[Message | Run | Exit] = []
        if not items:
            return []
        try:
            with self._taking:
                if self._came - self._went + self._exits <= at_most:
                    # From here to the end of the block no signal is looked for, and no other
                    # thread puts: CPython does both after calls, and operators are none.
                    taken = [*items]
                    items *= 0
                    self._went = self._came
                    self._went_bytes = self._came_bytes
                    self._exits = 0
                else:
                    while items and at_most > 0:
                        first = items[0]
                        if isinstance(first, Run) and first.count > at_most:
                            self._unfold()
                        at_most -= self._shift(taken)
            return _flat(taken)
        except BaseException:
            self._give_back(taken)
            raise

    def _shift(self, taken: list[Message | Run | Exit]) -> int:
        """Move the oldest over; how many that are. Who reads holds the lock of readers."""
        items = self._items
        item: Any = items[0]
        exits = item.__class__ is Exit
        count = item.count if item.__class__ is Run else 1 - exits
        size_bytes = 0 if exits else item.size_bytes
        taken += (item,)  # from here to the end no signal is looked for
        del items[0]
        self._went += count
        self._went_bytes += size_bytes
        self._exits -= exits
        return count + exits

    def _give_back(self, taken: Sequence[Message | Run | Exit]) -> None:
        """An interrupt came: nobody has them."""
        with self._taking:
            for item in reversed(taken):
                if isinstance(item, Exit):
                    self._exits += 1
                else:
                    self._went -= item.count if isinstance(item, Run) else 1
                    self._went_bytes -= item.size_bytes
                self._items.appendleft(item)

    def _unfold(self) -> None:
        """The oldest is a run: be it as many messages."""
        items = self._items
        run = items[0]
        assert isinstance(run, Run)
        put_back, reverted = items.extendleft, run.messages()[::-1]
        del items[0]
        put_back(reverted)  # no signal was looked for between these two

    def wake(self) -> None:
        """Wake every waiter. Not under the runtime's lock."""
        self.bell.ring()

    def _drop_oldest(self) -> None:
        items = self._items
        for place, item in enumerate(items):
            if isinstance(item, Message):
                self._went += 1
                self._went_bytes += item.size_bytes
                del items[place]
                return
            if isinstance(item, Run):
                flat = _flat([*items])  # more will go: it is full
                items *= 0
                items += flat
                self._drop_oldest()
                return


def _flat(items: list[Message | Run | Exit]) -> list[Message | Exit]:
    flat: list[Message | Exit] = []
    for item in items:
        if isinstance(item, Run):
            flat += item.messages()
        else:
            flat.append(item)
    return flat
