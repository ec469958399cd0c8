"""Five processes join and leave at random while one is killed and comes back: equal views."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

import pytest

from tests.conftest import PROFILE
from tests.net.churn import memberships_after
from tests.net.cluster import Cluster, Process, story, until

pytestmark = [pytest.mark.net, pytest.mark.timeout(180)]

CLIENTS: Final = 1000
CHANNELS: Final = 100
CHURN_S: Final = float(
    os.environ.get("CRDTPUBSUB_TEST_CHURN_S") or (20.0 if PROFILE == "soak" else 8.0)
)


def expected_view(scripts: dict[str, tuple[int, int]]) -> dict[str, dict[str, list[str]]]:
    """Channel -> owner -> client ids, from what each owner's script did, and nothing else."""
    view: dict[str, dict[str, list[str]]] = {}
    for owner, (seed, taken) in scripts.items():
        for channel, clients in memberships_after(seed, CLIENTS, CHANNELS, taken).items():
            view.setdefault(channel, {})[owner] = sorted(clients)
    return view


async def start_churning(process: Process, seed: int) -> None:
    await process.ask("churn", seed=seed, clients=CLIENTS, channels=CHANNELS)


@story
async def test_churn_with_a_kill_and_a_restart_ends_in_equal_views() -> None:
    async with Cluster() as cluster:
        processes = await cluster.start_all("a", "b", "c", "d", "e")
        seeds = {process.id: n for n, process in enumerate(processes, start=1)}
        for process in processes:
            await start_churning(process, seeds[process.id])
        began_s = time.monotonic()
        victim = processes[-1]

        # Cut short in the middle of what it does, and back for the rest as another life.
        await asyncio.sleep(CHURN_S / 3)
        dead = victim.id
        await victim.kill()
        await asyncio.sleep(CHURN_S / 6)
        await cluster.start(victim.name, seeds=[processes[0].endpoint])
        seeds[victim.id] = 6
        await start_churning(victim, 6)
        await asyncio.sleep(max(CHURN_S / 3, began_s + CHURN_S - time.monotonic()))
        took_s = time.monotonic() - began_s

        taken = await asyncio.gather(*(p.ask("stop_churning") for p in processes))
        scripts = {p.id: (seeds[p.id], n) for p, n in zip(processes, taken, strict=True)}
        expected = expected_view(scripts)
        members = sum(len(ids) for owners in expected.values() for ids in owners.values())
        print(f"{sum(taken)} steps in {took_s:.1f} s, {members} memberships in the end")
        assert all(n > 100 for n in taken)
        assert members > CLIENTS

        for process in processes:

            async def complete(process: Process = process) -> bool:
                seen: object = await process.ask("everything")
                return seen == expected

            try:
                await until(complete, timeout=15, poll_s=0.05)
            except AssertionError:
                await explain(process, expected, scripts, dead)
                raise
        for process in processes:
            await process.ask("converged", timeout=10)


async def explain(
    process: Process,
    expected: dict[str, dict[str, list[str]]],
    scripts: dict[str, tuple[int, int]],
    dead: str,
) -> None:
    """Say what is missing and what is too much, owner by owner."""
    seen: dict[str, dict[str, list[str]]] = await process.ask("everything")
    for owner in sorted({*scripts, dead, *(o for owners in seen.values() for o in owners)}):
        there = {(c, m) for c, owners in seen.items() for m in owners.get(owner, [])}
        wanted = {(c, m) for c, owners in expected.items() for m in owners.get(owner, [])}
        print(
            f"{process.name} sees of {owner[:8]}{' (killed)' if owner == dead else ''}: "
            f"{len(wanted - there)} missing {sorted(wanted - there)[:5]}, "
            f"{len(there - wanted)} too many {sorted(there - wanted)[:5]}"
        )
    print(await process.ask("peers"))
