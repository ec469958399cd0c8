"""The bounds that others can make a node reach, by the counter of each, and what tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

__all__ = ["LIMITS", "LIMIT_TOLD", "TRANSPORT_LIMITS", "LimitReached"]

LIMITS: Final[Mapping[str, str]] = {
    "assemblies_dropped": "a long message that a node began to send never came to its end; "
    "look at the link to it",
    "candidates_refused": "a node named more unknown lives than are looked at; "
    "raise Config.candidates_max if your cluster grows that fast",
    "chunks_refused": "a long message was not taken: all that are begun hold as much as they may; "
    "raise Config.assemblies_bytes_max",
    "confirmed_beyond_limit": "a node asks more confirmed publications than are remembered, and "
    "asks again; a bug of its, or somebody hostile",
    "confirmed_full": "a client of this node had no room for a confirmed message, and its "
    "publisher was told; read faster, or with a larger max_pending",
    "dials_refused": "an endpoint cannot be dialled: no file descriptor is free, or it makes no "
    "sense; raise `ulimit -n`",
    "dropped_gossip": "the outbox to a node is full, and it is repaired later; find out why it "
    "reads so slowly, or publish less",
    "dropped_urgent": "answers to a node's probes wait in a line that is full, and the oldest go; "
    "find out why it reads so slowly",
    "frames_malformed": "frames came that are none; somebody else speaks to this port, or a "
    "version that differs",
    "invites_full": "a node would have a client of this one join, which has as many members as one "
    "may, and was refused; raise Config.owner_members_max",
    "outboxes_full": "all outboxes together hold as much as they may, and the one to a node got "
    "nothing more; publish less, or raise Config.outboxes_bytes_max",
    "over_budget": "a node asks for more than one may in a second, and asks again; "
    "a bug of its, or somebody hostile",
    "owner_full": "a node has more members here than it may, and the rest is not taken; "
    "raise Config.owner_members_max",
    "peers_full": "a node is not admitted: as many are held as may be; raise Config.peers_max",
    "peers_replaced": "a node that is down was forgotten early, to make room for another; "
    "raise Config.peers_max",
    "requests_full": "this node has as many requests open as it may, and one more was refused; "
    "wait for answers, or ask less",
    "strangers_refused": "more strangers say HELLO than are dialled; raise Config.candidates_max "
    "if your cluster starts that many nodes at once",
    "transport_connections_shut": "connections to this node were shut, since no file descriptor "
    "was left for them; raise `ulimit -n`",
    "transport_files_short": "this process has no file descriptor left; raise `ulimit -n`",
}
"""Each word that `LimitReached.limit` can have: what happens there, and what to do.

A counter of the same name in `Stats.counters` says how often, from the start of the node on.
"""

TRANSPORT_LIMITS: Final = tuple(what for what in LIMITS if what.startswith("transport_"))
"""Those that the transport counts by itself."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """Something grew to its limit here, and what came beyond was dropped, refused or put off.

    What a full queue of a client loses is told as `SlowConsumer`, and what is published to a full
    outbox as `Refused`; this tells of all other bounds of docs/ARCHITECTURE.md.

    Attributes:
        limit: which: a key of `LIMITS`, and a counter of that name in `Stats.counters`.
        whom: the life, the endpoint or (`confirmed_full`) the client it is about; empty if
            nobody can be named.
        times: how often since the last notice of that limit and that `whom`.

    Do: what `about` says.
    """

    limit: str
    whom: str
    times: int

    @property
    def about(self) -> str:
        """What happens at that limit and what to do about it, in words."""
        return LIMITS[self.limit]


def _told(limit: str, whom: str, times: int, _about: str) -> LimitReached:
    return LimitReached(limit, whom, times)


LIMIT_TOLD: Final = {limit: partial(_told, limit) for limit in LIMITS}
"""For `Tallies`, by the limit. One object each: they are keys."""
