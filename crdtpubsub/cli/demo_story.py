"""The story of the demo: its chapters in order, and the sum at the end.

Nothing waits for a clock: each chapter ends when the nodes report what must be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import monotonic
from typing import Final

from crdtpubsub.cli.demo_narrator import Narrator
from crdtpubsub.cli.demo_process import Cluster, ProcessFailedError
from crdtpubsub.cli.demo_stage import (
    NODES,
    PATIENCE_S,
    NotSeenError,
    Stage,
    all_of,
    client_of,
    ms_since,
    node_of,
)

__all__ = ["Story"]

SIDES: Final = (("athens", "berlin", "cairo"), ("delhi", "essen"))
NEWCOMERS: Final = ("nia@cairo", "noa@essen")
"""They join during the cut, one on each side."""
VICTIM: Final = "cairo"
BURST: Final = 100


class Story:
    """Told once."""

    def __init__(self, cluster: Cluster, narrator: Narrator) -> None:
        self._stage = Stage(cluster, narrator)
        self._nodes = cluster.nodes
        self._network = cluster.network
        self._say = narrator.say
        self._began_at = monotonic()
        self._converged = False

    async def tell(self) -> bool:
        """Tell it; whether all was as it should be."""
        try:
            for chapter in (
                self._start, self._discover, self._join, self._publish, self._delete, self._kill,
                self._restart, self._cut, self._heal, self._agree, self._leave,
            ):  # fmt: skip
                await chapter()
        except (NotSeenError, ProcessFailedError) as error:
            self._stage.problems.append(str(error))
        return self._sum_up()

    # ---------------------------------------------------------------- chapters

    async def _start(self) -> None:
        with self._step("start", f"{len(NODES)} processes start, each with a node") as record:
            for name in NODES:
                await self._stage.cluster.add(name)
            await all_of(self._stage.start_one(name) for name in NODES)
            record["pids"] = {name: self._nodes[name].pid for name in NODES}

    async def _discover(self) -> None:
        title = f"They find each other; all were told where {NODES[0]} is, and nothing else"
        with self._step("discover", title) as record:
            record["linked"] = await self._stage.see_links(NODES)

    async def _join(self) -> None:
        with self._step("join", "Clients join channels, each on its own node") as record:
            began_at = monotonic()
            await all_of(self._stage.join_own(name) for name in NODES)
            record["visible_ms"] = await self._stage.see_members(NODES, since=began_at)
            record["views"] = self._stage.views(NODES)

    async def _publish(self) -> None:
        title = "A message from each node reaches every member on all the others"
        with self._step("publish", title) as record:
            latencies = [await self._stage.publishes(name, "lobby") for name in NODES]
            record["latency_ms"] = round(median(latencies), 1)
            began_at = monotonic()
            await self._stage.publishes(NODES[0], "news", BURST)
            each = BURST * len(self._stage.members["news"])
            self._say(f"{BURST} more from {NODES[0]}: {each} arrive", ms=ms_since(began_at))
            record |= {
                "delivered": self._stage.arrived().total(),
                "expected": self._stage.due.total(),
            }

    async def _delete(self) -> None:
        deleter, stranger = NODES[0], NODES[-1]
        title = f"{deleter} deletes games while {stranger}, cut off, lets somebody join it"
        with self._step("delete", title) as record:
            others = [name for name in NODES if name != stranger]
            await self._network.cut(others, [stranger])
            await self._stage.joins("games", f"eli@{stranger}")
            self._say(f"eli joins games on {stranger}; nobody else can hear of it")
            record["ended"] = await self._stage.deletes(
                deleter, "games", unseen={f"eli@{stranger}"}
            )
            self._network.heal()
            began_at = monotonic()
            self._say(f"{stranger} can be reached again")
            record["visible_ms"] = await self._stage.see_members(NODES, since=began_at)
            await self._stage.see_exits(began_at)
            await self._stage.see_links(NODES)
            record |= {
                "survived": sorted(self._stage.members["games"]),
                "exits": self._stage.exits().total(),
            }

    async def _kill(self) -> None:
        with self._step("kill", f"SIGKILL for {VICTIM}") as record:
            witnesses = [name for name in NODES if name != VICTIM]
            for members in self._stage.members.values():
                members -= {member for member in members if node_of(member) == VICTIM}
            killed_at = await self._nodes[VICTIM].kill()
            self._say(f"process {self._nodes[VICTIM].pid} is gone")
            record["vanished_ms"] = await self._stage.see_members(witnesses, since=killed_at)
            record["views"] = self._stage.views(witnesses)

    async def _restart(self) -> None:
        title = f"{VICTIM} starts again: same name, same port, another life"
        with self._step("restart", title) as record:
            old = self._nodes[VICTIM].life
            began_at = monotonic()
            await self._stage.start_one(VICTIM)
            await self._stage.join_own(VICTIM)
            await self._stage.see_links(NODES)
            record["back_ms"] = await self._stage.see_members(NODES, since=began_at)
            record["ghosts"] = self._stage.ghosts()
            record["another_life"] = self._nodes[VICTIM].life != old
            record["views"] = self._stage.views(NODES)

    async def _cut(self) -> None:
        halves = " | ".join(" ".join(side) for side in SIDES)
        with self._step("cut", f"A cut: {halves}") as record:
            cut_at = monotonic()
            await self._network.cut(*SIDES)
            for member in NEWCOMERS:
                await self._stage.joins("lobby", member)
                self._say(f"{client_of(member)} joins lobby on {node_of(member)}")
            noticed_ms: dict[str, float] = {}
            for side in SIDES:
                within = {
                    channel: {m for m in members if node_of(m) in side}
                    for channel, members in self._stage.members.items()
                }
                noticed_ms |= await self._stage.see_members(side, since=cut_at, expected=within)
            record["noticed_ms"] = noticed_ms
            record["views"] = self._stage.views(NODES)
            for side in SIDES:
                await self._stage.publishes(side[0], "lobby", reach=side)
            record |= {
                "delivered": self._stage.arrived().total(),
                "expected": self._stage.due.total(),
            }

    async def _heal(self) -> None:
        with self._step("heal", "The cut heals; each side learns who joined the other") as record:
            healed_at = monotonic()
            self._network.heal()
            record["healed_ms"] = await self._stage.see_members(NODES, since=healed_at)
            await self._stage.see_links(NODES)
            record["views"] = self._stage.views(NODES)

    async def _agree(self) -> None:
        with self._step("agree", "All of them reach all of them, and agree") as record:
            for name in NODES:
                await self._stage.publishes(name, "lobby")
            began_at = monotonic()
            await all_of(self._nodes[name].ask("converged") for name in NODES)
            self._say("each node has shown the digests its peers have", ms=ms_since(began_at))
            await self._stage.see_members(NODES)
            views = [self._stage.cluster.view(name) for name in NODES]
            self._converged = all(view == views[0] for view in views)
            record["views"] = self._stage.views(NODES)

    async def _leave(self) -> None:
        """Only now all is in: what came too often must have come by the time they have ended."""
        with self._step("leave", "They say goodbye") as record:
            codes: dict[str, int] = {}
            try:
                async with asyncio.timeout(PATIENCE_S):
                    for name in NODES:
                        codes[name] = await self._nodes[name].leave()
            except TimeoutError:
                raise NotSeenError("the end of all processes", list(NODES), codes) from None
            record["exit_codes"] = codes
            for node in self._nodes.values():
                if codes[node.name] or node.complaints:
                    said = "\n".join(node.complaints)
                    raise ProcessFailedError(f"{node.name}: exit {codes[node.name]}, {said!r}")

    def _sum_up(self) -> bool:
        arrived, exits = self._stage.arrived(), self._stage.exits()
        lost, duplicated = self._stage.due - arrived, arrived - self._stage.due
        wrong_exits = (self._stage.exits_due - exits) + (exits - self._stage.exits_due)
        ghosts = self._stage.ghosts()
        for what, found in (
            ("messages lost", lost), ("messages nobody sent, or twice", duplicated),
            ("exits not told once", wrong_exits), ("ghosts", ghosts),
        ):  # fmt: skip
            if found:
                self._stage.problems.append(f"{what}: {sorted(found)[:5]}")
        if not self._converged:
            self._stage.problems.append("the views were not seen to be equal at the end")
        ok = not self._stage.problems
        self._stage.narrator.end(
            {
                "step": "summary",
                "ok": ok,
                "converged": self._converged,
                "nodes": len(self._nodes),
                "processes": self._stage.processes,
                "published": self._stage.published,
                "expected": self._stage.due.total(),
                "delivered": arrived.total(),
                "lost": lost.total(),
                "duplicated": duplicated.total(),
                "exits_expected": self._stage.exits_due.total(),
                "exits": exits.total(),
                "ghosts": len(ghosts),
                "seconds": round(monotonic() - self._began_at, 1),
                "problems": self._stage.problems,
            }
        )
        return ok

    @contextmanager
    def _step(self, name: str, title: str) -> Iterator[dict[str, object]]:
        began_at = monotonic()
        record: dict[str, object] = {"step": name, "ok": True}
        self._stage.narrator.begin(title)
        failure: Exception | None = None
        try:
            yield record
        except (NotSeenError, ProcessFailedError) as error:
            failure = error
            record |= {"ok": False, "error": str(error)}
            if isinstance(error, NotSeenError):
                record |= {"expected": error.expected, "seen": error.seen}
        record["took_ms"] = round(ms_since(began_at))
        self._stage.narrator.end(record)
        if failure is not None:
            raise failure
