"""What this node holds of other lives, and the links it has to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from crdtpubsub.engine.allowance import Allowance
from crdtpubsub.names import NodeId
from crdtpubsub.wire.messages import Fact

__all__ = [
    "TRANSITIONS",
    "AddressBook",
    "Candidate",
    "Link",
    "Peer",
    "PeerState",
    "Sign",
]


class PeerState(StrEnum):
    """What this node holds of a life. Local and, but for LEFT, reversible."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DOWN = "down"
    LEFT = "left"


class Sign(StrEnum):
    """What can move a life from one state to another."""

    VERIFIED = "verified"  # something of mine came back: an ack, an echo, directly or relayed
    PROBE_FAILED = "probe failed"  # unanswered directly and through others
    REFUSED = "refused"  # after a lost link its endpoint refused me
    EXPIRED = "expired"  # a suspicion ran out
    REFUSED_TWICE = "refused twice"  # by me and by somebody else, or there is nobody else
    REPLACED = "replaced"  # another life answered at its endpoint
    SLEPT = "slept"  # this node itself was away longer than a suspicion: all is unverified
    GOODBYE = "goodbye"


TRANSITIONS: Final[Mapping[PeerState, Mapping[Sign, PeerState]]] = {
    PeerState.ALIVE: {
        Sign.VERIFIED: PeerState.ALIVE,
        Sign.PROBE_FAILED: PeerState.SUSPECT,
        Sign.REFUSED: PeerState.SUSPECT,
        Sign.REFUSED_TWICE: PeerState.DOWN,
        Sign.REPLACED: PeerState.DOWN,
        Sign.SLEPT: PeerState.DOWN,
        Sign.GOODBYE: PeerState.LEFT,
    },
    PeerState.SUSPECT: {
        Sign.VERIFIED: PeerState.ALIVE,
        Sign.EXPIRED: PeerState.DOWN,
        Sign.REFUSED_TWICE: PeerState.DOWN,
        Sign.REPLACED: PeerState.DOWN,
        Sign.SLEPT: PeerState.DOWN,
        Sign.GOODBYE: PeerState.LEFT,
    },
    PeerState.DOWN: {Sign.VERIFIED: PeerState.ALIVE, Sign.GOODBYE: PeerState.LEFT},
    PeerState.LEFT: {},  # final; a process that comes back is another life
}
"""docs/PROTOCOL.md draws this table; tests/house/test_diagrams.py keeps the drawing true."""


WELCOMES_PER_S: Final = 16
"""On one link. A HELLO is repeated twice a second; restarts and second dials add some."""


@dataclass(slots=True)
class Peer:
    """A life that was admitted: it answered me once, directly or through somebody."""

    node: NodeId
    fact: Fact
    state: PeerState = PeerState.ALIVE
    linked: bool = False  # my link to its endpoint is up and its own
    lagging: bool = False
    down_since: float = 0.0
    greeted_at: float = -1e9
    gap_rows_at: float = -1e9  # rows were said since something of it was missing
    relayed_by: NodeId | None = None  # who last brought an answer of it
    direct: bool = True  # its last answer came by itself: my link, if there is one, works
    answered_at: float = 0.0  # when the last one came by itself
    refused_by: set[NodeId] = field(default_factory=set)  # since my last link to it was up
    refusal_exempt: bool = False  # it answered through others meanwhile: a firewall, not a death
    replaced: bool = False  # another life answers at its endpoint
    last_helped: dict[NodeId, float] = field(default_factory=dict)
    denied: int = 0  # its own answers in a row that say less than what is held of it
    allowance: Allowance = field(default_factory=Allowance)

    @property
    def name(self) -> str:
        """Its human label."""
        return self.fact.name

    @property
    def endpoint(self) -> str:
        """Where it says it can be dialled."""
        return self.fact.endpoint

    @property
    def up(self) -> bool:
        """Whether its members are listed."""
        return self.state is PeerState.ALIVE or self.state is PeerState.SUSPECT

    def sign(self, sign: Sign) -> bool:
        """Move by the table; whether the state is another one now."""
        before = self.state
        self.state = TRANSITIONS[before].get(sign, before)
        return self.state is not before


PATIENCE_MIN_S: Final = 5.0
PATIENCE_MAX_S: Final = 120.0
"""A link on which nobody answers is dialled afresh after so long, twice as long each time: a
refused handshake is final to ZeroMQ, and a cut that drops everything is silent."""


@dataclass(slots=True)
class Link:
    """A connection of mine to an endpoint, whoever may listen there."""

    endpoint: str
    nonce: int = 0  # one per handshake; my link is up when it came back
    link: int = 0
    handshaken: bool = False
    up: bool = False
    life: NodeId | None = None  # who proved to listen there
    hello_at: float = 0.0
    greeted_at: float = 0.0  # the last HELLO
    greeted_since: float = 0.0  # the first one of this handshake
    complained: bool = False
    owed: dict[NodeId, int] = field(default_factory=dict)  # WELCOMEs owed: life -> its nonce
    until: float | None = None  # a dial on trial is given up then
    silent_since: float | None = None  # dialled, shaken hands or gone down then
    patience_s: float = PATIENCE_MIN_S  # before it is dialled afresh
    welcomed_at: float = float("-inf")
    welcomed: int = 0  # since then, by whatever lives name this endpoint

    def may_welcome(self, now: float) -> bool:
        """Count a WELCOME; no if there were too many. One is 400 times as long as a HELLO."""
        if now - self.welcomed_at >= 1.0:
            self.welcomed_at, self.welcomed = now, 0
        self.welcomed += 1
        return self.welcomed <= WELCOMES_PER_S


@dataclass(slots=True)
class Candidate:
    """A life somebody named and nobody here has met."""

    node: NodeId
    fact: Fact | None
    said_by: NodeId | None
    probe_at: float
    silences: int = 0


class AddressBook:
    """Endpoints of lives long gone, dialled in rotation for ever: they, or others, may return."""

    PER_HOST_MAX: Final = 4

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._refused: dict[str, bool] = {}  # endpoint -> it refused; in order of entry
        self._turn = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._refused)

    def __len__(self) -> int:
        return len(self._refused)

    def add(self, endpoint: str) -> None:
        """Remember one; of too many, those that refuse go before those that are silent."""
        if endpoint in self._refused:
            return
        host = endpoint.rpartition(":")[0]
        same = [e for e in self._refused if e.rpartition(":")[0] == host]
        if len(same) >= self.PER_HOST_MAX:
            self._evict(same)
        if len(self._refused) >= self._size_max:
            self._evict(list(self._refused))
        self._refused[endpoint] = False

    def discard(self, endpoint: str) -> None:
        """It belongs to a life that is held now."""
        self._refused.pop(endpoint, None)

    def refused(self, endpoint: str) -> None:
        """Nobody listens there now."""
        if endpoint in self._refused:
            self._refused[endpoint] = True

    def next(self) -> str | None:
        """The next to dial."""
        if not self._refused:
            return None
        self._turn = (self._turn + 1) % len(self._refused)
        return list(self._refused)[self._turn]

    def _evict(self, among: list[str]) -> None:
        worst = next((e for e in among if self._refused[e]), among[0])
        del self._refused[worst]
