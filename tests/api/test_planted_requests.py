"""Bugs of requests and queue groups, put into a node on purpose: each has a story that notices.

Those that the engine decides are in `tests/sim/test_planted_work.py`; these are what the node does
with it. A story holds; with its bug in it, it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

import pytest

from crdtpubsub import ConfigError, Message, Outcome, UnreachableError
from crdtpubsub.engine.effects import PeerChanged
from crdtpubsub.names import NodeId
from crdtpubsub.requesting import Requester
from crdtpubsub.runtime import Asked, handing
from crdtpubsub.runtime.core import Core
from crdtpubsub.runtime.requests import Question, Requests
from crdtpubsub.wire.messages import Reply
from tests.api.helpers import WAIT_S, message, nodes, story, until

pytestmark = pytest.mark.net

Plant = Callable[[pytest.MonkeyPatch], None]
Story = Callable[[], None]

# -------------------------------------------------------------------- the bugs


def anybodys_answer_is_taken(patch: pytest.MonkeyPatch) -> None:
    plain = Requests._take

    def take(self: Requests, sender: NodeId, reply: Reply) -> bool:
        asked = self._open.get(reply.id)
        return plain(self, sender if asked is None else asked.owner, reply)

    patch.setattr(Requests, "_take", take)


def a_death_is_not_told(patch: pytest.MonkeyPatch) -> None:
    def moved(self: Requests, peer: PeerChanged) -> None:
        for asked in self._open.values():
            asked.gone = asked.gone or asked.owner == peer.node

    patch.setattr(Requests, "moved", moved)


def who_went_away_had_refused(patch: pytest.MonkeyPatch) -> None:
    """So the next one is asked, and it is done twice."""
    plain = Requester._raise_if_over

    def raise_if_over(self: Requester, asked: Asked, timeout: float) -> None:
        if not asked.gone:
            plain(self, asked, timeout)
        asked.outcome = asked.outcome or Outcome.REFUSED_NOBODY

    patch.setattr(Requester, "_raise_if_over", raise_if_over)


def nothing_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Requests, "forget", lambda *_: None)


def a_question_is_answered_twice(patch: pytest.MonkeyPatch) -> None:
    plain = Requests._reply

    def reply(
        self: Requests, question: Question, payload: bytes, headers: dict[str, str]
    ) -> bool | None:
        question.replied = False
        return plain(self, question, payload, headers)

    patch.setattr(Requests, "_reply", reply)


def who_refused_is_asked_again(patch: pytest.MonkeyPatch) -> None:
    plain = Requests.ask_one

    def ask_one(self: Requests, *args: object) -> int | None:
        asked, to, _, *more = args
        return plain(self, asked, to, (), *more)  # type: ignore[arg-type]

    patch.setattr(Requests, "ask_one", ask_one)


def all_of_a_group_get_it(patch: pytest.MonkeyPatch) -> None:
    """A confirmed one, at its owner."""
    patch.setattr(handing, "_offer_one", handing.offer)


def the_first_has_no_room_so_nobody_gets_it(patch: pytest.MonkeyPatch) -> None:
    plain = handing._offer_one

    def offer_one(core: Core, said: Message, clients: Iterable[str]) -> tuple[int, int]:
        return plain(core, said, tuple(clients)[:1])

    patch.setattr(handing, "_offer_one", offer_one)


# -------------------------------------------------------------------- the stories


@story
async def only_who_was_asked_answers() -> None:
    async with nodes(3) as (here, there, liar):
        ann, bob = there.client("ann"), liar.client("bob")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 1, timeout=WAIT_S))
        question = await message(ann)
        lying = asyncio.create_task(here.request(bob.address, 1, timeout=WAIT_S))
        theirs = await message(bob)
        assert isinstance(theirs, Question)
        assert isinstance(question, Question)
        theirs.id = question.id
        theirs.reply("a lie")
        await until(lambda: asking.done() or here.stats().counters.get("replies_late"))
        question.reply("the truth")
        assert (await asking).data == "the truth"
        lying.cancel()


@story
async def who_dies_is_not_waited_for() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 1, timeout=600))
        await message(ann)
        await until(lambda: not here._runtime.asker.requests._by_counter)  # she is known to have it
        await there.close()
        await until(lambda: not any(peer.state == "alive" for peer in here.peers()))
        try:
            async with asyncio.timeout(PATIENCE_S):
                with contextlib.suppress(UnreachableError):
                    await asking
        except TimeoutError:
            raise AssertionError("the death was not told") from None


@story
async def what_may_have_been_done_is_asked_of_nobody_else() -> None:
    async with nodes(3) as (here, *others):
        clients = [node.client(node.name) for node in others]
        for client in clients:
            await client.join("work")
        await here.wait_for("work", 2, timeout=WAIT_S)
        asking = asyncio.create_task(here.request("work", 1, timeout=WAIT_S))
        await until(lambda: any(client.pending for client in clients))
        first, second = sorted(clients, key=lambda client: -client.pending)
        await first.node.close()
        await until(lambda: asking.done() or second.pending)
        asking.cancel()
        (came_of_it,) = await asyncio.gather(asking, return_exceptions=True)
        assert not second.pending, "a request was handled twice"
        assert isinstance(came_of_it, UnreachableError)
        assert "may have been done" in str(came_of_it)


@story
async def nothing_is_left_of_a_request() -> None:
    async with nodes(2) as (here, there):
        ann = there.client("ann")
        await ann.join("work")
        await here.wait_for("work", 1, timeout=WAIT_S)
        table = here._runtime.asker.requests
        with pytest.raises(TimeoutError):
            await here.request("work", 1, timeout=0.3)
        assert not table._open, "an entry is left of what timed out"
        asking = asyncio.create_task(here.request("work", 2, timeout=WAIT_S))
        await until(lambda: table._open)
        asking.cancel()
        await asyncio.wait([asking])
        assert not table._open
        question = await message(ann)
        while question.data != 2:  # the first may have been too late to be said at all
            question = await message(ann)
        question.reply("late")
        await until(lambda: not there._runtime.core.tickets)
        assert not table._open
        assert not table._by_counter


@story
async def a_question_has_one_answer() -> None:
    async with nodes(1) as (node,):
        ann = node.client("ann")
        await ann.join("work")
        asking = asyncio.create_task(node.request("work", 1, timeout=WAIT_S))
        question = await message(ann)
        question.reply("first")
        with pytest.raises(ConfigError):
            question.reply("second")
        assert (await asking).data == "first"


@story
async def each_is_asked_once() -> None:
    async with nodes(1) as (node,):
        full = [node.client(f"full-{n}", max_pending=1) for n in range(3)]
        for client in full:
            await client.join("work")
        node.publish_nowait("work", "fills them")
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(UnreachableError, match=r"nobody took it: .*;.*;.*full queue$"):
                await node.request("work", 1, timeout=0.5)
        assert node.stats().counters["requests"] == 3


@story
async def one_of_a_group_gets_a_job_and_who_is_full_gives_it_to_the_next() -> None:
    async with nodes(2) as (here, there):
        workers = [there.client(f"w{n}", max_pending=room) for n, room in enumerate((4, 20))]
        for client in workers:
            await client.join("jobs", queue="workers")
        await here.wait_for("jobs", 2, timeout=WAIT_S)
        for n in range(16):
            receipt = await here.publish("jobs", n, confirm=WAIT_S)
            assert receipt.members == 1, "one had room"
        assert [client.pending for client in workers] == [4, 12]


PATIENCE_S: float = WAIT_S

PLANTS: Final[tuple[tuple[Plant, Story, str], ...]] = (
    (anybodys_answer_is_taken, only_who_was_asked_answers, "a lie"),
    (a_death_is_not_told, who_dies_is_not_waited_for, "was not told"),
    (
        who_went_away_had_refused,
        what_may_have_been_done_is_asked_of_nobody_else,
        "handled twice",
    ),
    (nothing_is_forgotten, nothing_is_left_of_a_request, "an entry is left"),
    (a_question_is_answered_twice, a_question_has_one_answer, "DID NOT RAISE"),
    (who_refused_is_asked_again, each_is_asked_once, "no answer within"),
    (
        all_of_a_group_get_it,
        one_of_a_group_gets_a_job_and_who_is_full_gives_it_to_the_next,
        "one had room",
    ),
    (
        the_first_has_no_room_so_nobody_gets_it,
        one_of_a_group_gets_a_job_and_who_is_full_gives_it_to_the_next,
        "one had room",
    ),
)


@pytest.mark.parametrize(
    ("plant", "holds", "complaint"), PLANTS, ids=[plant.__name__ for plant, *_ in PLANTS]
)
def test_a_planted_bug_is_noticed_by_its_story(
    plant: Plant, holds: Story, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds()
    plant(monkeypatch)
    monkeypatch.setitem(globals(), "PATIENCE_S", 1.0)
    with pytest.raises((AssertionError, TimeoutError, pytest.fail.Exception), match=complaint):
        holds()
