"""A router between network namespaces that does to packets what it is told, by seeded dice.

    python -m tests.chaos.router SEED DEVICE...      in a namespace that may make TUN devices

It makes the devices, says so, and forwards between them: the packet for 10.8.0.N goes to the N-th.
Each line on stdin is `{"1>2": [delay_s, jitter_s, loss, duplicate, reorder, rate_bps], ...}`: the
directions that are not calm. It ends when stdin does, and says what it did. (`tc netem` does the
same, where the kernel has it.)
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import struct
import sys
import time
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Final

TUNSETIFF: Final = 0x400454CA
IFF_TUN_NO_PI: Final = 0x1001
PACKET_BYTES_MAX: Final = 65_535
BURST: Final = 64
BACKLOG_S: Final = 0.5
"""A narrow line drops what would wait longer, as a router's buffer does."""
CALM: Final = (0.0,) * 6
HELD_BACK_S: Final = 0.02
"""A packet that others overtake waits this much longer."""


class Direction:
    """One way between two devices."""

    def __init__(self, seed: str, way: str) -> None:
        self.dice = Random(f"{seed} {way}")
        self.told: tuple[float, ...] = CALM
        self.free_at = 0.0  # when a narrow line has sent what it has
        self.last_due = 0.0
        self.counts = {"sent": 0, "lost": 0, "twice": 0, "held_back": 0}

    def due(self, size_bytes: int, now: float) -> list[float]:
        """When to hand on a packet: never, once, or twice."""
        delay_s, jitter_s, loss, duplicate, reorder, rate_bps = self.told
        if loss and self.dice.random() < loss:
            self.counts["lost"] += 1
            return []
        at = now
        if rate_bps:
            at = max(now, self.free_at)
            if at - now > BACKLOG_S:
                self.counts["lost"] += 1
                return []
            at = self.free_at = at + 8 * size_bytes / rate_bps
        at += delay_s + (self.dice.uniform(0.0, jitter_s) if jitter_s else 0.0)
        self.counts["sent"] += 1
        if reorder and self.dice.random() < reorder:
            self.counts["held_back"] += 1
            return [at + HELD_BACK_S]
        at = self.last_due = max(at, self.last_due)  # jitter alone swaps nothing
        if duplicate and self.dice.random() < duplicate:
            self.counts["twice"] += 1
            return [at, at]
        return [at]


class Router:
    def __init__(self, seed: str, devices: list[str]) -> None:
        self.fds = [_tun(name) for name in devices]
        numbers = range(1, len(devices) + 1)
        self.ways = {(a, b): Direction(seed, f"{a}>{b}") for a in numbers for b in numbers}
        self._heap: list[tuple[float, int, int, bytes]] = []
        self._order = count()

    def run(self) -> None:
        """Until stdin ends."""
        selector = selectors.DefaultSelector()
        os.set_blocking(sys.stdin.fileno(), False)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, 0)
        for number, fd in enumerate(self.fds, start=1):
            selector.register(fd, selectors.EVENT_READ, number)
        said = b""
        while True:
            wait_s = self._heap[0][0] - time.monotonic() if self._heap else None
            for key, _ in selector.select(None if wait_s is None else max(wait_s, 0.0)):
                if key.data:
                    self._read(key.fd, key.data)
                    continue
                if not (piece := os.read(key.fd, PACKET_BYTES_MAX)):
                    return
                *lines, said = (said + piece).split(b"\n")
                if lines:
                    self._obey(json.loads(lines[-1]))
            self._write()

    def _obey(self, told: dict[str, list[float]]) -> None:
        for (a, b), direction in self.ways.items():
            direction.told = tuple(told.get(f"{a}>{b}", CALM))

    def _read(self, fd: int, source: int) -> None:
        now = time.monotonic()
        for _ in range(BURST):
            try:
                packet = os.read(fd, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            if packet[0] >> 4 != 4 or (source, packet[19]) not in self.ways:
                continue  # IPv6 solicitations, multicast
            for at in self.ways[source, packet[19]].due(len(packet), now):
                heappush(self._heap, (at, next(self._order), packet[19], packet))

    def _write(self) -> None:
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            _, _, target, packet = heappop(self._heap)
            try:
                os.write(self.fds[target - 1], packet)
            except OSError:
                continue  # that namespace is not up

    def counts(self) -> dict[str, dict[str, int]]:
        """What was done, by direction."""
        return {f"{a}>{b}": w.counts for (a, b), w in self.ways.items() if any(w.counts.values())}


def _tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return fd


if __name__ == "__main__":
    router = Router(sys.argv[1], sys.argv[2:])
    print("ready", flush=True)
    router.run()
    print(json.dumps(router.counts()), flush=True)
