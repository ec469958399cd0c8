"""How a waiting task is woken: it awaits a future of ours, and the loop calls back once for all."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from crdtpubsub.runtime import Bell
from crdtpubsub.waking import ring
from tests.api.helpers import WAIT_S, story, until


class Sleepers:
    """Tasks that wait for a bell each."""

    def __init__(self, count: int) -> None:
        self.bells = [Bell() for _ in range(count)]
        self.woken: list[int] = []
        self.tasks = [asyncio.create_task(self._sleep(n)) for n in range(count)]

    async def asleep(self) -> None:
        await until(lambda: all(map(len, self.bells)))

    async def _sleep(self, number: int) -> None:
        await ring(self.bells[number], lambda: False)
        self.woken.append(number)


@story
async def test_all_tasks_are_woken_once_in_their_order_by_one_callback() -> None:
    sleepers = Sleepers(100)
    await sleepers.asleep()
    loop: Any = asyncio.get_running_loop()
    before = len(loop._ready)
    for bell in sleepers.bells:
        bell.ring()
        bell.ring()
    assert len(loop._ready) == before + 1
    await asyncio.wait_for(asyncio.gather(*sleepers.tasks), WAIT_S)
    assert sleepers.woken == list(range(100))


@story
async def test_threads_wake_tasks_and_none_is_forgotten() -> None:
    for _ in range(20):
        sleepers = Sleepers(8)
        await sleepers.asleep()
        threads = [threading.Thread(target=bell.ring) for bell in sleepers.bells]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(asyncio.gather(*sleepers.tasks), WAIT_S)
        for thread in threads:
            thread.join()


@story
async def test_who_finds_it_ready_waits_for_nothing_and_is_forgotten() -> None:
    bell = Bell()
    await ring(bell, lambda: True)
    assert not len(bell)


@story
async def test_who_was_cancelled_is_told_so_in_the_words_and_is_forgotten() -> None:
    sleepers = Sleepers(2)
    await sleepers.asleep()
    sleepers.tasks[0].cancel("enough")
    sleepers.bells[0].ring()
    sleepers.bells[1].ring()
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await sleepers.tasks[0]
    await sleepers.tasks[1]
    again = Sleepers(2)  # with what the first two left
    await again.asleep()
    for bell in again.bells:
        bell.ring()
    await asyncio.wait_for(asyncio.gather(*again.tasks), WAIT_S)


@story
async def test_a_task_runs_in_its_own_context() -> None:
    who = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []
    bell = Bell()

    async def sleep() -> None:
        who.set("the task")
        await ring(bell, lambda: False)
        seen.append(who.get())

    task = asyncio.create_task(sleep())
    await until(lambda: len(bell))
    bell.ring()
    await task
    assert (seen, who.get()) == (["the task"], "nobody")


def test_an_interrupt_that_one_task_lets_pass_forgets_no_other() -> None:
    woken: list[int] = []
    bells = [Bell() for _ in range(3)]

    async def sleep(number: int) -> None:
        await ring(bells[number], lambda: False)
        if number == 0:
            raise KeyboardInterrupt
        woken.append(number)

    async def main() -> None:
        tasks = [asyncio.ensure_future(sleep(n)) for n in range(3)]
        await until(lambda: all(map(len, bells)))
        for bell in bells:
            bell.ring()
        await asyncio.wait(tasks[1:])

    loop = asyncio.new_event_loop()
    running = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(running)
    loop.run_until_complete(asyncio.wait_for(running, WAIT_S))
    loop.close()
    assert woken == [1, 2]


def test_a_loop_that_was_closed_is_not_called() -> None:
    bell = Bell()
    loop = asyncio.new_event_loop()

    async def sleep() -> None:
        await ring(bell, lambda: False)

    task: Any = loop.create_task(sleep())
    loop.run_until_complete(until(lambda: len(bell)))
    task._log_destroy_pending = False
    loop.close()
    bell.ring()
    assert not len(bell)
