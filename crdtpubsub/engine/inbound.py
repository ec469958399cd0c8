"""Where each sender's links to this node stand: what is late, what is missing, what is owed."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from typing import Final

from crdtpubsub.names import NodeId

__all__ = ["ACK_LATEST_S", "STRANGERS_MAX", "Inbound"]

STRANGERS_MAX: Final = 1024
"""Places kept of senders that may never be held; of too many the oldest are forgotten."""

PUBLISHED_JUMP_MAX: Final = 2**32
"""More publications than that are not lost between two frames."""

OVERRULED_S: Final = 2.0
"""What a broken connection still had in it has arrived by then."""

TELL_BYTES: Final = 16 * 1024
"""A peer is told what was taken after so many bytes: half of what any link may have under way."""

ACK_LATEST_S: Final = 0.1
"""And at the latest so long after a publication: what breaks with a link is then little."""


class Inbound:
    """Where each sender's links stand: gaps and late frames are seen here.

    Publications are accounted for one by one: every frame says how many were sent to this life
    before it, over all links, so that what is missing is known exactly as soon as any later frame
    comes. That account outlives a purge: what both sides count must not begin anew on one.
    """

    __slots__ = ("_accounted", "_due", "_greeted", "_last", "_overruled", "_owed", "_untold")

    def __init__(self) -> None:
        self._accounted: dict[NodeId, int] = {}  # publications taken, or known to be lost
        self._owed: dict[NodeId, float] = {}  # a sender of publications -> when to tell it
        self._due: deque[tuple[float, NodeId]] = deque()  # the same, rising, with some done
        self._untold: dict[NodeId, int] = {}  # bytes since the last Taken
        self._last: dict[NodeId, tuple[int, int, bool]] = {}
        self._greeted: dict[NodeId, tuple[int, int]] = {}  # a link not yet in use: link, next seq
        self._overruled: dict[NodeId, tuple[int, float]] = {}  # a late link that has proofs: since

    def __len__(self) -> int:
        known = self._last.keys() | self._greeted.keys() | self._untold.keys()
        return len(known | self._accounted.keys())

    def taken(self, sender: NodeId) -> tuple[int, int] | None:
        """The link in use and the last sequence number on it, to tell the sender again."""
        link, expected, _ = self._last.get(sender, (-1, 0, False))
        return (link, expected - 1) if expected else None

    def forget_strangers(self, held: Container[NodeId]) -> None:
        """Keep the tables small, whatever claims to be a sender."""
        for table in (self._last, self._greeted, self._untold, self._accounted, self._owed):
            strangers = [life for life in table if life not in held]
            for life in strangers[: max(len(strangers) - STRANGERS_MAX, 0)]:
                del table[life]

    def greeted(self, sender: NodeId, link: int, seq: int) -> bool:
        """A HELLO, to whoever listens; whether something was lost before it.

        A link that carried nothing else does not end an older one: it may be a second dial, of
        a seed's other name, which is dropped as soon as it is known to be me.
        """
        current, _, _ = self._last.get(sender, (-1, 0, False))
        if link <= current:
            return self.place(sender, link, seq, 0)[1]
        if link >= self._greeted.get(sender, (-1, 0))[0]:
            self._greeted[sender] = (link, seq + 1)
        return False

    def forget(self, sender: NodeId) -> None:
        """The life is gone; it may return, and counts on from where it was."""
        self._owed.pop(sender, None)
        self._last.pop(sender, None)
        self._untold.pop(sender, None)
        self._greeted.pop(sender, None)
        self._overruled.pop(sender, None)

    def proved(self, sender: NodeId, link: int, seq: int, now: float, *, late: bool) -> bool:
        """A frame at that place brought an answer to a question of mine.

        A place can be forged: one frame in a peer's name, from its highest link or far ahead,
        would make all of its own frames late, for ever. Answers cannot. Where they go on to come
        in late frames for longer than a dead connection can last, is where the peer stands:
        True, once. It has been told nothing meanwhile, and may be out of credit.
        """
        if not late:
            if self._overruled:
                self._overruled.pop(sender, None)
            return False
        held, since = self._overruled.get(sender, (-1, now))
        if held != link:
            self._overruled[sender] = (link, now)
        elif now - since >= OVERRULED_S:
            del self._overruled[sender]
            self._last[sender] = (link, seq + 1, False)
            self._greeted.pop(sender, None)
            return True
        return False

    def must_tell(self, sender: NodeId, size_bytes: int, *, gap: bool = False) -> bool:
        """Whether so much was taken from `sender` that it is to be told.

        At a `gap` it is: what was lost counts as under way there until something is told.
        """
        untold = self._untold.get(sender, 0) + size_bytes
        told = gap or untold >= TELL_BYTES
        self._untold[sender] = 0 if told else untold
        if told:
            self._owed.pop(sender, None)
        return told

    def account(self, sender: NodeId, published: int, here: int, part: int) -> int:
        """How many publications of `sender` are lost for certain, by a frame that is not late.

        `published` is what its header says, `here` how many are in it (in this slice of it).
        """
        before = self._accounted.get(sender, 0)
        if published - before > PUBLISHED_JUMP_MAX:
            published = before  # nobody loses so many: it is a lie, and shall not stick
        if part:
            self._accounted[sender] = before + here
            return 0
        if published != before or here:
            self._accounted[sender] = published + here
        # Less than I know of: it has forgotten me meanwhile, and counts anew.
        return published - before if published >= before else published

    def owe(self, sender: NodeId, now: float) -> None:
        """A publication came: tell its sender soon what was taken."""
        if sender not in self._owed:
            self._owed[sender] = now + ACK_LATEST_S
            self._due.append((now + ACK_LATEST_S, sender))

    def due(self, now: float) -> Iterator[NodeId]:
        """Who must be told by now; each is told once."""
        while self._due and self._due[0][0] <= now:
            at, sender = self._due.popleft()
            if self._owed.get(sender) == at:
                del self._owed[sender]
                self._untold[sender] = 0
                yield sender

    def next_due(self) -> float:
        """When somebody must be told."""
        while self._due and self._owed.get(self._due[0][1]) != self._due[0][0]:
            self._due.popleft()
        return self._due[0][0] if self._due else float("inf")

    def place(self, sender: NodeId, link: int, seq: int, part: int) -> tuple[bool, bool]:
        """`(late, gap)` for a frame: from an older link or a past place; after something lost."""
        current, expected, was_late = self._last.get(sender, (-1, 0, False))
        if part:
            return was_late, False
        late = link < current or (link == current and seq < expected)
        if late:
            self._last[sender] = (current, expected, True)
            return True, False
        if link != current:
            greeted_link, after = self._greeted.get(sender, (-1, 0))
            expected = after if greeted_link == link else 0
            if greeted_link <= link:
                self._greeted.pop(sender, None)
        gap = seq != expected
        self._last[sender] = (link, seq + 1, False)
        return False, gap
