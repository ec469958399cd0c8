"""A node as its environment describes it: says who is here, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal

from crdtpubsub import Node


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Node.from_env() as node, node.subscribe("fleet", id=node.name):
        while not stop.is_set():
            print(*(member.id for member in node.members("fleet")), flush=True)
            try:
                await asyncio.wait_for(stop.wait(), 5)
            except TimeoutError:
                continue


if __name__ == "__main__":
    asyncio.run(main())
