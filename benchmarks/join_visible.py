"""How long from `join` on one node until another process sees the member; and `leave`?

Sketch    Join: set and engine 15 us, encode 5 us, a thread hop to send 40 us, TCP 30 us, the I/O
          thread there 40 us, decode and merge 25 us, a hop to the waiting coroutine 40 us: ~190
          us. The bare echo saves both hops and the set: ~130 us. A ratio of 1.5.
Setup     Two processes take turns: A joins, B sees it and joins, A sees that, a pause of
          `--pace-ms`, then A leaves, and so on. The pause is longer than `push_interval_s`
          (5 ms): what is asked is one write in a quiet cluster. `--pace-ms 0` shows the interval.
Measures  From just before the call to the moment a coroutine of the other process, woken by the
          change, has read the new count. One way; the monotonic clock is one for both.
Excludes  Processes, links; the first rounds (a tenth, warm-up).
Compares  The same game on two bare DEALER sockets in the event loop and a dict of sets, in the
          same run, alternating with ours.
Run       python -m benchmarks.join_visible --rounds 150 --repeat 3
Prints    One JSON line for join, one for leave: p50, p99, max, bare p50 and p99, ratios.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from benchmarks.bare import Inbox, dialled, pack, unpack
from benchmarks.common import (
    Children,
    Pipe,
    Role,
    counted,
    emit,
    linked,
    medians,
    parser,
    spread_us,
)
from crdtpubsub import Node

Stamps = dict[str, list[float]]
WAIT_S = 30.0


class Side(Protocol):
    """One of the two who take turns, whatever it stands on."""

    async def write(self, verb: str) -> None:
        """Join or leave."""

    async def seen(self, count: int) -> None:
        """Until the other side's channel has `count` members here."""


class NodeSide:
    def __init__(self, node: Node, mine: str, theirs: str) -> None:
        self._node = node
        self._mine, self._theirs = mine, theirs
        self._client = node.client("me")

    async def write(self, verb: str) -> None:
        if verb == "join":
            await self._client.join(self._mine)
        else:
            await self._client.leave(self._mine)

    async def seen(self, count: int) -> None:
        await counted(self._node, self._theirs, lambda n: n == count, WAIT_S)


class BareSide:
    def __init__(self, mine: str, theirs: str) -> None:
        self._mine, self._theirs = mine, theirs
        self._inbox = Inbox(self._frame)
        self.endpoint = self._inbox.endpoint
        self._members: dict[str, set[str]] = {}
        self._waiting: asyncio.Future[None] | None = None

    def dial(self, endpoint: str) -> None:
        self._socket = dialled(endpoint)

    def _frame(self, frame: bytes) -> None:
        verb, channel, client = unpack(frame)
        members = self._members.setdefault(channel, set())
        if verb == "join":
            members.add(client)
        else:
            members.discard(client)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def write(self, verb: str) -> None:
        self._socket.send(pack((verb, self._mine, "me")))

    async def seen(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self._members.get(self._theirs, ())) != count:
                self._waiting = asyncio.get_running_loop().create_future()
                await self._waiting


async def play(pipe: Pipe, side: Side, *, first: bool) -> None:
    """Rounds of join and leave, until told to end; tells when it wrote and when it saw."""
    while (order := await pipe.heard()) is not None:
        rounds, pace_s = order
        stamps: Stamps = {
            f"{verb} {what}": [] for verb in ("join", "leave") for what in ("at", "seen")
        }
        for _ in range(rounds):
            for verb, count in (("join", 1), ("leave", 0)):
                if not first:
                    await side.seen(count)
                    stamps[f"{verb} seen"].append(monotonic())
                stamps[f"{verb} at"].append(monotonic())
                await side.write(verb)
                if first:
                    await side.seen(count)
                    stamps[f"{verb} seen"].append(monotonic())
                    await asyncio.sleep(pace_s)
        pipe.tell(stamps)


async def node_side(pipe: Pipe, name: str, seeds: list[str]) -> None:
    async with Node("tcp://127.0.0.1:*", seeds=seeds) as node:
        pipe.tell(node.endpoint)
        await linked(node, 1)
        pipe.tell("ready")
        other = "b" if name == "a" else "a"
        await play(pipe, NodeSide(node, name, other), first=name == "a")


async def bare_side(pipe: Pipe, name: str, _seeds: list[str]) -> None:
    side = BareSide(name, "b" if name == "a" else "a")
    pipe.tell(side.endpoint)
    side.dial(await pipe.heard())
    pipe.tell("ready")
    await play(pipe, side, first=name == "a")


def measure(role: Role, rounds: int, pace_s: float) -> dict[str, list[float]]:
    """`join` and `leave`: every latency, in both directions, in seconds."""
    with Children() as children:
        a = children.start(role, "a", [])
        endpoint = a.hear()
        b = children.start(role, "b", [endpoint])
        if role is bare_side:
            a.tell(b.hear())
            b.tell(endpoint)
        else:
            b.hear()
        a.hear(), b.hear()
        of_a: Stamps = {}
        of_b: Stamps = {}
        for n in (rounds // 10 + 1, rounds):
            b.tell((n, pace_s))
            of_a = a.ask((n, pace_s))
            of_b = b.hear()
        return {
            verb: [
                seen - at
                for one, other in ((of_a, of_b), (of_b, of_a))
                for at, seen in zip(one[f"{verb} at"], other[f"{verb} seen"], strict=True)
            ]
            for verb in ("join", "leave")
        }


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--rounds", type=int, default=150)
    cli.add_argument("--repeat", type=int, default=3)
    cli.add_argument("--pace-ms", type=float, default=12.0)
    args = cli.parse_args()
    found: dict[str, list[dict[str, list[float]]]] = {"ours": [], "bare": []}
    for _ in range(args.repeat):
        for kind, role in (("ours", node_side), ("bare", bare_side)):
            found[kind].append(measure(role, args.rounds, args.pace_ms / 1000))
    for verb in ("join", "leave"):
        ours = medians([spread_us(run[verb]) for run in found["ours"]])
        bare = medians([spread_us(run[verb]) for run in found["bare"]])
        emit(
            "join_visible",
            f"{verb} seen elsewhere",
            **ours,
            bare_p50_us=bare["p50_us"],
            bare_p99_us=bare["p99_us"],
            ratio_p50=round(ours["p50_us"] / bare["p50_us"], 2),
            ratio_p99=round(ours["p99_us"] / bare["p99_us"], 2),
            pace_ms=args.pace_ms,
        )


if __name__ == "__main__":
    main()
