"""What do peers that stopped reading cost the publisher, and what a healthy peer beside them?

Sketch    A stopped process takes 1 MB messages until its outbox is full (16 MiB) or its publisher
          was refused; five of them share 64 MiB. A healthy peer's messages pass through another
          outbox, so only the CPU of making 1 MB messages is felt: p99 within 10 %.
Setup     One publisher, one healthy reader, five processes that are stopped (SIGSTOP) with a
          member each. The publisher says 500 small messages a second to the reader, and in the
          second half 40 messages of 1 MB a second to the stopped ones in turn, without waiting.
Measures  One way latency to the reader in both halves; the growth of the publisher's memory and
          the bytes in its outboxes at the end of the second.
Excludes  Processes, links, joins.
Compares  The second half with a third: as many messages of 1 MB made, for a channel without
          members. What is left is the stopped peers.
Run       python -m benchmarks.slow_reader --messages 1500
Prints    One JSON line: p50 and p99 quiet, beside the making alone, beside the stopped; their
          ratio; memory grown, outbox bytes, refusals, lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from benchmarks.common import Children, Pipe, emit, linked, parser, rss_bytes, spread_us
from benchmarks.publish_latency import CHANNEL, node_ear, on_time
from crdtpubsub import Node, QueueFullError

STOPPED = 5
SMALL_PER_S = 500.0
LONG_PER_S = 40.0
LONG_BYTES = 1_000_000


async def deaf(pipe: Pipe, seeds: list[str], channel: str) -> None:
    async with Node("tcp://127.0.0.1:*", seeds=seeds) as node:
        await node.client().join(channel)
        pipe.tell(os.getpid())
        await pipe.heard()


async def flood(node: Node, channel: Callable[[int], str]) -> None:
    number = 0
    while True:
        with contextlib.suppress(QueueFullError):
            node.publish_nowait(channel(number), os.urandom(16) + bytes(LONG_BYTES))
        number += 1
        await asyncio.sleep(1 / LONG_PER_S)


async def mouth(pipe: Pipe, messages: int) -> None:
    async with Node("tcp://127.0.0.1:*") as node:
        pipe.tell(node.endpoint)
        await node.wait_for(CHANNEL, 1, timeout=20)
        for n in range(STOPPED):
            await node.wait_for(f"deaf-{n}", 1, timeout=20)
        await linked(node, STOPPED + 1)
        pipe.tell("ready")
        start = 0
        grown, channels = 0, (lambda _n: "nobody", lambda n: f"deaf-{n % STOPPED}")
        for phase in ("quiet", "making", "stopped"):
            beside = None
            if phase != "quiet":
                beside = asyncio.create_task(flood(node, channels[phase == "stopped"]))
            if phase == "stopped":
                await pipe.heard()
                grown = rss_bytes()

            async def say(data: dict[str, Any], start: int = start) -> None:
                await node.publish(CHANNEL, {**data, "n": data["n"] + start})

            await on_time(say, messages, SMALL_PER_S, 100)
            start += messages
            if beside is not None:
                beside.cancel()
            pipe.tell(phase)
        counters = node.stats().counters
        pipe.tell(
            {
                "grown_mib": round((rss_bytes() - grown) / 2**20, 1),
                "outbox_mib": round(counters["outboxes_bytes"] / 2**20, 1),
                "refused": counters.get("publications_refused", 0),
            }
        )
        await pipe.heard()


def main() -> None:
    """Run once, print a line."""
    cli = parser(__doc__)
    cli.add_argument("--messages", type=int, default=1500, help="small ones, in each part")
    options = cli.parse_args()
    with Children() as children:
        speaker = children.start(mouth, options.messages)
        endpoint = speaker.hear()
        reader = children.start(node_ear, [endpoint], 3 * options.messages)
        reader.hear()
        sleepers = [children.start(deaf, [endpoint], f"deaf-{n}") for n in range(STOPPED)]
        pids = [sleeper.hear() for sleeper in sleepers]
        assert speaker.hear() == "ready"
        assert (speaker.hear(), speaker.hear()) == ("quiet", "making")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            speaker.tell("go")
            assert speaker.hear() == "stopped"
            cost = speaker.hear()
            latencies = reader.hear()
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        for child in (speaker, reader, *sleepers):
            child.tell("end")
    n = options.messages
    parts = {"quiet": latencies[:n], "making": latencies[n : 2 * n], "stopped": latencies[2 * n :]}
    told = {part: spread_us(seconds) for part, seconds in parts.items()}
    emit(
        "slow_reader",
        f"{STOPPED} stopped",
        **{f"{part}_{key}": told[part][key] for part in parts for key in ("p50_us", "p99_us")},
        ratio_p99=round(told["stopped"]["p99_us"] / told["making"]["p99_us"], 2),
        lost=3 * n - len(latencies),
        **cost,
    )


if __name__ == "__main__":
    main()
