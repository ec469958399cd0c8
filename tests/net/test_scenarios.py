"""Chosen scenarios on real processes and sockets, each named as where it comes from.

P: Erlang's `pg`; T: Phoenix.Tracker; Z: ours. A process of `pg` is a client here, and killing it
closes the client.
"""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from random import Random

import pytest

from tests.net.cluster import Cluster, Process, Refused, equals, story, until

QUICK = {"suspicion_max_mult": 1.0}
"""Nobody is left to confirm a suspicion on the short side of a split; do not wait for them."""

pytestmark = [pytest.mark.net, pytest.mark.timeout(90)]


async def hides(process: Process, *lost: str) -> float:
    """Wait until none of these lives is held up."""

    async def gone() -> bool:
        states = await process.peer_states()
        return all(states.get(life, "down") == "down" for life in lost)

    return await until(gone)


@story
async def test_p09_two() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await a.join("g", "p")
        await equals(lambda: b.sees("g"), {("a", "p")})
        assert await b.ask("local", channel="g") == []
        await a.ask("end", client="p")
        assert await a.ask("local", channel="g") == []
        await equals(lambda: b.sees("g"), set())
        await b.join("g", "p2", "p3")
        await equals(lambda: a.sees("g"), {("b", "p2"), ("b", "p3")})
        await b.close()
        await equals(lambda: a.sees("g"), set())
        assert await a.ask("channels") == []


@story
async def test_p12_initial() -> None:
    async with Cluster() as cluster:
        a = await cluster.start("a")
        await a.join("g", "p")
        b = await cluster.start("b")
        await equals(lambda: b.sees("g"), {("a", "p")})
        assert await b.ask("local", channel="g") == []
        await a.ask("end", client="p")
        await equals(lambda: b.sees("g"), set())


@story
async def test_p13_netsplit() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await b.join("invisible", "old")
        await equals(lambda: a.sees("invisible"), {("b", "old")})
        await cluster.split([a], [b])
        await asyncio.gather(hides(a, b.id), hides(b, a.id))
        assert await a.sees("invisible") == set()
        await b.join("g", "new")
        assert await b.leave("invisible", "old") == [True]
        await b.join("visible", "old")
        await a.join("g", "l")
        assert await a.sees("g") == {("a", "l")}
        assert await b.sees("g") == {("b", "new")}
        cluster.heal()
        for process in (a, b):
            await equals(partial(process.sees, "g"), {("a", "l"), ("b", "new")})
        await cluster.settle(a, b)
        assert await a.sees("visible") == {("b", "old")}
        assert await a.ask("channels") == ["g", "visible"]


@story
async def test_p16_exchange() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c", config=QUICK)
        mine = [f"b{n}" for n in range(10)]
        await b.join("g", *mine)
        for client in mine[:3]:
            await b.ask("end", client=client)
        left = {("b", client) for client in mine[3:]}
        await equals(lambda: a.sees("g"), left)
        await cluster.split([a], [b, c])
        await hides(a, b.id, c.id)
        assert await a.sees("g") == set()
        theirs = [f"c{n}" for n in range(10)]
        await c.join("g", *theirs)
        others = [f"o{n}" for n in range(10)]
        for client in others:
            await b.join("second", client)
        await b.join("third", *others)
        cluster.heal()
        await equals(lambda: a.sees("g"), left | {("c", client) for client in theirs})
        await cluster.settle(a, b, c)
        everyone = {("b", client) for client in others}
        assert await a.sees("second") == everyone == await a.sees("third")
        assert await b.leave("third", *others[:3]) == [True] * 3
        await equals(lambda: a.sees("third"), {("b", client) for client in others[3:]})
        assert await b.leave("left", *others) == [False] * 10
        assert await b.leave("third", *others) == [False] * 3 + [True] * 7
        await equals(lambda: a.sees("third"), set())


@story
async def test_p22_forced_sync() -> None:
    """Equal rows after a split, asked for over and over, change nothing."""
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await a.join("one", "p")
        await b.join("one", "r")
        both = {("a", "p"), ("b", "r")}
        for process in (a, b):
            await equals(partial(process.sees, "one"), both)
        await cluster.split([a], [b])
        await asyncio.gather(hides(a, b.id), hides(b, a.id))
        assert await a.sees("one") == {("a", "p")}
        cluster.heal()
        for process in (a, b):
            await equals(partial(process.sees, "one"), both)
        for _ in range(5):
            await cluster.settle(a, b)
            assert await a.sees("one") == await b.sees("one") == both
        assert await a.ask("exited") == await b.ask("exited") == {}


