"""What do the steps of a join, a merge, a publish and a read cost, one process, no peers?

Sketch    MemberSet.join 5 us; merge 3 us a membership; encode a publication 1.5 us, decode it 4
          us; a cached route 0.3 us; `members()` from the cache 0.3 us; `await publish` without a
          member 4 us; a delivery to a local queue 0.3 us.
Setup     One process. The set, the codec and the engine by themselves; then a `Node` alone.
Measures  Each step in a loop, garbage collector on, `--repeat` times: CPU time of the thread for
          the pure steps and of the process for `Node` (its I/O thread included), and the best of
          the repeats, since what is above it is other people's work.
Excludes  Building the arguments.
Compares  `reference: dict insert` and `reference: msgpack pack`, in the same loop.
Run       python -m benchmarks.micro --repeat 5
Prints    One JSON line a step: us (best), us_median, n.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import monotonic, process_time, thread_time
from typing import Any

from benchmarks.bare import pack, unpack
from benchmarks.common import emit, parser
from crdtpubsub import Node
from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.groups import Grade, Turns
from crdtpubsub.names import DEFAULT_SCOPE, NodeId
from crdtpubsub.wire.codec import Decoder, Encoder, cluster_tag, frame
from crdtpubsub.wire.messages import Deltas, Header
from crdtpubsub.wire.payload import pack as pack_payload
from crdtpubsub.wire.payload import unpack as unpack_payload

ME, OTHER = NodeId("1" * 32), NodeId("2" * 32)
TAG = cluster_tag("default")
HEADER = Header(TAG, OTHER, ME, 1, 1)
PAYLOAD = pack({"n": 123_456, "pad": b"x" * 84})

SMALLER = 1
"""Does each step so many times less often: to see that it runs, and not what it costs."""

Step = Callable[[], tuple[float, int]]
"""Does it `n` times once; seconds and `n`."""


def few(n: int) -> int:
    return max(1, n // SMALLER)


def joins(channels: int, members: int) -> MemberSet:
    made = MemberSet(OTHER)
    for channel in range(channels):
        for client in range(members):
            made.join(f"channel-{channel:05}", f"client-{channel * members + client:06}")
    return made


def timed(work: Callable[[], object], n: int) -> tuple[float, int]:
    start = thread_time()
    work()
    return thread_time() - start, n


# ---------------------------------------------------------------- the set


def dict_insert() -> tuple[float, int]:
    names = [f"client-{n:06}" for n in range(few(50_000))]
    table: dict[str, int] = {}

    def work() -> None:
        for birth, name in enumerate(names):
            table[name] = birth  # noqa: PERF403  (a comprehension is not what a set does)

    return timed(work, len(names))


def set_join(channels: int, members: int) -> tuple[float, int]:
    return timed(lambda: joins(channels, few(members)), channels * few(members))


def set_leave() -> tuple[float, int]:
    made = joins(1, few(20_000))
    births = list(made.clients(OTHER, "channel-00000").values())

    def work() -> None:
        for birth in births:
            made.remove(OTHER, (birth, birth + 1))

    return timed(work, len(births))


def set_merge(channels: int, members: int, slice_births: int) -> tuple[float, int]:
    theirs = joins(channels, few(members))
    total = channels * few(members)
    deltas = [
        theirs.delta(OTHER, (low, min(low + slice_births, total + 1)))
        for low in range(1, total + 1, slice_births)
    ]
    mine = MemberSet(ME)
    mine.hold(OTHER)

    def work() -> None:
        for delta in deltas:
            mine.merge(delta)

    took = timed(work, total)
    assert mine.size(OTHER) == total
    return took


def set_delta(slice_births: int) -> tuple[float, int]:
    theirs = joins(100, few(300))
    total = theirs.size(OTHER)

    def work() -> None:
        for low in range(1, total + 1, slice_births):
            theirs.delta(OTHER, (low, min(low + slice_births, total + 1)))

    return timed(work, total)


# ---------------------------------------------------------------- the codec


def payload_step(step: Callable[[Any], object], argument: object) -> tuple[float, int]:
    def work() -> None:
        for _ in range(few(20_000)):
            step(argument)

    return timed(work, few(20_000))


def publication_record() -> tuple[float, int]:
    encoder = Encoder()

    def work() -> None:
        for _ in range(few(20_000)):
            encoder.publication(DEFAULT_SCOPE, "prices", PAYLOAD)

    return timed(work, few(20_000))


def publication_decode(batch: int) -> tuple[float, int]:
    encoder, decoder = Encoder(), Decoder(TAG)
    record = encoder.publication(DEFAULT_SCOPE, "prices", PAYLOAD)
    data = frame(encoder.header(HEADER), [record] * batch)
    turns = max(1, few(20_000) // batch)

    def work() -> None:
        for _ in range(turns):
            decoder.decode(data)

    return timed(work, turns * batch)


def deltas_of(births: int) -> tuple[list[Delta], int]:
    n = few(min(30_000, 3000 * births))
    theirs = joins(100, few(300))
    return [
        theirs.delta(OTHER, (low, min(low + births, n + 1))) for low in range(1, n + 1, births)
    ], n


def delta_encode(births: int) -> tuple[float, int]:
    encoder = Encoder()
    deltas, n = deltas_of(births)

    def work() -> None:
        for delta in deltas:
            encoder.message(Deltas(DEFAULT_SCOPE, (delta,)))

    return timed(work, n)


def delta_decode(births: int) -> tuple[float, int]:
    encoder, decoder = Encoder(), Decoder(TAG)
    deltas, n = deltas_of(births)
    frames = [
        frame(encoder.header(HEADER), [encoder.message(Deltas(DEFAULT_SCOPE, (delta,)))])
        for delta in deltas
    ]

    def work() -> None:
        for data in frames:
            decoder.decode(data)

    return timed(work, n)


# ---------------------------------------------------------------- the engine


def new_engine() -> Engine:
    engine = Engine(ME, name="me", endpoint="tcp://127.0.0.1:1", dice=random.Random(1), now=0.0)
    engine.watch(False)
    return engine


def engine_join() -> tuple[float, int]:
    engine = new_engine()

    def work() -> None:
        for client in range(few(20_000)):
            engine.handle(ev.Join(DEFAULT_SCOPE, "prices", f"client-{client:06}"), client * 1e-5)
            engine.take()

    return timed(work, few(20_000))


def engine_route() -> tuple[float, int]:
    engine = new_engine()
    engine.handle(ev.Join(DEFAULT_SCOPE, "prices", "me"), 0.0)

    def work() -> None:
        for _ in range(few(50_000)):
            engine.route(DEFAULT_SCOPE, "prices")

    return timed(work, few(50_000))


def group_turns(members: int) -> tuple[float, int]:
    """One pick of a queue group, nobody slow."""
    turns = Turns(random.Random(1), lambda _owner: Grade.GOOD)
    group = tuple((f"worker-{n:04}", ME) for n in range(members))

    def work() -> None:
        for _ in range(few(20_000)):
            turns.took("jobs", "workers", next(turns.order("jobs", "workers", group)))

    return timed(work, few(20_000))


# ---------------------------------------------------------------- a node alone


@contextmanager
def stopwatch(n: int, into: list[tuple[float, int]]) -> Iterator[None]:
    start = process_time()
    yield
    into.append((process_time() - start, n))


async def node_steps() -> dict[str, tuple[float, int]]:
    found: dict[str, tuple[float, int]] = {}

    def note(step: str, took: list[tuple[float, int]]) -> None:
        found[step] = took[0]

    async with Node("tcp://127.0.0.1:*") as node:
        took: list[tuple[float, int]] = []
        with stopwatch(few(10_000), took):
            clients = [
                node.client(f"client-{n:05}", max_pending=10_000) for n in range(few(10_000))
            ]
        note("Node.client", took)

        took = []
        with stopwatch(few(10_000), took):
            for client in clients:
                await node.join("crowd", client)
        note("Node.join, alone", took)

        for size in (10, 1000):
            for client in clients[: few(size)]:
                await node.join(f"of-{size}", client)
            node.members(f"of-{size}")
            took = []
            with stopwatch(few(100_000), took):
                for _ in range(few(100_000)):
                    node.members(f"of-{size}")
            note(f"Node.members of {size}, cached", took)
        took = []
        with stopwatch(20, took):
            for client in clients[few(1000) : few(1000) + 20]:
                await node.join("of-1000", client)
                node.members("of-1000")
        note("Node.members of 1000, after a join", took)

        took = []
        with stopwatch(few(20_000), took):
            for _ in range(few(20_000)):
                await node.publish("nobody", {"n": 1, "pad": b"x" * 84})
        note("Node.publish, no member", took)

        worker = node.client("worker", max_pending=100)
        await node.join("jobs", worker, queue="workers")
        took = []
        with stopwatch(few(20_000), took):
            for _ in range(few(20_000)):
                await node.publish("jobs", {"n": 1, "pad": b"x" * 84})
                await worker.get()
        note("Node.publish to a queue group of 1, read", took)

        listeners = [node.client(f"listener-{n:04}", max_pending=100) for n in range(few(1000))]
        for client in listeners:
            await node.join("local", client)
        took = []
        start = monotonic()
        with stopwatch(100 * len(listeners), took):
            for _ in range(10):
                for _ in range(10):
                    await node.publish("local", {"n": 1, "pad": b"x" * 84})
                for client in listeners:
                    while client.pending:
                        await client.get()
        found["wall: local delivery to 1000, read"] = (
            monotonic() - start,
            100 * len(listeners),
        )
        note("local delivery to 1000, read", took)
    return found


# ---------------------------------------------------------------- the question

STEPS: dict[str, Step] = {
    "reference: dict insert": dict_insert,
    "reference: msgpack pack": lambda: timed(
        lambda: [pack({"n": n, "pad": PAYLOAD}) for n in range(few(20_000))], few(20_000)
    ),
    "MemberSet.join, 1 channel": lambda: set_join(1, 30_000),
    "MemberSet.join, 3000 channels": lambda: set_join(3000, 10),
    "MemberSet.remove, one by one": set_leave,
    "MemberSet.merge, slices of 1": lambda: set_merge(100, 100, 1),
    "MemberSet.merge, slices of 256, 1 channel": lambda: set_merge(1, 30_000, 256),
    "MemberSet.merge, slices of 256, 100 channels": lambda: set_merge(100, 300, 256),
    "MemberSet.merge, slices of 256, 3000 channels": lambda: set_merge(3000, 10, 256),
    "MemberSet.merge, slices of 1500": lambda: set_merge(100, 300, 1500),
    "MemberSet.delta, slices of 1500": lambda: set_delta(1500),
    "pack a payload of 100 B": lambda: payload_step(pack_payload, {"n": 1, "pad": b"x" * 84}),
    "unpack a payload of 100 B": lambda: payload_step(unpack_payload, PAYLOAD),
    "unpack a payload of 4 KiB": lambda: payload_step(unpack_payload, pack(b"x" * 4090)),
    "reference: msgpack unpackb 100 B": lambda: payload_step(unpack, PAYLOAD),
    "encode a publication": publication_record,
    "decode a publication, alone in a frame": lambda: publication_decode(1),
    "decode a publication, 256 in a frame": lambda: publication_decode(256),
    "encode a membership, 1500 in a delta": lambda: delta_encode(1500),
    "decode a membership, 1500 in a delta": lambda: delta_decode(1500),
    "encode a membership, alone": lambda: delta_encode(1),
    "decode a membership, alone": lambda: delta_decode(1),
    "Engine.handle(Join) and take": engine_join,
    "Engine.route, cached": engine_route,
    "a turn of a queue group of 6": lambda: group_turns(6),
    "a turn of a queue group of 1000": lambda: group_turns(1000),
}


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--repeat", type=int, default=3)
    args = cli.parse_args()
    for name, step in STEPS.items():
        report(name, [step() for _ in range(args.repeat)])
    nodes = [asyncio.run(node_steps()) for _ in range(args.repeat)]
    for name in nodes[0]:
        report(name, [found[name] for found in nodes])


def report(step: str, runs: list[tuple[float, int]]) -> None:
    each_us = [seconds / n * 1e6 for seconds, n in runs]
    emit(
        "micro",
        step,
        us=round(min(each_us), 3),
        us_median=round(median(each_us), 3),
        n=runs[0][1],
    )


if __name__ == "__main__":
    main()
