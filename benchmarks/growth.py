"""What does one more cost: against nodes, channels, memberships, churn, and what changed apart?

Sketch    A join is pushed to each peer once: 60 bytes a link. Idle: a probe and a row a second a
          node, whatever the number of nodes: CPU a node flat, bytes a link falling. A join's cost
          must not depend on how many have joined, nor on the number of channels. A heal sends
          what changed, and two digests.
Setup     Real processes on loopback, in a full mesh. `nodes`: each with one member of one channel.
          `channels`, `members`: two nodes, one of which holds so many. `churn`: five nodes, one of
          them joins and leaves. `heal`: two nodes, of whose memberships 1 % change while one is
          stopped (SIGSTOP, until it is held down); then it continues. `simulated` and `cut`: the
          production engine and codec on invented time (`growth_sim.py`).
Measures  Bytes out as the transports count them, CPU time of all processes, all threads: per idle
          second and node, per join and per publish (1,000 of each, for all nodes together).
          `heal`: bytes out of both until their views are equal, and seconds. `cut`: memberships
          that came again to who knew them.
Excludes  Starting and meeting; what an idle cluster would have cost meanwhile (subtracted).
Compares  `heal` with what the same number of changes cost when they are pushed over a live link,
          and with what the whole set cost when it was first sent.
Run       python -m benchmarks.growth --report docs/benchmarks/growth
          python -m benchmarks.growth --quick
          python -m benchmarks.growth --nodes --channels --members --churn --heal 0 --cut 0 \
              --simulated 1000                                     # an hour, and 10 GB
Prints    A JSON line a case; with --report also a page and plots (matplotlib, extra `bench`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import Any

from benchmarks.common import Child, Children, Pipe, counted, emit, facts, linked, parser
from benchmarks.growth_report import draw, markdown
from benchmarks.growth_sim import CUTS, against_simulated_nodes, cut
from crdtpubsub import Node
from crdtpubsub.names import DEFAULT_SCOPE

CLIENTS = 1000
WRITES = 1000
LONG_S = 300.0
SETTLED_S = 3.0
"""For what forming, or a great change, left behind."""
CHURN_S = 3.0
QUICK = {
    "nodes": [2],
    "simulated": [4],
    "channels": [50],
    "members": [1000],
    "churn": [100],
    "heal": 2000,
    "cut": 400,
    "idle_s": 0.2,
}

Row = tuple[str, dict[str, Any]]
"""A case, and its numbers."""


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


async def _do(node: Node, what: str, number: Any) -> None:
    if what == "hold":  # straight into the set: making them is not the question
        await asyncio.to_thread(_hold, node, number, CLIENTS)
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
    elif what == "spread":
        await asyncio.to_thread(_hold, node, number, 1)
    elif what == "spread there":
        async with asyncio.timeout(LONG_S):
            while len(node.channels("held-")) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    elif what == "churn":
        await _churn(node, *number)
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


def _hold(node: Node, memberships: int, each: int) -> None:
    core = node._runtime.core  # noqa: SLF001
    for number in range(memberships // each):
        if node.count(_channel(number)):
            continue
        with core.lock:
            mine = core.engine.set_of(DEFAULT_SCOPE)
            for n in range(each):
                mine.join(_channel(number), f"client-{n:06}")


async def _churn(node: Node, per_s: int, changes: int) -> None:
    """By a timetable; what is late goes at once."""
    client = node.client(f"churner-{per_s}")
    start = monotonic()
    for n in range(changes):
        left_s = start + n / per_s - monotonic()
        if left_s > 0:
            await asyncio.sleep(left_s)
        await (client.leave if n % 2 else client.join)(f"churned-{n // 2 % 100:02}")


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
        sleep(min(0.5, SETTLED_S))  # acknowledgements
        after = self.cost()
        took_s = after["at"] - before["at"]
        return {
            key: (after[key] - before[key] - idle[key] * took_s) / WRITES
            for key in ("bytes", "cpu_s")
        }


def _each(**costs: dict[str, float]) -> dict[str, float]:
    """What one of each costs, in bytes and CPU."""
    return {
        key: value
        for what, cost in costs.items()
        for key, value in (
            (f"{what}_bytes", round(cost["bytes"], 1)),
            (f"{what}_cpu_us", round(cost["cpu_s"] * 1e6, 1)),
        )
    }


def against_nodes(sizes: Sequence[int], seconds: float) -> Iterator[Row]:
    """2 to 50 real processes."""
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
            **_each(join=join, publish=publish),
        }
        yield f"nodes {nodes}", row


def against_members(sizes: Sequence[int]) -> Iterator[Row]:
    """A join's cost where so many have joined."""
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
            yield f"members {members}", row


