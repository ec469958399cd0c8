"""What was done and what was seen, with the times of call and return: JSON lines, judged later.

All times are the monotonic clock of the host, taken by the process that drives the nodes: an
operation took effect somewhere between `began` and `ended`. `ended` is None when the node died
before it answered: it may have happened or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = [
    "Began",
    "Ended",
    "Entry",
    "Fault",
    "Forgot",
    "History",
    "Join",
    "Publication",
    "Read",
    "Removal",
    "Taken",
    "load",
]


@dataclass(frozen=True, slots=True)
class Began:
    """A life started."""

    at: float
    life: str
    node: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A life is about to end: killed, or told to say goodbye."""

    at: float
    life: str
    how: str


@dataclass(frozen=True, slots=True)
class Join:
    """A client that was no member became one. The serial names this membership for ever."""

    began: float
    ended: float | None
    life: str
    channel: str
    client: str
    serial: int


@dataclass(frozen=True, slots=True)
class Removal:
    """Memberships ended at `life`: by the client (`own`), by anybody, or with the channel.

    `seen` are the serials that node listed just before. `exact`: it ended these and no others.
    Without that, a younger membership of the same client (of any, when `client` is None) may
    have been ended in its place, or too. Not `certain`: the node died before it answered.
    """

    began: float
    ended: float
    life: str
    channel: str
    seen: tuple[int, ...]
    owner: str | None = None
    client: str | None = None
    exact: bool = False
    own: bool = False
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """All that one life held: listed, or hidden because it takes the owner for down.

    `settled` numbers the quiet points: no fault, nothing under way, all said to have converged.
    """

    began: float
    ended: float
    life: str
    listed: tuple[int, ...]
    hidden: tuple[int, ...] = ()
    strange: tuple[str, ...] = ()  # members that nobody ever made
    settled: int | None = None


@dataclass(frozen=True, slots=True)
class Forgot:
    """A life purged all that it held of an owner: what it holds of it later is learnt anew."""

    at: float
    life: str
    owner: str


@dataclass(frozen=True, slots=True)
class Publication:
    """`owners`: what the receipt says of each, or None if there was none. The last one counts."""

    began: float
    ended: float | None
    life: str
    channel: str
    number: int
    confirmed: bool = False
    owners: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What the clients of a life read since the last time: `(client, number)`, and their exits."""

    at: float
    life: str
    messages: tuple[tuple[str, int], ...]
    exits: tuple[tuple[str, str], ...] = ()  # (client, channel)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was broken, or mended."""

    at: float
    what: str
    who: tuple[str, ...] = ()
    lasting_s: float = 0.0
    details: dict[str, float] = field(default_factory=dict)


Entry = Began | Ended | Join | Removal | Read | Forgot | Publication | Taken | Fault

_KINDS: Final[dict[str, type[Entry]]] = {
    kind.__name__.lower(): kind
    for kind in (Began, Ended, Join, Removal, Read, Forgot, Publication, Taken, Fault)
}


def as_line(entry: Entry) -> str:
    """One JSON object."""
    return json.dumps({"kind": type(entry).__name__.lower(), **asdict(entry)})


def from_line(line: str) -> Entry:
    """What `as_line` wrote."""
    said: dict[str, Any] = json.loads(line)
    kind = _KINDS[said.pop("kind")]
    return kind(**{name: _frozen(value) for name, value in said.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def load(path: Path) -> list[Entry]:
    """A history that was kept."""
    with path.open(encoding="utf-8") as lines:
        return [from_line(line) for line in lines]


class History:
    """Entries in the order in which they were known; kept in a file too, if there is a path."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self.path = path
        self._file = None if path is None else path.open("w", encoding="utf-8")

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(as_line(entry) + "\n")

    def extend(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.add(entry)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
