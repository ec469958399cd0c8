"""What the seeds of a node are at the moment: those it was given, and who is in its directory."""

from __future__ import annotations

from collections.abc import Sequence

from crdtpubsub.discovery.local import Rendezvous

__all__ = ["Seeds"]


class Seeds:
    """Endpoints to dial, which come and go. For one thread, that of the node."""

    def __init__(self, given: Sequence[str], local: Rendezvous | None = None) -> None:
        self._given = tuple(given)
        self.local = local
        self.said: tuple[str, ...] = ()

    def look(self) -> tuple[str, ...]:
        """All seeds there are now, each once. Never waits for the network."""
        found = self._given
        if self.local is not None:
            found += self.local.others()
        self.said = tuple(dict.fromkeys(found))
        return self.said
