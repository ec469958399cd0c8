"""Who watches which channels, and what waits for each of them until it reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator
from typing import Final, Self
from weakref import ref

from crdtpubsub.crdt.owner import Roll
from crdtpubsub.engine.effects import Changed
from crdtpubsub.engine.engine import Engine
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.bell import Bell

__all__ = ["CHANGES_MAX", "ROWS_MAX", "WatchFeed", "Watchers"]

CHANGES_MAX: Final = 1024
"""Changes that wait for one watcher; one more, and it begins again with a snapshot."""

ROWS_MAX: Final = 65_536
"""The same in members that came, left or changed. A change of any size finds room alone."""


class WatchFeed:
    """What happened in some channels since its reader looked last. Under the lock, all of it.

    It is fed only while its reader keeps up: one that is behind costs nothing until it reads
    again, and then begins anew with what there is.
    """

    __slots__ = (
        "__weakref__",
        "_rows",
        "_waiting",
        "bell",
        "channel",
        "closed",
        "fed",
        "prefix",
        "scope",
    )

    def __init__(self, scope: str, channel: str | None, prefix: str) -> None:
        """Of one channel of that scope, or of all that begin with `prefix`."""
        self.scope = scope
        self.channel = channel
        self.prefix = prefix
        self.bell = Bell()
        self.fed = False
        self.closed = False
        self._waiting: deque[Changed] = deque()
        self._rows = 0

    @property
    def watched(self) -> str:
        """What it is about, in a word."""
        return f"{self.prefix}*" if self.channel is None else self.channel

    @property
    def ready(self) -> bool:
        """Whether its reader has something to do."""
        return bool(self._waiting) or not self.fed

    def wants(self, channel: str) -> bool:
        """Whether it is about that channel."""
        if self.channel is not None:
            return channel == self.channel
        return channel.startswith(self.prefix)

    def put(self, change: Changed) -> int:
        """Queue it; or, if too much waits, let go of all: how many changes that were."""
        rows = len(change.joined) + len(change.left) + len(change.updated)
        waiting = self._waiting
        if waiting and (len(waiting) >= CHANGES_MAX or self._rows + rows > ROWS_MAX):
            return self.lose() + 1
        waiting.append(change)
        self._rows += rows
        return 0

    def take(self) -> list[Changed]:
        """Everything that waits."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._rows = 0
        return taken

    def lose(self) -> int:
        """It is behind from now on; how many changes are lost to it."""
        lost = len(self.take())
        self.fed = False
        return lost

    def wake(self) -> None:
        """Its reader looks. Not under the lock."""
        self.bell.ring()


class _Known(ref[WatchFeed]):
    """A feed that may be gone, and which table it is in."""

    __slots__ = ("channel",)

    channel: str | None

    def __new__(cls, feed: WatchFeed, gone: Callable[[ref[WatchFeed]], object]) -> Self:
        known = super().__new__(cls, feed, gone)
        known.channel = feed.channel
        return known


class Watchers:
    """Hands every change to the feeds it concerns. Under the lock, all of it.

    A change of one channel looks at the watchers of that channel, and at those of prefixes. A
    feed that nobody holds any more is forgotten.
    """

    def __init__(self, engine: Engine, behind: Callable[[WatchFeed, int], object]) -> None:
        """`behind` is called with each feed that lost changes, and how many."""
        self._engine = engine
        self._behind = behind
        self._of_channel: dict[str, list[_Known]] = {}
        self._of_prefix: list[_Known] = []
        self._gone: deque[ref[WatchFeed]] = deque()  # a finalizer may come at any moment
        self._read: Container[str] = ()
        self._watching(False)

    def __len__(self) -> int:
        return len(self._of_prefix) + sum(map(len, self._of_channel.values()))

    def _watching(self, watched: bool) -> None:
        self.any = watched
        self._engine.watch(watched, self._read)

    def read(self, channels: Container[str]) -> None:
        """Of these the members are named in every change, though nobody watches."""
        self._read = channels
        self._watching(self.any)

    def begin(self, feed: WatchFeed) -> list[tuple[NodeId, Roll]]:
        """Feed it from now on; everybody listed at this moment in what it is about, by owner."""
        members, listed = self._engine.set_of(feed.scope), self._engine.listed
        rolls = [
            (owner, members.roll(owner, feed.channel, feed.prefix))
            for owner in sorted(members.owners())
            if listed(owner)
        ]
        self._bury()
        if not feed.fed:
            known = _Known(feed, self._gone.append)
            self._table(known).append(known)
            feed.fed = True
            self._watching(True)
        return rolls

    def end(self, feed: WatchFeed) -> None:
        """Feed it no more."""
        self._drop([known for known in self._refs() if known() is feed])
        feed.lose()

    def tell(self, change: Changed, channels: set[str] | None) -> list[WatchFeed]:
        """Hand it to whom it concerns; who is to be woken. `channels` None: it says itself."""
        if not self.any:  # nearly always
            return []
        self._bury()
        told: list[WatchFeed] = []
        lost: list[_Known] = []
        for known in self._concerned(change, channels):
            if (feed := known()) is None or feed.scope != change.scope:
                continue
            told.append(feed)
            if changes := feed.put(change):
                lost.append(known)
                self._behind(feed, changes)
        self._drop(lost)
        return told

    def lose(self) -> list[WatchFeed]:
        """Nobody knows what they have been told: all begin again."""
        feeds = self.feeds()
        self._of_channel.clear()
        self._of_prefix.clear()
        self._watching(False)
        for feed in feeds:
            feed.lose()
        return feeds

    def feeds(self) -> list[WatchFeed]:
        """All that are fed."""
        return [feed for known in self._refs() if (feed := known()) is not None]

    # ---------------------------------------------------------------- tables

    def _concerned(self, change: Changed, channels: set[str] | None) -> Iterator[_Known]:
        if channels is None:
            channels = set()
            for rows in (change.joined, change.left):
                if isinstance(rows, Roll):
                    channels.update(rows.channels)
        if len(channels) <= len(self._of_channel):
            for channel in channels:
                yield from self._of_channel.get(channel, ())
        else:
            for channel in self._of_channel:
                if channel in channels:
                    yield from self._of_channel[channel]
        for known in self._of_prefix:
            feed = known()
            if feed is not None and any(map(feed.wants, channels)):
                yield known

    def _refs(self) -> list[_Known]:
        refs = list(self._of_prefix)
        for some in self._of_channel.values():
            refs += some
        return refs

    def _table(self, known: _Known) -> list[_Known]:
        if known.channel is None:
            return self._of_prefix
        return self._of_channel.setdefault(known.channel, [])

    def _bury(self) -> None:
        gone: list[_Known] = []
        while self._gone:
            known = self._gone.popleft()
            if isinstance(known, _Known):
                gone.append(known)
        self._drop(gone)

    def _drop(self, gone: list[_Known]) -> None:
        for known in gone:
            table = self._table(known)
            table[:] = [other for other in table if other is not known]
            if not table and known.channel is not None:
                del self._of_channel[known.channel]
        if gone and not self._of_prefix and not self._of_channel:
            self._watching(False)
