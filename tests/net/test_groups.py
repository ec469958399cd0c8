"""Work shared by real processes, one of which is killed in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.net.cluster import Cluster, Process, story, until

JOBS = 1200
SOME = 600


async def jobs_of(process: Process) -> dict[str, list[int]]:
    got: dict[str, list[int]] = await process.ask("got")
    return got


@story
async def test_many_jobs_each_once_and_spread_evenly() -> None:
    async with Cluster() as cluster:
        a, *homes = await cluster.start_all("a", "b", "c", "d")
        for home in homes:
            await home.ask("join", channel="jobs", client="w", queue="workers")
            await home.ask("join", channel="jobs", client="x", queue="workers")
        await a.ask("wait_for", channel="jobs", count=6, timeout=20)
        told = await a.ask(
            "confirm_many", patience_s=60, channel="jobs", first=0, count=JOBS, confirm=50.0
        )
        assert sorted(told) == ["delivered"]

        async def all_read() -> bool:
            return sum([sum(map(len, (await jobs_of(home)).values())) for home in homes]) >= JOBS

        await until(all_read)
        done = [jobs for home in homes for jobs in (await jobs_of(home)).values()]
        assert sorted(job for jobs in done for job in jobs) == list(range(JOBS))
        assert len(done) == 6
        assert all(0.8 * JOBS / 6 <= len(jobs) <= 1.2 * JOBS / 6 for jobs in done)


@story
async def test_a_worker_is_killed_and_the_others_take_the_rest() -> None:
    async with Cluster() as cluster:
        a, b, c, d = await cluster.start_all("a", "b", "c", "d")
        for home in (b, c, d):
            await home.ask("join", channel="jobs", client="w", queue="workers")
        await a.ask("wait_for", channel="jobs", count=3, timeout=20)
        publishing = asyncio.create_task(
            a.ask("confirm_many", patience_s=60, channel="jobs", first=0, count=SOME, confirm=3.0)
        )

        async def some_done() -> bool:
            return len((await jobs_of(d)).get("w", ())) > 20

        await until(some_done)
        before = (await jobs_of(d))["w"]
        await d.kill()
        told: dict[str, list[int]] = await publishing
        count = {word: len(jobs) for word, jobs in told.items()}
        assert sum(count.values()) == SOME
        assert count["delivered"] > SOME // 2
        done = Counter(before)
        for home in (b, c):
            done.update((await jobs_of(home))["w"])
        assert max(done.values()) == 1, "a job was done twice"
        # What the dead one took after the last look, and what nobody can tell of.
        missing = set(told["delivered"]) - done.keys()
        assert len(missing) + len(told.get("unknown", ())) < SOME // 2
        assert not set(told.get("refused", ())) & done.keys()
        last = await a.ask("confirm_many", channel="jobs", first=SOME, count=300, confirm=20.0)
        assert {word: len(jobs) for word, jobs in last.items()} == {"delivered": 300}
