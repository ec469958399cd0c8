"""The exit checker: one `Exit` for each membership that others ended, and no other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.history import Ended, Entry, Join, Removal, Taken

__all__ = ["Exits", "check"]

Key = tuple[str, str, str]
"""`(life, client, channel)`."""


@dataclass(slots=True)
class Exits:
    """The verdict, over the lives that were still running at the end."""

    due: int = 0
    seen: int = 0
    missing: int = 0
    extra: int = 0
    why: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        return not self.missing and not self.extra


def check(history: Iterable[Entry]) -> Exits:
    """Judge a history that ended with a quiet point.

    An `Exit` does not say which membership it ended, so they are counted per client and channel:
    at least those that certainly only others ended, at most those that others may have ended.
    """
    entries = list(history)
    ended = {entry.life for entry in entries if isinstance(entry, Ended)}
    joins = {e.serial: e for e in entries if isinstance(e, Join) and e.life not in ended}
    index: dict[tuple[str, str | None, str | None], list[Join]] = defaultdict(list)
    for join in joins.values():
        index[join.channel, join.life, join.client].append(join)
        index[join.channel, None, None].append(join)
    must: set[int] = set()
    may: set[int] = set()
    own: set[int] = set()
    for entry in entries:
        if isinstance(entry, Removal):
            (own if entry.own else may).update(s for s in entry.seen if s in joins)
            if not entry.own and entry.certain and entry.life not in ended:
                must.update(s for s in entry.seen if s in joins)
            if not entry.exact:
                own_or_may = own if entry.own else may
                own_or_may.update(_maybe(entry, index))
    must -= own
    least = Counter(_key(joins[serial]) for serial in must)
    most = Counter(_key(joins[serial]) for serial in may | must)
    verdict = Exits(due=len(must))
    seen: Counter[Key] = Counter()
    for entry in entries:
        if isinstance(entry, Taken) and entry.life not in ended:
            seen.update((entry.life, client, channel) for client, channel in entry.exits)
    verdict.seen = seen.total()
    for key in sorted({*least, *seen}):
        short, over = max(least[key] - seen[key], 0), max(seen[key] - most[key], 0)
        verdict.missing += short
        verdict.extra += over
        if short or over:
            verdict.why.append(f"{key}: {seen[key]} exits, not {least[key]} to {most[key]}")
    return verdict


def _key(join: Join) -> Key:
    return join.life, join.client, join.channel


def _maybe(
    removal: Removal, index: dict[tuple[str, str | None, str | None], list[Join]]
) -> set[int]:
    """Memberships that it may have ended beside those that were seen."""
    owner = None if removal.client is None else removal.owner
    return {
        join.serial
        for join in index[removal.channel, owner, removal.client]
        if join.began <= removal.ended
    }
