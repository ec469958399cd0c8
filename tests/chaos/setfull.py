"""The set-full checker: no membership lost, none resurrected, none made up.

After Jepsen's (https://jepsen-io.github.io/jepsen/jepsen.checker.html#var-set-full), for a set
from which elements are removed too. An element is one membership. It is *known* when its join
has returned, or a read shows it.

    lost         known, not removed, its owner running: and a reader that held it holds it no
                 more, or at a quiet point somebody does not list it
    resurrected  held again by a reader that had dropped it, or by the one who removed it; or at a
                 quiet point by anybody (its remover still running), and at any time later
    phantom      read, and never joined
    stable       listed by every read from some moment on, until it was removed

Readers hold, beside what they list, the members of owners that they take for down. So a cut
hides, and does not lose: whatever a reader held and holds no more was taken away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from tests.chaos.history import Ended, Entry, Forgot, Join, Read, Removal

__all__ = ["SetFull", "check"]

SHOWN_MAX = 20


@dataclass(slots=True)
class SetFull:
    """The verdict. Valid only if something was stable: an empty test never passes."""

    elements: int = 0
    known: int = 0
    stable: int = 0
    reads: int = 0
    quiet_points: int = 0
    lost: set[int] = field(default_factory=set)
    resurrected: set[int] = field(default_factory=set)
    phantom: set[str] = field(default_factory=set)
    unequal: int = 0
    """Quiet points at which two nodes listed different members."""
    why: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    """Of the stable ones: from known until the last read that did not list it. Sorted."""

    @property
    def valid(self) -> bool:
        broken = self.lost or self.resurrected or self.phantom or self.unequal
        return not broken and self.stable > 0 and self.quiet_points > 0

    def latency_s(self, share: float) -> float:
        """A quantile of the stable latencies."""
        if not self.latencies_s:
            return inf
        return self.latencies_s[min(int(share * len(self.latencies_s)), len(self.latencies_s) - 1)]

    def blame(self, where: set[int], serial: int, text: str) -> None:
        if serial not in where and len(self.why) < SHOWN_MAX:
            self.why.append(text)
        where.add(serial)


@dataclass(slots=True)
class _Element:
    join: Join
    owner_ends: float
    known: float
    removed_from: float = inf  # the first call that ended it, or may have
    removers: list[Removal] = field(default_factory=list)  # those that certainly did
    absent: float = -inf  # the last read that did not list it, while it had to be

    @property
    def over_from(self) -> float:
        return min(self.removed_from, self.owner_ends)

    def __str__(self) -> str:
        join = self.join
        return f"#{join.serial} {join.client}@{join.life[:6]} in {join.channel}"


def check(history: Iterable[Entry]) -> SetFull:
    """Judge a history."""
    entries = list(history)
    verdict = SetFull()
    ends = {entry.life: entry.at for entry in entries if isinstance(entry, Ended)}
    elements: dict[int, _Element] = {}
    for entry in entries:
        if isinstance(entry, Join):
            known = inf if entry.ended is None else entry.ended
            elements[entry.serial] = _Element(entry, ends.get(entry.life, inf), known)
    _remove(elements, [entry for entry in entries if isinstance(entry, Removal)])
    reads = sorted((e for e in entries if isinstance(e, Read)), key=lambda read: read.began)
    for read in reads:
        for serial in read.listed:
            if (element := elements.get(serial)) is not None:
                element.known = min(element.known, read.ended)
    verdict.elements, verdict.reads = len(elements), len(reads)
    verdict.known = sum(element.known < inf for element in elements.values())
    forgot = [entry for entry in entries if isinstance(entry, Forgot)]
    _doubt(elements, forgot)
    _phantoms(verdict, elements, reads)
    _by_reader(verdict, elements, reads, forgot)
    _at_quiet_points(verdict, elements, reads, ends)
    _stability(verdict, elements, reads)
    return verdict


def _remove(elements: dict[int, _Element], removals: Sequence[Removal]) -> None:
    by_channel: dict[str, list[_Element]] = defaultdict(list)
    by_client: dict[tuple[str, str | None, str | None], list[_Element]] = defaultdict(list)
    for element in elements.values():
        join = element.join
        by_channel[join.channel].append(element)
        by_client[join.channel, join.life, join.client].append(element)
    for removal in removals:
        for serial in removal.seen:
            if serial not in elements:
                continue
            element = elements[serial]
            element.removed_from = min(element.removed_from, removal.began)
            if removal.certain:
                element.removers.append(removal)
        if removal.exact:
            continue
        if removal.client is None:
            others = by_channel[removal.channel]
        else:
            others = by_client[removal.channel, removal.owner, removal.client]
        for element in others:
            if element.join.serial not in removal.seen and element.join.began <= removal.ended:
                element.removed_from = min(element.removed_from, removal.began)


def _doubt(elements: dict[int, _Element], forgot: Sequence[Forgot]) -> None:
    """A removal is as certain as its remover's memory of the owner: the stated price."""
    last: dict[tuple[str, str], float] = {}
    for entry in forgot:
        last[entry.life, entry.owner] = entry.at
    for element in elements.values():
        element.removers = [
            removal
            for removal in element.removers
            if last.get((removal.life, element.join.life), -inf) < removal.ended
        ]


def _phantoms(verdict: SetFull, elements: dict[int, _Element], reads: Sequence[Read]) -> None:
    for read in reads:
        verdict.phantom.update(read.strange)
        for serial in (*read.listed, *read.hidden):
            element = elements.get(serial)
            if element is None or element.join.began > read.ended:
                verdict.phantom.add(f"#{serial} read at {read.life[:6]}, never joined")


