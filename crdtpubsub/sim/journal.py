"""What the script did, and what follows from it. It asks no node what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from crdtpubsub.names import DECLARATION, NodeId

__all__ = ["Journal", "Life", "bits"]

Key = tuple[str, str]
"""`(channel, client)`."""


def bits(mask: int) -> Iterator[int]:
    """The births in a mask, rising."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass(slots=True)
class Life:
    """One life in one scope: every birth it ever minted, as masks (bit b stands for birth b).

    The textbook set with tombstones (Shapiro et al., 2011): too fat to ship, too plain to be
    wrong.
    """

    added: int = 0
    removed: int = 0  # by anybody who had seen it
    by_others: int = 0  # not through the client's own handle: one Exit is due
    exited: int = 0
    own_end: int = 0  # ended by the owner itself, through the handle or with the scope
    doubtful: int = 0  # removed, but all who knew died: the stated price
    top: int = 0  # the last birth minted
    keys: dict[int, Key] = field(default_factory=dict)
    mine: dict[Key, int] = field(default_factory=dict)  # live at the owner, as Exits tell it
    open: bool = True

    def minted(self, birth: int, key: Key) -> None:
        """The owner joined a client."""
        self.added |= 1 << birth
        self.top = birth
        self.keys[birth] = key
        self.mine[key] = birth

    def certain(self) -> int:
        """The births that must be live in the end."""
        return self.added & ~self.removed

    def possible(self) -> int:
        """The births that may be."""
        return self.certain() | (self.doubtful & ~self.own_end)


class Journal:
    """All lives in all scopes."""

    def __init__(self) -> None:
        self.lives: dict[tuple[str, NodeId], Life] = {}
        self.knows: dict[tuple[str, NodeId], dict[NodeId, int]] = {}
        """Who knows which removals: (scope, observer) -> owner -> mask."""

    def life(self, scope: str, node: NodeId) -> Life:
        """The journal of one life; made on first use."""
        found = self.lives.get((scope, node))
        if found is None:
            found = self.lives[scope, node] = Life()
        return found

    def removal(self, scope: str, node: NodeId, births: int) -> None:
        """Somebody who had seen them ended these births, not through the clients' handles."""
        life = self.life(scope, node)
        life.removed |= births
        life.by_others |= births

    def own_removal(self, scope: str, node: NodeId, key: Key) -> None:
        """A client left through its own handle."""
        life = self.life(scope, node)
        birth = life.mine.pop(key, None)
        if birth is not None:
            life.removed |= 1 << birth
            life.own_end |= 1 << birth

    def closed(self, scope: str, node: NodeId) -> None:
        """A life closed a scope: all it had there is over."""
        life = self.life(scope, node)
        life.removed |= life.added
        life.own_end |= life.added
        life.mine.clear()
        life.open = False

    def exit(self, scope: str, node: NodeId, key: Key) -> str | None:
        """A client got an Exit; what is wrong with that, if anything."""
        life = self.life(scope, node)
        birth = life.mine.pop(key, None)
        if birth is None:
            return f"Exit of {key}, which is no member (twice, or after its own leave)"
        if not life.by_others >> birth & 1:
            return f"Exit of {key}, birth {birth}, which nobody removed"
        life.exited |= 1 << birth
        life.own_end |= 1 << birth
        return None

    def forgets(self, scope: str, observer: NodeId, owner: NodeId | None = None) -> None:
        """`observer` is gone, or it purged `owner`: what only it knew is in doubt."""
        known = self.knows.get((scope, observer), {})
        for about in [owner] if owner is not None else list(known):
            mine = known.pop(about, 0)
            for (other_scope, other), theirs in self.knows.items():
                if other_scope == scope and other != observer:
                    mine &= ~theirs.get(about, 0)
            self.life(scope, about).doubtful |= mine

    def exits_due(self, scope: str, node: NodeId) -> int:
        """Births of a running life whose Exit must have come by now, all being converged."""
        life = self.life(scope, node)
        clients = sum(1 << b for b, (_, client) in life.keys.items() if client != DECLARATION)
        return life.by_others & ~life.doubtful & ~life.own_end & ~life.exited & clients
