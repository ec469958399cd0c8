"""The textbook's set: every add and every tombstone, for ever.

Too fat to ship, too plain to be wrong.

It shares nothing with `crdtpubsub.crdt`: no runs, no births structure, no sums. A message
between two textbooks is a `Meaning`: three plain sets about one owner.

One rule is not in the textbook: the owner mints the second birth of a client only after the
first had ended, so where two births of one (owner, channel, client) are alive side by side,
all but the largest are tombstones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from crdtpubsub.names import NodeId

Add = tuple[NodeId, int, str, str]  # owner, birth, channel, client
Tomb = tuple[NodeId, int]
Version = tuple[NodeId, int, int, str, bytes]  # owner, birth, version, group, meta
Shown = tuple[NodeId, str, str, int, tuple[int, str, bytes]]


@dataclass(frozen=True)
class Meaning:
    """What a message says about `owner`, in the textbook's words."""

    owner: NodeId
    adds: frozenset[Add] = frozenset()
    tombs: frozenset[Tomb] = frozenset()
    versions: frozenset[Version] = frozenset()

    def cut(self, births: Iterable[int]) -> Meaning:
        """The same about `births` only."""
        kept = set(births)
        return Meaning(
            self.owner,
            frozenset(a for a in self.adds if a[1] in kept),
            frozenset(t for t in self.tombs if t[1] in kept),
            frozenset(v for v in self.versions if v[1] in kept),
        )


class Textbook:
    """An add-wins set with tombstones, of one replica."""

    def __init__(self, me: NodeId, held: Iterable[NodeId] = ()) -> None:
        self.me = me
        self.held = {me, *held}
        self.adds: set[Add] = set()
        self.tombs: set[Tomb] = set()
        self.versions: set[Version] = set()

    # -------------------------------------------------------------- reading

    def live(self, owner: NodeId) -> dict[int, tuple[str, str]]:
        """Birth -> (channel, client) of what was added and not removed."""
        return {
            b: (ch, cl) for o, b, ch, cl in self.adds if o == owner and (o, b) not in self.tombs
        }

    def extra(self, owner: NodeId, birth: int) -> tuple[int, str, bytes]:
        """The highest version heard of."""
        return max(v[2:] for v in self.versions if v[:2] == (owner, birth))

    def known(self, owner: NodeId) -> set[int]:
        """Every birth ever heard of: added or removed."""
        return {a[1] for a in self.adds if a[0] == owner} | {
            t[1] for t in self.tombs if t[0] == owner
        }

    def shown(self) -> set[Shown]:
        """Every live entry of everybody held, declarations included."""
        return {
            (o, ch, cl, b, self.extra(o, b))
            for o in self.held
            for b, (ch, cl) in self.live(o).items()
        }

    # -------------------------------------------------------------- writing

    def join(self, channel: str, client: str, group: str, meta: bytes | None) -> Meaning:
        """A fresh add; or, if it is live already, a higher version of the same."""
        for birth, key in self.live(self.me).items():
            if key == (channel, client):
                version, old_group, old_meta = self.extra(self.me, birth)
                said = (group or old_group, old_meta if meta is None else meta)
                if said == (old_group, old_meta):
                    return Meaning(self.me)
                break
        else:
            birth, version = max(self.known(self.me), default=0) + 1, -1
            said = (group, meta or b"")
        meaning = Meaning(
            self.me,
            frozenset({(self.me, birth, channel, client)}),
            frozenset(),
            frozenset({(self.me, birth, version + 1, *said)}),
        )
        self.learn(meaning)
        return meaning

    def remove(self, owner: NodeId, births: Iterable[int]) -> Meaning:
        """Tombstones for those of `births` that are live here, and for nothing else."""
        live = self.live(owner) if owner in self.held else {}
        meaning = Meaning(owner, tombs=frozenset((owner, b) for b in births if b in live))
        self.learn(meaning)
        return meaning

    def learn(self, meaning: Meaning) -> None:
        """Union, and then the rule about two births of one client."""
        owner = meaning.owner
        if owner not in self.held:
            return
        self.adds |= meaning.adds
        self.tombs |= meaning.tombs
        self.versions |= meaning.versions
        live = self.live(owner)
        for birth, key in live.items():
            if any(key == other and birth < larger for larger, other in live.items()):
                self.tombs.add((owner, birth))

    def forget(self, owner: NodeId) -> None:
        """As if never met."""
        self.held.discard(owner)
        self.adds = {a for a in self.adds if a[0] != owner}
        self.tombs = {t for t in self.tombs if t[0] != owner}
        self.versions = {v for v in self.versions if v[0] != owner}

    # -------------------------------------------------------------- telling

    def tell(self, owner: NodeId, births: Iterable[int]) -> Meaning:
        """What is known here about `births`: what is live in full, of the rest the tombstone."""
        asked, live = set(births), self.live(owner)
        return Meaning(
            owner,
            frozenset(a for a in self.adds if a[0] == owner and a[1] in asked & live.keys()),
            frozenset(t for t in self.tombs if t[0] == owner and t[1] in asked),
            frozenset(v for v in self.versions if v[0] == owner and v[1] in asked & live.keys()),
        )