def _by_reader(
    verdict: SetFull,
    elements: dict[int, _Element],
    reads: Sequence[Read],
    forgot: Sequence[Forgot],
) -> None:
    """What one reader sees of one element: absent, then present, then absent, and that is all."""
    by_reader: dict[str, list[Read]] = defaultdict(list)
    for read in reads:
        by_reader[read.life].append(read)
    forgotten: dict[str, list[Forgot]] = defaultdict(list)
    for entry in sorted(forgot, key=lambda entry: entry.at, reverse=True):
        forgotten[entry.life].append(entry)
    mine: dict[str, list[tuple[float, int]]] = defaultdict(list)
    removed_by: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for serial, element in elements.items():
        if element.join.ended is not None:
            mine[element.join.life].append((element.join.ended, serial))
        for removal in element.removers:
            removed_by[removal.life].append((removal.ended, serial))
    for who, own_reads in by_reader.items():
        _one_reader(
            *(verdict, elements, own_reads),
            *(_Due(mine[who]), _Due(removed_by[who]), forgotten[who]),
        )


class _Due:
    """Serials by time, each handed out once its time has come."""

    def __init__(self, times: list[tuple[float, int]]) -> None:
        self._times = sorted(times, reverse=True)

    def until(self, now: float) -> set[int]:
        due: set[int] = set()
        while self._times and self._times[-1][0] <= now:
            due.add(self._times.pop()[1])
        return due


def _one_reader(
    verdict: SetFull,
    elements: dict[int, _Element],
    reads: Sequence[Read],
    mine: _Due,
    ended: _Due,
    forgotten: list[Forgot],
) -> None:
    held: set[int] = set()
    dropped: set[int] = set()
    for read in reads:
        while forgotten and forgotten[-1].at <= read.began:
            entry = forgotten.pop()
            dropped |= ended.until(entry.at)
            held = {s for s in held if elements[s].join.life != entry.owner}
            dropped = {s for s in dropped if elements[s].join.life != entry.owner}
        now = {*read.listed, *read.hidden} & elements.keys()
        held |= mine.until(read.began)  # my own writes are visible when the call returns
        for serial in sorted(held - now):
            if elements[serial].over_from > read.ended:
                verdict.blame(
                    verdict.lost, serial, f"lost: {elements[serial]}, held, not at {_at(read)}"
                )
        dropped |= (held - now) | ended.until(read.began)
        for serial in sorted(dropped & now):
            verdict.blame(
                verdict.resurrected, serial, f"resurrected: {elements[serial]} at {_at(read)}"
            )
        held = now


def _at_quiet_points(
    verdict: SetFull,
    elements: dict[int, _Element],
    reads: Sequence[Read],
    ends: dict[str, float],
) -> None:
    points: dict[int, list[Read]] = defaultdict(list)
    for read in reads:
        if read.settled is not None:
            points[read.settled].append(read)
    verdict.quiet_points = len(points)
    gone: set[int] = set()
    for point in sorted(points):
        settled = points[point]
        first, last = settled[0].began, max(read.ended for read in settled)
        listed = [set(read.listed) for read in settled]
        held = {serial for read in settled for serial in (*read.listed, *read.hidden)}
        verdict.unequal += any(one != listed[0] for one in listed)
        for serial, element in elements.items():
            if element.join.began > first:
                continue
            if element.known <= first and element.over_from > last:
                if not all(serial in one for one in listed):
                    verdict.blame(verdict.lost, serial, f"lost: {element} at quiet point {point}")
            elif serial in held and _must_be_over(element, serial, first, listed, ends):
                verdict.blame(
                    verdict.resurrected, serial, f"resurrected: {element} at quiet point {point}"
                )
            if serial not in held and element.known <= first and element.over_from <= first:
                gone.add(serial)
        _none_returns(verdict, elements, reads, gone, last)


def _must_be_over(
    element: _Element, serial: int, first: float, listed: list[set[int]], ends: dict[str, float]
) -> bool:
    """A removal that only a life that has died knew of may be forgotten: the stated price."""
    if element.owner_ends < first:
        return any(serial in one for one in listed)
    return any(
        removal.ended < first and ends.get(removal.life, inf) > first
        for removal in element.removers
    )


def _none_returns(
    verdict: SetFull,
    elements: dict[int, _Element],
    reads: Sequence[Read],
    gone: set[int],
    after: float,
) -> None:
    for read in reads:
        if read.began > after:
            for serial in sorted(gone & {*read.listed, *read.hidden}):
                verdict.blame(
                    verdict.resurrected,
                    serial,
                    f"resurrected: {elements[serial]} was gone everywhere, and is at {_at(read)}",
                )


def _stability(verdict: SetFull, elements: dict[int, _Element], reads: Sequence[Read]) -> None:
    """Reads of lives that began later count as well: they have to learn of it too."""
    shown: dict[int, float] = {}
    waiting = sorted(
        (e for e in elements.values() if e.known < inf), key=lambda element: element.known
    )
    current: dict[int, _Element] = {}
    at = 0
    for read in reads:
        while at < len(waiting) and waiting[at].known <= read.began:
            current[waiting[at].join.serial] = waiting[at]
            at += 1
        listed = set(read.listed)
        for serial, element in list(current.items()):
            if element.over_from <= read.ended:
                del current[serial]
            elif serial in listed:
                shown[serial] = read.began
            else:
                element.absent = max(element.absent, read.began)
                shown.pop(serial, None)
    verdict.stable = len(shown)
    verdict.latencies_s = sorted(
        max(elements[serial].absent - elements[serial].known, 0.0) for serial in shown
    )


def _at(read: Read) -> str:
    return f"{read.life[:6]}, {read.began:.3f}"
