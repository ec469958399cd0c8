"""A node that is asked for what a checker needs: each verb says exactly what it did and saw."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

from crdtpubsub import Member, NodeId, QueueFullError
from tests.net.child import Child, main

Seen = tuple[str, str, str, object]
"""`(channel, owner, client, serial)`; the serial of a membership travels as its metadata."""


LOOK_EVERY_S = 0.02


class Watched(Child):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.moved: list[tuple[float, str, str]] = []
        self.watching: asyncio.Task[None] | None = None
        self.receipts: list[tuple[int, dict[str, str] | None]] = []
        self.confirming: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Note from now on, 50 times a second, whose members are shown and whose are hidden."""
        self.watching = asyncio.create_task(self.watches())

    async def watches(self) -> None:
        before: dict[NodeId, bool] = {}
        while True:
            shown = {p.node: p.state != "down" for p in self.node.peers()}
            for life, up in shown.items():
                if before.get(life, up) != up:
                    self.moved.append((time.monotonic(), life, "shown" if up else "hidden"))
            before = shown
            await asyncio.sleep(LOOK_EVERY_S)

    async def moves(self) -> list[tuple[float, str, str]]:
        """`(when, life, shown or hidden)` since the last time that this was asked."""
        moved, self.moved = self.moved, []
        return moved

    async def wall_clock(self) -> float:
        """What `time.time` says."""
        return time.time()

    async def crowd(self, channel: str, count: int) -> None:
        """Let so many clients join."""
        for number in range(count):
            await self.node.client(f"m{number}").join(channel)
            if number % 500 == 0:
                await asyncio.sleep(0)

    async def stalls(self, seconds: float) -> float:
        """Join and leave all the time; the longest that one call took."""
        client, longest_s, ends_s = self.node.client("prober"), 0.0, time.monotonic() + seconds
        while (began_s := time.monotonic()) < ends_s:
            await client.join("elsewhere")
            await client.leave("elsewhere")
            longest_s = max(longest_s, time.monotonic() - began_s)
            await asyncio.sleep(0.002)
        await client.close()
        return longest_s

    async def close(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
        for task in list(self.confirming):
            task.cancel()
        await super().close()

    async def enter(self, channel: str, client: str, number: int) -> bool:
        """Join, unless it is a member: a join here always makes a new membership."""
        if any(m.id == client for m in self.node.local_members(channel)):
            return False
        await self.client(client).join(channel, meta=number)
        return True

    async def quit(self, channel: str, client: str) -> dict[str, Any]:
        """Leave by the client's own handle; the serial seen before."""
        seen = [m.meta for m in self.node.local_members(channel) if m.id == client]
        return {"seen": seen, "done": await self.leave(channel, client)}

    async def expel(self, channel: str, pick: int) -> dict[str, Any] | None:
        """Remove the pick-th member of all that are held, whoever owns it."""
        members = self.node.members(channel, include_down=True)
        if not members:
            return None
        member = members[pick % len(members)]
        done = await self.node.leave(channel, Member(channel, member.id, member.node))
        return {"owner": member.node, "client": member.id, "seen": [member.meta], "done": done}

    async def wipe(self, channel: str) -> dict[str, Any]:
        """Delete a channel: what was seen before, and how many memberships that ended."""
        seen = [m.meta for m in self.node.members(channel, include_down=True)]
        return {"seen": seen, "count": await self.node.del_channel(channel)}

    async def say(self, channel: str, number: int) -> dict[str, str]:
        """Publish; what the receipt says of each owner."""
        receipt = await self.node.publish(channel, number)
        return {node: str(outcome) for node, outcome in receipt.owners.items()}

    async def can_confirm(self) -> bool:
        """Whether this version of the library has confirmed publications."""
        return "confirm" in inspect.signature(self.node.publish).parameters

    async def confirm(self, channel: str, number: int, seconds: float) -> None:
        """Publish until every owner has answered; the next `look` has the receipt."""
        task = asyncio.create_task(self.confirms(channel, number, seconds))
        self.confirming.add(task)
        task.add_done_callback(self.confirming.discard)

    async def confirms(self, channel: str, number: int, seconds: float) -> None:
        publish: Any = self.node.publish  # `confirm` is asked for by name only
        try:
            receipt = await publish(channel, number, confirm=seconds)
        except QueueFullError:
            self.receipts.append((number, {}))  # nothing was sent to anybody
            return
        clients = receipt.clients
        self.receipts.append(
            (
                number,
                {
                    node: f"delivered {clients[node]}" if node in clients else str(outcome)
                    for node, outcome in receipt.owners.items()
                },
            )
        )

    async def unconfirmed(self) -> int:
        """How many publications wait for their answers."""
        return len(self.confirming)

    async def look(self, channels: list[str]) -> dict[str, Any]:
        """Everything held in these channels and all others that are listed, and what the clients
        read since the last look."""
        listed: list[Seen] = []
        hidden: list[Seen] = []
        for channel in sorted({*channels, *self.node.channels()}):
            up = set(self.node.members(channel))
            for m in self.node.members(channel, include_down=True):
                (listed if m in up else hidden).append((m.channel, m.node, m.id, m.meta))
        messages, self.messages = self.messages, {}
        exits, self.exits = self.exits, {}
        receipts, self.receipts = self.receipts, []
        return {
            "listed": listed,
            "hidden": hidden,
            "messages": messages,
            "exits": exits,
            "receipts": receipts,
        }


if __name__ == "__main__":
    asyncio.run(main(Watched))
