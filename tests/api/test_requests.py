"""Requests and replies: one member answers, or an error says at once or in time why not."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from threading import Thread

import pytest

from crdtpubsub import (
    Address,
    Client,
    ClosedError,
    ConfigError,
    ForkedError,
    Member,
    Message,
    Node,
    NodeId,
    NoMembersError,
    PayloadError,
    PayloadTooLargeError,
    QueueFullError,
    Replied,
    SyncNode,
    UnreachableError,
)
from crdtpubsub.engine.groups import Grade
from crdtpubsub.names import DEFAULT_SCOPE
from crdtpubsub.runtime import Asked, To, requests
from crdtpubsub.waiting import Settled
from crdtpubsub.wire.messages import Counted
from tests.api.helpers import WAIT_S, at_once, message, nodes, story, until
from tests.api.test_interrupts import PLACES_MIN, SPARED
from tests.api.test_life import in_a_child
from tests.cancelling import cancelled_everywhere
from tests.interrupts import interrupted

pytestmark = pytest.mark.net


async def answering(client: Client) -> None:
    """Says to each request what it was asked, and who says so."""
    async for item in client:
        if isinstance(item, Message) and item.wants_reply:
            await item.reply([item.data, client.id], headers={"by": client.id})


def wanted(question: Message) -> bool:
    return question.wants_reply


@story
async def test_one_member_of_another_node_answers() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(
            here.request("work", {"n": 1}, timeout=WAIT_S, headers={"a": "b"})
        )
        question = await message(ann)
        assert (question.data, dict(question.headers)) == ({"n": 1}, {"a": "b"})
        assert (question.channel, question.sender) == ("work", here.id)
        assert wanted(question)
        replied = question.reply(2, headers={"c": "d"})
        assert isinstance(replied, Replied)
        assert await replied is True
        assert not wanted(question)
        answer = await asking
        assert (answer.data, dict(answer.headers), answer.sender) == (2, {"c": "d"}, there.id)
        assert answer.channel == "work"
        assert not answer.wants_reply
        with pytest.raises(ConfigError, match="answered before"):
            question.reply(3)
        with pytest.raises(ConfigError, match="nobody waits for a reply"):
            answer.reply(3)
        assert not here._runtime.asker.requests._open
        assert not here._runtime.asker.requests._by_counter
        await until(lambda: not there._runtime.core.tickets)


@story
async def test_members_are_asked_in_turn_wherever_they_live() -> None:
    async with nodes(3) as made:
        here = made[0]
        workers = []
        for node in made:
            for n in range(2):
                client = node.client(f"{node.name}-{n}")
                await client.join("work")
                workers.append(asyncio.create_task(answering(client)))
        await here.wait_for("work", 6, timeout=WAIT_S)
        asked = [await here.request("work", n, timeout=WAIT_S) for n in range(30)]
        by = Counter(answer.headers["by"] for answer in asked)
        assert sorted(by.values()) == [5] * 6
        assert [answer.data for answer in asked] == [
            [n, a.headers["by"]] for n, a in enumerate(asked)
        ]
        together = await asyncio.gather(
            *(here.request("work", n, timeout=WAIT_S) for n in range(60))
        )
        assert [answer.data[0] for answer in together if isinstance(answer.data, list)] == list(
            range(60)
        )
        assert {a.headers["by"]: 0 for a in together}.keys() == by.keys()
        for worker in workers:
            worker.cancel()


def grade(node: Node, grades: dict[NodeId, Grade]) -> None:
    """As if these nodes were what they are not, for as long as the test needs."""
    turns = node._runtime.core.engine.picking.turns(DEFAULT_SCOPE)
    turns._grade = lambda owner: grades.get(owner, Grade.GOOD)


@story
async def test_a_suspect_is_asked_only_if_there_is_no_other() -> None:
    async with nodes(3) as (here, there, far):
        workers = []
        for node in (there, far):
            client = node.client(node.name)
            await client.join("work")
            workers.append(asyncio.create_task(answering(client)))
        await here.wait_for("work", 2, timeout=WAIT_S)
        grade(here, {there.id: Grade.DOUBTFUL})
        for n in range(6):
            assert (await here.request("work", n, timeout=WAIT_S)).data == [n, "n2"]
        grade(here, {there.id: Grade.DOUBTFUL, far.id: Grade.UNLINKED})
        assert (await here.request("work", 1, timeout=WAIT_S)).data == [1, "n1"]
        grade(here, {there.id: Grade.UNLINKED, far.id: Grade.UNLINKED})
        with pytest.raises(UnreachableError, match="no link to the node of any of the 2 members"):
            at_once(here.request("work", 1, timeout=600))
        for worker in workers:
            worker.cancel()


@story
async def test_who_has_too_much_to_answer_is_passed_over() -> None:
    async with nodes(3) as (here, there, far):
        for node in (there, far):
            await node.client(node.name).join("work")
        await here.wait_for("work", 2, timeout=WAIT_S)
        engine = here._runtime.core.engine
        ask = engine._asking.ask
        full = {there.id}

        def full_at(said: Counted, owners: tuple[NodeId, ...], *when: float) -> int:
            if full.issuperset(owners):
                raise QueueFullError("4096 are open")
            return ask(said, owners, *when)

        engine._asking.ask = full_at  # type: ignore[method-assign, assignment]
        for n in range(3):
            with pytest.raises(TimeoutError, match="from 'n2'"):
                await here.request("work", n, timeout=0.05)
        full.add(far.id)
        with pytest.raises(QueueFullError, match="4096"):
            await here.request("work", 3, timeout=WAIT_S)
        assert not here._runtime.asker.requests._open


@story
async def test_who_asks_the_others_is_not_asked_himself() -> None:
    async with nodes(2) as (here, there):
        ann, bob = here.client("ann"), there.client("bob")
        await ann.join("work", queue="workers")
        with pytest.raises(NoMembersError, match="'work' has no other member"):
            at_once(here.request("work", 1, timeout=600, exclude=ann))
        await bob.join("work", queue="workers")
        workers = [asyncio.create_task(answering(client)) for client in (ann, bob)]
        members = {m.id: m for m in await here.wait_for("work", 2, timeout=WAIT_S)}
        for n in range(4):
            asking = here.request("work", n, timeout=WAIT_S, exclude=ann)
            assert (await asking).data == [n, "bob"]
            asking = here.request("work", n, timeout=WAIT_S, exclude=members["bob"])
            assert (await asking).data == [n, "ann"]
        with pytest.raises(ConfigError, match="it is for a channel"):
            await here.request(ann.address, 1, timeout=WAIT_S, exclude=bob)
        with pytest.raises(ConfigError, match="exclude="):
            await here.request("work", 1, timeout=WAIT_S, exclude="bob")  # type: ignore[arg-type]
        for worker in workers:
            worker.cancel()


@story
async def test_with_no_time_left_nobody_is_asked_and_that_is_said() -> None:
    async with nodes(1) as (node,):
        ann = node.client("ann")
        await ann.join("work")
        with pytest.raises(TimeoutError, match="nobody was asked"):
            await node.request("work", 1, timeout=1e-9)
        assert not ann.pending


@story
async def test_a_member_or_an_address_is_asked_alone() -> None:
    async with nodes(2) as (here, there):
        ann, bob = there.client("ann"), there.client("bob")
        await ann.join("work")
        await bob.join("work")
        workers = [asyncio.create_task(answering(client)) for client in (ann, bob)]
        members = {m.id: m for m in await here.wait_for("work", 2, timeout=WAIT_S)}
        for _ in range(3):
            assert (await here.request(members["bob"], 1, timeout=WAIT_S)).data == [1, "bob"]
            assert (await here.request(ann.address, 1, timeout=WAIT_S)).data == [1, "ann"]
            assert (await there.request(ann.address, 1, timeout=WAIT_S)).data == [1, "ann"]
        await bob.leave("work")
        await here.converged(timeout=WAIT_S)
        with pytest.raises(UnreachableError, match="'bob' on node 'n1': no such member"):
            await here.request(members["bob"], 1, timeout=WAIT_S)
        for worker in workers:
            worker.cancel()


@story
async def test_nobody_to_ask_is_said_at_once() -> None:
    async with nodes(2) as (here, there):
        with pytest.raises(NoMembersError, match="'work' has no member"):
            at_once(here.request("work", 1, timeout=600))
        await there.add_channel("work")
        await here.converged(timeout=WAIT_S)
        with pytest.raises(NoMembersError):
            at_once(here.request("work", 1, timeout=600))
        stranger = there.client("c").address
        gone = type(stranger)(NodeId("ab" * 16), "c")
        with pytest.raises(UnreachableError, match="no link"):
            at_once(here.request(gone, 1, timeout=600))
        with pytest.raises(UnreachableError, match="no such member"):
            await here.request(type(stranger)(there.id, "nobody"), 1, timeout=600)
        with pytest.raises(UnreachableError, match="no such member"):
            at_once(here.request(type(stranger)(here.id, "nobody"), 1, timeout=600))
        assert not here._runtime.asker.requests._open


@story
async def test_arguments() -> None:
    async with nodes(1) as (node,):
        await node.client("c").join("work")
        for timeout in (0, -1, float("inf"), float("nan"), True):
            with pytest.raises(ConfigError, match="timeout"):
                await node.request("work", 1, timeout=timeout)
        with pytest.raises(ConfigError, match="cannot ask"):
            await node.request(5, 1, timeout=1)  # type: ignore[arg-type]
        with pytest.raises(PayloadError):
            await node.request("work", object(), timeout=1)
        with pytest.raises(ConfigError, match="headers"):
            await node.request("work", 1, timeout=1, headers={"a": 1})  # type: ignore[dict-item]


@story
async def test_a_full_queue_is_passed_over_and_said_if_it_is_the_only_one() -> None:
    async with nodes(2) as (here, there):
        full = there.client("full", max_pending=1)
        await full.join("work")
        (member,) = await here.wait_for("work", 1, timeout=WAIT_S)
        await here.send(member, "fills it", confirm=WAIT_S)
        with pytest.raises(UnreachableError, match="'full' on node 'n1': full queue"):
            await here.request("work", 1, timeout=600)
        free = there.client("free")
        await free.join("work")
        worker = asyncio.create_task(answering(free))
        await here.wait_for("work", 2, timeout=WAIT_S)
        for n in range(4):
            assert (await here.request("work", n, timeout=WAIT_S)).data == [n, "free"]
        worker.cancel()
        assert (await message(full)).data == "fills it"
        assert full.pending == 0


@story
async def test_no_answer_in_time_says_who_was_asked_and_a_late_one_is_dropped() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 0, timeout=WAIT_S))
        (await message(ann)).reply("the link is warm")
        await asking
        asking = asyncio.create_task(here.request("work", 1, timeout=0.3))
        question = await message(ann)
        with pytest.raises(TimeoutError, match=r"no answer within 0\.3 s from 'ann' on node 'n1'"):
            await asking
        await until(lambda: not question.wants_reply)
        assert await question.reply(2) is False
        assert there.stats().counters["replies_for_nobody"] == 1

        asking = asyncio.create_task(here.request("work", 1, timeout=WAIT_S))
        question = await message(ann)
        asking.cancel()
        await asyncio.wait([asking])
        assert question.reply(2)  # nobody has told this node
        await until(lambda: here.stats().counters.get("replies_late") == 1)
        assert not here._runtime.asker.requests._open


@story
async def test_who_is_asked_and_goes_away_is_not_waited_for() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 1, timeout=600))
        await message(ann)
        await there.close()
        with pytest.raises(
            UnreachableError, match=r"'ann' on node .* went away before it answered"
        ):
            await asking


@story
async def test_a_node_that_closes_ends_its_requests_and_takes_no_more() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 1, timeout=600))
        question = await message(ann)
        await here.close()
        with pytest.raises(ClosedError, match="may have been done"):
            await asking
        with pytest.raises(ClosedError):
            await here.request("work", 1, timeout=1)
        await until(lambda: not there.peers())
        assert not question.reply(1)
        await there.close()
        with pytest.raises(ClosedError):
            question.reply(1)


@story
async def test_a_reply_that_cannot_be_sent_may_be_tried_again() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 1, timeout=WAIT_S))
        question = await message(ann)
        with pytest.raises(PayloadError):
            question.reply(object())
        with pytest.raises(PayloadTooLargeError):
            question.reply(bytes(16 * 1024 * 1024))
        assert question.wants_reply
        assert question.reply(bytes(300_000))  # in chunks
        assert (await asking).data == bytes(300_000)


@story
async def test_who_drains_still_answers_what_it_took_and_all_of_it_arrives() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = [asyncio.create_task(here.request("work", n, timeout=WAIT_S)) for n in range(20)]
        got = [await message(ann) for _ in asking]
        for question in got:
            assert question.reply(question.data)
        await there.drain(timeout=WAIT_S)
        assert [answer.data for answer in await asyncio.gather(*asking)] == list(range(20))


@story
async def test_so_many_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REQUESTS_MAX", 2)
    async with nodes(1) as (node,):
        ann = node.client("ann")
        await ann.join("work")
        asking = [asyncio.create_task(node.request("work", n, timeout=WAIT_S)) for n in range(2)]
        await until(lambda: ann.pending == 2)
        with pytest.raises(QueueFullError, match="2 requests of this node are open"):
            await node.request("work", 2, timeout=WAIT_S)
        assert node.stats().counters["requests_full"] == 1
        for _ in asking:
            (await message(ann)).reply("done")
        assert [answer.data for answer in await asyncio.gather(*asking)] == ["done", "done"]
        with pytest.raises(TimeoutError):
            await node.request("work", 2, timeout=0.01)


@story
async def test_a_reply_of_somebody_else_is_nobodys() -> None:
    """A peer that guesses the number of a request it was not asked."""
    async with nodes(3) as (here, there, liar):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        bob = liar.client("bob")
        asking = asyncio.create_task(here.request("work", 1, timeout=WAIT_S))
        question = await message(ann)
        lying = asyncio.create_task(here.request(bob.address, 1, timeout=WAIT_S))
        theirs = await message(bob)
        assert isinstance(theirs, requests.Question)
        assert isinstance(question, requests.Question)
        mine, theirs.id = theirs.id, question.id
        theirs.reply("a lie")
        await until(lambda: here.stats().counters.get("replies_late") == 1)
        question.reply("the truth")
        assert (await asking).data == "the truth"
        theirs.id, theirs.replied = mine, False
        theirs.reply("well")
        assert (await lying).data == "well"


@story
async def test_scopes_ask_among_themselves() -> None:
    async with nodes(2) as (here, there):
        east, far_east = here.scope("east"), there.scope("east")
        ann = far_east.client("ann")
        await ann.join("work")
        await east.wait_for("work", 1, timeout=WAIT_S)
        worker = asyncio.create_task(answering(ann))
        assert (await east.request("work", 1, timeout=WAIT_S)).data == [1, "ann"]
        assert (await here.request(ann.address, 1, timeout=WAIT_S)).data == [1, "ann"]
        with pytest.raises(NoMembersError):
            await here.request("work", 1, timeout=WAIT_S)
        await east.close()
        with pytest.raises(ClosedError):
            await east.request("work", 1, timeout=WAIT_S)
        worker.cancel()


@story
async def test_whoever_has_the_answer_has_seen_what_was_joined_before_it() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        for n in range(20):
            asking = asyncio.create_task(here.request("work", n, timeout=WAIT_S))
            question = await message(ann)
            await ann.join(f"made-{n}")
            await question.reply(n)
            await asking
            assert here.count(f"made-{n}") == 1


@story
async def test_cancelled_anywhere_it_leaves_nothing_behind() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        worker = asyncio.create_task(answering(ann))

        async def attempt(cancelling: object) -> None:
            outcome = await cancelling(here.request("work", 1, timeout=WAIT_S))  # type: ignore[operator]
            if not outcome.cancelled:
                assert outcome.result.data == [1, "ann"]
            assert not here._runtime.asker.requests._open
            assert not here._runtime.asker.requests._by_counter

        assert await cancelled_everywhere(attempt) >= 2
        assert len(here._runtime.bell) == 0
        worker.cancel()


def test_blocking_code_asks_and_answers() -> None:
    with SyncNode(name="a") as here, SyncNode(name="b", seeds=[here.endpoint]) as there:
        with there.subscribe("work", id="ann") as work:

            def serve() -> None:
                for question in work:
                    sent: object = question.reply([question.data, "ann"])
                    assert sent
                    if question.data == "last":
                        return

            thread = Thread(target=serve)
            thread.start()
            (ann,) = here.wait_for("work", 1, timeout=WAIT_S)
            assert here.request("work", 1, timeout=WAIT_S).data == [1, "ann"]
            mine = here.client("mine")
            mine.join("work")
            assert here.request("work", 2, timeout=WAIT_S, exclude=mine).data == [2, "ann"]
            mine.close()
            assert here.request(ann, "last", timeout=WAIT_S).data == ["last", "ann"]
            thread.join(WAIT_S)
            with pytest.raises(TimeoutError, match=re.escape("'ann' on node 'b'")):
                here.request("work", 2, timeout=0.05)
        here.converged(timeout=WAIT_S)
        with pytest.raises(NoMembersError):
            here.request("work", 3, timeout=WAIT_S)


def test_a_node_that_is_not_started_asks_nobody() -> None:
    with pytest.raises(ClosedError):
        at_once(Node().request("work", 1, timeout=1))
    with pytest.raises(ClosedError):
        at_once(Node().request(Address(NodeId("ab" * 16), "c"), 1, timeout=1))
    with pytest.raises(ClosedError):
        at_once(Node().join("work", Member("work", "c", NodeId("ab" * 16))))


@story
async def test_in_the_child_of_a_fork_nobody_asks_or_answers() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        (member,) = await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 1, timeout=WAIT_S))
        question = await message(ann)
        calls: list[Callable[[], object]] = [
            lambda: at_once(here.request("work", 1, timeout=1)),
            lambda: at_once(here.request(member, 1, timeout=1)),
            lambda: at_once(here.join("room", member)),
            lambda: at_once(there.join("room", member)),
            lambda: question.reply(1),
        ]
        assert in_a_child(calls) == [ForkedError.__name__] * len(calls)
        question.reply(2)
        assert (await asking).data == 2


async def interrupted_replies(step: int) -> None:
    """A reply that was broken into may be said a second later, when its owner asks for it."""
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        place, broken = 0, True
        while broken:
            asking = asyncio.create_task(here.request("work", place, timeout=WAIT_S))
            question = await message(ann)
            broken = interrupted(place, partial(question.reply, "done"), spared=SPARED)
            with contextlib.suppress(ConfigError):  # it was answered
                question.reply("done")
            assert (await asking).data == "done"
            place += step
        assert place > PLACES_MIN
        await until(lambda: not there._runtime.core.tickets)


@story
async def test_an_interrupt_in_a_reply_leaves_one_answer() -> None:
    await interrupted_replies(13)


@pytest.mark.soak
@story
async def test_an_interrupt_anywhere_in_a_reply_leaves_one_answer() -> None:
    await interrupted_replies(1)


@story
async def test_an_interrupt_anywhere_in_a_question_leaves_nothing_behind() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        worker = asyncio.create_task(answering(ann))
        table = here._runtime.asker.requests
        to = To(DEFAULT_SCOPE, "work", there.id, "ann")
        place, broken = 0, True
        while broken:
            settled = Settled()
            asked = Asked(settled.waker, settled.done)
            ask = partial(table.ask, asked, to, b"\x01", {}, WAIT_S)
            broken = interrupted(place, ask, spared=SPARED)
            if not broken:
                await settled.wait(WAIT_S)
                assert asked.reply is not None
            table.forget(asked)
            assert not table._open
            assert (await here.request("work", place, timeout=WAIT_S)).data == [place, "ann"]
            place += 1
        assert place > PLACES_MIN
        worker.cancel()
