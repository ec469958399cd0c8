"""What a node tells its operator: notices, and the bounded feeds they wait in until they are read.

What a peer or a publisher could cause a thousand times a second is tallied under the lock and told
at most once a second for each who caused it, with its number: the sum over all notices is exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final
from weakref import ref

from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.names import NodeId
from crdtpubsub.runtime.bell import Bell
from crdtpubsub.runtime.limits import LimitReached

__all__ = [
    "REFUSED",
    "Claimed",
    "Feed",
    "Gap",
    "LimitReached",
    "Lost",
    "Missed",
    "NameShared",
    "Notice",
    "NoticeBoard",
    "PeerDown",
    "PeerLeft",
    "PeerUp",
    "Refused",
    "SlowConsumer",
    "SlowWatcher",
    "Tallies",
    "Unanswered",
]

FEED_MAX: Final = 1024
"""Notices that wait in one feed; of more, the oldest go, and `Missed` says how many."""

QUIET_S: Final = 1.0
"""What is tallied is told at most this often for each who caused it."""

TALLIES_MAX: Final = 4096
"""Who can be told apart at a time; what more of them cause is told of nobody in particular."""


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A node is listed from now on: met for the first time, or back after it was down.

    Its members are back with it, without re-joining.

    Attributes:
        node: its life.
        name: its human label.
        endpoint: where it can be dialled.

    Do: nothing; send again what it must not have missed.
    """

    node: NodeId
    name: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A node does not answer, directly or through others: its members are hidden until it does.

    This is what this node holds, and others may hold otherwise: a cut looks the same as a death.

    Attributes:
        node: its life.
        name: its human label.
        endpoint: where it can be dialled.

    Do: look at that process and the network to it. It is greeted on, and nothing is deleted.
    """

    node: NodeId
    name: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A node said goodbye: it was closed, and its members are gone for good.

    Attributes:
        node: its life.
        name: its human label.
        endpoint: where it can be dialled.

    Do: nothing.
    """

    node: NodeId
    name: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class NameShared:
    """Two running nodes have one name: they are two nodes all the same.

    Attributes:
        node: the one that was met last.
        about: the other one, in words.

    Do: give them different names, if anybody tells them apart by name.
    """

    node: NodeId
    about: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An endpoint takes connections and never answers: `about` says why that may be.

    Usually the other side cannot dial what this node advertises, or is no node of this cluster,
    or the secrets differ. Told again while it lasts, for secrets every few seconds.

    Attributes:
        endpoint: what was dialled, or (of who dialled in) what it advertises.
        about: why that may be, in words.

    Do: compare `advertise=` (or the bound endpoint) with what others can dial, and the secrets.
    """

    endpoint: str
    about: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A peer said of this node what only this node can say; it was not believed.

    Attributes:
        node: who said it, `times` in the time since the last notice of it.
        about: the last of it, in words.

    Do: find out who that is. A process with a copied state, a bug, or somebody hostile.
    """

    node: NodeId
    times: int
    about: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Publications were not even queued for a node; their receipts said so, too.

    Attributes:
        node: the owner that gets none of them.
        publications: how many since the last notice of it.
        reason: `no link` (up, and reached by others only) or `lagging` (its outbox is full).

    Do: for `no link` look for a firewall between the two; for `lagging` publish less, or find
    out why that node reads so slowly.
    """

    node: NodeId
    publications: int
    reason: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Publications for this node were lost on their way here.

    Attributes:
        node: who sent them.
        publications: how many since the last notice of it. Exact, and told as soon as any later
            frame of that node comes: what it sent is what was taken here and what gaps tell.

    Do: fetch anew what they would have said, or publish with `confirm=`.
    """

    node: NodeId
    publications: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A link broke before publications of this node were acknowledged.

    Attributes:
        node: whom they were for.
        publications: how many since the last notice of it.
        reason: `unsent` (they were still queued here; exact) or `unknown` (they were on their
            way, and may have arrived: never fewer than were lost).

    Do: say again what matters, or publish with `confirm=`.
    """

    node: NodeId
    publications: int
    reason: str


@dataclass(frozen=True, slots=True)
class SlowConsumer:
    """A client of this node reads more slowly than it is sent to: its full queue lost messages.

    Attributes:
        client: its id.
        dropped: how many messages since the last notice of it.

    Do: read faster, in more clients, or with a larger `max_pending`.
    """

    client: str
    dropped: int


@dataclass(frozen=True, slots=True)
class SlowWatcher:
    """A `Node.watch` of this node was read too slowly: it goes on with a fresh `Snapshot`.

    Attributes:
        watched: its channel, or its prefix and `*`.
        changes: how many changes it was not told since the last notice of it.

    Do: read it in a task of its own, which does nothing slow.
    """

    watched: str
    changes: int


@dataclass(frozen=True, slots=True)
class Missed:
    """This iterator was read too slowly: its oldest `notices` were dropped, ahead of what follows.

    Do: read it in a task of its own; read `Node.peers` for where things stand.
    """

    notices: int


Notice = (
    PeerUp
    | PeerDown
    | PeerLeft
    | NameShared
    | Unanswered
    | Claimed
    | Refused
    | Gap
    | Lost
    | SlowConsumer
    | SlowWatcher
    | LimitReached
    | Missed
)
"""Everything a node tells its operator; see each of them for what to do."""


class Feed:
    """The notices for one reader, from when it was made. Bounded; the oldest go first."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.closed = False
        self._missed = 0
        self._waiting: deque[Notice] = deque()
        self._taking = Lock()

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting)

    def put(self, notice: Notice) -> None:
        """Queue it, and wake who waits."""
        with self._taking:
            if self.closed:
                return
            if len(self._waiting) >= FEED_MAX:
                self._waiting.popleft()
                self._missed += 1
            self._waiting.append(notice)
        self.bell.ring()

    def take(self) -> Notice | None:
        """The next one, or None."""
        with self._taking:
            if self._missed:
                missed, self._missed = self._missed, 0
                return Missed(missed)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Take no more; what waits can still be read."""
        self.closed = True
        self.bell.ring()


class NoticeBoard:
    """Hands each notice to every feed. Safe from any thread; never under the runtime's lock.

    A feed that nobody holds any more is forgotten: an iterator need not be closed.
    """

    def __init__(self) -> None:
        self._feeds: tuple[ref[Feed], ...] = ()
        self._changing = Lock()
        self._closed = False

    def feed(self) -> Feed:
        """A new feed: it gets what is posted from now on."""
        feed = Feed()
        with self._changing:
            if self._closed:
                feed.closed = True
            else:
                self._feeds = (*(f for f in self._feeds if f() is not None), ref(feed))
        return feed

    def post(self, notice: Notice) -> None:
        """Hand it to everybody."""
        for known in self._feeds:
            if (feed := known()) is not None:
                feed.put(notice)

    def close(self) -> None:
        """The node ends: every feed ends when it has been read."""
        with self._changing:
            self._closed = True
            feeds, self._feeds = self._feeds, ()
        for known in feeds:
            if (feed := known()) is not None:
                feed.close()


Told = Callable[[str, int, str], Notice]
"""Makes a notice: of whom, how often, and the last words about it."""


class Tallies:
    """Counts under the lock what may happen often, and says who may be told of it by now."""

    __slots__ = ("_counts", "_said_at")

    def __init__(self) -> None:
        self._counts: dict[tuple[Told, str], tuple[int, str]] = {}
        self._said_at: dict[tuple[Told, str], float] = {}

    def __bool__(self) -> bool:
        """Whether something waits to be told."""
        return bool(self._counts)

    def add(self, told: Told, whom: str, count: int = 1, about: str = "") -> None:
        """It happened again."""
        key = (told, whom)
        if key not in self._counts and len(self._counts) >= TALLIES_MAX:
            key = (told, "")
        self._counts[key] = (self._counts.get(key, (0, ""))[0] + count, about)

    def due(self, now: float) -> list[Notice]:
        """What may be told now."""
        quiet = {key: at for key, at in self._said_at.items() if now - at < QUIET_S}
        due = [key for key in self._counts if key not in quiet]
        notices = [told(whom, *self._counts.pop((told, whom))) for told, whom in due]
        self._said_at = quiet | dict.fromkeys(due, now)
        return notices


def slow_consumer(client: str, dropped: int, _about: str) -> Notice:
    """For `Tallies`."""
    return SlowConsumer(client, dropped)


def slow_watcher(watched: str, changes: int, _about: str) -> Notice:
    """For `Tallies`."""
    return SlowWatcher(watched, changes)


def claimed(node: str, times: int, about: str) -> Notice:
    """For `Tallies`."""
    return Claimed(NodeId(node), times, about)


def refused_no_link(node: str, publications: int, _about: str) -> Notice:
    """For `Tallies`."""
    return Refused(NodeId(node), publications, "no link")


def refused_lagging(node: str, publications: int, _about: str) -> Notice:
    """For `Tallies`."""
    return Refused(NodeId(node), publications, "lagging")


def gap(node: str, publications: int, _about: str) -> Notice:
    """For `Tallies`."""
    return Gap(NodeId(node), publications)


def lost_unsent(node: str, publications: int, _about: str) -> Notice:
    """For `Tallies`."""
    return Lost(NodeId(node), publications, "unsent")


def lost_unknown(node: str, publications: int, _about: str) -> Notice:
    """For `Tallies`."""
    return Lost(NodeId(node), publications, "unknown")


REFUSED: Final = {
    Outcome.REFUSED_NO_LINK: refused_no_link,
    Outcome.REFUSED_LAGGING: refused_lagging,
}
"""What tells of it, by what the receipt says."""
