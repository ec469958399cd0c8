"""What does one more cost: against nodes, memberships, and what changed while two were apart?

Sketch    A join is pushed to each peer once: 60 bytes a link. Idle: a probe and a row a second a
          node, whatever the number of nodes: CPU a node flat, bytes a link falling. A join's cost
          must not depend on how many have joined. A heal sends what changed, and two digests.
Setup     Real processes on loopback, in a full mesh. `nodes`: 2 to `--nodes`, each with one member
          of one channel. `members`: two nodes, one holds 1,000 to `--members` memberships.
          `heal`: two nodes, `--heal` memberships, of which 1 % change while the other is stopped
          (SIGSTOP, until it is held down); then it continues.
Measures  Bytes out as the transports count them, CPU time of all processes, all threads: per idle
          second and node, per join and per publish (1,000 of each, for all nodes together).
          `heal`: bytes out of both until their views are equal, and seconds.
Excludes  Starting and meeting; what an idle cluster would have cost meanwhile (subtracted).
Compares  `heal` with what the same number of changes cost when they are pushed over a live link,
          and with what the whole set cost when it was first sent.
Run       python -m benchmarks.growth --nodes 2 5 10 20 --plot docs/benchmarks/growth.svg
Prints    A JSON line a case; with --plot a picture (matplotlib, extra `bench`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import Any

from benchmarks.common import Child, Children, Pipe, counted, emit, linked, parser
from crdtpubsub import Node
from crdtpubsub.names import DEFAULT_SCOPE

CLIENTS = 1000
WRITES = 1000
LONG_S = 300.0
SETTLED_S = 3.0
"""For what forming, or a great change, left behind."""
NODE_PANELS = (
    "idle_bytes_per_s_node",
    "idle_cpu_percent_node",
    "join_bytes",
    "join_cpu_us",
    "publish_bytes",
    "publish_cpu_us",
)
MEMBER_PANELS = ("bytes_per_membership", "join_bytes", "join_cpu_us")


async def grower(pipe: Pipe, seeds: list[str], nodes: int) -> None:
    """A node that does what it is told, and says what it has cost so far."""
    async with Node("tcp://127.0.0.1:*", seeds=seeds) as node:
        await node.client("me").join("all")
        pipe.tell((node.endpoint, os.getpid()))
        await linked(node, nodes - 1, 60.0)
        await node.wait_for("all", nodes, timeout=60)
        pipe.tell("met")
        while (said := await pipe.heard(LONG_S)) is not None:
            what, number = said
            await _do(node, what, number)
            pipe.tell(
                {
                    "at": monotonic(),
                    "cpu_s": process_time(),
                    "bytes": node.stats().counters["transport_bytes_out"],
                }
            )


async def _do(node: Node, what: str, number: int) -> None:
    if what == "hold":  # straight into the set: making them is not the question
        await asyncio.to_thread(_hold, node, number)
    elif what == "join":
        client = node.client(f"writer-{number}")
        for n in range(WRITES):
            await client.join(f"new-{number}-{n:04}")
    elif what == "publish":
        for n in range(WRITES):
            await node.publish("all", n)
    elif what == "joined":
        await counted(node, f"new-{number}-{WRITES - 1:04}", lambda n: n == 1, LONG_S)
    elif what == "held":
        await counted(node, _channel(number // CLIENTS - 1), lambda n: n == CLIENTS, LONG_S)
        while sum(node.count(name) for name in node.channels("held-")) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    elif what == "change":
        await _change(node, number)
    elif what == "changed":
        await counted(node, f"changed-{number}", lambda n: n == 1, LONG_S)
    elif what == "alone":
        async with asyncio.timeout(60.0):
            while any(peer.state != "down" for peer in node.peers()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    elif what == "agree":
        await node.converged(timeout=LONG_S)


def _hold(node: Node, memberships: int) -> None:
    core = node._runtime.core  # noqa: SLF001
    for number in range(memberships // CLIENTS):
        if node.count(_channel(number)):
            continue
        with core.lock:
            mine = core.engine.set_of(DEFAULT_SCOPE)
            for n in range(CLIENTS):
                mine.join(_channel(number), f"client-{n:06}")


async def _change(node: Node, number: int) -> None:
    """So many new memberships, the last of them in a channel that says that all are made."""
    client = node.client(f"changer-{monotonic()}")
    for n in range(number - 1):
        await client.join(f"change-{number}-{n:06}")
    await client.join(f"changed-{number}")


def _channel(number: int) -> str:
    return f"held-{number:06}"


class Cluster:
    """So many growers, met."""

    def __init__(self, children: Children, nodes: int) -> None:
        first = children.start(grower, [], nodes)
        endpoint, pid = first.hear()
        self.all: list[Child] = [first]
        self.all += [children.start(grower, [endpoint], nodes) for _ in range(nodes - 1)]
        self.pids = [pid] + [child.hear()[1] for child in self.all[1:]]
        for child in self.all:
            child.hear()

    def cost(self) -> dict[str, float]:
        """What all of them have cost so far."""
        said = [child.ask(("say", 0)) for child in self.all]
        return {
            "bytes": sum(row["bytes"] for row in said),
            "cpu_s": sum(row["cpu_s"] for row in said),
            "at": monotonic(),
        }

    def idle(self, seconds: float) -> dict[str, float]:
        """A second of nothing, all nodes together."""
        before = self.cost()
        sleep(seconds)
        after = self.cost()
        took_s = after["at"] - before["at"]
        return {key: (after[key] - before[key]) / took_s for key in ("bytes", "cpu_s")}

    def written(self, what: str, number: int, idle: dict[str, float]) -> dict[str, float]:
        """The cost of one write, for all nodes together, without what idling costs."""
        before = self.cost()
        self.all[0].ask((what, number), LONG_S)
        for child in self.all[1:] if what == "join" else ():
            child.ask(("joined", number), LONG_S)
        sleep(0.5)  # acknowledgements
        after = self.cost()
        took_s = after["at"] - before["at"]
        return {
            key: (after[key] - before[key] - idle[key] * took_s) / WRITES
            for key in ("bytes", "cpu_s")
        }


def against_nodes(sizes: Sequence[int], seconds: float) -> list[dict[str, Any]]:
    """2 to 50 real processes."""
    rows = []
    for nodes in sizes:
        with Children() as children:
            cluster = Cluster(children, nodes)
            sleep(SETTLED_S)
            idle = cluster.idle(seconds)
            join = cluster.written("join", 0, idle)
            publish = cluster.written("publish", 0, idle)
        row = {
            "nodes": nodes,
            "idle_bytes_per_s_node": round(idle["bytes"] / nodes, 1),
            "idle_bytes_per_s_link": round(idle["bytes"] / nodes / (nodes - 1), 1),
            "idle_cpu_percent_node": round(idle["cpu_s"] / nodes * 100, 3),
            "join_bytes": round(join["bytes"], 1),
            "join_cpu_us": round(join["cpu_s"] * 1e6, 1),
            "publish_bytes": round(publish["bytes"], 1),
            "publish_cpu_us": round(publish["cpu_s"] * 1e6, 1),
        }
        emit("growth", f"nodes {nodes}", **row)
        rows.append(row)
    return rows


def against_members(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """A join's cost where so many have joined."""
    rows = []
    with Children() as children:
        cluster = Cluster(children, 2)
        held = 0
        for turn, members in enumerate(sizes):
            # Two holders in turn would share births; one holds, more each time.
            before = cluster.cost()
            start = monotonic()
            cluster.all[0].ask(("hold", members), LONG_S)
            cluster.all[1].ask(("held", members), LONG_S)
            took_s = monotonic() - start
            sent = cluster.cost()["bytes"] - before["bytes"]
            idle = cluster.idle(SETTLED_S)
            join = cluster.written("join", turn + 1, idle)
            row = {
                "members": members,
                "arrived_s": round(took_s, 2),
                "bytes_per_membership": round(sent / max(1, members - held), 1),
                "idle_bytes_per_s_node": round(idle["bytes"] / 2, 1),
                "join_bytes": round(join["bytes"], 1),
                "join_cpu_us": round(join["cpu_s"] * 1e6, 1),
            }
            held = members
            emit("growth", f"members {members}", **row)
            rows.append(row)
    return rows


