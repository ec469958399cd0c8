"""Who is suspected of being gone: SWIM with Lifeguard's refinements. Knows lives, not links.

Sources: Das, Gupta, Motivala, "SWIM", DSN 2002; Dadgar, Phillips, Currey, "Lifeguard",
arXiv:1707.00788 (local health, dynamic suspicion time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Final

from crdtpubsub.config import Config
from crdtpubsub.engine.dice import Dice
from crdtpubsub.light import light
from crdtpubsub.names import NodeId

__all__ = ["Detector", "Due", "Suspicion", "suspicion_s"]

HEALTH_MAX: Final = 7


def suspicion_s(*, confirmations: int, wanted: int, min_s: float, max_s: float) -> float:
    """How long a suspicion lasts with that many confirmations (Lifeguard, section IV-B).

    From `max_s` with none down to `min_s` with as many as `wanted`. If none can be expected
    it is `min_s`: there is nobody to wait for.
    """
    if wanted < 1:
        return min_s
    share = log(confirmations + 1) / log(wanted + 1)
    return max(min_s, max_s - share * (max_s - min_s))


@dataclass(slots=True)
class Suspicion:
    """One life suspected here."""

    since: float
    min_s: float
    max_s: float
    wanted: int
    confirmed_by: set[NodeId] = field(default_factory=set)

    @property
    def ends(self) -> float:
        """When the suspect is taken for down unless it is verified before."""
        return self.since + suspicion_s(
            confirmations=min(len(self.confirmed_by), max(self.wanted, 0)),
            wanted=self.wanted,
            min_s=self.min_s,
            max_s=self.max_s,
        )


@dataclass(slots=True)
class _Probing:
    target: NodeId
    started: float
    indirect_at: float
    fails_at: float
    indirect_sent: bool = False


@light
class Due:
    """What time has brought, each sorted by when it was started."""

    indirect: tuple[tuple[int, NodeId], ...]  # (nonce, target): ask others now
    failed: tuple[NodeId, ...]  # unanswered, directly and through others
    expired: tuple[NodeId, ...]  # suspicions that ran out


_NOTHING: Final = Due((), (), ())


class Detector:
    """Probes in flight, suspicions, and how far this node may trust its own judgement."""

    def __init__(self, config: Config, dice: Dice) -> None:
        self._config = config
        self._dice = dice
        self._order: list[NodeId] = []
        self._probing: dict[int, _Probing] = {}  # by nonce
        self._by_target: dict[NodeId, int] = {}
        self._suspicions: dict[NodeId, Suspicion] = {}
        # target -> accuser -> when: heard before I had reason to suspect it myself
        self._accusers: dict[NodeId, dict[NodeId, float]] = {}
        self._rtt_s: dict[NodeId, float] = {}
        # Asked after every event; None: a probe or a suspicion is another since.
        self._deadline: float | None = None
        self.health = 0

    def next_target(self, lives: Sequence[NodeId]) -> NodeId | None:
        """The next to probe: each of `lives` once per shuffled round (SWIM, section 4.3)."""
        wanted = set(lives)
        while self._order:
            target = self._order.pop()
            if target in wanted:
                return target
        if not lives:
            return None
        self._order = self._dice.sample(lives, len(lives))
        return self._order.pop()

    def probe(self, target: NodeId, now: float) -> int | None:
        """Start probing; the nonce to send, or None if a probe of it is in flight."""
        if target in self._by_target:
            return None
        config = self._config
        slack = 1 + self.health
        timeout = 3 * self._rtt_s.get(target, config.probe_timeout_max_s)
        timeout = min(max(timeout, config.probe_timeout_min_s), config.probe_timeout_max_s)
        nonce = self._dice.getrandbits(63) | 1
        self._deadline = None
        self._by_target[target] = nonce
        self._probing[nonce] = _Probing(
            target,
            now,
            now + timeout * slack,
            now + (timeout + max(config.probe_interval_s, 2 * timeout)) * slack,
        )
        return nonce

    def ask_others_now(self, target: NodeId, now: float) -> None:
        """There is no link to it: do not wait for a direct answer."""
        if (nonce := self._by_target.get(target)) is not None:
            self._deadline = None
            self._probing[nonce].indirect_at = now

    def answered(self, nonce: int, now: float, *, direct: bool) -> NodeId | None:
        """An answer came; whose it was, or None if nobody waits for it."""
        probing = self._probing.pop(nonce, None)
        if probing is None:
            return None
        self._deadline = None
        self._by_target.pop(probing.target, None)
        # A suspect that stood still and goes on answers late: that says nothing about the way.
        if direct and probing.target not in self._suspicions:
            self.took(probing.target, now - probing.started)
        self.health = max(0, self.health - 1)
        return probing.target

    def took(self, target: NodeId, rtt_s: float) -> None:
        """A round trip to `target` took that long: what is late is judged by it."""
        rtt_s = min(rtt_s, self._config.probe_timeout_max_s)
        old_s = self._rtt_s.get(target, rtt_s)
        self._rtt_s[target] = 0.8 * old_s + 0.2 * rtt_s

    def unwell(self) -> None:
        """This node was late or wrongly accused: trust its own clockwork less."""
        self.health = min(HEALTH_MAX, self.health + 1)

    def suspect(self, target: NodeId, now: float, *, nodes: int) -> None:
        """Start to suspect, with as many confirmations wanted as others could give."""
        if target not in self._suspicions:
            config = self._config
            self._deadline = None
            longest_s = config.suspicion_max_s(nodes)
            heard = self._accusers.pop(target, {})
            self._suspicions[target] = Suspicion(
                now,
                config.suspicion_min_s(nodes) * (1 + self.health / 4),
                longest_s,
                min(3, nodes - 2),
                {by for by, at in heard.items() if now - at <= longest_s},
            )

    def confirm(self, target: NodeId, by: NodeId, now: float) -> None:
        """Somebody else suspects it too, or did before me."""
        if (suspicion := self._suspicions.get(target)) is not None:
            self._deadline = None
            suspicion.confirmed_by.add(by)
        else:
            self._accusers.setdefault(target, {})[by] = now

    def clear(self, target: NodeId) -> None:
        """It was verified, or is down: no suspicion, no probe in flight."""
        self._deadline = None
        self._suspicions.pop(target, None)
        self._accusers.pop(target, None)
        if (nonce := self._by_target.pop(target, None)) is not None:
            del self._probing[nonce]

    def forget(self, target: NodeId) -> None:
        """The life is gone for good."""
        self.clear(target)
        self._rtt_s.pop(target, None)

    def due(self, now: float) -> Due:
        """What is to be done at `now`; a failed probe is over with this answer."""
        if now < self.next_deadline():
            return _NOTHING
        self._deadline = None
        indirect: list[tuple[int, NodeId]] = []
        failed: list[NodeId] = []
        for nonce, probing in list(self._probing.items()):
            if now >= probing.fails_at:
                failed.append(probing.target)
                del self._probing[nonce]
                self._by_target.pop(probing.target, None)
            elif now >= probing.indirect_at and not probing.indirect_sent:
                probing.indirect_sent = True
                indirect.append((nonce, probing.target))
        expired = [life for life, s in self._suspicions.items() if now >= s.ends]
        return Due(tuple(indirect), tuple(failed), tuple(expired))

    def next_deadline(self) -> float:
        """The earliest time at which `due` has something to say."""
        if self._deadline is None:
            probes = self._probing.values()
            times = [p.fails_at if p.indirect_sent else p.indirect_at for p in probes]
            times += [s.ends for s in self._suspicions.values()]
            self._deadline = min(times, default=float("inf"))
        return self._deadline
