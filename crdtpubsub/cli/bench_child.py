"""One of the two processes of `crdtpubsub bench`: tells JSON lines on stdout.

The receiver says its endpoint, then how many came, now and then, then the sum; the sender, which is
given that endpoint, says when it began. `at` is the monotonic clock, which all processes of a
host share. Both end when their stdin does: none outlives a bench, however that ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from threading import Thread
from time import monotonic
from typing import Any, Final

from crdtpubsub import Config, Node

CHANNEL: Final = "bench"
STALLED_S: Final = 20.0
TELL_PARTS: Final = 50
NUMBER_BYTES: Final = 8


def _tell(**report: object) -> None:
    print(json.dumps(report), flush=True)


async def _receive(cluster: str, messages: int) -> None:
    async with Node("tcp://127.0.0.1:*", cluster=cluster) as node:
        subscription = node.subscribe(CHANNEL, max_pending=messages + 1, max_pending_bytes=2**31)
        async with subscription as arriving:
            _tell(endpoint=node.endpoint)
            received = disordered = 0
            at, every = monotonic(), max(1, messages // TELL_PARTS)
            try:
                while received < messages:
                    data: Any = (await arriving.get(timeout=STALLED_S)).data
                    disordered += int.from_bytes(data[:NUMBER_BYTES]) != received
                    received += 1
                    at = monotonic()
                    if received % every == 0:
                        _tell(received=received)
            except TimeoutError:
                pass  # what did not come is lost, and the bench says so
            _tell(at=at, received=received, disordered=disordered)
            await asyncio.Event().wait()


async def _send(cluster: str, messages: int, size_bytes: int, endpoint: str) -> None:
    # Patient: a receiver that a busy machine did not schedule shall not be refused.
    config = Config(publish_stall_s=10.0, publish_wait_max_s=20.0)
    async with Node(seeds=[endpoint], cluster=cluster, config=config) as node:
        await node.wait_for(CHANNEL, 1, timeout=STALLED_S)
        rest = bytes(size_bytes - NUMBER_BYTES)
        refused, at = 0, monotonic()
        for number in range(messages):
            receipt = await node.publish(CHANNEL, number.to_bytes(NUMBER_BYTES) + rest)
            refused += not receipt.members
        _tell(at=at, refused=refused)
        await asyncio.Event().wait()


def _end_with_stdin() -> None:
    os.read(0, 1)  # nothing is ever said there
    os._exit(0)


def _main() -> None:
    Thread(target=_end_with_stdin, daemon=True).start()
    options: dict[str, Any] = json.loads(sys.argv[1])
    asyncio.run(_send(**options) if "endpoint" in options else _receive(**options))


if __name__ == "__main__":
    _main()
