"""What a node wrote, small enough to travel: whoever has seen it knows of every one of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from crdtpubsub.crdt.intervals import EMPTY, Runs, difference, from_births, is_runs, union
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.errors import ConfigError
from crdtpubsub.names import NodeId, is_name

__all__ = ["TOKEN_NUMBERS_MAX", "Token", "Writes", "seen"]

TOKEN_NUMBERS_MAX: Final = 2048
"""Bounds of runs, and births and versions, in one token: 16 kB on the wire, twice that as text."""

_VERSION: Final = "crdtpubsub-token-1"


@dataclass(frozen=True, slots=True)
class Writes:
    """What was written of one owner.

    Attributes:
        owner: the life whose members they are.
        top: all of its births below this one must be seen; 1 asks for nothing.
        written: births of it that were joined.
        removed: births of it that were removed.
        updates: `(birth, version)` of those that were updated, rising.
    """

    owner: NodeId
    top: int
    written: Runs
    removed: Runs
    updates: tuple[tuple[int, int], ...]

    @property
    def births(self) -> Runs:
        """Every birth named here; `top` names none."""
        updated = from_births(birth for birth, _ in self.updates)
        return union(union(self.written, self.removed), updated)


@dataclass(frozen=True, slots=True)
class Token:
    """The writes of a node, from `Node.token`: `str(token)` travels anywhere, `Token.parse` reads.

    A node has *seen* it when it has seen every join in it, when none of the removals is undone,
    and when each update, or a later one, or the removal of that member, is there.

    Attributes:
        scope: the overlay it is about.
        writes: by owner.
    """

    scope: str
    writes: tuple[Writes, ...]

    def __str__(self) -> str:
        return "|".join([_VERSION, *map(_text, self.writes), "", self.scope])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` of a token said.

        Args:
            text: what `str(token)` gave, up to 32 kB; it may come from anybody.

        Raises:
            ConfigError: it is none.
        """
        try:
            said, _, scope = text.partition("||")
            version, *parts = said.split("|")
            if version != _VERSION or not is_name(scope):
                raise ValueError(version)  # noqa: TRY301
            token = cls(scope, tuple([_parsed(part) for part in parts if part]))
        except (ValueError, AttributeError):
            raise ConfigError(f"{text!r:.80} is no token; use str(node.token())") from None
        if numbers(token.writes) > TOKEN_NUMBERS_MAX:
            raise ConfigError(f"a token of more than {TOKEN_NUMBERS_MAX} numbers")
        return token


def numbers(writes: tuple[Writes, ...]) -> int:
    """How large they are."""
    return sum([len(w.written) + len(w.removed) + 2 * len(w.updates) for w in writes])


def seen(writes: tuple[Writes, ...], members: MemberSet) -> bool:
    """Whether that set has all of it.

    Of an owner that is not held, nothing is listed: what was removed of it is not there.
    """
    return all(_seen(part, members) for part in writes)


def _seen(part: Writes, members: MemberSet) -> bool:
    owner = part.owner
    if not members.holds(owner):
        return part.top <= 1 and not part.written and not part.updates
    needed = union((1, part.top) if part.top > 1 else EMPTY, part.births)
    if difference(needed, members.seen(owner)):
        return False
    if part.removed and members.live(owner, part.removed)[1]:
        return False
    live = members.live(owner, from_births(b for b, _ in part.updates))[1] if part.updates else {}
    return all(live.get(birth, version) >= version for birth, version in part.updates)


def _text(part: Writes) -> str:
    updates = ".".join(f"{birth}-{version}" for birth, version in part.updates)
    runs = [".".join(map(str, some)) for some in (part.written, part.removed)]
    return f"{part.owner},{part.top},{runs[0]},{runs[1]},{updates}"


def _parsed(text: str) -> Writes:
    owner, top, *runs, updates = text.split(",")
    if len(bytes.fromhex(owner)) != 16 or len(owner) != 32:
        raise ValueError(owner)
    written, removed = [tuple([int(n) for n in part.split(".") if n]) for part in runs]
    pairs = [part.split("-") for part in updates.split(".") if part]
    updated = tuple([(int(birth), int(version)) for birth, version in pairs])
    number = int(top)
    limits = (number, *written, *removed, *[n for pair in updated for n in pair])
    if not all(0 < n <= 2**62 + 1 for n in limits):  # runs end one beyond the last birth
        raise ValueError(limits)
    births = [birth for birth, _ in updated]
    if not (is_runs(written) and is_runs(removed)) or sorted(set(births)) != births:
        raise ValueError(text)
    return Writes(NodeId(owner.lower()), number, written, removed, updated)
