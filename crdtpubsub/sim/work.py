"""Shared work in a random world: queue groups, confirmed jobs, requests, and whether all is true.

What a driver does with the engine's turns, this does for the world; of what is asked it keeps a
journal of its own, and compares it with what the clients got. It rolls dice of its own, so that a
world without work is the same as ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from crdtpubsub.engine.events import Flush
from crdtpubsub.engine.groups import NO_GROUP, InGroup
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.engine.peers import PeerState
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire.messages import Addressed, Reply, Request

if TYPE_CHECKING:
    from crdtpubsub.sim.process import Process
    from crdtpubsub.sim.world import World

__all__ = ["Work"]

_CHANNEL: Final = "work"
_GROUP_OF: Final = {"p0": "pack", "p1": "pack", "s0": "ship"}
"""Nobody changes sides: who does may get what was said to both, from each."""

_REPLY_S: Final = 5.0
_SLACK_S: Final = 0.5


@dataclass(slots=True)
class _Job:
    """A confirmed publication to one of a group."""

    asker: Process
    group: str
    payload: bytes
    number: int  # under which it is settled
    deadline: float  # of the world
    last: bool  # asked when all was well, of a group with somebody in reach


@dataclass(slots=True)
class _Question:
    """A request, and whom it was given to."""

    asker: Process
    said: Request
    deadline: float
    last: bool
    member: InGroup = ("", NodeId(""))  # who was asked last
    counter: int = 0
    refused: list[InGroup] = field(default_factory=list)
    outcome: Outcome | None = None
    over: bool = False


class Work:
    """The workers of one world, who gives them work, and what became of it."""

    def __init__(self, world: World, seed: int) -> None:
        """In that world."""
        self._world = world
        self._dice = Random(f"work {seed}")
        self._said = 0
        self._jobs: list[_Job] = []
        self._questions: list[_Question] = []
        self._open: list[_Question] = []
        self._answered: dict[NodeId, int] = {}  # how many of the requests it got

    # ---------------------------------------------------------------- what users do

    def operate(self) -> None:
        """Somebody does something about work now and then, and the workers answer."""
        dice = self._dice
        if dice.random() < 0.65:
            return
        able = [process for process in self._world.running() if not process.paused]
        if not able:
            return
        process = dice.choice(able)
        suspects = any(p.state is PeerState.SUSPECT for p in process.engine.peers())
        roll = 1.0 if suspects else dice.random()  # a suspect is one for a moment only
        if roll < 0.35:
            self._shift(process)
        elif roll < 0.45:
            self._world.publish(process.index, _CHANNEL, self._payload())
        elif roll < 0.75:
            self._ask_groups(process, dice.choice((0.2, 1.0, 3.0)))
        else:
            self._request(process, dice.choice((0.3, 1.0, 4.0)))
        self._go_on(able, 0.6)

    def _payload(self) -> bytes:
        self._said += 1
        return b"work %d" % self._said

    def _shift(self, process: Process) -> None:
        """A worker comes or goes, or has no more room."""
        world, dice, i = self._world, self._dice, process.index
        client = dice.choice(tuple(_GROUP_OF))
        match dice.randrange(8):
            case 0 | 1 | 2 | 3:
                world.join(i, _CHANNEL, client, group=_GROUP_OF[client])
            case 4:
                world.join(i, _CHANNEL, "plain")
            case 5:
                world.leave(i, _CHANNEL, client)
            case 6:
                process.full = set(dice.sample(tuple(_GROUP_OF), dice.randint(1, 3)))
            case _:
                process.full = set()

    def _ask_groups(self, process: Process, wait_s: float, *, last: bool = False) -> None:
        payload = self._payload()
        process.feed(Flush(DEFAULT_SCOPE))
        for group, members in process.engine.route(DEFAULT_SCOPE, _CHANNEL).groups:
            message = Addressed(0, DEFAULT_SCOPE, _CHANNEL, "", payload, group=group)
            number = process.ask_one(message, wait_s)
            reached = last and bool(self._in_reach(process, members))
            deadline = self._world.now + wait_s
            self._jobs.append(_Job(process, group, payload, number, deadline, reached))

    def _request(self, process: Process, wait_s: float, *, last: bool = False) -> None:
        payload = self._payload()
        said = Request(
            0, DEFAULT_SCOPE, _CHANNEL, "", payload, id=self._said, within_ms=int(wait_s * 1000)
        )
        question = _Question(process, said, self._world.now + wait_s, last)
        self._questions.append(question)
        self._open.append(question)
        self._give(question)

    def _give(self, question: _Question) -> None:
        """To the next whose turn it is: what `Node.request` does."""
        process, said = question.asker, question.said
        engine = process.engine
        process.feed(Flush(DEFAULT_SCOPE))
        everybody = engine.picking.everybody(DEFAULT_SCOPE, _CHANNEL)
        turns = engine.picking.turns(DEFAULT_SCOPE)
        for member in turns.order(_CHANNEL, NO_GROUP, everybody):
            if member in question.refused:
                continue
            self._look_at_turn(process, member, everybody, question.refused)
            turns.took(_CHANNEL, NO_GROUP, member)
            question.member = member
            client, owner = member
            one = Request(
                0,
                DEFAULT_SCOPE,
                _CHANNEL,
                client,
                said.payload,
                id=said.id,
                within_ms=said.within_ms,
            )
            if owner == process.node:
                question.outcome = process.ask_own(one)
            else:
                left_s = question.deadline - self._world.now
                question.counter = process.ask(one, (owner,), left_s)
            return
        question.over = True
        if not everybody and process.engine.members(DEFAULT_SCOPE, _CHANNEL):
            self._world.checks.fail(f"node {process.index} says that nobody is there to ask")

    def _look_at_turn(
        self,
        process: Process,
        member: InGroup,
        everybody: tuple[InGroup, ...],
        refused: list[InGroup],
    ) -> None:
        """A suspect is asked only if nobody better is in reach."""
        peers = {peer.node: peer for peer in process.engine.peers()}
        doubtful = [
            other
            for other in everybody
            if (peer := peers.get(other[1])) is not None
            and peer.linked
            and (peer.lagging or peer.state is not PeerState.ALIVE)
        ]
        good = [
            other
            for other in everybody
            if other not in doubtful
            and other not in refused
            and (other[1] == process.node or process.engine.link_of(other[1]) is not None)
        ]
        if member in doubtful and good:
            self._world.checks.fail(f"node {process.index} asks {member}, a suspect, not {good[0]}")
        self._world.rare["suspect_passed"] += bool(doubtful and good)

    # ---------------------------------------------------------------- what becomes of it

    def _go_on(self, able: Iterable[Process], answering: float) -> None:
        """Workers answer, and who waits looks at what has come."""
        for process in able:
            done = self._answered.get(process.node, 0)
            while done < len(process.asked) and self._dice.random() < answering:
                asker, said = process.asked[done]
                done += 1
                reply = Reply(0, said.id, b"re " + said.payload)
                if asker == process.node:
                    process.replies.append((asker, reply))
                elif process.engine.listed(asker):
                    process.ask(reply, (asker,), _REPLY_S)
            self._answered[process.node] = done
        for question in self._open:
            self._look(question)
        self._open = [question for question in self._open if not question.over]

    def _look(self, question: _Question) -> None:
        process, (_, owner) = question.asker, question.member
        if process.paused or not process.running:
            question.over = not process.running
            return
        if question.counter:
            told = process.settled[question.counter].get(owner)
            question.outcome = None if told is None else told[0]
        if question.outcome is not None and question.outcome.refused:
            question.refused.append(question.member)
            question.outcome, question.counter = None, 0
            question.over = self._world.now >= question.deadline
            if not question.over:
                self._world.rare["asked_again"] += 1
                self._give(question)
        elif any(reply.id == question.said.id for _, reply in process.replies):
            question.over = True
        elif owner != process.node and not process.engine.listed(owner):
            question.over = True  # gone: it may have been done, so nobody else is asked
            self._world.rare["asked_gone"] += 1
        elif self._world.now >= question.deadline:
            question.over = True

    # ---------------------------------------------------------------- when the faults stopped

    def last_round(self) -> None:
        """All is well, and everybody knows: what is asked now is done."""
        world = self._world
        running = world.running()
        for process in running:
            process.full = set()
        self._go_on(running, 1.0)
        for process in self._dice.sample(running, min(2, len(running))):
            self._ask_groups(process, 3.0, last=True)
            self._request(process, 3.0, last=True)
        fair = self._publish_fairly(self._dice.choice(running))
        world.run_for(1.0)
        self._go_on(running, 1.0)
        world.run_for(1.0)
        self._go_on(running, 1.0)
        self._judge(fair)

    def _in_reach(self, process: Process, members: Iterable[InGroup]) -> list[InGroup]:
        passes, number = self._world.network.passes, self._world.number
        i = process.index
        return [
            (client, owner)
            for client, owner in members
            if owner == process.node
            or (
                process.engine.link_of(owner) is not None
                and passes(i, number(owner))
                and passes(number(owner), i)
            )
        ]

    def _publish_fairly(self, process: Process) -> dict[str, tuple[set[bytes], int]]:
        """Two turns of each group: what was said to it, and how many it has."""
        engine = process.engine
        groups = dict(engine.route(DEFAULT_SCOPE, _CHANNEL).groups)
        good = {peer.node for peer in engine.peers() if peer.state is PeerState.ALIVE}
        fair = {
            group: len(members)
            for group, members in groups.items()
            if self._in_reach(process, members) == list(members)
            and all(owner == process.node or owner in good for _, owner in members)
        }
        said = {self._payload() for _ in range(2 * max(fair.values(), default=0))}
        for payload in sorted(said):
            self._world.publish(process.index, _CHANNEL, payload)
        return {group: (said, size) for group, size in fair.items()}

    def _judge(self, fair: dict[str, tuple[set[bytes], int]]) -> None:
        fail = self._world.checks.fail
        took = Counter[tuple[str, bytes]]()
        for life in self._world.lives:
            for group, client, payload in life.worked:
                took[group, payload] += 1
                if _GROUP_OF[client] != group:
                    fail(f"{client} of node {life.index} got {payload!r}, which was for {group}")
        if twice := sorted(job for job, times in took.items() if times > 1):
            fail(f"a group got it twice: {twice[:3]}")
        for job in self._jobs:
            self._judge_job(job, took[job.group, job.payload])
        for question in self._questions:
            self._judge_question(question)
        for process in self._world.lives:
            replies = Counter(reply.id for _, reply in process.replies)
            if twice_replied := [number for number, times in replies.items() if times > 1]:
                fail(f"node {process.index}: two answers to {twice_replied[:3]}")
        for group, (said, size) in sorted(fair.items()):
            each = Counter(
                (life.node, client)
                for life in self._world.lives
                for of, client, payload in life.worked
                if of == group and payload in said
            )
            if sorted(each.values()) != [len(said) // size] * size and len(said) % size == 0:
                fail(f"of {size} in {group} each got {sorted(each.values())} of {len(said)}")
            if sum(each.values()) != len(said):
                fail(f"{group} got {sum(each.values())} of {len(said)}, and all was well")

    def _judge_job(self, job: _Job, times: int) -> None:
        if not job.asker.running:
            return  # nobody is told
        fail, told = self._world.checks.fail, job.asker.settled[job.number]
        what = f"{job.payload!r} of node {job.asker.index} to {job.group}"
        if not told:
            if self._world.now > job.deadline + _SLACK_S:
                fail(f"{what}: never settled")
            return
        ((owner, (outcome, clients)),) = told.items()
        if outcome is Outcome.DELIVERED and (times, clients) != (1, 1):
            fail(f"{what}: said to be delivered to {clients}, came {times} times")
        if outcome.refused and times:
            fail(f"{what}: {outcome}, and delivered")
        if job.last and outcome is not Outcome.DELIVERED and not self._forgot(owner, outcome):
            fail(f"{what}: {outcome}, though all was well")

    def _forgot(self, owner: NodeId, outcome: Outcome | None) -> bool:
        """Whether it is unknown for a good reason: who was forgotten there is told of it only now.

        It was said under a table of answers that the owner has no more (seed 847).
        """
        lives = [life for life in self._world.lives if life.node == owner]
        return outcome is Outcome.UNKNOWN and lives[0].engine.counters["purged"] > 0

    def _judge_question(self, question: _Question) -> None:
        fail, process = self._world.checks.fail, question.asker
        payload = question.said.payload
        what = f"request {payload!r} of node {process.index}"
        got = [
            (said.client, life.node)
            for life in self._world.lives
            for _, said in life.asked
            if said.payload == payload
        ]
        if len(got) > 1:
            fail(f"{what} was handled {len(got)} times: {got}")
        if lied := [member for member in got if member in question.refused]:
            fail(f"{what}: {lied} refused it, and has it")
        replies = [r for r in process.replies if r[1].id == question.said.id]
        for sender, reply in replies:
            if sender != question.member[1] or got != [question.member]:
                fail(f"{what}: {sender[:6]} answered, {question.member} was asked")
            if reply.payload != b"re " + payload:
                fail(f"{what}: answered {reply.payload!r}")
        if not process.running:
            return
        if question.outcome is Outcome.DELIVERED and got != [question.member]:
            fail(f"{what}: {question.member} is said to have it")
        if question.last and not replies and question.member[0]:
            reached = bool(self._in_reach(process, [question.member]))
            if reached and not self._forgot(question.member[1], question.outcome):
                fail(f"{what}: no answer of {question.member}, though all was well")
