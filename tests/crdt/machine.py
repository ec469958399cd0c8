"""Three replicas, a network that loses, repeats and reorders, and the textbook beside them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from crdtpubsub.crdt import admission, memberset
from crdtpubsub.crdt.delta import Change, Delta, Extra
from crdtpubsub.crdt.intervals import Runs, contains, difference
from crdtpubsub.crdt.memberset import MemberSet, Owner
from crdtpubsub.names import DECLARATION, NodeId
from tests.crdt import strategies as some
from tests.crdt.oracle import Meaning, Textbook
from tests.crdt.strategies import REPLICAS, canonical, check_indexes, entries, expand

TOP = 1 << 20
ROUNDS_MAX = 30


@dataclass(frozen=True)
class Sent:
    """A delta, and what it means."""

    delta: Delta
    meaning: Meaning


@dataclass(frozen=True)
class SentLive:
    """A delta without bodies, who said it, and what it means: removals."""

    sender: NodeId
    owner: NodeId
    runs: Runs
    listed: dict[int, int]
    meaning: Meaning


class MembersAgainstTextbook(RuleBasedStateMachine):
    """A rule may deliver anything ever sent, to anyone, any number of times, or never.

    `minted` and `ended` are the journal: what was really added and really removed, by
    anyone. It is made from the textbooks and never from the sets.
    """

    messages = Bundle("messages")
    lives = Bundle("lives")

    follows_textbook = True  # a set that clips its runs lags behind the textbook

    def __init__(self) -> None:
        super().__init__()
        self.real = {r: MemberSet(r) for r in REPLICAS}
        self.textbook = {r: Textbook(r, REPLICAS) for r in REPLICAS}
        self.watched: dict[NodeId, dict[tuple[NodeId, str, str], tuple[int, Extra]]] = {}
        self.gone: list[tuple[NodeId, Owner]] = []
        self.minted: set[tuple[NodeId, int]] = set()
        self.ended: set[tuple[NodeId, int]] = set()
        self.purged = False
        for at in REPLICAS:
            self.watched[at] = {}
            for owner in REPLICAS:
                self.real[at].hold(owner)

    # -------------------------------------------------------------- writing

    @rule(
        target=messages,
        at=some.nodes,
        channel=some.channels,
        client=some.clients,
        group=some.groups,
        meta=some.metas,
    )
    def join_or_update(
        self, at: NodeId, channel: str, client: str, group: str, meta: bytes | None
    ) -> Sent:
        change, runs = self.real[at].join(channel, client, group=group, meta=meta)
        meaning = self.textbook[at].join(channel, client, group, meta)
        self.minted |= {add[:2] for add in meaning.adds}
        self.watch(at, change)
        if self.follows_textbook:
            assert expand(runs) == {add[1] for add in meaning.adds}
        return Sent(self.real[at].delta(at, runs), meaning)

    @rule(target=messages, at=some.nodes, owner=some.nodes, runs=some.asked_runs)
    def remove(self, at: NodeId, owner: NodeId, runs: Runs) -> Sent:
        """Q5: exactly what is live here ends, whatever the runs say."""
        live = {birth for _, _, birth, _ in entries(self.real[at], owner)}
        expected = {birth for birth in live if contains(runs, birth)}
        return self._removal(at, owner, runs, expected)

    @rule(target=messages, at=some.nodes, channel=some.channels, client=some.clients)
    def leave(self, at: NodeId, channel: str, client: str) -> Sent:
        """By a client's own handle: the short way, which must come to the same as a removal."""
        real = self.real[at]
        expected = real.clients(at, channel).get(client, 0)
        rows = [row for row in real.roll(at, channel) if row[1] == client]
        birth = real.end(channel, client)
        assert birth == expected, "who leaves ends his own birth"
        births = {birth} if birth else set[int]()
        meaning = self.textbook[at].remove(at, births)
        self.ended |= {(at, birth) for birth in births}
        self.watch(at, Change(at, removed=rows, touched=bool(birth)))
        return Sent(real.delta(at, some.flatten(births)), meaning)

    @rule(target=messages, at=some.nodes, channel=some.channels)
    def del_channel(self, at: NodeId, channel: str) -> object:
        """All observed dots of the channel, everybody's, declarations too."""
        sent = []
        for owner, members in sorted(
            (o, dict(m)) for o, m in self.real[at].by_owner(channel).items()
        ):
            if self.real[at].holds(owner):
                births = set(members.values())
                sent.append(self._removal(at, owner, some.flatten(births), births))
        assert not any(self.real[at].holds(owner) for owner in self.real[at].by_owner(channel)), (
            "a deleted channel keeps nobody who is held"
        )
        return multiple(*sent)

    def _removal(self, at: NodeId, owner: NodeId, runs: Runs, expected: set[int]) -> Sent:
        change, ended = self.real[at].remove(owner, runs)
        assert expand(ended) == expected, "a removal ends the observed dots and nothing else"
        meaning = self.textbook[at].remove(owner, expected)
        self.ended |= {(owner, birth) for birth in expected}
        self.watch(at, change)
        return Sent(self.real[at].delta(owner, ended), meaning)

    # -------------------------------------------------------------- the network

    @rule(target=messages, at=some.nodes, owner=some.nodes, runs=some.asked_runs)
    def tell(self, at: NodeId, owner: NodeId, runs: Runs) -> Sent:
        """Anti-entropy, whole or any part; a relay tells of others too."""
        delta = self.real[at].delta(owner, runs)
        known = {b for b in self.textbook[at].known(owner) if contains(runs, b)}
        if self.follows_textbook:
            assert expand(delta.runs) == known, "a delta names what its sender has seen"
        return Sent(delta, self.textbook[at].tell(owner, expand(delta.runs)))

    @rule(target=messages, at=some.nodes, owner=some.nodes, births_max=st.integers(1, 3))
    def tell_in_slices(self, at: NodeId, owner: NodeId, births_max: int) -> object:
        """Each slice is a message of its own: lost, repeated, overtaken like any other."""
        whole = self.real[at].delta(owner, (1, TOP))
        meaning = self.textbook[at].tell(owner, expand(whole.runs))
        slices = list(whole.slices(births_max))
        assert sorted(b for s in slices for b in expand(s.runs)) == sorted(expand(whole.runs))
        return multiple(*(Sent(s, meaning.cut(expand(s.runs))) for s in slices))

    @rule(target=messages, sent=messages, runs=some.some_runs)
    def split_on_the_way(self, sent: Sent, runs: Runs) -> Sent:
        cut = sent.delta.cut(runs)
        return Sent(cut, sent.meaning.cut(expand(cut.runs)))

    @rule(to=some.nodes, sent=messages)
    def deliver(self, to: NodeId, sent: Sent) -> None:
        before = canonical(self.real[to])
        change = self.real[to].merge(sent.delta)
        self.textbook[to].learn(sent.meaning)
        self.watch(to, change)
        assert change.touched == (canonical(self.real[to]) != before)

    @rule(target=lives, at=some.nodes, owner=some.nodes, runs=some.asked_runs)
    def assert_live(self, at: NodeId, owner: NodeId, runs: Runs) -> SentLive:
        said, listed = self.real[at].live(owner, runs)
        meaning = self.textbook[at].tell(owner, expand(said))
        return SentLive(at, owner, said, listed, Meaning(owner, tombs=meaning.tombs))

    @rule(target=messages, to=some.nodes, live=lives)
    def deliver_live(self, to: NodeId, live: SentLive) -> object:
        """Late as it may be. What comes of it, the pulled and the told, is sent, not delivered."""
        here, book = self.real[to], self.textbook[to]
        known, alive = book.known(live.owner), book.live(live.owner)
        change, tell, pull = here.merge_live(live.owner, live.runs, live.listed)
        book.learn(live.meaning)
        self.watch(to, change)
        if not here.holds(live.owner):
            assert not tell
            assert not pull
            return multiple()
        if self.follows_textbook:
            versions = {b: book.extra(live.owner, b)[0] for b in alive}
            versions.update(dict.fromkeys(known - alive.keys(), TOP))
            ahead = {b for b, v in live.listed.items() if b in versions and versions[b] > v}
            behind = {b for b, v in live.listed.items() if versions.get(b, -1) < v}
            assert expand(tell) == ahead
            assert expand(pull) == behind
        answers = [(to, tell), (live.sender, pull)]
        return multiple(*(self.tell(at, live.owner, runs) for at, runs in answers))

    # -------------------------------------------------------------- forgetting a life

    @rule(at=some.nodes, owner=some.nodes)
    def purge(self, at: NodeId, owner: NodeId) -> None:
        if at == owner:
            return
        gone = self.real[at].detach(owner)
        assert (gone is not None) == (owner in self.textbook[at].held)
        if gone is not None:
            self.gone.append((at, gone))
        self.textbook[at].forget(owner)
        self.watched[at] = {k: v for k, v in self.watched[at].items() if k[0] != owner}
        self.purged = True

    @rule()
    def sweep_a_slice(self) -> None:
        self.gone = [(at, gone) for at, gone in self.gone if not self.real[at].sweep(gone, 1)]

    @rule(at=some.nodes, owner=some.nodes)
    def admit(self, at: NodeId, owner: NodeId) -> None:
        """Perhaps before what was left of it is swept."""
        self.real[at].hold(owner)
        self.textbook[at].held.add(owner)

    # -------------------------------------------------------------- what must hold

    def watch(self, at: NodeId, change: Change) -> None:
        """A watcher who was there from the beginning, and trusts changes only."""
        seen = self.watched[at]
        assert change.touched or not change
        for channel, client, birth, extra in change.removed:
            assert seen.pop((change.owner, channel, client)) == (birth, extra)
        for channel, client, birth, extra in change.joined:
            assert (change.owner, channel, client) not in seen
            seen[change.owner, channel, client] = (birth, extra)
        for channel, client, birth, extra in change.updated:
            old_birth, old = seen[change.owner, channel, client]
            assert old_birth == birth
            assert old[0] < extra[0]
            seen[change.owner, channel, client] = (birth, extra)

    @invariant()
    def every_replica_shows_what_the_textbook_shows(self) -> None:
        """Q2 and Q9, and the context beside them: seen here is known there."""
        if not self.follows_textbook:
            return
        for at, real in self.real.items():
            book = self.textbook[at]
            shown = {
                (owner, ch, cl, birth, extra)
                for owner in real.owners()
                for ch, cl, birth, extra in entries(real, owner)
            }
            assert shown == book.shown()
            assert set(real.owners()) == book.held
            for owner in real.owners():
                assert expand(real.seen(owner)) == book.known(owner)

    @invariant()
    def nobody_claims_more_than_happened(self) -> None:
        """Q4: what is seen and not live was really removed by someone; Q6 comes with the dicts."""
        for real in self.real.values():
            for owner in real.owners():
                live = {birth for _, _, birth, _ in entries(real, owner)}
                seen = expand(real.seen(owner))
                assert live <= seen
                assert {(owner, b) for b in live} <= self.minted
                assert {(owner, b) for b in seen - live} <= self.ended
                rows = [(ch, cl) for ch, cl, _, _ in entries(real, owner)]
                assert len(rows) == len(set(rows)) == real.size(owner)

    @invariant()
    def sums_and_indexes_are_those_of_a_recomputation(self) -> None:
        """Q26. The index shows of everybody who is held exactly what they hold."""
        for at, real in self.real.items():
            real.check()
            if not any(who == at for who, _ in self.gone):
                check_indexes(real)
            for channel in some.CHANNELS:
                shown = {owner: dict(m) for owner, m in real.by_owner(channel).items()}
                for owner in real.owners():
                    here = dict(real.clients(owner, channel))
                    assert shown.get(owner, {}) == here, "a ghost, or somebody not listed"

    @invariant()
    def a_watcher_knows_the_members(self) -> None:
        for at, real in self.real.items():
            shown = {
                (owner, channel, client): (birth, extra)
                for owner in real.owners()
                for channel, client, birth, extra in real.roll(owner)
            }
            assert self.watched[at] == shown
            assert all(client != DECLARATION for _, _, client in shown)

    def teardown(self) -> None:
        """Gossip until quiet: all equal, and equal to the journal."""
        for at, real in self.real.items():
            for owner in REPLICAS:
                real.hold(owner)
                self.textbook[at].held.add(owner)
        for _ in range(ROUNDS_MAX):
            if sum(self._gossip(a, b) for a in REPLICAS for b in REPLICAS) == 0:
                break
        else:
            raise AssertionError("gossip is never quiet")
        first, *rest = (canonical(real) for real in self.real.values())
        assert all(state == first for state in rest)
        sums = [{o: real.sum(o) for o in REPLICAS} for real in self.real.values()]
        assert all(each == sums[0] for each in sums)
        members = {(o, row[2]) for o, (_, rows) in first.items() for row in rows}
        assert self.minted - self.ended <= members <= self.minted
        if not self.purged:  # else a removal may be lost with the only one who knew of it
            assert members == self.minted - self.ended

    def undo(self) -> None:
        """Give back what the constructor took."""

    def _gossip(self, source: NodeId, to: NodeId) -> bool:
        """One way, in small chunks, lowest first. Whether anything changed."""
        changed = False
        real = self.real[source]
        for owner in REPLICAS:
            rest = real.seen(owner)
            while rest:
                part = real.prefix(owner, rest, 2)
                part = part or rest
                change = self.real[to].merge(real.delta(owner, part))
                self.watch(to, change)
                changed |= change.touched
                rest = difference(rest, part)
        return changed


class ClippedAgainstJournal(MembersAgainstTextbook):
    """The same with room for three runs of births: a set that lags still never lies."""

    follows_textbook = False
    runs_max = 3

    def __init__(self) -> None:
        self._runs_max = admission.RUNS_MAX
        for module in (admission, memberset):  # who reads it, and who checks it
            module.RUNS_MAX = self.runs_max  # type: ignore[attr-defined]
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.undo()

    def undo(self) -> None:
        for module in (admission, memberset):
            module.RUNS_MAX = self._runs_max  # type: ignore[attr-defined]
