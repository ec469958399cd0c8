"""What must hold after every step, and what once the faults have stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final, NoReturn

from crdtpubsub.crdt.intervals import Runs, pairs
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine.effects import Changed, Effect, Exited, PeerChanged, Send
from crdtpubsub.names import DECLARATION, DEFAULT_SCOPE, NodeId
from crdtpubsub.sim.journal import Journal, bits
from crdtpubsub.sim.suspicions import Suspicions
from crdtpubsub.wire.messages import Rows

if TYPE_CHECKING:
    from crdtpubsub.sim.ether import Ether
    from crdtpubsub.sim.process import Process

__all__ = ["Checks", "Violation"]

_FULL_EACH: Final = 97  # steps of a node between two recomputations of everything it holds

_BIT: Final = (1).__lshift__
_VALUES: Final = dict[str, int].values

View = dict[NodeId, dict[tuple[str, str], int]]
"""What a node lists, as its Changed effects tell it: owner -> (channel, client) -> birth."""


class Violation(AssertionError):
    """Something that must hold does not. `seed` and `now` say where to look."""

    def __init__(self, text: str, *, seed: int, now: float) -> None:
        super().__init__(f"seed {seed} at {now:.4f} s: {text}")
        self.text = text
        self.seed = seed
        self.now = now


def _mask(runs: Runs) -> int:
    mask = 0
    for lo, hi in pairs(runs):
        mask |= (1 << hi) - (1 << lo)
    return mask


class Checks:
    """The oracle of one world."""

    def __init__(self, world: Ether) -> None:
        self.world = world
        self.journal = Journal()
        self.index_of: dict[NodeId, int] = {}
        self.scopes: dict[NodeId, set[str]] = {}
        self.listed: dict[tuple[str, NodeId], View] = {}
        self.hidden: dict[NodeId, set[NodeId]] = {}  # whom a node holds down or left
        self.suspicions = Suspicions(world)
        self._marks: dict[tuple[str, NodeId], dict[NodeId, tuple[Runs, int]]] = {}
        self._steps: dict[NodeId, int] = {}

    def fail(self, text: str) -> NoReturn:
        """Report a violation."""
        raise Violation(text, seed=self.world.seed, now=self.world.now)

    # ---------------------------------------------------------------- the script's own words

    def started(self, process: Process) -> None:
        """A life begins."""
        self.index_of[process.node] = process.index
        self.scopes[process.node] = set()
        self.hidden[process.node] = set()
        self._steps[process.node] = 0
        self._open(process.node, DEFAULT_SCOPE)

    def _open(self, node: NodeId, scope: str) -> None:
        self.scopes[node].add(scope)
        self.journal.life(scope, node).open = True
        self.listed[scope, node] = {}
        self._marks[scope, node] = {}
        self.journal.knows[scope, node] = {}

    def gone(self, process: Process) -> None:
        """A life ends, however."""
        for scope in sorted(self.scopes[process.node]):
            self._lost(process.node, scope)
        self.scopes[process.node] = set()

    def _lost(self, node: NodeId, scope: str) -> None:
        self.journal.life(scope, node).open = False
        self.journal.forgets(scope, node)
        del self.journal.knows[scope, node], self._marks[scope, node]

    @contextmanager
    def joining(self, process: Process, scope: str, channel: str, client: str) -> Iterator[None]:
        """Around a join: exactly one birth is minted, unless the client is a member."""
        life = self.journal.life(scope, process.node)
        members = process.engine.set_of(scope)
        before = members.next_birth
        live = self._live_at(members, process.node, channel).get(client)
        if client != DECLARATION and live != life.mine.get((channel, client)):
            self.fail(
                f"node {process.index} holds {client} in {channel} as {live}: no Exit, no leave"
            )
        if live is None:
            # Journalled first: the effects of the join are checked before it returns.
            life.minted(before, (channel, client))
        yield
        minted = members.next_birth - before
        if minted != (live is None):
            self.fail(f"a join of {client} in {channel} minted {minted} births")

    def leaving(self, process: Process, scope: str, channel: str, client: str) -> None:
        """Before a leave through the client's own handle."""
        self.journal.own_removal(scope, process.node, (channel, client))

    def removing(
        self, process: Process, scope: str, channel: str, owner: NodeId, client: str
    ) -> None:
        """Before a removal: it ends what this node has seen."""
        members = process.engine.set_of(scope)
        birth = self._live_at(members, owner, channel).get(client)
        if birth is not None:
            self.journal.removal(scope, owner, 1 << birth)

    def deleting(self, process: Process, scope: str, channel: str) -> None:
        """Before a deletion: it ends all this node has seen in the channel."""
        members = process.engine.set_of(scope)
        for owner, clients in members.by_owner(channel).items():
            if members.holds(owner):
                self.journal.removal(scope, owner, sum(1 << b for b in clients.values()))

    def opening(self, process: Process, scope: str) -> None:
        """Before a scope is opened."""
        if scope not in self.scopes[process.node]:
            self._open(process.node, scope)

    def closing(self, process: Process, scope: str) -> None:
        """Before a scope is closed."""
        if scope in self.scopes[process.node]:
            self.scopes[process.node].discard(scope)
            self._lost(process.node, scope)
            self.journal.closed(scope, process.node)

    @staticmethod
    def _live_at(members: MemberSet, owner: NodeId, channel: str) -> dict[str, int]:
        return dict(members.clients(owner, channel))

    # ---------------------------------------------------------------- after every step

    def after(self, process: Process, effects: list[Effect], *, writes: bool) -> None:
        """Check what this step of this node may have broken."""
        node = process.node
        ghosts = False
        for effect in effects:
            if isinstance(effect, Send):  # most of them
                if isinstance(effect.message, Rows):
                    self._rows_said(process, effect.message)
            elif isinstance(effect, Changed):
                if effect.scope in self.scopes[node]:
                    self._changed(process, effect)
                    ghosts = True
            elif isinstance(effect, Exited):
                self._exited(process, effect)
            elif isinstance(effect, PeerChanged):
                (
                    self.hidden[node].add
                    if effect.state in ("down", "left")
                    else self.hidden[node].discard
                )(effect.node)
                ghosts = True
                if (wrong := self.suspicions.changed(process, effect)) is not None:
                    self.fail(wrong)
        for scope in self.scopes[node]:
            if writes or ghosts:
                self._over_claims(process, scope)
            if ghosts:
                self._ghosts(process, scope)
        self._steps[node] += 1
        if self._steps[node] % _FULL_EACH == 0:
            self.full(process)

    def _rows_said(self, process: Process, rows: Rows) -> None:
        """Who hears of births that were not yet pushed asks for what is on its way."""
        scope = rows.scope
        if scope in self.scopes[process.node] and process.engine.pending(scope):
            self.fail(f"node {process.index} says rows in {scope} before what they count")

    def _changed(self, process: Process, effect: Changed) -> None:
        view = self.listed[effect.scope, process.node].setdefault(effect.owner, {})
        life = self.journal.life(effect.scope, effect.owner)
        for channel, client, birth, _ in effect.left:
            if view.pop((channel, client), None) != birth:
                self.fail(f"node {process.index} un-lists {client} in {channel}, birth {birth}")
        for channel, client, birth, _ in effect.joined:
            if not life.added >> birth & 1 or life.keys[birth] != (channel, client):
                self.fail(f"phantom {client} in {channel}, birth {birth}, on node {process.index}")
            if view.setdefault((channel, client), birth) != birth:
                self.fail(f"node {process.index} lists {client} in {channel} twice")
        for channel, client, birth, _ in effect.updated:
            if view.get((channel, client)) != birth:
                self.fail(f"node {process.index} updates {client} in {channel}, which it lists not")

    def _exited(self, process: Process, effect: Exited) -> None:
        if effect.scope not in self.scopes[process.node]:
            return  # with its scope: what became of the members is the closer's own doing
        wrong = self.journal.exit(effect.scope, process.node, (effect.channel, effect.client))
        if wrong is not None:
            self.fail(f"node {process.index}: {wrong}")

    def _ghosts(self, process: Process, scope: str) -> None:
        hidden = self.hidden[process.node]
        for owner, members in self.listed[scope, process.node].items():
            if owner == process.node or not members:
                continue
            if owner in hidden:
                self.fail(f"node {process.index} lists members of {owner[:6]}, which it holds down")
            if owner not in process.answered:
                self.fail(
                    f"node {process.index} lists members of {owner[:6]}, which never answered"
                )

    def _over_claims(self, process: Process, scope: str, *, every: bool = False) -> None:
        """Look at the owners that changed, or at every one."""
        members = process.engine.set_of(scope)
        marks = self._marks[scope, process.node]
        held = 0
        for owner, runs, total in members.tallies():
            held += 1
            mark = marks.get(owner)
            if mark is not None and mark[0] == runs and mark[1] == total and not every:
                continue
            marks[owner] = (runs, total)
            seen = _mask(runs)
            live = self._live(members, owner)
            life = self.journal.life(scope, owner)
            if bad := (seen & ~life.added) | (live & ~seen):
                self.fail(
                    f"node {process.index} has births {list(bits(bad))} of {owner[:6]}: invented"
                )
            if bad := seen & ~live & ~life.removed:
                self.fail(
                    f"over-claim: node {process.index} takes {list(bits(bad))} of {owner[:6]} for "
                    "removed, which nobody removed"
                )
            knows = self.journal.knows[scope, process.node]
            if knows.get(owner, 0) & ~(seen & ~live):
                self.journal.forgets(scope, process.node, owner)  # purged, and met again
            knows[owner] = seen & ~live
        if len(marks) > held:
            for owner in [o for o in marks if not members.holds(o)]:
                del marks[owner]
                self.journal.forgets(scope, process.node, owner)

    @staticmethod
    def _live(members: MemberSet, owner: NodeId) -> int:
        channels = members.hold(owner).channels.values()
        return sum(map(_BIT, chain.from_iterable(map(_VALUES, channels))))  # no birth twice

    def full(self, process: Process) -> None:
        """Recompute everything one node holds."""
        for scope in sorted(self.scopes[process.node]):
            try:
                process.engine.set_of(scope).check()
            except AssertionError as error:
                self.fail(f"node {process.index}, scope {scope}: {error}")
            self._over_claims(process, scope, every=True)
            view = self.listed[scope, process.node]
            told_of: dict[str, list[tuple[NodeId, str, int]]] = {}
            for owner, members in view.items():
                for (channel, client), birth in members.items():
                    told_of.setdefault(channel, []).append((owner, client, birth))
            for channel, told in sorted(told_of.items()):
                told.sort()
                held = [tuple(m)[:3] for m in process.engine.members(scope, channel)]
                if told != held:
                    self.fail(
                        f"node {process.index}: snapshot and changes differ in {channel}: "
                        f"told {told}, lists {held}"
                    )

    # ---------------------------------------------------------------- when the faults stopped

    def unequal(self) -> str | None:
        """What is not as it must be in the end; None when all is."""
        running = [p for p in self.world.running() if self.scopes[p.node]]
        alive = {p.node for p in self.world.running()}
        for process in running:
            for peer in process.engine.peers():
                if peer.up and peer.node not in alive:
                    # It lists nobody of it yet, perhaps; but it would if somebody told it of one.
                    return f"node {process.index} still holds the dead life {peer.node[:6]} up"
        for scope in sorted({s for p in running for s in self.scopes[p.node]}):
            inside = [p for p in running if scope in self.scopes[p.node]]
            for process in inside:
                far = self.world.network.hops(process.index, [p.index for p in running])
                # News travels only through nodes that take part in the scope.
                told = self.world.network.hops(process.index, [p.index for p in inside])
                if len(told) < len(inside):
                    continue  # who knows of a removal may be beyond reach (seed 192)
                for owner in inside:
                    if owner.index not in far:
                        continue
                    if (wrong := self._wrong(process, owner, scope)) is not None:
                        return wrong
                up = {p.node for p in inside}
                for owner_node, members in self.listed[scope, process.node].items():
                    for channel, client in members if owner_node not in up else ():
                        return f"node {process.index} lists {client} in {channel} of a dead life"
        return None

    def _wrong(self, process: Process, owner: Process, scope: str) -> str | None:
        life = self.journal.life(scope, owner.node)
        members = process.engine.set_of(scope)
        who = f"node {process.index} about node {owner.index} in scope {scope}"
        if not members.holds(owner.node):
            return f"{who}: not admitted"
        if owner.node in self.hidden[process.node]:
            return f"{who}: held down"
        theirs = owner.engine.set_of(scope)
        live = self._live(members, owner.node)
        if lost := life.certain() & ~live:
            return f"{who}: lost {list(bits(lost))}"
        if extra := live & ~life.possible():
            return f"{who}: resurrected or not yet removed {list(bits(extra))}"
        if members.seen(owner.node) != theirs.seen(owner.node):
            return f"{who}: seen {members.seen(owner.node)}, there {theirs.seen(owner.node)}"
        if members.sum(owner.node) != theirs.sum(owner.node):
            return f"{who}: sums differ"
        told = set(self.listed[scope, process.node].get(owner.node, {}).values())
        want = {b for b in bits(live) if life.keys[b][1] != DECLARATION}
        if told != want:
            return f"{who}: lists {sorted(told)}, holds {sorted(want)}"
        if due := self.journal.exits_due(scope, owner.node):
            return f"{who}: Exits missing for births {list(bits(due))}"
        return None

    def final(self) -> None:
        """All that is too dear for every step, when the world has converged."""
        if (unequal := self.unequal()) is not None:
            self.fail(unequal)
        for process in self.world.running():
            if self.scopes[process.node]:
                self.full(process)
                self._deliveries(process)

    def _deliveries(self, process: Process) -> None:
        if len(process.delivered) != len(set(process.delivered)):
            twice = sorted(d for d in set(process.delivered) if process.delivered.count(d) > 1)
            self.fail(f"node {process.index}: delivered twice: {twice[:3]}")