@story
async def test_z01_delete_beside_a_join_on_the_other_side() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await a.join("room", "a1")
        await b.join("room", "b1")
        for process in (a, b):
            await equals(partial(process.sees, "room"), {("a", "a1"), ("b", "b1")})
        await cluster.split([a], [b])
        await b.join("room", "b2")
        assert await a.ask("del_channel", channel="room") == 2
        assert await a.sees("room") == set()
        assert {("b", "b1"), ("b", "b2")} <= await b.sees("room")
        cluster.heal()
        for process in (a, b):
            await equals(partial(process.sees, "room"), {("b", "b2")})
        await cluster.settle(a, b)
        assert await a.ask("exited") == {"a1": [["room", "removed"]]}
        assert await b.ask("exited") == {"b1": [["room", "removed"]]}
        assert await a.ask("channels") == await b.ask("channels") == ["room"]


@story
async def test_z05_an_owner_restarts_at_its_address() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await b.join("room", "old")
        await a.join("room", "reader")
        for process in (a, c):
            await equals(partial(process.sees, "room"), {("a", "reader"), ("b", "old")})
        before = b.id
        await b.kill()
        await cluster.start("b", seeds=[a.endpoint, c.endpoint])
        assert b.id != before
        for process in (a, c):
            await equals(partial(process.sees, "room"), {("a", "reader")})
        # A ghost of the old membership would take the message of the new life's namesake.
        receipt = await a.ask("publish", channel="room", data="nobody but the reader")
        assert receipt["owners"] == {a.id: "delivered"}
        await b.join("room", "new")
        for process in (a, b, c):
            await equals(partial(process.sees, "room"), {("a", "reader"), ("b", "new")})
        await cluster.meshed(a, b, c)
        receipt = await c.ask("publish", channel="room", data="to both")
        assert receipt["members"] == 2
        await equals(lambda: b.ask("got"), {"new": ["to both"]})
        await equals(lambda: a.ask("got"), {"reader": ["nobody but the reader", "to both"]})
        assert before not in await a.linked()


@story
async def test_t05_paused_resumed_killed_restarted() -> None:
    async with Cluster() as cluster:
        a, b = await cluster.start_all("a", "b")
        await b.join("room", "before")
        await equals(lambda: a.sees("room"), {("b", "before")})
        life = b.id
        b.signal(signal.SIGSTOP)
        try:
            await hides(a, life)
            assert await a.sees("room") == set()
            assert life in await a.peer_states()
        finally:
            b.signal(signal.SIGCONT)
        await equals(lambda: a.sees("room"), {("b", "before")})
        assert (await a.peer_states())[life] == "alive"  # the same life, and no re-join
        await equals(b.linked, {a.id})
        await b.kill()
        await hides(a, life)
        assert await a.sees("room") == set()
        await cluster.start("b", seeds=[a.endpoint])
        await b.join("room", "after")
        await equals(lambda: a.sees("room"), {("b", "after")})
        assert (await a.peer_states()).get(life, "down") == "down"


@story
async def test_a_killed_owner_is_gone_everywhere_within_a_second() -> None:
    async with Cluster() as cluster:
        a, b, c, d = await cluster.start_all("a", "b", "c", "d")
        took_ms: list[float] = []
        for _ in range(2):
            await d.join("room", "client")
            for process in (a, b, c):
                await equals(partial(process.sees, "room"), {("d", "client")})
            looks = [partial(process.sees, "room") for process in (a, b, c)]
            waits = [asyncio.create_task(equals(look, set())) for look in looks]
            await d.kill()
            took_ms.append(1000 * max(await asyncio.gather(*waits)))
            await cluster.start("d", seeds=[a.endpoint, b.endpoint])
            await cluster.meshed(a, b, c, d)
        print(f"gone on all others after {', '.join(f'{ms:.0f}' for ms in took_ms)} ms")
        assert min(took_ms) < 1000


