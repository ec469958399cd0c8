"""A work queue without a queue server: each job goes to one worker, wherever it runs.

    python examples/work_queue.py work     # in as many terminals as you like
    python examples/work_queue.py 20       # in one more: twenty jobs, and who has done them

Nodes of one user on one host find each other; `CRDTPUBSUB_SEEDS` and `CRDTPUBSUB_BIND` name others.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from crdtpubsub import Node


async def work(node: Node) -> None:
    """Do what comes. Of all workers one gets each job; more of them may come and go at any time."""
    async with node.subscribe("jobs", queue="workers") as jobs:
        print("worker: ready", flush=True)
        async for job in jobs:
            print(f"worker: {job.data}", flush=True)


async def produce(node: Node, count: int) -> None:
    """Hand out jobs; say who took them. A job that nobody has for certain is told, not lost."""
    await node.wait_for("jobs", 1, timeout=60)
    receipts = await asyncio.gather(
        *[node.publish("jobs", f"job {n}", confirm=10) for n in range(count)]
    )
    took = Counter(worker for receipt in receipts for worker in receipt.clients)
    for n, receipt in enumerate(receipts):
        if receipt.members != 1:
            print(f"job {n}: {receipt.groups}", flush=True)
    print(f"{took.total()} of {count} jobs, to {len(took)} nodes", flush=True)


async def main() -> None:
    async with Node.from_env() as node:
        if sys.argv[1:] == ["work"]:
            await work(node)
        else:
            await produce(node, int(sys.argv[1]))


if __name__ == "__main__":
    asyncio.run(main())
