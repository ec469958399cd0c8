"""Who is there, and then who comes and goes: `Node.watch` and what it yields."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Final, Self

from crdtpubsub.crdt.delta import Row
from crdtpubsub.crdt.owner import Roll
from crdtpubsub.engine.effects import Cause, Changed
from crdtpubsub.names import NodeId
from crdtpubsub.runtime import Runtime, WatchFeed
from crdtpubsub.views import Member
from crdtpubsub.waiting import next_signal, pause

__all__ = ["Change", "Snapshot", "Watch", "WatchReader"]

_SLICE: Final = 1000
"""Members that are built at a time: a millisecond of the reader's event loop."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everybody in what is watched: the first item, and again whenever changes were missed.

    Attributes:
        members: as `Node.members` lists them, sorted by node, channel and id.
    """

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What is different since the item before. Nobody is in two of the three.

    Attributes:
        joined: listed now, and not before.
        left: listed before, and not now.
        updated: listed before and now, with other metadata or by another join; as it is now.
        cause: `op`: they joined, left, were removed or updated; among them all members of a node
            that was closed. `node_down`: their node is unreachable for this node, they are
            `down`, and will be back with it. `node_up`: it is back, or was met for the first
            time. `scope_closed`: their node left the scope.
    """

    joined: tuple[Member, ...]
    left: tuple[Member, ...]
    updated: tuple[Member, ...]
    cause: Cause


class WatchReader:
    """Takes from a feed and makes of it what users see, a slice at a time. Knows no event loop.

    For any thread, and for several: each item goes to one of them.
    """

    def __init__(self, runtime: Runtime, feed: WatchFeed) -> None:
        self.feed = feed
        self._runtime = runtime
        self._changes: deque[Changed] = deque()
        self._work: Generator[None, None, Snapshot | Change | None] | None = None
        self._working = Lock()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        over = self.feed.closed or self._runtime.closed
        return over and not self._changes and self._work is None

    @property
    def ready(self) -> bool:
        """Whether `advance` has something to do."""
        busy = self._work is not None or bool(self._changes)
        return busy or self.ended or self.feed.ready

    def advance(self) -> Snapshot | Change | None:
        """Do a slice of work; the item, if that completes one."""
        with self._working:
            try:
                if self._work is None:
                    self._work = self._begin()
                if self._work is None:
                    return None
                next(self._work)
            except StopIteration as done:
                self._work = None
                item: Snapshot | Change | None = done.value
                return item
            except BaseException:  # an interrupt, in the middle of an item: begin again
                self._work = None
                self._changes.clear()
                if self._runtime.running:
                    with self._runtime.core.lock:
                        self._runtime.core.watchers.end(self.feed)
                raise
        return None

    def close(self) -> None:
        """Take nothing more."""
        self.feed.closed = True
        if self._runtime.running and self._runtime.endpoint:
            with self._runtime.core.lock:
                self._runtime.core.watchers.end(self.feed)
        self.feed.wake()

    def _begin(self) -> Generator[None, None, Snapshot | Change | None] | None:
        if self._changes:
            return self._change(self._changes.popleft())
        if self.ended:
            return None
        runtime = self._runtime
        runtime.check()
        with runtime.core.lock:
            if not self.feed.fed:
                return self._snapshot(runtime.core.watchers.begin(self.feed))
            self._changes.extend(self.feed.take())
        return self._change(self._changes.popleft()) if self._changes else None

    def _snapshot(self, rolls: list[tuple[NodeId, Roll]]) -> Generator[None, None, Snapshot]:
        members: list[Member] = []
        for owner, roll in rolls:
            yield from self._members(owner, roll, members)
        return Snapshot(tuple(members))

    def _change(self, change: Changed) -> Generator[None, None, Change | None]:
        owner, left, joined = change.owner, list[Member](), list[Member]()
        down = change.cause is Cause.NODE_DOWN
        yield from self._members(owner, change.left, left, down=down)
        yield from self._members(owner, change.joined, joined)
        updated: list[Member] = []
        yield from self._members(owner, change.updated, updated)
        if left and joined:  # left and joined again in one step: it was never absent
            gone, come = set(map(_key, left)), set(map(_key, joined))
            updated += [member for member in joined if _key(member) in gone]
            left = [member for member in left if _key(member) not in come]
            joined = [member for member in joined if _key(member) not in gone]
        if not (joined or left or updated):
            return None
        return Change(tuple(joined), tuple(left), tuple(updated), change.cause)

    def _members(
        self,
        owner: NodeId,
        rows: Iterable[Row],
        members: list[Member],
        *,
        down: bool = False,
    ) -> Generator[None, None, None]:
        feed = self.feed
        if isinstance(rows, Roll) and feed.channel is not None:
            rows = rows.of(feed.channel)
        for number, (channel, client, _, extra) in enumerate(rows, 1):
            if feed.wants(channel):
                members.append(Member(channel, client, owner, extra[2], down, extra[1]))
            if number % _SLICE == 0:
                yield


class Watch:
    """One `Snapshot`, then `Change`s, without gap or double: an async iterator of `Node.watch`.

    Belongs to no event loop and no thread; several readers share what comes. A reader that is
    cancelled loses nothing; an iterator that is dropped is forgotten.
    """

    def __init__(self, reader: WatchReader) -> None:
        """Use `Node.watch` instead."""
        self._reader = reader

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Snapshot | Change:
        """The next item; ends when the node, or this iterator, is closed.

        Raises:
            ClosedError: the node was not started.
            ForkedError: it runs in the parent of this process.
        """
        reader = self._reader
        while (item := reader.advance()) is None:
            if reader.ended:
                raise StopAsyncIteration
            if reader.ready:
                await pause()  # a long item: let others have their turn
            else:
                await next_signal(reader.feed.bell, lambda: reader.ready, None)
        return item

    def close(self) -> None:
        """Watch no more; what was taken before can still be read. Idempotent."""
        self._reader.close()


def _key(member: Member) -> tuple[str, str]:
    return member.channel, member.id
