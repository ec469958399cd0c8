"""Queue groups on real sockets: one of each group gets it, wherever it lives."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from crdtpubsub import (
    Client,
    ConfigError,
    InvalidNameError,
    Message,
    Node,
    NodeId,
    Outcome,
    QueueFullError,
    SyncNode,
)
from tests.api.helpers import WAIT_S, message, nodes, story, until

pytestmark = pytest.mark.net

JOBS = 900


async def workers(*homes: Node, each: int = 1, group: str = "workers") -> list[Client]:
    """So many of a group on each of these nodes."""
    made = [home.client(f"{group}-{n}", max_pending=10_000) for home in homes for n in range(each)]
    for client in made:
        await client.join("jobs", queue=group)
    return made


def jobs_of(clients: list[Client]) -> dict[tuple[NodeId, str], list[object]]:
    """What each of them has, without waiting."""
    found: dict[tuple[NodeId, str], list[object]] = {}
    for client in clients:
        mine = found[client.node.id, client.id] = []
        while client.pending:
            item = client._mailbox.take()
            assert isinstance(item, Message)
            mine.append(item.data)
    return found


async def all_there(clients: list[Client], count: int) -> dict[tuple[NodeId, str], list[object]]:
    await until(lambda: sum(client.pending for client in clients) >= count)
    return jobs_of(clients)


def assert_even(got: dict[tuple[NodeId, str], list[object]], each: int) -> None:
    """Within a fifth: a node that a busy machine makes suspect for a moment is passed over."""
    counts = [len(jobs) for jobs in got.values()]
    assert 0.8 * each <= min(counts) <= max(counts) <= 1.2 * each, counts


@story
async def test_each_job_goes_to_one_worker_and_all_get_as_many() -> None:
    async with nodes(3) as (a, b, c):
        there = await workers(a, b, c, each=2)
        await a.wait_for("jobs", 6, timeout=WAIT_S)
        assert [member.group for member in a.members("jobs")] == ["workers"] * 6
        for n in range(JOBS):
            receipt = await a.publish("jobs", n)
            assert receipt.members == 1
            assert receipt.groups in ({"workers": Outcome.QUEUED}, {"workers": Outcome.DELIVERED})
            assert list(receipt.owners.values()) == list(receipt.groups.values())
        got = await all_there(there, JOBS)
        assert sorted(job for mine in got.values() for job in mine) == list(range(JOBS))  # type: ignore[type-var]
        assert_even(got, JOBS // 6)
        assert all(mine == sorted(mine) for mine in got.values())  # type: ignore[type-var]


@story
async def test_several_publishers_spread_evenly_too() -> None:
    async with nodes(3) as (a, b, c):
        there = await workers(b, c, each=2)
        for node in (a, b, c):
            await node.wait_for("jobs", 4, timeout=WAIT_S)
        for n in range(100):
            for node in (a, b, c):
                assert node.publish_nowait("jobs", n) == 1
        got = await all_there(there, 300)
        assert sum(map(len, got.values())) == 300
        assert_even(got, 75)


@story
async def test_groups_and_plain_members_all_at_once() -> None:
    async with nodes(2) as (a, b):
        one = await workers(a, b)
        audit = b.client("audit-0")
        await audit.join("jobs", queue="audit")
        plain = [a.client("plain"), b.client("plain")]
        for client in plain:
            await client.join("jobs")
        await a.wait_for("jobs", 5, timeout=WAIT_S)
        assert a.count("jobs") == 5
        for n in range(20):
            receipt = await a.publish("jobs", n)
            assert receipt.members == 4
            assert receipt.owners == {a.id: Outcome.DELIVERED, b.id: Outcome.QUEUED}
            assert set(receipt.groups) == {"audit", "workers"}
        for client in (audit, *plain):
            assert [(await message(client)).data for _ in range(20)] == list(range(20))
        assert_even(await all_there(one, 20), 10)
        assert not any(client.pending for client in (audit, *plain))


@story
async def test_confirmed_jobs_are_counted_by_who_took_them() -> None:
    async with nodes(3) as (a, b, c):
        there = await workers(a, b, c)
        watcher = c.client("plain")
        await watcher.join("jobs")
        await a.wait_for("jobs", 4, timeout=WAIT_S)
        receipts = await asyncio.gather(*[a.publish("jobs", n, confirm=WAIT_S) for n in range(60)])
        for receipt in receipts:
            assert receipt.members == 2
            assert receipt.groups == {"workers": Outcome.DELIVERED}
            assert set(receipt.owners.values()) == {Outcome.DELIVERED}
        took = Counter[NodeId]()
        for receipt in receipts:
            took.update(receipt.clients)
        got = jobs_of(there)
        assert_even(got, 20)
        assert watcher.pending == 60
        mine = {owner: len(jobs) for (owner, _), jobs in got.items()}
        assert took == {a.id: mine[a.id], b.id: mine[b.id], c.id: mine[c.id] + 60}


@story
async def test_a_confirmed_job_that_is_refused_goes_to_another() -> None:
    async with nodes(3) as (a, b, c):
        full, free = b.client("full", max_pending=1), c.client("free", max_pending=1000)
        for client in (full, free):
            await client.join("jobs", queue="workers")
        await a.wait_for("jobs", 2, timeout=WAIT_S)
        (member,) = [m for m in a.members("jobs") if m.id == "full"]
        assert (await a.send(member, "fill", confirm=WAIT_S)).members == 1
        for n in range(10):
            receipt = await a.publish("jobs", n, confirm=WAIT_S)
            assert receipt.owners == {c.id: Outcome.DELIVERED}
            assert receipt.groups == {"workers": Outcome.DELIVERED}
        assert (full.pending, free.pending) == (1, 10)
        assert a.stats().counters["picked_again"] >= 4
        await free.leave("jobs")
        await until(lambda: a.count("jobs") == 1)
        receipt = await a.publish("jobs", 10, confirm=WAIT_S)
        assert receipt.members == 0
        assert receipt.owners == {b.id: Outcome.REFUSED_FULL}
        assert receipt.groups == {"workers": Outcome.REFUSED_FULL}


@story
async def test_a_full_worker_of_my_own_is_passed_over() -> None:
    async with nodes(2) as (a, b):
        mine, theirs = a.client("mine", max_pending=2), b.client("theirs", max_pending=1000)
        for client in (mine, theirs):
            await client.join("jobs", queue="workers")
        await a.wait_for("jobs", 2, timeout=WAIT_S)
        for n in range(20):
            assert (await a.publish("jobs", n)).members == 1
        await until(lambda: theirs.pending == 18)
        assert (mine.pending, mine.dropped) == (2, 0)
        for n in range(10):
            confirmed = await a.publish("jobs", n, confirm=WAIT_S)
            assert confirmed.owners == {b.id: Outcome.DELIVERED}


@story
async def test_who_publishes_does_not_get_it_back_if_it_says_so() -> None:
    async with nodes(2) as (a, b):
        mine, theirs = await workers(a, b)
        await a.wait_for("jobs", 2, timeout=WAIT_S)
        for n in range(6):
            receipt = await a.publish("jobs", n, exclude=mine)
            assert receipt.owners == {b.id: Outcome.QUEUED}
            receipt = await a.publish("jobs", n, exclude=mine, confirm=WAIT_S)
            assert receipt.owners == {b.id: Outcome.DELIVERED}
        assert (mine.pending, theirs.pending) == (0, 12)
        await theirs.close()
        await until(lambda: a.count("jobs") == 1)
        for confirm in (None, WAIT_S):
            receipt = await a.publish("jobs", 1, exclude=mine, confirm=confirm)
            assert (receipt.members, receipt.owners, receipt.groups) == (0, {}, {})


@story
async def test_in_a_scope_and_with_what_it_follows() -> None:
    async with nodes(2) as (a, b):
        here, there = a.scope("floor"), b.scope("floor")
        async with there.subscribe("jobs", queue="workers") as work:
            await here.wait_for("jobs", 1, timeout=WAIT_S)
            ann = a.client("ann")
            await ann.join("room")
            assert (await here.publish("jobs", 1, after=a.token())).members == 1
            assert (await work.get(timeout=WAIT_S)).data == 1
            assert a.count("jobs") == 0


@story
async def test_a_worker_that_comes_or_goes_takes_part_or_not() -> None:
    async with nodes(2) as (a, b):
        first = a.client("first")
        await first.join("jobs", queue="workers")
        assert (await a.publish("jobs", 1)).owners == {a.id: Outcome.DELIVERED}
        second = b.client("second")
        await second.join("jobs", queue="workers")
        await a.wait_for("jobs", 2, timeout=WAIT_S)
        owners = [next(iter((await a.publish("jobs", n)).owners)) for n in range(4)]
        assert set(owners) == {a.id, b.id}
        theirs = owners.count(b.id)
        await first.leave("jobs")
        owners = [next(iter((await a.publish("jobs", n)).owners)) for n in range(4)]
        assert owners == [b.id] * 4
        await until(lambda: second.pending == theirs + 4)
        assert first.pending == 5 - theirs


@story
async def test_joining_again_changes_the_group_if_one_is_named() -> None:
    async with nodes(1) as (a,):
        client = a.client("ann")
        await client.join("jobs")
        await client.join("jobs", queue="workers")
        assert [m.group for m in a.members("jobs")] == ["workers"]
        await client.join("jobs", meta={"n": 1})
        assert [(m.group, m.meta) for m in a.members("jobs")] == [("workers", {"n": 1})]
        await client.update("jobs", meta=None)
        assert [m.group for m in a.members("jobs")] == ["workers"]
        with pytest.raises(InvalidNameError):
            await client.join("jobs", queue="")
        with pytest.raises(InvalidNameError):
            a.subscribe("jobs", queue="two\nlines")
        with pytest.raises(ConfigError):
            a.subscribe(queue="workers")


@story
async def test_nobody_can_take_it() -> None:
    async with nodes(1) as (a,):
        client = a.client("ann", max_pending=1, overflow="close")
        await client.join("jobs", queue="workers")
        assert a.publish_nowait("jobs", 1) == 1
        assert a.publish_nowait("jobs", 2) == 1  # its full queue closes it, as it has chosen
        await until(lambda: a.count("jobs") == 0)
        assert a.publish_nowait("jobs", 3) == 0


@story
async def test_a_cancelled_publisher_leaves_no_ticket_behind() -> None:
    async with nodes(2) as (a, b):
        worker = b.client("worker", max_pending=1000)
        await worker.join("jobs", queue="workers")
        await a.wait_for("jobs", 1, timeout=WAIT_S)
        for n in range(40):
            task = asyncio.create_task(a.publish("jobs", n, confirm=WAIT_S))
            for _ in range(n % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        runtime = a._runtime
        await until(lambda: not runtime.core.tickets)
        jobs = jobs_of([worker])[b.id, "worker"]
        assert len(jobs) == len(set(jobs))


@story
async def test_too_many_open_are_refused_before_anything_is_sent() -> None:
    async with nodes(2) as (a, b):
        await workers(b)
        await a.wait_for("jobs", 1, timeout=WAIT_S)
        big = b"x" * (15 * 1024 * 1024)
        tasks = [asyncio.create_task(a.publish("jobs", big, confirm=WAIT_S)) for _ in range(8)]
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert any(isinstance(result, QueueFullError) for result in done)
        assert not a._runtime.core.tickets


def test_the_same_for_blocking_code() -> None:
    with (
        SyncNode(name="one", seeds=["tcp://127.0.0.1:1"]) as one,
        SyncNode(name="two", seeds=[one.endpoint]) as two,
        one.subscribe("jobs", queue="workers") as mine,
        two.subscribe("jobs", queue="workers") as theirs,
    ):
        one.wait_for("jobs", 2, timeout=WAIT_S)
        assert one.converged(timeout=WAIT_S) == ()
        for n in range(10):
            assert one.publish("jobs", n, confirm=WAIT_S).members == 1
        assert mine.client.pending + theirs.client.pending == 10
        assert min(mine.client.pending, theirs.client.pending) > 0
        client = two.client("third")
        client.join("jobs", queue="audit")
        assert [m.group for m in two.local_members("jobs")].count("audit") == 1
        two.join("jobs", client, queue="workers")
        assert {m.group for m in two.local_members("jobs")} == {"workers"}