@story
async def test_an_application_that_stalls_or_computes_is_not_accused_and_accuses_nobody() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await b.join("room", "busy")
        for process in (a, c):
            await equals(partial(process.sees, "room"), {("b", "busy")})
        for burn in (False, True):
            stalled = asyncio.create_task(b.ask("stall", seconds=5.0, burn=burn))
            while not stalled.done():
                assert await a.sees("room") == await c.sees("room") == {("b", "busy")}
                await asyncio.wait([stalled], timeout=0.2)
            assert (await stalled > 0) is burn
        for process in (a, b, c):
            assert await process.ask("downs") == 0
            assert (await process.ask("stats")).get("refuted", 0) == 0


@pytest.mark.soak
@pytest.mark.timeout(180)
@story
async def test_a_quarter_of_eight_paused_two_seconds_at_random_for_a_minute_hides_nobody() -> None:
    """The same on invented time: `tests/sim/test_detection.py`."""
    dice = Random(1)
    async with Cluster() as cluster:
        processes = await cluster.start_all(*"abcdefgh")
        await cluster.meshed(*processes)
        ends_s = time.monotonic() + 60.0
        while time.monotonic() < ends_s:
            some = dice.sample(processes, 2)
            for process in some:
                process.signal(signal.SIGSTOP)
            await asyncio.sleep(2.0)
            for process in some:
                process.signal(signal.SIGCONT)
            await asyncio.sleep(dice.uniform(0.0, 3.0))
        assert [await process.ask("downs") for process in processes] == [0] * 8


@story
async def test_z06_a_member_behind_a_cut_is_listed_and_refused_not_lost() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        await cluster.split([a], [c])

        async def linked_to_b_alone() -> bool:
            return await a.linked() == {b.id} == await c.linked()

        await until(linked_to_b_alone)
        await c.join("room", "far")
        await equals(partial(a.sees, "room"), {("c", "far")})
        receipt = await a.ask("publish", channel="room", data="into the void")
        assert receipt == {"members": 0, "owners": {c.id: "refused: no link"}}
        with pytest.raises(Refused, match="QueueFullError: no owner of 'room' could take it"):
            await a.ask("publish_nowait", channel="room", data="into the void")
        await b.join("room", "near")
        await equals(partial(a.sees, "room"), {("c", "far"), ("b", "near")})
        receipt = await a.ask("publish", channel="room", data="to b alone")
        assert receipt["members"] == 1
        assert receipt["owners"] == {b.id: "queued", c.id: "refused: no link"}
        await equals(partial(b.ask, "got"), {"near": ["to b alone"]})
        assert await c.ask("got") == {}
        cluster.heal()
        await cluster.meshed(a, b, c)
        receipt = await a.ask("publish", channel="room", data="to both")
        assert receipt["members"] == 2
        await equals(partial(c.ask, "got"), {"far": ["to both"]})


@story
async def test_a_peer_that_stands_still_holds_a_publisher_for_a_moment_only() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")
        for process in (b, c):
            await process.join("room", "reader")
        await equals(partial(a.sees, "room"), {("b", "reader"), ("c", "reader")})
        b.signal(signal.SIGSTOP)
        try:

            async def silent() -> bool:  # what it said before it was stopped may be under way
                try:
                    await a.ask("converged", timeout=0.2)
                except Refused as refused:
                    assert "TimeoutError: not converged with b after 0.2 s" in str(refused)  # noqa: PT017
                    return True
                return False

            await until(silent)
            flood = await a.ask("flood", channel="room", size_bytes=65_536, count=300)
            print(flood)
            assert flood["outcomes"].get("refused: lagging", 0) > 0 or b.id not in await a.linked()
            assert flood["longest_s"] < 2.0
        finally:
            b.signal(signal.SIGCONT)
        await equals(partial(a.sees, "room"), {("b", "reader"), ("c", "reader")})

        async def drained() -> bool:
            receipt = await a.ask("publish", channel="room", data="again")
            return bool(receipt["owners"].get(b.id) == "queued")

        await until(drained, poll_s=0.05)

        async def heard() -> bool:
            return "again" in (await b.ask("got")).get("reader", [])

        await until(heard)
        assert (await a.peer_states())[b.id] == "alive"
