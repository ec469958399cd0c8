"""Work shared by real processes, one of which is killed in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import cycle
from pathlib import Path

import pytest

from tests.net.cluster import Cluster, Process, story, until
from tests.net.journalling import Journalling

JOBS = 1200
SOME = 600
MANY = 24_000
BATCH = 2000
KILLS_MIN = 5


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


class Journals(Cluster):
    """Each life of each worker writes down what it takes."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def make(self, name: str) -> Process:
        return Journalling(self, name, self.flags)

    async def works(self, home: Process) -> None:
        await home.ask("journal", path=str(self.directory / f"{home.name}-{home.id}"))
        for client in ("w", "x"):
            await home.ask("join", channel="jobs", client=client, queue="workers")

    def taken(self) -> Counter[int]:
        """How often each job was taken, by whichever life."""
        return Counter(
            int(line) for path in self.directory.iterdir() for line in path.read_text().split()
        )


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_no_job_of_many_is_lost_or_done_twice_while_workers_are_killed(tmp_path: Path) -> None:
    @story
    async def kills() -> None:
        async with Journals(tmp_path) as cluster:
            a, *homes = await cluster.start_all("a", "b", "c", "d", "e")
            for home in homes:
                await cluster.works(home)
            await a.ask("wait_for", channel="jobs", count=8, timeout=20)
            killed = 0

            async def keep_killing() -> None:
                nonlocal killed
                for victim, witness in cycle(zip(homes, homes[1:] + homes[:1], strict=True)):
                    before = sum(cluster.taken().values())

                    async def work_goes_on(before: int = before) -> bool:
                        return sum(cluster.taken().values()) > before + 200

                    await until(work_goes_on, timeout=120.0, poll_s=0.05)
                    await victim.kill()
                    killed += 1
                    await victim.start([a.endpoint])
                    await cluster.works(victim)
                    await witness.ask("wait_for", channel="jobs", count=8, timeout=20)

            killing = asyncio.create_task(keep_killing())
            told: dict[str, set[int]] = {}
            first = 0
            try:
                while first < MANY or (killed < KILLS_MIN and first < 10 * MANY):
                    said = await a.ask(
                        "confirm_many",
                        patience_s=120.0,
                        channel="jobs",
                        first=first,
                        count=BATCH,
                        confirm=10.0,
                    )
                    for word, jobs in said.items():
                        told.setdefault(word, set()).update(jobs)
                    first += BATCH
                    assert not killing.done(), killing.result()
            finally:
                killing.cancel()
                await asyncio.wait([killing])
            taken = cluster.taken()
            delivered, refused = told["delivered"], told.get("refused", set())
            unknown = told.get("unknown", set())
            print(
                f"{first} jobs, {killed} kills and restarts: {len(delivered)} delivered, "
                f"{len(delivered - taken.keys())} of them missing, "
                f"{sum(times > 1 for times in taken.values())} twice, {len(refused)} refused, "
                f"{len(unknown)} unknown, of which {len(unknown & taken.keys())} were done"
            )
            assert sum(map(len, told.values())) == first
            assert killed >= KILLS_MIN
            assert not delivered - taken.keys(), "said to be delivered, and missing"
            assert max(taken.values()) == 1, "a job was done twice"
            assert not refused & taken.keys(), "refused, and done"
            assert len(delivered) > 0.9 * first

    kills()
