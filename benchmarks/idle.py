"""What does a cluster cost that does nothing?

Sketch    Five nodes: 2 probes a second each, answered, a gossip round a second: some 12 frames a
          second in each direction, 150 us of Python a frame: 0.3 % of a core; 60 bytes of header
          and 20 to 100 of message: 1.5 kB/s a node.
Setup     Five processes, each a node that knows the first as its seed; each holds one membership,
          so that there is something to agree on.
Measures  Over `--seconds`: CPU time of each process, all threads, as a share of a core; bytes and
          frames it sent, as the transport counts them (without ZMTP and TCP framing).
Excludes  Starting, meeting and agreeing: it begins when every node has agreed with all others.
Compares  The target: under 1 % of a core a node at five nodes.
Run       python -m benchmarks.idle --nodes 5 --seconds 15
          python -m benchmarks.idle --nodes 1 --dead 300    # unreachable peers are cheap
Prints    One JSON line: cpu_percent (median, and the worst node), bytes_per_s and frames_per_s
          out of a node and per link, met.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from statistics import median
from time import monotonic, process_time

from benchmarks.common import Children, Pipe, emit, linked, parser
from crdtpubsub import Node

TARGET_PERCENT = 1.0
SETTLED_S = 40.0


async def sleeper(pipe: Pipe, seeds: list[str], nodes: int, seconds: float, dead: int) -> None:
    nobody = [f"tcp://127.1.{n // 250}.{n % 250 + 1}:9" for n in range(dead)]
    async with Node("tcp://127.0.0.1:*", seeds=[*seeds, *nobody]) as node:
        await node.client("me").join("all")
        pipe.tell(node.endpoint)
        await linked(node, nodes - 1, timeout_s=30)
        await node.wait_for("all", nodes, timeout=30)
        await pipe.heard()
        await node.converged(timeout=30)
        pipe.tell("agreed")
        await pipe.heard()
        if dead:  # until they are dialled no more often than they will be for ever
            await asyncio.sleep(SETTLED_S)
        before, cpu_at, at = node.stats().counters, process_time(), monotonic()
        await asyncio.sleep(seconds)  # the thing measured
        cpu_s, took_s = process_time() - cpu_at, monotonic() - at
        after = node.stats().counters
        pipe.tell(
            {
                "cpu_percent": 100 * cpu_s / took_s,
                "bytes_per_s": _grown(before, after, "transport_bytes_out") / took_s,
                "frames_per_s": _grown(before, after, "transport_frames_out") / took_s,
            }
        )
        await pipe.heard()


def _grown(before: Mapping[str, int], after: Mapping[str, int], key: str) -> int:
    return after[key] - before[key]


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--nodes", type=int, default=5)
    cli.add_argument("--seconds", type=float, default=15.0)
    cli.add_argument(
        "--dead", type=int, default=0, help="seeds of the first node nobody listens at"
    )
    args = cli.parse_args()
    with Children() as children:
        nodes = [children.start(sleeper, [], args.nodes, args.seconds, args.dead)]
        seeds = [nodes[0].hear()]
        nodes += [
            children.start(sleeper, seeds, args.nodes, args.seconds, 0)
            for _ in range(args.nodes - 1)
        ]
        for child in nodes[1:]:
            child.hear()
        for child in nodes:
            child.tell("agree")
        for child in nodes:
            child.hear()
        for child in nodes:
            child.tell("sleep")
        rows = [child.hear() for child in nodes]
    percents = [row["cpu_percent"] for row in rows]
    bytes_per_s = median(row["bytes_per_s"] for row in rows)
    emit(
        "idle",
        f"{args.nodes} nodes" + (f", {args.dead} dead seeds" if args.dead else ""),
        cpu_percent=round(median(percents), 3),
        cpu_percent_worst=round(max(percents), 3),
        bytes_per_s=round(bytes_per_s, 1),
        bytes_per_s_per_link=round(bytes_per_s / max(1, args.nodes - 1), 1),
        frames_per_s=round(median(row["frames_per_s"] for row in rows), 2),
        met=max(percents) < TARGET_PERCENT,
        seconds=args.seconds,
    )


if __name__ == "__main__":
    main()
