"""Single faults on real processes in network namespaces, each with what must hold under it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.netns import Namespaces, missing
from tests.chaos.schedule import Rules, Shape, between
from tests.conftest import PROFILE
from tests.net.cluster import Process, equals, story, until

WHY_NOT = missing()
SOAK = PROFILE == "soak"

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(240),
    pytest.mark.skipif(WHY_NOT is not None, reason=f"no network namespaces: {WHY_NOT}"),
]


async def all_moves(processes: Sequence[Process]) -> list[str]:
    """Who was shown or hidden at whom since the last time."""
    cluster = processes[0].cluster
    names = {process.id: process.name for process in cluster.processes.values()}
    return [
        f"{process.name} has {names.get(life, life)} {what}"
        for process in processes
        for _, life, what in await process.ask("moves")
    ]


async def still_for(seconds: float, processes: Sequence[Process]) -> bool:
    """Whether nobody was shown or hidden at anybody for so long."""
    await all_moves(processes)
    await asyncio.sleep(seconds)
    return not await all_moves(processes)


async def listed(process: Process) -> set[int]:
    """The numbers of the memberships that it lists."""
    said = await process.ask("look", channels=["room"])
    return {number for _, _, _, number in said["listed"]}


@story
async def test_two_halves_and_a_bridge_do_not_flap() -> None:
    """Ten nodes; only one reaches both halves. First a firewall that rejects, then one that
    drops: everybody lists everybody through the bridge, and nobody comes and goes."""
    names = "abcdefghij"
    async with Namespaces(names, wiring="veth") as arena:
        processes = await arena.start_all(*names)
        for number, process in enumerate(processes):
            await process.ask("enter", channel="room", client="c", number=number)
            await process.ask("watch")
        everybody = set(range(len(names)))
        ways = between(names[:5], names[6:])  # "f" is the bridge
        for rules in (Rules(reject=ways), Rules(drop=ways)):
            number = await arena.impose(rules)
            began_s = time.monotonic()
            for process, across in ((processes[0], 4), (processes[-1], 5)):

                async def cut_off(process: Process = process, across: int = across) -> bool:
                    return len(await process.linked()) == len(names) - 1 - across

                await until(cut_off, timeout=30.0)
            for process in processes:
                await equals(partial(listed, process), everybody, timeout=40.0)
            await until(partial(still_for, 1.0, processes), timeout=40.0)
            print(f"settled after {time.monotonic() - began_s:.1f} s")
            watched_s = 30.0 if SOAK else 4.0
            await asyncio.sleep(watched_s)
            moves = await all_moves(processes)
            print(f"{len(moves)} moves in {watched_s} s: {moves}")
            assert len(moves) <= 1
            for process in processes:
                await equals(partial(listed, process), everybody)
            await arena.lift(number)
            await arena.meshed(*processes)
            await all_moves(processes)


@story
async def test_ten_percent_of_loss_kills_nobody() -> None:
    """Ten percent lost, some swapped and doubled, 20 to 30 ms each way."""
    names = "abcde"
    async with Namespaces(names, seed=5) as arena:
        processes = await arena.start_all(*names)
        for process in processes:
            await process.ask("watch")
        bad = Shape(loss=0.1, delay_s=0.02, jitter_s=0.01, duplicate=0.05, reorder=0.05)
        number = await arena.impose(Rules(shape=bad, ways=between(names, names)))
        ends_s, joined = time.monotonic() + (60.0 if SOAK else 7.0), 0
        while time.monotonic() < ends_s:
            process = processes[joined % len(processes)]
            await process.ask("enter", channel="room", client=f"c{joined}", number=joined)
            joined += 1
            await asyncio.sleep(0.02)
        assert await all_moves(processes) == []
        for process in processes:
            await equals(partial(listed, process), set(range(joined)), timeout=30.0)
        await arena.lift(number)
        assert await all_moves(processes) == []
    lost = sum(counts["lost"] for counts in arena.routed.values())
    sent = sum(counts["sent"] for counts in arena.routed.values())
    print(f"{joined} joins, {lost} packets lost of {lost + sent}, nobody hidden")
    assert 0.03 < lost / (lost + sent) < 0.14


@story
async def test_a_one_way_cut_settles_and_news_goes_round() -> None:
    async with Namespaces("abc", wiring="veth") as arena:
        a, b, c = processes = await arena.start_all("a", "b", "c")
        for process in processes:
            await process.ask("watch")
        number = await arena.impose(Rules(drop=frozenset([("a", "c")])))

        async def apart() -> bool:
            return c.id not in await a.linked()

        await until(apart)
        for number_, process in enumerate((a, b, c)):
            await process.ask("enter", channel="room", client="x", number=number_)
        for process in processes:
            await equals(partial(listed, process), {0, 1, 2})
        assert await still_for(2.0, processes)
        await arena.lift(number)
        await arena.meshed(*processes)
        await arena.settle(*processes)
        assert await all_moves(processes) == []


@story
async def test_pauses_shorter_than_suspicion_are_nothing_longer_ones_hide_once() -> None:
    async with Namespaces("abcde", wiring="veth") as arena:
        processes = await arena.start_all(*"abcde")
        victim, others = processes[-1], processes[:-1]
        await victim.ask("enter", channel="room", client="x", number=1)
        for process in others:
            await equals(partial(listed, process), {1})
            await process.ask("watch")
        for pause_s in (0.5, 2.0):
            victim.signal(signal.SIGSTOP)
            await asyncio.sleep(pause_s)
            victim.signal(signal.SIGCONT)
            await arena.meshed(*processes)
            assert await all_moves(others) == [], f"after {pause_s} s"
        victim.signal(signal.SIGSTOP)
        began_s = time.monotonic()
        try:
            for process in others:
                await equals(partial(listed, process), set())
            hidden_s = time.monotonic() - began_s
            await asyncio.sleep(30.0 - hidden_s if SOAK else 0.5)
        finally:
            victim.signal(signal.SIGCONT)
        began_s = time.monotonic()
        for process in others:
            await equals(partial(listed, process), {1})
        back_s = time.monotonic() - began_s
        print(f"hidden after {hidden_s:.1f} s, back {back_s:.2f} s after CONT")
        assert back_s < 2.0
        moves: list[str] = []

        async def all_told() -> bool:
            moves.extend(await all_moves(others))
            return len(moves) >= 2 * len(others)

        await until(all_told)
        assert await still_for(1.0, others)
        once = [f"{p.name} has e {what}" for p in others for what in ("hidden", "shown")]
        assert sorted(moves) == sorted(once)


async def longest_beside_a_death(a: Process, b: Process, owner: Process) -> float:
    """How long a join or leave at `a` took at most while an owner of 50,000 members died."""
    await owner.ask("crowd", channel="room", count=50_000, patience_s=60.0)
    for process in (a, b):
        await process.ask("wait_for", channel="room", count=50_000, timeout=60.0, patience_s=70.0)
    frames = (await a.ask("stats"))["transport_frames_out"]
    probing = asyncio.create_task(a.ask("stalls", seconds=3.0))
    await asyncio.sleep(0.5)
    await owner.kill()
    longest_s = float(await probing)
    await equals(partial(listed, a), set())
    await equals(partial(listed, b), set())
    said = (await a.ask("stats"))["transport_frames_out"] - frames
    print(f"longest call {1000 * longest_s:.1f} ms, {said} frames")
    assert said < 6000  # mostly the prober's own joins and leaves
    return longest_s


@story
async def test_fifty_thousand_members_of_a_dying_node() -> None:
    """What its end costs by itself, it costs each time; a busy machine may hold one up once."""
    async with Namespaces("abcde", wiring="veth") as arena:
        a, b = await arena.start_all("a", "b")
        longest_s: list[float] = []
        for name in "cde":
            (owner,) = await arena.start_all(name)
            longest_s.append(await longest_beside_a_death(a, b, owner))
            if longest_s[-1] < 0.05:
                break
        assert min(longest_s) < 0.05


@story
async def test_a_clock_jump_of_an_hour_is_nothing(tmp_path: Path) -> None:
    """The wall clock of one process jumps an hour forth and two back; nobody notices."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("needs faketime (package faketime)")
    library = faketime_library()
    now = tmp_path / "now"
    now.write_text("+0")
    async with Namespaces("abc", wiring="veth") as arena:
        a, b = await arena.start_all("a", "b")
        c = arena.processes.setdefault("c", arena.make("c"))
        c.wrapper = (
            *c.wrapper,
            "env",
            f"LD_PRELOAD={library}",
            f"FAKETIME_TIMESTAMP_FILE={now}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "DONT_FAKE_MONOTONIC=1",
        )
        await c.start([a.endpoint])
        processes = (a, b, c)
        await arena.meshed(*processes)
        for process in processes:
            await process.ask("watch")
        there_s = await c.ask("wall_clock")
        for jump_s in (3600, -3600):
            now.write_text(f"{jump_s:+d}")

            async def jumped(jump_s: int = jump_s) -> bool:
                return bool(abs(await c.ask("wall_clock") - there_s - jump_s) < 600)

            await until(jumped)
            await c.ask("enter", channel="room", client=f"c{jump_s}", number=jump_s)
            for process in processes:
                await equals(partial(in_room, process, jump_s), True)
            assert await still_for(2.0, processes)


def faketime_library() -> Path:
    return next(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))


async def in_room(process: Process, number: int) -> bool:
    return number in await listed(process)
