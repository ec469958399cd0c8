"""How long from `publish` on one node to a reader on another, at 1,000 messages a second?

Sketch    Publish 10 us, a hop to the I/O thread 40 us, TCP 30 us, the I/O thread there 40 us,
          decode 10 us, a hop to the reader 40 us: ~170 us, against ~130 us bare: a ratio of 1.3.
Setup     Two processes, one channel, one member; the publisher keeps to its timetable, and what
          is late goes at once.
Measures  One way: from just before `publish()` to the moment the reader has the unpacked message.
          One monotonic clock for both. Losses are counted.
Excludes  Processes, links, the join; the first tenth (warm-up).
Compares  The same on two bare DEALER sockets in the event loop, one frame a message, in the same
          run, alternating with ours.
Run       python -m benchmarks.publish_latency --messages 4000 --per-s 1000 --payload-bytes 100
Prints    One JSON line: p50, p99, max, lost, bare p50 and p99, ratios.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from benchmarks.bare import Inbox, dialled, pack, unpack
from benchmarks.common import Children, Pipe, emit, linked, medians, parser, spread_us
from crdtpubsub import Node

CHANNEL = "ticks"
QUIET_S = 5.0


class Ear:
    """The latencies of the messages 0 .. expected - 1."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.latencies_s: list[float] = []

    def note(self, data: dict[str, Any]) -> bool:
        self.latencies_s.append(monotonic() - data["at"])
        return bool(data["n"] >= self.expected - 1)


async def on_time(
    publish: Callable[[dict[str, Any]], Awaitable[object]],
    messages: int,
    per_s: float,
    size_bytes: int,
) -> None:
    """Publish by a timetable."""
    pad = b"x" * max(0, size_bytes - 30)
    start = monotonic()
    for number in range(messages):
        left_s = start + number / per_s - monotonic()
        if left_s > 0:
            await asyncio.sleep(left_s)
        await publish({"n": number, "at": monotonic(), "pad": pad})


async def node_ear(pipe: Pipe, seeds: list[str], expected: int) -> None:
    async with Node("tcp://127.0.0.1:*", seeds=seeds) as node:
        messages = await node.subscribe(CHANNEL, max_pending=expected + 1)
        pipe.tell("joined")
        ear = Ear(expected)
        while True:
            try:
                message = await messages.get(timeout=QUIET_S)
            except TimeoutError:
                break
            data: Any = message.data
            if ear.note(data):
                break
        pipe.tell(ear.latencies_s)
        await pipe.heard()


async def node_mouth(pipe: Pipe, messages: int, per_s: float, size_bytes: int) -> None:
    async with Node("tcp://127.0.0.1:*") as node:
        pipe.tell(node.endpoint)
        await node.wait_for(CHANNEL, 1, timeout=20)
        await linked(node, 1)
        await on_time(lambda data: node.publish(CHANNEL, data), messages, per_s, size_bytes)
        await pipe.heard()


async def bare_ear(pipe: Pipe, expected: int) -> None:
    ear = Ear(expected)
    done = asyncio.Event()
    members = {CHANNEL: ear.note}

    def on_frame(frame: bytes) -> None:
        channel, data = unpack(frame)
        if members[channel](data):
            done.set()

    inbox = Inbox(on_frame)
    pipe.tell(inbox.endpoint)
    await done.wait()
    pipe.tell(ear.latencies_s)
    await pipe.heard()


async def bare_mouth(
    pipe: Pipe, endpoint: str, messages: int, per_s: float, size_bytes: int
) -> None:
    members = {CHANNEL: [dialled(endpoint)]}

    async def publish(data: dict[str, Any]) -> None:
        for socket in members[CHANNEL]:
            socket.send(pack((CHANNEL, data)))

    await on_time(publish, messages, per_s, size_bytes)
    await pipe.heard()


def measure(kind: str, messages: int, per_s: float, size_bytes: int) -> list[float]:
    """The latencies of what arrived."""
    with Children() as children:
        if kind == "ours":
            mouth = children.start(node_mouth, messages, per_s, size_bytes)
            ear = children.start(node_ear, [mouth.hear()], messages)
            ear.hear()
        else:
            ear = children.start(bare_ear, messages)
            children.start(bare_mouth, ear.hear(), messages, per_s, size_bytes)
        latencies_s: list[float] = ear.hear()
        return latencies_s


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--messages", type=int, default=4000)
    cli.add_argument("--per-s", type=float, default=1000.0)
    cli.add_argument("--payload-bytes", type=int, default=100)
    cli.add_argument("--repeat", type=int, default=3)
    args = cli.parse_args()
    found: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
    lost = 0
    for _ in range(args.repeat):
        for kind, rows in found.items():
            latencies_s = measure(kind, args.messages, args.per_s, args.payload_bytes)
            rows.append(spread_us(latencies_s[args.messages // 10 :]))
            if kind == "ours":
                lost += args.messages - len(latencies_s)
    ours, bare = medians(found["ours"]), medians(found["bare"])
    emit(
        "publish_latency",
        f"{args.per_s:.0f}/s of {args.payload_bytes} B",
        **ours,
        bare_p50_us=bare["p50_us"],
        bare_p99_us=bare["p99_us"],
        ratio_p50=round(ours["p50_us"] / bare["p50_us"], 2),
        ratio_p99=round(ours["p99_us"] / bare["p99_us"], 2),
        lost=lost,
    )


if __name__ == "__main__":
    main()
