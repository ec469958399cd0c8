"""What the seeds of a node are now: numbers, where names lead, who is in its directory."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from typing import Final

from crdtpubsub.discovery.local import Rendezvous
from crdtpubsub.discovery.names import Names

__all__ = ["Seeds", "is_dns"]

_NAMED: Final = re.compile(r"(?:dns|tcp)://([0-9A-Za-z._-]+):([0-9]{1,5})", re.ASCII)


def is_dns(text: object) -> bool:
    """Whether `text` is `dns://name:port`. Nothing is resolved."""
    if not isinstance(text, str) or not text.startswith("dns://"):
        return False
    match = _NAMED.fullmatch(text)
    return match is not None and 0 < int(match[2]) < 65536


class Seeds:
    """Endpoints to dial, which come and go. For one thread, that of the node."""

    def __init__(self, given: Sequence[str]) -> None:
        self._given = tuple(given)
        self._named = {seed: host_and_port for seed in given if (host_and_port := _named(seed))}
        self.local: Rendezvous | None = None
        self.names: Names | None = None
        self.said: tuple[str, ...] = ()

    def resolve(self, interval_s: float, wake: Callable[[], None]) -> None:
        """From now on names are looked up, and again every `interval_s`."""
        if self._named:
            hosts = sorted({host for host, _ in self._named.values()})
            self.names = Names(hosts, interval_s, wake)

    def look(self, now: float) -> tuple[str, ...]:
        """All seeds there are now, each once. Never waits for the network."""
        if self.names is not None:
            self.names.look(now)
        found: list[str] = []
        for seed in self._given:
            if seed not in self._named:
                found.append(seed)
            elif self.names is not None:
                host, port = self._named[seed]
                found += [f"tcp://{a}:{port}" for a in self.names.addresses.get(host, ())]
        if self.local is not None:
            found += self.local.others()
        self.said = tuple(dict.fromkeys(found))
        return self.said

    def unresolved(self) -> dict[str, str]:
        """Seed -> why its name leads nowhere."""
        failed = {} if self.names is None else self.names.failed
        return {seed: failed[host] for seed, (host, _) in self._named.items() if host in failed}


def _named(seed: str) -> tuple[str, str] | None:
    """The host and port of a seed whose host is a name and not a number."""
    match = _NAMED.fullmatch(seed)
    if match is None:
        return None
    try:
        socket.getaddrinfo(match[1], None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return match[1], match[2]
    return (match[1], match[2]) if seed.startswith("dns://") else None
