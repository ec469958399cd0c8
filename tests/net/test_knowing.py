"""Real processes that watch, wait until others know, and keep a scope to themselves."""

from __future__ import annotations

import pytest

from tests.net.cluster import WAIT_S, Cluster, equals, story, until

pytestmark = pytest.mark.net


@story
async def test_watch_tokens_and_scopes_over_three_processes() -> None:
    async with Cluster() as cluster:
        a, b, c = await cluster.start_all("a", "b", "c")

        # Who watches in one process is told what others do in theirs.
        await c.ask("follow", channel="room")
        await equals(lambda: c.ask("told"), [["snapshot", []]])
        await a.join("room", "ann")
        await equals(lambda: c.ask("told"), [["snapshot", []], ["joined", ["ann"], "op"]])

        # When `synced` has returned, both others list what was written, without waiting.
        await a.join("room", *(f"a{n}" for n in range(50)))
        token = await a.ask("token")
        await a.ask("synced", token=token, timeout=WAIT_S, patience_s=2 * WAIT_S)
        for other in (b, c):
            assert len(await other.sees("room")) == 51

        # A publication after a token counts the join it names, and not who had left by then.
        await b.join("room", "bob")
        await a.leave("room", *(f"a{n}" for n in range(50)))
        for writer, reader in ((a, c), (b, c)):
            token = await writer.ask("token")
            await reader.ask("publish_after", channel="room", data="after", token=token)
        assert await c.ask("publish_after", channel="room", data="last", token=token) == 2
        for node, client in ((a, "ann"), (b, "bob")):

            async def got(node: object = node, client: str = client) -> bool:
                said = await node.ask("got")  # type: ignore[attr-defined]
                return "last" in said.get(client, [])

            await until(got)

        # Nobody who has not opened a scope gets anything of it.
        await a.ask("join_in", scope="private", channel="desk", client="cid")
        await b.ask("join_in", scope="private", channel="desk", client="dot")

        async def both() -> bool:
            seen = [await p.ask("count_in", scope="private", channel="desk") for p in (a, b)]
            return seen == [2, 2]

        await until(both)
        before = await c.ask("stats")
        read = {p: (await p.ask("stats"))["bytes_read"] for p in (a, b)}
        count, size_bytes = 100, 10_000
        for _ in range(count):
            assert (
                await b.ask("publish_in", scope="private", channel="desk", size_bytes=size_bytes)
                == 2
            )
        for p in (a, b):

            async def all_read(p: object = p) -> bool:
                now = (await p.ask("stats"))["bytes_read"]  # type: ignore[attr-defined]
                return bool(now - read[p] == count * size_bytes)  # type: ignore[index]

            await until(all_read)
        after = await c.ask("stats")
        assert after.get("publications_received", 0) == before.get("publications_received", 0)
        assert after.get("scope_not_open", 0) == 0
        came = after["transport_bytes_in"] - before["transport_bytes_in"]
        assert came < count * size_bytes / 5  # probes and gossip

        # One who dies leaves the view of who watches, as one whose node is down.
        await b.kill()

        async def told_of_death() -> bool:
            return ["left", ["bob"], "node_down"] in await c.ask("told")

        await until(told_of_death)
        assert await c.sees("room") == {("a", "ann")}
