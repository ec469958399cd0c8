"""The stage of the demo: what can be done on it, what must be seen then, and what is seen.

Every act notes what follows from it: who is a member, which message is due to whom, who must be
told to leave. That is compared with what the nodes report, and with nothing else.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from time import monotonic
from typing import Final

from crdtpubsub.cli.demo_narrator import Narrator
from crdtpubsub.cli.demo_process import Cluster

__all__ = [
    "CLIENTS",
    "NODES",
    "PATIENCE_S",
    "NotSeenError",
    "Stage",
    "all_of",
    "client_of",
    "ms_since",
    "node_of",
]

NODES: Final = ("athens", "berlin", "cairo", "delhi", "essen")
CLIENTS: Final = {
    "lobby": ("ann@athens", "bob@berlin", "cat@cairo", "dan@delhi", "eve@essen"),
    "news": ("ann@athens", "abe@athens", "cat@cairo", "eve@essen"),
    "games": ("bob@berlin", "bea@berlin", "dan@delhi", "dee@delhi"),
}
PATIENCE_S: Final = float(os.environ.get("CRDTPUBSUB_DEMO_PATIENCE_S", "20"))
"""A machine may be slow, and each step takes what it takes; tests of failures are impatient."""
CONFIG: Final = {"probe_interval_s": 0.25, "probe_timeout_max_s": 0.2, "redial_interval_s": 0.25}
"""A silent cut is found by unanswered probes: half the usual interval, half the wait."""


class NotSeenError(Exception):
    """Something did not come about in time, or something else did."""

    def __init__(self, what: str, expected: object, seen: object) -> None:
        super().__init__(f"not seen: {what}")
        self.expected = expected
        self.seen = seen


class Stage:
    """The cluster, and the script's own idea of it."""

    def __init__(self, cluster: Cluster, narrator: Narrator) -> None:
        self.cluster = cluster
        self.narrator = narrator
        self.members: dict[str, set[str]] = {}
        """Channel -> `client@node`."""
        self.due: Counter[tuple[str, str]] = Counter()
        """(`client@node`, text): how often it must arrive."""
        self.exits_due: Counter[tuple[str, str]] = Counter()
        """(`client@node`, channel): how often it must be told."""
        self.processes = 0
        self.published = 0
        self.problems: list[str] = []

    # ---------------------------------------------------------------- doing

    async def start_one(self, name: str, seed: str = NODES[0]) -> None:
        """All that a node is told is one address: the first node's."""
        node, began_at = self.cluster.nodes[name], monotonic()
        seeds = [] if name == seed else [self.cluster.nodes[seed].proxy.endpoint]
        await node.start(seeds=seeds, config=CONFIG)
        self.processes += 1
        self.narrator.say(
            f"{name} is process {node.pid}, {node.proxy.endpoint}", ms=ms_since(began_at)
        )

    async def joins(self, channel: str, member: str) -> None:
        """Let this client join on its node."""
        client, _, name = member.partition("@")
        await self.cluster.nodes[name].ask("join", channel=channel, client=client)
        self.members.setdefault(channel, set()).add(member)

    async def join_own(self, name: str) -> None:
        """All clients of this node join what is theirs to join."""
        channels: dict[str, list[str]] = {}
        for channel, members in CLIENTS.items():
            for member in members:
                if node_of(member) == name:
                    await self.joins(channel, member)
                    channels.setdefault(client_of(member), []).append(channel)
        said = ", ".join(f"{client} joins {' and '.join(c)}" for client, c in channels.items())
        self.narrator.say(f"{name}: {said}")

    async def deletes(self, name: str, channel: str, *, unseen: set[str]) -> int:
        """Delete it there, where some members are not known; how many memberships it ended."""
        ended = self.members[channel] - unseen
        self.members[channel] &= unseen
        self.exits_due.update((member, channel) for member in ended)
        count: int = await self.cluster.nodes[name].ask("del_channel", channel=channel)
        self.narrator.say(f"{name} ended {count} memberships: {_clients(ended)}")
        if count != len(ended):
            raise NotSeenError("the count of memberships ended", len(ended), count)
        return count

    async def publishes(
        self, name: str, channel: str, count: int = 1, *, reach: Collection[str] = NODES
    ) -> float:
        """Publish, and wait until every member in reach has it; ms until the last one had."""
        texts = [f"{channel} {self.published + n} from {name}" for n in range(1, count + 1)]
        self.published += count
        members = {m for m in self.members[channel] if node_of(m) in reach}
        self.due.update((member, text) for member in members for text in texts)
        began_at: float = await self.cluster.nodes[name].ask(
            "publish", channel=channel, texts=texts
        )
        await self._until(
            lambda: not self.due - self.arrived(),
            f"the arrival of {channel!r} from {name}",
            lambda: {"missing": sorted(self.due - self.arrived())[:5]},
        )
        took_ms = 1000 * (self._last_arrival(texts) - began_at)
        if count == 1:
            self.narrator.say(f"{name} to {_clients(members)}", ms=took_ms)
        return took_ms

    # ---------------------------------------------------------------- seeing

    async def see_links(self, names: Collection[str]) -> dict[str, list[str]]:
        """Wait until each of these nodes has a link to each other one; who has which."""

        def missing() -> dict[str, list[str]]:
            everybody = set(names)
            found = {n: sorted(everybody - {n} - self.cluster.linked(n)) for n in names}
            return {name: others for name, others in found.items() if others}

        await self._until(lambda: not missing(), "a link between all nodes", missing)
        self.narrator.say(f"each of {' '.join(names)} has a link to each other one")
        return {name: sorted(self.cluster.linked(name)) for name in names}

    async def see_members(
        self,
        names: Collection[str],
        *,
        since: float | None = None,
        expected: Mapping[str, set[str]] | None = None,
    ) -> dict[str, float]:
        """Wait until each of these nodes lists exactly these members; ms until each did."""
        wanted = {c: m for c, m in (expected or self.members).items() if m}
        took_ms: dict[str, float] = {}

        async def one(name: str) -> None:
            await self._until(
                lambda: self.cluster.view(name) == wanted,
                f"the members, by {name}",
                lambda: _printable(self.cluster.view(name)),
                _printable(wanted),
            )
            ms = None
            if since is not None:
                ms = max(0.0, 1000 * (self.cluster.nodes[name].seen_at - since))
                took_ms[name] = _rounded(ms)
            self.narrator.view(name, self.cluster.view(name), ms=ms)

        await all_of(one(name) for name in names)
        return took_ms

    async def see_exits(self, since: float) -> None:
        """Wait until everybody who must be told to leave was told."""
        await self._until(
            lambda: not self.exits_due - self.exits(),
            "an exit for each ended membership",
            lambda: sorted(self.exits()),
            sorted(self.exits_due),
        )
        told = _clients(member for member, _ in self.exits_due)
        self.narrator.say(f"an exit has come to {told}", ms=ms_since(since))

    async def _until(
        self,
        holds: Callable[[], bool],
        what: str,
        seen: Callable[[], object],
        expected: object = None,
    ) -> None:
        try:
            await self.cluster.until(holds, within_s=PATIENCE_S)
        except TimeoutError:
            raise NotSeenError(what, expected, seen()) from None

    def views(self, names: Collection[str]) -> dict[str, dict[str, list[str]]]:
        """What each of them lists."""
        return {name: _printable(self.cluster.view(name)) for name in names}

    def arrived(self) -> Counter[tuple[str, str]]:
        """What came, as in `due`."""
        return Counter(
            {
                (f"{client}@{node.name}", text): count
                for node in self.cluster.nodes.values()
                for (client, text), count in node.messages.items()
            }
        )

    def exits(self) -> Counter[tuple[str, str]]:
        """What came, as in `exits_due`."""
        return Counter(
            {
                (f"{client}@{node.name}", channel): count
                for node in self.cluster.nodes.values()
                for (client, channel), count in node.exits.items()
            }
        )

    def _last_arrival(self, texts: Collection[str]) -> float:
        nodes = self.cluster.nodes.values()
        return max(at for node in nodes for text in texts for at in node.arrivals.get(text, ()))

    def ghosts(self) -> list[str]:
        """Members listed anywhere whose life no process bears."""
        return sorted(
            f"{member} in {channel} at {name}"
            for name in self.cluster.nodes
            for channel, members in self.cluster.view(name).items()
            for member in members
            if node_of(member) not in NODES
        )


async def all_of(work: Iterable[Awaitable[object]]) -> None:
    """Do all of it at once; when one fails, give the rest up and raise that."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            if not task.cancelling():  # twice would interrupt its cleaning up
                task.cancel()
        await asyncio.wait(tasks)


def client_of(member: str) -> str:
    """`ann` of `ann@athens`."""
    return member.rpartition("@")[0]


def _clients(members: Iterable[str]) -> str:
    return " ".join(sorted(map(client_of, members)))


def node_of(member: str) -> str:
    """`athens` of `ann@athens`."""
    return member.rpartition("@")[2]


def ms_since(at: float) -> float:
    """Milliseconds since then."""
    return 1000 * (monotonic() - at)


def _rounded(ms: float) -> float:
    return round(ms, 1)


def _printable(view: Mapping[str, set[str]]) -> dict[str, list[str]]:
    return {channel: sorted(members) for channel, members in sorted(view.items())}
