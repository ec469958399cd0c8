"""A node that is asked for what a checker needs: each verb says exactly what it did and saw."""

from __future__ import annotations

import asyncio
from typing import Any

from crdtpubsub import Member
from tests.net.child import Child, main

Seen = tuple[str, str, str, object]
"""`(channel, owner, client, serial)`; the serial of a membership travels as its metadata."""


class Watched(Child):
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
        return {"listed": listed, "hidden": hidden, "messages": messages, "exits": exits}


if __name__ == "__main__":
    asyncio.run(main(Watched))
