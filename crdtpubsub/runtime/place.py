"""Where this node listens, and whom it dials for ever: both may change while it runs."""

from __future__ import annotations

from crdtpubsub.config import Config
from crdtpubsub.discovery import Rendezvous, Seeds
from crdtpubsub.engine import effects as ef
from crdtpubsub.errors import BindError, ConfigError
from crdtpubsub.runtime.core import Core
from crdtpubsub.runtime.telling import LOGGED, log
from crdtpubsub.transport.base import Transport

__all__ = ["Place"]

TRIES = 5
"""To listen in a directory that somebody deletes at the same time."""


class Place:
    """Chosen when the node starts, in the thread that looks after it from then on."""

    def __init__(
        self,
        bind: str | None,
        advertise: str | None,
        seeds: tuple[str, ...],
        cluster: str,
        config: Config,
    ) -> None:
        self._bind = bind
        self._advertise = advertise
        self._cluster = cluster
        self._interval_s = config.discovery_interval_s
        self.seeds = Seeds(seeds)
        self._look_at = 0.0
        self._failed = 0
        self._hung = 0
        self._complained: set[str] = set()

    def open(self, transport: Transport) -> str:
        """Listen; the endpoint that others dial.

        Raises:
            BindError: it cannot listen there.
            ConfigError: there is no place on this host that is this user's alone.
        """
        self.seeds.resolve(self._interval_s, transport.wake)
        bound = self._listen(transport) if self._bind is None else transport.bind(self._bind)
        return self._advertise or bound

    def _listen(self, transport: Transport) -> str:
        local = self.seeds.local = Rendezvous(self._cluster)
        for tries in range(TRIES):
            local.prepare()
            try:
                return transport.bind(local.endpoint)
            except BindError:  # the directory went between the two steps, for instance
                if tries == TRIES - 1:
                    raise
        raise AssertionError("not reached")

    def look(self, core: Core, now: float) -> tuple[str, ...] | None:
        """Now and then: are our files still there, and who else is? The seeds, if they changed."""
        if now >= self._look_at:
            self._look_at = now + self._interval_s
            if self.seeds.local is not None:
                self._restore(self.seeds.local, core)
        elif not self.news:
            return None
        before = self.seeds.said
        seeds = self.seeds.look(now)
        if self.seeds.names is not None and (hung := self.seeds.names.hung) > self._hung:
            core.counters["lookups_hung"] += hung - self._hung
            self._hung = hung
        self._complain(core)
        return seeds if seeds != before else None

    @property
    def news(self) -> bool:
        """Whether a name was looked up."""
        return self.seeds.names is not None and self.seeds.names.news

    def _complain(self, core: Core) -> None:
        unresolved = self.seeds.unresolved()
        for seed in sorted(unresolved.keys() - self._complained):
            about = f"{seed} cannot be resolved: {unresolved[seed]}; it is tried again for ever"
            core.notes.append(ef.Noted("unresolved", about, seed))
        self._complained = set(unresolved)

    def _restore(self, local: Rendezvous, core: Core) -> None:
        try:
            local.prepare()
            if core.transport.restore(local.endpoint):
                log.warning("%s: %s was deleted; it is there again", core.name, local.endpoint)
        except (BindError, ConfigError) as error:
            self._failed += 1
            if self._failed in LOGGED:
                log.warning("%s: newcomers may not find this node: %s", core.name, error)

    def close(self) -> None:
        """It listens no more."""
        if self.seeds.local is not None:
            self.seeds.local.leave()
