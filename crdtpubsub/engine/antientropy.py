"""One scope's gossip: what to push, whom to ask, what to answer. Knows lives, not links.

Every method returns messages for the engine to send; none of them decides whom to trust.
docs/PROTOCOL.md draws the exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from crdtpubsub.config import Config
from crdtpubsub.crdt.delta import Change, Delta
from crdtpubsub.crdt.intervals import (
    EMPTY,
    Runs,
    count,
    difference,
    intersection,
    pairs,
    top,
    union,
)
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine.dice import Dice
from crdtpubsub.light import light
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Deltas, Live, Message, Pull, Row, Rows, Sums

__all__ = ["SEGMENT_BIRTHS", "AntiEntropy", "Compared", "segments"]

SEGMENT_BIRTHS: Final = 4096
"""The births one sum in SUMS stands for: a word of the wire, the same everywhere."""

PULL_FRAMES: Final = 4
"""Frames in one answer to a PULL; what is left is asked for again."""

PULL_PATIENCE_S: Final = 1.0
"""An unanswered PULL moves to another peer after this."""

HEARSAY_S: Final = 1.0
"""A third party's difference is acted on when it is seen again at least this much later."""

SEGMENTS_MAX: Final = 8192
"""Sums in one SUMS: of wider runs a part is compared, another one each time."""

SUMS_LIVES_MAX: Final = 64
"""LIVEs in one answer to SUMS: a quarter of a million births compared."""

RUNS_SAID_MAX: Final = 8192
"""Runs in one delta: of a removal scattered more widely, the rest follows in the next."""

STUBBORN_ROUNDS: Final = 10
"""Rows that stay unequal so often are compared over what both have seen."""


def segments(runs: Runs) -> list[Runs]:
    """`runs` cut at multiples of `SEGMENT_BIRTHS`, empty segments left out, rising."""
    cut: dict[int, list[int]] = {}
    for lo, hi in pairs(runs):
        while lo < hi:
            number = lo // SEGMENT_BIRTHS
            end = min(hi, (number + 1) * SEGMENT_BIRTHS)
            cut.setdefault(number, []).extend((lo, end))
            lo = end
    return [tuple(flat) for _, flat in sorted(cut.items())]