def heal(memberships: int) -> dict[str, Any]:
    """1 % changes on one side of a cut; bytes until both are equal again."""
    changes = memberships // 100
    with Children() as children:
        cluster = Cluster(children, 2)
        a, b = cluster.all
        before = cluster.cost()
        a.ask(("hold", memberships), LONG_S)
        b.ask(("held", memberships), LONG_S)
        whole = cluster.cost()["bytes"] - before["bytes"]
        idle = cluster.idle(SETTLED_S)["bytes"]
        before = cluster.cost()
        a.ask(("change", changes + 1), LONG_S)
        b.ask(("changed", changes + 1), LONG_S)
        sleep(1.0)
        after = cluster.cost()
        pushed = after["bytes"] - before["bytes"] - idle * (after["at"] - before["at"])
        before = cluster.cost()
        os.kill(cluster.pids[1], signal.SIGSTOP)
        try:
            a.ask(("alone", 0), LONG_S)
            a.ask(("change", changes), LONG_S)
        finally:
            os.kill(cluster.pids[1], signal.SIGCONT)
        start = monotonic()
        b.ask(("changed", changes), LONG_S)
        a.ask(("agree", 0), LONG_S)
        took_s = monotonic() - start
        after = cluster.cost()
        healed = after["bytes"] - before["bytes"] - idle * took_s
    row = {
        "memberships": memberships,
        "changes": changes,
        "heal_s": round(took_s, 2),
        "heal_bytes": round(healed),
        "pushed_bytes": round(pushed),
        "whole_bytes": round(whole),
        "ratio_to_pushed": round(healed / pushed, 2),
        "ratio_to_whole": round(healed / whole, 4),
    }
    emit("growth", f"heal of {memberships}", **row)
    return row


