"""Tokens, and knowing that others know, on real nodes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given

from crdtpubsub import ConfigError, Message, NotSeenError, QueueFullError, Token
from crdtpubsub.crdt.token import TOKEN_NUMBERS_MAX, numbers
from crdtpubsub.engine.peers import Sign
from crdtpubsub.names import DEFAULT_SCOPE
from tests.api.helpers import WAIT_S, message, nodes, story
from tests.strategies import tokens


@story
async def test_a_join_that_waits_is_listed_everywhere_when_it_returns() -> None:
    async with nodes(4) as all_of_them:
        for n in range(20):
            here = all_of_them[n % 4]
            ann = here.client()
            await ann.join("room", wait="all", timeout=WAIT_S)
            assert [node.count("room") for node in all_of_them] == [n + 1] * 4
            await ann.join("room", meta=n, wait="all", timeout=WAIT_S)
            for node in all_of_them:
                assert n in [member.meta for member in node.members("room")]
        some = all_of_them[0].client()
        await some.join("room", wait=2, timeout=WAIT_S)
        assert sum(node.count("room") == 21 for node in all_of_them) >= 3
        with pytest.raises(NotSeenError, match=r"1 more .*there are not so many live peers"):
            await some.join("hall", wait=4, timeout=0.05)
        assert all_of_them[0].count("hall") == 1  # it is a member all the same
        for wrong in (0, -1, True, "some"):
            with pytest.raises(ConfigError, match="say 'all'"):
                await some.join("lobby", wait=wrong)  # type: ignore[arg-type]
        assert all_of_them[0].count("lobby") == 0


@story
async def test_q19_what_was_synced_is_so_on_every_live_peer() -> None:
    async with nodes(3) as [here, there, third]:
        clients = [here.client() for _ in range(20)]
        for n in range(30):
            for client in clients:
                await client.join("room", meta=n)
            for client in clients[: n % 20]:
                await client.leave("room")
            if n % 4 == 0:
                await here.del_channel("room")
            await here.synced(timeout=WAIT_S)
            mine = here.members("room")
            for node in (there, third):
                assert node.members("room") == mine
                assert [m.meta for m in node.members("room")] == [n] * len(mine)


@story
async def test_a_token_travels_as_text_and_is_waited_for_where_it_arrives() -> None:
    async with nodes(3) as [here, there, third]:
        for node in (here, there):
            await node.client("bob").join("room", wait="all", timeout=WAIT_S)
        assert await here.del_channel("room") == 2
        text = str(here.token())
        await there.synced(Token.parse(text), timeout=WAIT_S)
        assert [node.count("room") for node in (here, there, third)] == [0, 0, 0]
        stranger = Token.parse(text.replace(here.id, "ab" * 16))
        with pytest.raises(NotSeenError, match="it has not arrived here") as refused:
            await there.synced(stranger, timeout=0.05)
        assert refused.value.missing[there.id][0] == "n1"
        assert isinstance(refused.value, TimeoutError)


@story
async def test_who_is_cut_off_is_named_with_the_reason() -> None:
    async with nodes(2) as [here, there]:
        core = here._runtime.core
        with core.lock:  # alive, and only others reach it
            core.engine._cluster.unlink(core.engine._cluster.peers[there.id], 0.0)
        with pytest.raises(NotSeenError, match=r"n1 \(alive, and no link to it") as refused:
            await here.synced(timeout=0.0)
        assert list(refused.value.missing) == [there.id]
        skipped = await here.converged(timeout=WAIT_S)
        assert [peer.name for peer in skipped] == ["n1"]
        with core.lock:
            core.engine._cluster.move(core.engine._cluster.peers[there.id], Sign.SLEPT, 0.0)
            assert core.engine.knowing.answers(Token(DEFAULT_SCOPE, ()), 0) == ([], {})


@story
async def test_a_message_after_a_token_waits_for_it_and_brings_it_along() -> None:
    async with nodes(3) as [here, there, third]:
        bob = third.client("bob")
        await bob.join("ears", wait="all", timeout=WAIT_S)
        ann = here.client("ann")
        for n in range(50):
            await ann.join(f"room{n}", meta=n)
            await there.publish("ears", n, after=here.token())
            heard = await message(bob)
            assert heard.data == n
            assert [member.meta for member in third.members(f"room{n}")] == [n]
        for n in range(50):
            await ann.leave(f"room{n}")
            receipt = await there.publish("ears", n, after=here.token(), confirm=WAIT_S)
            assert receipt.members == 1
            assert (await message(bob)).data == n
            assert third.count(f"room{n}") == 0
        many = [here.client() for _ in range(400)]
        for client in many:
            await client.join("crowd")
        await there.publish("ears", "crowd", after=here.token())
        assert (await message(bob)).data == "crowd"
        assert third.count("crowd") == 400


@story
async def test_a_message_after_what_never_comes_waits_and_may_be_cancelled() -> None:
    async with nodes(2) as [here, there]:
        bob = there.client("bob")
        await bob.join("ears", wait="all", timeout=WAIT_S)
        await here.client("ann").join("room")
        never = Token.parse(str(here.token()).replace(here.id, "ab" * 16))
        assert not here._runtime.core.engine.knowing.seen(never)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await here.publish("ears", "lost", after=never)
        await here.publish("ears", "heard")
        item = await bob.get(timeout=WAIT_S)
        assert isinstance(item, Message)
        assert item.data == "heard"


@story
async def test_too_many_separate_writes_make_no_token_and_sync_all_the_same() -> None:
    async with nodes(2) as [here, there]:
        with here._runtime.core.lock:  # the peer confirms nothing
            ledger = here._runtime.core.engine._replication.scopes[DEFAULT_SCOPE].ledger
        clients = [here.client() for _ in range(1400)]
        for client in clients:
            await client.join("room")
        for client in clients[::2]:
            await client.leave("room")
        if ledger.full:
            with pytest.raises(QueueFullError, match="await synced"):
                here.token()
        await here.synced(timeout=WAIT_S)
        assert there.count("room") == 700


@story
async def test_a_node_alone_has_nobody_to_wait_for() -> None:
    async with nodes(1) as [node]:
        await node.client("ann").join("room", wait="all", timeout=0)
        await node.synced(timeout=0)
        assert await node.converged(timeout=0) == ()


@given(tokens)
def test_a_token_comes_back_from_its_text(token: Token) -> None:
    assert numbers(token.writes) <= TOKEN_NUMBERS_MAX
    assert Token.parse(str(token)) == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crdtpubsub-token-1",
        "crdtpubsub-token-2||default",
        "crdtpubsub-token-1|ab,1,,,||default",
        "crdtpubsub-token-1|" + "ab" * 16 + ",0,,,||default",
        "crdtpubsub-token-1|" + "ab" * 16 + ",1,2.1,,||default",
        "crdtpubsub-token-1|" + "ab" * 16 + ",1,,,3-1.3-2||default",
        "crdtpubsub-token-1|" + "ab" * 16 + ",1,,,||",
        "crdtpubsub-token-1|"
        + "ab" * 16
        + ",1,"
        + ".".join(str(n) for n in range(1, 2 * TOKEN_NUMBERS_MAX))
        + ",,||default",
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        Token.parse(text)