def segment_count(runs: Runs) -> int:
    """`len(segments(runs))`, in O(runs): what a stranger says may be 2**62 births wide."""
    total, last = 0, -1
    for lo, hi in pairs(runs):
        first, last_here = max(lo // SEGMENT_BIRTHS, last + 1), (hi - 1) // SEGMENT_BIRTHS
        total += last_here + 1 - first
        last = last_here
    return total


@dataclass(slots=True)
class _Pulling:
    id: int
    peer: NodeId
    runs: Runs
    progress_at: float


@light
class Compared:
    """What came of somebody's rows."""

    messages: tuple[Message, ...]  # all to the one whose rows they were
    strangers: tuple[NodeId, ...]  # lives named there and not held here
    equal: bool  # for every life both hold up
    claimed: int  # the first birth beyond those of mine that the sender holds


class AntiEntropy:
    """The gossip of one scope."""

    def __init__(
        self,
        scope: str,
        members: MemberSet,
        config: Config,
        dice: Dice,
        count_path: Callable[[str], None],
    ) -> None:
        self.scope = scope
        self.members = members
        self._config = config
        self._dice = dice
        self._count_path = count_path
        self._pending: dict[NodeId, Runs] = {}
        self._pulls: dict[NodeId, _Pulling] = {}
        self._next_pull = 1
        # owner -> (what differed, when it was first seen): hearsay waits for a second look
        self._differences: dict[NodeId, tuple[object, float]] = {}
        self._stubborn: dict[NodeId, int] = {}
        self._rows: dict[NodeId, Row] = {}  # as they were last said
        self._rooted: tuple[list[Row], int] = ([], int.from_bytes(blake2b(digest_size=8).digest()))
        # down owner -> peers that have not yet said that they agree about it
        self._dirty: dict[NodeId, set[NodeId]] = {}

    # ---------------------------------------------------------------- pushing

    @property
    def pending(self) -> bool:
        """Whether something waits to be pushed."""
        return bool(self._pending)

    @property
    def unpushed(self) -> Mapping[NodeId, Runs]:
        """What does. Live."""
        return self._pending

    @property
    def pulling(self) -> bool:
        """Whether an answer to a PULL is awaited."""
        return bool(self._pulls)

    def push(self, owner: NodeId, runs: Runs) -> None:
        """These births of `owner` changed by a write of mine; runs only, read when sent."""
        if runs:
            self._pending[owner] = union(self._pending.get(owner, EMPTY), runs)

    def flush(self) -> list[Message]:
        """Everything pending, as messages of bounded size. Join and leave in one batch: a run."""
        messages: list[Message] = []
        small: list[Delta] = []
        for owner, runs in sorted(self._pending.items()):
            for delta in self._deltas(owner, runs):
                if len(small) >= 64:
                    messages.append(Deltas(self.scope, tuple(small)))
                    small = []
                small.append(delta)
                if sum(map(len, delta.entries.values())) > 64:
                    messages.append(Deltas(self.scope, tuple(small)))
                    small = []
        if small:
            messages.append(Deltas(self.scope, tuple(small)))
        self._pending.clear()
        return messages

    def _deltas(self, owner: NodeId, runs: Runs) -> Iterable[Delta]:
        while runs:
            part = self.members.prefix(owner, runs, self._config.transfer_births)
            part = part[: 2 * RUNS_SAID_MAX]
            if not part:
                break
            yield self.members.delta(owner, part)
            runs = difference(runs, part)

    # ---------------------------------------------------------------- rows

    def row(self, owner: NodeId) -> Row:
        """One owner in a nutshell."""
        runs, count, total = self.members.tally(owner)
        row = self._rows.get(owner)
        if row is None or row.runs != runs or row.count != count or row.sum != total:
            row = self._rows[owner] = Row(owner, runs, count, total)
        return row

    def root(self, covered: Sequence[NodeId]) -> int:
        """A hash over the rows of the lives held up, in their order as strings."""
        rows = list(map(self.row, covered))
        if rows != self._rooted[0]:
            text = "".join([f"{r.owner} {r.runs} {r.count} {r.sum};" for r in rows])
            root = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
            self._rooted = (rows, root)
        return self._rooted[1]

    def round(self, covered: Sequence[NodeId], peer: NodeId) -> Rows:
        """What to say in this round to `peer`: the root alone, or rows if something is dirty."""
        dirty = self.dirty_for(peer)
        if dirty:
            return self.say(covered, also=dirty, reply=False)
        return Rows(self.scope, self.root(covered), None, reply=False)

    def say(
        self, covered: Sequence[NodeId], *, also: Iterable[NodeId] = (), reply: bool, stamp: int = 0
    ) -> Rows:
        """My rows: of everybody held up, and of those in `also` that are held at all."""
        more = [o for o in also if self.members.holds(o)]
        owners = sorted({*covered, *more})
        rows = tuple(map(self.row, owners))
        return Rows(self.scope, self.root(covered), rows, reply, stamp)

    def compare(
        self, rows: Rows, sender: NodeId, covered: Sequence[NodeId], now: float, *, gap_free: bool
    ) -> Compared:
        """Look for differences in somebody's rows; ask for what is missing here."""
        messages: list[Message] = []
        strangers: list[NodeId] = []
        equal = True
        claimed = 1
        up = set(covered)
        named = {row.owner for row in rows.rows or ()}
        for owner in self.dirty_for(sender):
            if owner not in named and rows.reply:
                self._agree(owner, sender)  # it does not hold that life: nothing to repair there
        for row in rows.rows or ():
            if row.owner not in named:
                continue  # said before: each is compared once
            named.discard(row.owner)
            if not self.members.holds(row.owner):
                strangers.append(row.owner)
                continue
            mine = self.row(row.owner)
            if mine == row:
                self._agree(row.owner, sender)
                if row.owner == sender:
                    # Only the owner's word ends a difference: several equal to me, and as far
                    # behind, would otherwise each time unsay what one who is ahead has said.
                    self._differences.pop(row.owner, None)
                    self._stubborn.pop(row.owner, None)
                continue
            if row.owner in up:
                equal = False
            if row.owner == self.members.me:
                claimed = top(row.runs)
            first_hand = row.owner == sender and gap_free
            messages += self._difference(mine, row, sender, now, first_hand=first_hand)
        return Compared(tuple(messages), tuple(strangers), equal, claimed)

    def _difference(
        self, mine: Row, row: Row, sender: NodeId, now: float, *, first_hand: bool
    ) -> list[Message]:
        owner = row.owner
        missing = EMPTY if owner == self.members.me else difference(row.runs, mine.runs)
        common = intersection(mine.runs, row.runs)
        what: object = missing[0] if missing else (common, mine.sum)
        stubborn = self._stubborn[owner] = self._stubborn.get(owner, 0) + 1
        if not first_hand:
            known, since = self._differences.get(owner, (None, now))
            if known != what:
                self._differences[owner] = (what, now)
                return self._compare_common(owner, common, stubborn)
            if now - since < HEARSAY_S:
                return self._compare_common(owner, common, stubborn)
        if missing:
            pull = self._pull(owner, missing, sender, now)
            return pull + self._compare_common(owner, common, stubborn)
        if mine.runs == row.runs:
            return self._compare(owner, common)
        return self._compare_common(owner, common, stubborn)

    def _compare_common(self, owner: NodeId, common: Runs, stubborn: int) -> list[Message]:
        """Runs that do not become equal must not keep removals from being repaired."""
        if not common or stubborn % STUBBORN_ROUNDS:
            return []
        self._count_path("stubborn")
        return self._compare(owner, common)

    def _compare(self, owner: NodeId, runs: Runs) -> list[Message]:
        if count(runs) > self._config.sums_births:
            self._count_path("sums")
            if segment_count(runs) > SEGMENTS_MAX:
                # What differs is live on one side. Each looks where it has something itself: of
                # 2**32 births that were passed over, chance finds the few that matter too late.
                width = SEGMENTS_MAX * SEGMENT_BIRTHS
                birth = self.members.hold(owner).births.some(self._dice.random()) or runs[0]
                start = birth - birth % SEGMENT_BIRTHS
                runs = intersection(runs, (max(start, 1), start + width)) or intersection(
                    runs, (runs[0], runs[0] + width - SEGMENT_BIRTHS)
                )
            sums = tuple(self.members.sum_within(owner, part) for part in segments(runs))
            return [Sums(self.scope, owner, runs, sums)]
        return [self._live(owner, runs)]

    def _live(self, owner: NodeId, runs: Runs) -> Live:
        self._count_path("live")
        said, births = self.members.live(owner, runs)
        return Live(self.scope, owner, said, births)

    # ---------------------------------------------------------------- pulling

    def _pull(self, owner: NodeId, runs: Runs, peer: NodeId, now: float) -> list[Message]:
        if owner in self._pulls:
            return []  # one in flight per life
        pulling = _Pulling(self._next_pull, peer, runs, now)
        self._next_pull = self._next_pull % 0xFFFFFFFF + 1
        self._pulls[owner] = pulling
        return [Pull(self.scope, owner, runs, pulling.id)]

    def answer(self, pull: Pull) -> list[Message]:
        """The births asked for, in a few frames; what is left is asked for again."""
        runs = intersection(pull.runs, self.members.seen(pull.owner))
        frames: list[Delta] = []
        while runs and len(frames) < PULL_FRAMES:
            part = self.members.prefix(pull.owner, runs, self._config.transfer_births)
            if not part:
                break
            frames.append(self.members.delta(pull.owner, part))
            runs = difference(runs, part)
        if len(frames) > 1 or runs:
            self._count_path("pull_many_frames")
        if not frames:
            return [Deltas(self.scope, (), answers=pull.id)]
        last = len(frames) - 1
        return [
            Deltas(self.scope, (delta,), answers=pull.id, more=number < last)
            for number, delta in enumerate(frames)
        ]

    def answered(self, deltas: Deltas, sender: NodeId, now: float) -> list[Message]:
        """Progress of a pull, after its deltas were merged; what is left is asked for again."""
        asked = [o for o, p in self._pulls.items() if (p.id, p.peer) == (deltas.answers, sender)]
        if not asked:
            return []  # it came too late: the pull has moved on
        owner = asked[0]
        pulling = self._pulls[owner]
        pulling.progress_at = now
        if deltas.more:
            return []  # the rest of the answer is on its way
        left = difference(pulling.runs, self.members.seen(owner))
        del self._pulls[owner]
        if left and left != pulling.runs:
            return self._pull(owner, left, sender, now)
        return []

    def moved(self, now: float, live: Sequence[NodeId]) -> list[tuple[NodeId, Message]]:
        """Pulls without progress go to another of `live`; without one they are given up."""
        messages: list[tuple[NodeId, Message]] = []
        for owner, pulling in list(self._pulls.items()):
            if now - pulling.progress_at < PULL_PATIENCE_S and self.members.holds(owner):
                continue
            del self._pulls[owner]
            others = [life for life in live if life != pulling.peer]
            left = difference(pulling.runs, self.members.seen(owner))
            if left and others and self.members.holds(owner):
                self._count_path("pull_moved")
                peer = self._dice.choice(others)
                messages += [(peer, m) for m in self._pull(owner, left, peer, now)]
        return messages

    # ---------------------------------------------------------------- comparing

    def on_sums(self, sums: Sums) -> list[Message]:
        """LIVE for every segment whose sum differs here."""
        messages: list[Message] = []
        if not segment_count(sums.runs) == len(sums.sums) <= SEGMENTS_MAX:
            self._count_path("sums_misfit")
            return messages
        for part, theirs in zip(segments(sums.runs), sums.sums, strict=True):
            seen = intersection(part, self.members.seen(sums.owner))
            if seen and (seen != part or self.members.sum_within(sums.owner, part) != theirs):
                messages.append(self._live(sums.owner, seen))
                if len(messages) == SUMS_LIVES_MAX:
                    break  # the next round finds the rest
        return messages

    def on_live(self, live: Live, sender: NodeId, now: float) -> tuple[Change, list[Message]]:
        """Merge a delta without bodies; tell what is newer here, pull what is missing."""
        change, tell, pull = self.members.merge_live(live.owner, live.runs, live.births)
        messages: list[Message] = []
        messages += [Deltas(self.scope, (delta,)) for delta in self._deltas(live.owner, tell)]
        if pull:
            messages += self._pull(live.owner, pull, sender, now)
        return change, messages

    # ---------------------------------------------------------------- down lives

    def dirty(self, owner: NodeId, peers: Iterable[NodeId]) -> None:
        """Something of a down life was removed: these peers must come to agree."""
        waiting = self._dirty.setdefault(owner, set())
        waiting.update(peers)
        if not waiting:
            del self._dirty[owner]

    def dirty_for(self, peer: NodeId) -> list[NodeId]:
        """The down lives that `peer` has not yet agreed about."""
        return [owner for owner, waiting in self._dirty.items() if peer in waiting]

    def is_dirty_for(self, peer: NodeId) -> bool:
        """Whether the next round with `peer` must say rows."""
        return bool(self.dirty_for(peer))

    def _agree(self, owner: NodeId, peer: NodeId) -> None:
        waiting = self._dirty.get(owner)
        if waiting is not None and peer in waiting:
            waiting.discard(peer)
            self._count_path("dirty_repaired")
            if not waiting:
                del self._dirty[owner]

    def lost(self, life: NodeId) -> None:
        """A peer is down or gone: nothing is expected of it."""
        for owner in list(self._dirty):
            self._dirty[owner].discard(life)
            if not self._dirty[owner]:
                del self._dirty[owner]
        for pulling in self._pulls.values():
            if pulling.peer == life:
                pulling.progress_at = float("-inf")

    def forget(self, owner: NodeId) -> None:
        """The life was purged."""
        self.lost(owner)
        self._pending.pop(owner, None)
        self._pulls.pop(owner, None)
        self._rows.pop(owner, None)
        self._differences.pop(owner, None)
        self._stubborn.pop(owner, None)
        self._dirty.pop(owner, None)
