"""Links as the engine wants them. Host names that peers advertise become numbers first."""

from __future__ import annotations

from time import monotonic

from crdtpubsub.discovery import Names
from crdtpubsub.engine import effects as ef
from crdtpubsub.errors import ConfigError
from crdtpubsub.runtime.core import Core
from crdtpubsub.runtime.telling import LOGGED, log
from crdtpubsub.transport.refusal import address_of

__all__ = ["Dialler"]


class _Named:
    """An endpoint whose host is a name."""

    __slots__ = ("complained", "dialled", "host", "port", "tries", "wanted")

    def __init__(self, endpoint: str) -> None:
        host, _, self.port = endpoint.removeprefix("tcp://").rpartition(":")
        self.host = host.strip("[]")
        self.dialled = False  # the transport knows it
        self.wanted = True  # is to be dialled, or dialled afresh, when its name was looked up
        self.tries = 0
        self.complained = False


class Dialler:
    """For the I/O thread. It never waits for a resolver, and ZeroMQ never asks one.

    The endpoint of a peer stays the name: the numbers are known here and in the transport only.
    A name is looked up when it is dialled and each time it is dialled afresh, the next of its
    addresses each time. While nobody answers for the name, the addresses it had are good.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._named: dict[str, _Named] = {}
        self._names = Names(
            (), core.config.discovery_interval_s, core.transport.wake, on_demand=True
        )

    @property
    def news(self) -> bool:
        """Whether a name was looked up."""
        return self._names.news

    def do(self, effect: ef.Connect | ef.Redial | ef.Disconnect) -> None:
        """Dial, dial afresh, or hang up; a name when it was looked up."""
        endpoint = effect.endpoint
        match effect:
            case ef.Disconnect():
                self._forget(endpoint)
                self._core.transport.disconnect(endpoint)
            case ef.Connect() if address_of(endpoint) is not None:
                self._try(endpoint, None, first=True)
            case ef.Redial() if address_of(endpoint) is not None:
                self._try(endpoint, None, first=False)
            case ef.Connect():
                if endpoint not in self._named:
                    self._named[endpoint] = _Named(endpoint)
                    self._look_up(self._named[endpoint])
            case ef.Redial():
                if (named := self._named.get(endpoint)) is not None:
                    self._redial(endpoint, named)

    def look(self, now: float) -> None:
        """Dial those whose names were found; begin the look-ups that are due."""
        if not self._named and not self._names.news:
            return
        hung = self._names.hung
        told = set(self._names.look(now))
        if self._names.hung > hung:
            self._core.counters["lookups_hung"] += self._names.hung - hung
        if not told:
            return
        for endpoint, named in list(self._named.items()):
            if named.host in told:
                self._complain(endpoint, named)
                if named.wanted:
                    self._dial(endpoint, named)

    def _look_up(self, named: _Named) -> None:
        named.wanted = True
        self._names.ask(named.host)
        self.look(monotonic())

    def _redial(self, endpoint: str, named: _Named) -> None:
        if named.host in self._names.failed:  # it is looked up again, but not now
            self._dial(endpoint, named)
        self._look_up(named)

    def _dial(self, endpoint: str, named: _Named) -> None:
        addresses = self._names.addresses.get(named.host)
        if not addresses:
            return
        named.wanted = False
        at = f"tcp://{addresses[named.tries % len(addresses)]}:{named.port}"
        named.tries += 1
        named.dialled = self._try(endpoint, at, first=not named.dialled)

    def _try(self, endpoint: str, at: str | None, *, first: bool) -> bool:
        transport = self._core.transport
        try:
            if first:
                transport.connect(endpoint, at)
            else:
                transport.redial(endpoint, at)
        except ConfigError as error:
            with self._core.lock:
                self._core.counters["dials_refused"] += 1
                self._core.limit("dials_refused", endpoint, 1)
            if self._core.counters["dials_refused"] in LOGGED:
                log.warning("%s: cannot dial %.120s: %s", self._core.name, endpoint, error)
            return False
        return True

    def _complain(self, endpoint: str, named: _Named) -> None:
        why = self._names.failed.get(named.host)
        if why is not None and not named.complained:
            about = f"{endpoint} cannot be resolved: {why}; a peer advertises it"
            self._core.notes.append(ef.Noted("unresolved", about, endpoint))
        named.complained = why is not None

    def _forget(self, endpoint: str) -> None:
        named = self._named.pop(endpoint, None)
        if named is not None and all(n.host != named.host for n in self._named.values()):
            self._names.forget(named.host)
