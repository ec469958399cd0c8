"""The map `control: channel -> clients` and its five operations, each in a line or two.

    python examples/control_map.py

Two nodes, to fit in one process; they would talk alike from two hosts.
"""

from __future__ import annotations

import asyncio

from crdtpubsub import Client, Exit, Node


class ControlMap:
    """The operations under the names they had while the map was one process's own."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def send_msg(self, channel: str, msg: object) -> int:
        """Send to all clients of the channel, on every node; how many have it in their queue.

        Confirmed: whoever deletes the channel next, their `Exit` comes behind it.
        """
        return (await self.node.publish(channel, msg, confirm=30)).members

    async def add_channel(self, channel: str) -> None:
        """Let it exist, clients or not."""
        await self.node.add_channel(channel)

    async def del_channel(self, channel: str) -> int:
        """Tell its clients to exit, then delete it; how many they were."""
        return await self.node.del_channel(channel)

    async def add_client(self, channel: str, client: Client) -> None:
        """Let a client of this node into the channel."""
        await self.node.join(channel, client)

    async def del_client(self, channel: str, client_id: str) -> int:
        """Remove all clients of that id, wherever they live; how many."""
        some = [m for m in self.node.members(channel) if m.id == client_id]
        return sum([await self.node.leave(channel, member) for member in some])


async def live(client: Client) -> None:
    """What a client does: read until there is nothing to stay for."""
    async for item in client:
        if isinstance(item, Exit):
            print(f"{client.id}: exit from {item.channel}", flush=True)
            await client.close()
        else:
            print(f"{client.id}: {item.data}", flush=True)


async def main() -> None:
    async with Node(name="here") as here, Node(name="there", seeds=[here.endpoint]) as there:
        one, other = ControlMap(here), ControlMap(there)
        ann, bob = here.client("ann"), there.client("bob")
        async with asyncio.TaskGroup() as clients:
            clients.create_task(live(ann))
            clients.create_task(live(bob))

            await one.add_channel("room")
            await one.add_client("room", ann)
            await other.add_client("room", bob)
            for node in (here, there):
                await node.wait_for("room", 2, timeout=30)  # the news has come
            print("told:", await one.send_msg("room", "hello from here"))
            print("told:", await other.send_msg("room", "hello from there"))

            print("removed:", await other.del_client("room", "ann"))  # of another node
            print("ended:", await other.del_channel("room"))  # bob was left
        await here.converged(timeout=30)
        print("channels:", here.channels(), there.channels())


if __name__ == "__main__":
    asyncio.run(main())
