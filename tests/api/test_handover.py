"""A lock that is handed over: who waits goes before whoever works in slices."""

from __future__ import annotations

import statistics
import threading
import time
from typing import Self

import pytest

from crdtpubsub.runtime.handover import HandOverLock


class Slicer:
    """A thread that takes the lock again and again, a millisecond of work each time."""

    def __init__(self, lock: HandOverLock) -> None:
        self.slices = 0
        self._lock = lock
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()

    def _run(self) -> None:
        while not self._stop:
            with self._lock:
                self.slices += 1
                until_s = time.perf_counter() + 0.001
                while time.perf_counter() < until_s:
                    pass


def test_a_second_thread_waits_for_a_slice_or_two_and_not_for_the_whole_work() -> None:
    lock = HandOverLock()
    waited: list[int] = []
    with Slicer(lock) as slicer:
        while slicer.slices == 0:
            time.sleep(0)
        for _ in range(50):
            before = slicer.slices
            with lock:
                waited.append(slicer.slices - before)
    # Counted in slices, which no load on the machine changes. The reader may lose the
    # processor between counting and asking; a plain lock has it wait for a hundred slices.
    assert statistics.median(waited) <= 2


def test_one_at_a_time() -> None:
    lock = HandOverLock()
    total = 0

    def add() -> None:
        nonlocal total
        for _ in range(2000):
            with lock:
                seen = total
                if seen % 97 == 0:
                    time.sleep(0)
                total = seen + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total == 8000


def test_an_exception_under_the_lock_lets_it_go() -> None:
    lock = HandOverLock()
    with pytest.raises(LookupError), lock:
        raise LookupError
    with lock:
        pass