def against_channels(sizes: Sequence[int]) -> Iterator[Row]:
    """What a join and a publication cost where there are so many channels."""
    for channels in sizes:
        with Children() as children:
            cluster = Cluster(children, 2)
            before = cluster.cost()
            cluster.all[0].ask(("spread", channels), LONG_S)
            cluster.all[1].ask(("spread there", channels), LONG_S)
            sent = cluster.cost()["bytes"] - before["bytes"]
            idle = cluster.idle(SETTLED_S)
            join = cluster.written("join", 0, idle)
            publish = cluster.written("publish", 0, idle)
        row = {
            "channels": channels,
            "bytes_per_channel": round(sent / channels, 1),
            "idle_bytes_per_s_node": round(idle["bytes"] / 2, 1),
            **_each(join=join, publish=publish),
        }
        yield f"channels {channels}", row


def against_churn(rates: Sequence[int]) -> Iterator[Row]:
    """So many joins and leaves a second on one of five nodes, for some seconds."""
    with Children() as children:
        cluster = Cluster(children, 5)
        sleep(SETTLED_S)
        idle = cluster.idle(SETTLED_S)
        for rate in rates:
            before = cluster.cost()
            changes = max(1, int(rate * CHURN_S))
            cluster.all[0].ask(("churn", (rate, changes)), LONG_S)
            after = cluster.cost()
            took_s = after["at"] - before["at"]
            cost = {key: (after[key] - before[key]) / took_s - idle[key] for key in idle}
            row = {
                "churn_per_s": rate,
                "took_s": round(took_s, 2),
                "bytes_per_s_node": round(cost["bytes"] / 5, 1),
                "cpu_percent_node": round(cost["cpu_s"] / 5 * 100, 3),
                "change_bytes": round(cost["bytes"] * took_s / changes, 1),
                "change_cpu_us": round(cost["cpu_s"] * took_s / changes * 1e6, 1),
            }
            yield f"churn {rate}/s", row


def heal(memberships: int) -> Row:
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
    return f"heal of {memberships}", row


def main() -> int:
    cli = parser(__doc__)
    cli.add_argument("--nodes", type=int, nargs="*", default=[2, 5, 10, 20, 50])
    cli.add_argument("--simulated", type=int, nargs="*", default=[10, 30, 100])
    cli.add_argument("--channels", type=int, nargs="*", default=[100, 10_000, 100_000])
    cli.add_argument("--members", type=int, nargs="*", default=[1000, 10_000, 100_000])
    cli.add_argument("--churn", type=int, nargs="*", default=[10, 100, 1000], help="a second")
    cli.add_argument("--heal", type=int, default=1_000_000, help="memberships; 0: not")
    cli.add_argument("--cut", type=int, default=4000, help="memberships; 0: not")
    cli.add_argument("--idle-s", type=float, default=8.0)
    cli.add_argument("--quick", action="store_true", help="each question, at its smallest")
    cli.add_argument("--report", type=Path, help="without a suffix: .jsonl, .md and .svg")
    cli.add_argument("--from-lines", type=Path, help="no run: report of an older one")
    args = cli.parse_args()
    if args.quick:
        cli.set_defaults(**QUICK)
        args = cli.parse_args()
    if args.from_lines:
        text = args.from_lines.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
    else:
        lines = run(args)
    if args.report and lines:
        report: Path = args.report
        text = "".join(json.dumps(line) + "\n" for line in lines)
        report.with_suffix(".jsonl").write_text(text, encoding="utf-8")
        report.with_suffix(".md").write_text(markdown(lines), encoding="utf-8")
        if not draw(lines, report.with_suffix(".svg")):
            sys.stderr.write('growth: no plot. To have it: pip install "crdtpubsub[bench]"\n')
    return 0


def run(args: Namespace) -> list[dict[str, Any]]:
    """All that is asked; a line each, printed when it is known."""
    lines = [_line(*row) for row in against_nodes(args.nodes, args.idle_s)]
    lines += [_line(*row) for row in against_simulated_nodes(args.simulated)]
    lines += [_line(*row) for row in against_channels(args.channels)]
    lines += [_line(*row) for row in against_members(args.members)]
    lines += [_line(*row) for row in against_churn(args.churn)]
    lines += [_line(*heal(args.heal))] if args.heal else []
    lines += [_line(*cut(name, args.cut)) for name in CUTS] if args.cut else []
    return lines


def _line(case: str, row: dict[str, Any]) -> dict[str, Any]:
    emit("growth", case, **row)
    return {"benchmark": "growth", "case": case, **row, "facts": facts()}


if __name__ == "__main__":
    sys.exit(main())
