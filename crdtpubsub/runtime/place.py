"""Where this node listens, and whom it dials for ever: both may change while it runs."""

from __future__ import annotations

from crdtpubsub.config import Config
from crdtpubsub.discovery import Rendezvous, Seeds
from crdtpubsub.errors import BindError, ConfigError
from crdtpubsub.runtime.core import LOGGED, Core, log
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

    def open(self, transport: Transport) -> str:
        """Listen; the endpoint that others dial.

        Raises:
            BindError: it cannot listen there.
            ConfigError: there is no place on this host that is this user's alone.
        """
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
        if now < self._look_at:
            return None
        self._look_at = now + self._interval_s
        if self.seeds.local is not None:
            self._restore(self.seeds.local, core)
        before = self.seeds.said
        return seeds if (seeds := self.seeds.look()) != before else None

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
