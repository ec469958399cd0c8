"""How long until the members of a dead node are gone from every view, and of a silent one?

Sketch    SIGKILL: the kernel resets the connections at once, our own plain dial is refused within
          a millisecond, a second node that is refused too decides: three hops of 0.3 ms and some
          Python at each of four nodes that share two cores: p50 5 to 10 ms. SIGSTOP: nothing
          breaks. A probe in turn (0.5 s a peer, so up to 2 s for four), its failure (1.2 s), a
          suspicion of 2 s that others confirm: 3 to 5 s; of two nodes nobody else confirms or
          is asked: the same.
Setup     `--nodes` processes on loopback, linked; one of them owns 1,000 members. It is killed
          (or stopped; after which it is continued, comes back, and is stopped again: in four
          clusters at once, which idle).
Measures  From just before `os.kill` until a watcher in each survivor, woken by the change, sees
          none of its members; the slowest survivor counts. Also how often anybody else was held
          down meanwhile: must be 0.
Excludes  Starting, and the return of a stopped node (asserted, not timed).
Compares  TARGETS: kill p50 <= 12 ms, p99 <= 50 ms at 5 nodes; stop p99 <= 5 s at 5 nodes, 8 s at 2.
Run       python -m benchmarks.detection --kills 50 --silences 20
Prints    A JSON line a case: p50_ms, p90_ms, p99_ms, max_ms, false_downs, met.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import eq
from random import Random
from time import monotonic, sleep

from benchmarks.common import Child, Children, Pipe, counted, emit, linked, parser, percentile
from crdtpubsub import Node

MEMBERS = 1000
SETTLED_S = 3.0
CLUSTERS = 4
TARGETS_MS = {("kill", 5): (12.0, 50.0), ("stop", 5): (5000.0, 5000.0), ("stop", 2): (8e3, 8e3)}
"""(what, nodes) -> p50 and p99 at most."""


async def owner(pipe: Pipe, seeds: list[str]) -> None:
    """The one that will die."""
    async with Node("tcp://127.0.0.1:*", seeds=seeds) as node:
        client = node.client("c")
        for n in range(MEMBERS):
            await client.join(f"room-{n % 10}/{n // 10}")
        await client.join("owner")
        pipe.tell((node.endpoint, os.getpid()))
        await pipe.heard(1e6)


async def watcher(pipe: Pipe, seeds: list[str]) -> None:
    """A survivor: says when the owner was gone, and when it was back."""
    async with Node("tcp://127.0.0.1:*", seeds=seeds) as node:
        pipe.tell(node.endpoint)
        while (said := await pipe.heard(1e6)) is not None:
            what, wanted, peers = said
            if peers:
                await linked(node, peers, 60.0)
            if what == "there":
                await counted(node, "owner", partial(eq, wanted), 60.0)
                await counted(node, "room-9/99", partial(eq, wanted), 60.0)
            elif what == "gone":
                pipe.tell("watching")
                await counted(node, "owner", partial(eq, 0), 60.0)
            down = sum(peer.state == "down" for peer in node.peers())
            pipe.tell((monotonic(), down))


def _all(watchers: Sequence[Child], *said: object) -> list[tuple[float, int]]:
    for child in watchers:
        child.tell(said)
    return [child.hear() for child in watchers]


def _until_gone(watchers: Sequence[Child], pid: int, number: int) -> tuple[float, int]:
    """Seconds until the last one saw it, and how many others were held down by then."""
    for child in watchers:
        child.tell(("gone", 0, 0))
    for child in watchers:
        child.hear()
    start = monotonic()
    os.kill(pid, number)
    seen = [child.hear() for child in watchers]
    return max(at for at, _ in seen) - start, sum(down for _, down in seen) - len(watchers)


def kills(nodes: int, times: int) -> None:
    took: list[float] = []
    false = earlier = 0
    with Children() as children:
        first = children.start(watcher, [])
        seeds = [first.hear()]
        watchers = [first, *(children.start(watcher, seeds) for _ in range(nodes - 2))]
        for child in watchers[1:]:
            child.hear()
        for _ in range(times):
            victim = children.start(owner, seeds)
            _, pid = victim.hear()
            _all(watchers, "there", 1, nodes - 1)
            seconds, others = _until_gone(watchers, pid, signal.SIGKILL)
            took.append(seconds)
            false += others - earlier
            earlier += len(watchers)  # each holds it down from now on
            victim.process.join()
    _report("kill", nodes, took, false)


def silences(nodes: int, times: int) -> None:
    """In some clusters at once: what is waited for takes seconds and no CPU."""
    clusters = min(times, CLUSTERS)
    shares = [times // clusters + (n < times % clusters) for n in range(clusters)]
    with ThreadPoolExecutor(clusters) as pool:
        found = list(pool.map(partial(_silenced, nodes), shares, range(clusters)))
    took = [seconds for seconds_of, _ in found for seconds in seconds_of]
    _report("stop", nodes, took, sum(false for _, false in found))


def _silenced(nodes: int, times: int, seed: int) -> tuple[list[float], int]:
    """One cluster; seconds until all saw each silence, and who was held down falsely."""
    took: list[float] = []
    false = 0
    dice = Random(seed)
    with Children() as children:
        first = children.start(watcher, [])
        seeds = [first.hear()]
        watchers = [first, *(children.start(watcher, seeds) for _ in range(nodes - 2))]
        for child in watchers[1:]:
            child.hear()
        victim = children.start(owner, seeds)
        _, pid = victim.hear()
        for _ in range(times):
            _all(watchers, "there", 1, nodes - 1)
            # Round trips are known then, and no two silences begin at one phase of the probing.
            sleep(SETTLED_S + dice.random())
            seconds, others = _until_gone(watchers, pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
            took.append(seconds)
            false += others
    return took, false


def _report(what: str, nodes: int, took: Sequence[float], false: int) -> None:
    p50, p90, p99 = (percentile(took, percent) * 1e3 for percent in (50, 90, 99))
    target = TARGETS_MS.get((what, nodes))
    emit(
        "detection",
        f"{what}, {nodes} nodes",
        p50_ms=round(p50, 2),
        p90_ms=round(p90, 2),
        p99_ms=round(p99, 2),
        max_ms=round(max(took) * 1e3, 2),
        samples=len(took),
        false_downs=false,
        met=None if target is None else p50 <= target[0] and p99 <= target[1] and not false,
    )


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--kills", type=int, default=50)
    cli.add_argument("--silences", type=int, default=20)
    args = cli.parse_args()
    if args.kills:
        kills(5, args.kills)
    if args.silences:
        silences(5, args.silences)
        silences(2, args.silences)


if __name__ == "__main__":
    main()
