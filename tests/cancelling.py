"""Cancellation at every await point, one after the other."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

__all__ = ["Outcome", "cancelled_everywhere", "run_until_suspension"]

PLACES_MAX: Final = 1000


class Outcome:
    """How a call ended that was cancelled at some place, or would have been."""

    def __init__(self, *, place: int, late: bool) -> None:
        self.place = place
        self.late = late
        self.cancelled = False
        self.result: Any = None

    def __repr__(self) -> str:
        when = "after what it waited for" if self.late else "at once"
        return f"place {self.place}, {when}, cancelled: {self.cancelled}"


@types.coroutine
def run_until_suspension(
    call: Coroutine[Any, Any, Any], place: int, *, late: bool
) -> Generator[Any, Any, Any]:
    """Run `call` in the current task and cancel that at its `place`-th suspension.

    Late: once what it waits for is done, and before the task runs on. What was handed over by
    then is lost, unless the callee keeps nothing in between.
    """
    task = asyncio.current_task()
    assert task is not None
    error: BaseException | None = None
    suspensions = 0
    while True:
        try:
            waits_for = call.send(None) if error is None else call.throw(error)
        except StopIteration as stop:
            return stop.value
        if suspensions == place:
            if late and waits_for is not None:
                waits_for.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        suspensions += 1
        error = None
        try:
            yield waits_for
        except BaseException as thrown:  # noqa: BLE001 - all of it is for the callee
            error = thrown


async def cancelled_everywhere(
    attempt: Callable[[Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Outcome]]], Any],
) -> int:
    """Let `attempt` call something with what it is given, until nothing is left to cancel.

    Returns:
        At how many places it was cancelled.
    """
    places = 0
    for late in (False, True):
        for place in range(PLACES_MAX):
            outcome = Outcome(place=place, late=late)

            async def cancelling(
                call: Coroutine[Any, Any, Any], outcome: Outcome = outcome
            ) -> Outcome:
                running = asyncio.create_task(_run(call, outcome))
                done, _ = await asyncio.wait([running], timeout=20.0)
                assert done, f"it hangs: {outcome}"
                try:
                    outcome.result = running.result()
                except asyncio.CancelledError:
                    outcome.cancelled = True
                return outcome

            await attempt(cancelling)
            if not outcome.cancelled:
                break
            places += 1
    return places


async def _run(call: Coroutine[Any, Any, Any], outcome: Outcome) -> Any:
    return await run_until_suspension(call, outcome.place, late=outcome.late)