def draw(nodes: Sequence[dict[str, Any]], members: Sequence[dict[str, Any]], out: Path) -> None:
    """Cost against nodes and members, a panel a kind of cost."""
    import_module("matplotlib").use("Agg")
    plt = import_module("matplotlib.pyplot")
    panels = [(nodes, "nodes", key) for key in NODE_PANELS if nodes]
    panels += [(members, "members", key) for key in MEMBER_PANELS if members]
    columns = 3
    height = -(-len(panels) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(15, 3.4 * height), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (rows, x, key) in zip(axes.flat, panels, strict=False):
        axis.plot([row[x] for row in rows], [row[key] for row in rows], "o-")
        axis.set_xlabel(x)
        axis.set_title(key.replace("_", " "), fontsize=10)
        axis.set_ylim(bottom=0)
        if x == "members":
            axis.set_xscale("log")
    figure.tight_layout()
    figure.savefig(out)
    plt.close(figure)


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--nodes", type=int, nargs="*", default=[2, 5, 10, 20])
    cli.add_argument("--members", type=int, nargs="*", default=[1000, 10_000, 100_000])
    cli.add_argument("--heal", type=int, default=1_000_000, help="memberships; 0: not")
    cli.add_argument("--idle-s", type=float, default=8.0)
    cli.add_argument("--plot", type=Path)
    cli.add_argument("--from-lines", type=Path, help="no run: draw an older one")
    args = cli.parse_args()
    if args.from_lines:
        text = args.from_lines.read_text(encoding="utf-8")
        found = [json.loads(line) for line in text.splitlines()]
        nodes = [row for row in found if row["case"].startswith("nodes")]
        members = [row for row in found if row["case"].startswith("members")]
    else:
        nodes = against_nodes(args.nodes, args.idle_s)
        members = against_members(args.members)
        if args.heal:
            heal(args.heal)
    if args.plot:
        try:
            draw(nodes, members, args.plot)
        except ModuleNotFoundError:
            sys.stderr.write('growth: no plot. To have it: pip install "crdtpubsub[bench]"\n')


if __name__ == "__main__":
    main()
