"""Are the reports about messages true while links break every two seconds, and at what rate?

Sketch    A confirmed message costs a publication (15 us at either end) and its share of an answer;
          with 512 open, 5,000 to 10,000/s between faults. A fault takes the link away for 0.1 s
          (ZeroMQ redials) to 1.5 s: half the rate over all.
Setup     A publisher and two receivers, each a process, each dialled through a TCP proxy. Every
          `--reset-every-s` seconds one of: the link to a receiver is reset; the link from it; both;
          one direction is silent for a second, then reset (a one-way cut); a receiver refuses
          connections for half a second. Beside them unconfirmed messages, in a stream.
Measures  Of confirmed messages: reported delivered and never received (`lost`), received twice by
          one client (`duplicated`), received though refused (`unexpected`): all must be 0;
          `unknown` apart. Of unconfirmed ones: sent = received + reported, exactly.
Excludes  Restarts of processes: tests/sim/test_confirmed.py has them.
Compares  nothing: no rival answers the question.
Run       python -m benchmarks.confirmed_under_resets --messages 200000
Prints    One JSON line. Exit code 1 if a report was not true.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from contextlib import suppress
from random import Random
from time import monotonic
from typing import Any, Final

from benchmarks.common import Child, Children, Pipe, emit, linked, parser
from crdtpubsub import Node, QueueFullError, Receipt

SURE, LOOSE = "sure", "loose"
WORKERS: Final = 512
CONFIRM_S: Final = 20.0
OUTCOMES: Final = ("", "delivered", "refused", "unknown")
HOST: Final = "127.0.0.1"


# ---------------------------------------------------------------- the processes


async def receiver(pipe: Pipe, port: int, advertise: str, seeds: list[str]) -> None:
    """Counts how often each number came."""
    async with Node(f"tcp://{HOST}:{port}", advertise=advertise, seeds=seeds) as node:
        sure = await node.subscribe(SURE, max_pending=1_000_000)
        loose = await node.subscribe(LOOSE, max_pending=1_000_000)
        seen: Counter[int] = Counter()
        got = Counter[str]()

        async def read_sure() -> None:
            async for message in sure:
                number: Any = message.data
                seen[number] += 1

        async def read_loose() -> None:
            async for _ in loose:
                got[LOOSE] += 1

        readers = [asyncio.create_task(read_sure()), asyncio.create_task(read_loose())]
        pipe.tell(node.id)
        while (asked := await pipe.heard(1e6)) is not None:
            counters = node.stats().counters
            if asked == "account":
                pipe.tell((counters["publications_received"], counters.get("publications_lost", 0)))
            else:
                pipe.tell((dict(seen), got[LOOSE], dict(counters)))
        for reader in readers:
            reader.cancel()


async def publisher(pipe: Pipe, port: int, advertise: str, receivers: int) -> None:
    """Publishes, and notes what it was told."""
    async with Node(f"tcp://{HOST}:{port}", advertise=advertise) as node:
        pipe.tell(node.id)
        await linked(node, receivers)
        await node.wait_for(SURE, receivers, timeout=20)
        await node.wait_for(LOOSE, receivers, timeout=20)
        pipe.tell("ready")
        messages: int = await pipe.heard()
        told: dict[str, bytearray] = {}  # owner -> by number, what its receipt says
        numbers = iter(range(messages))
        began = monotonic()

        async def confirmed(number: int) -> Receipt:
            while True:
                try:
                    return await node.publish(SURE, number, confirm=CONFIRM_S)
                except QueueFullError:
                    await asyncio.sleep(0.01)

        async def worker() -> None:
            for number in numbers:
                receipt = await confirmed(number)
                for owner, outcome in receipt.owners.items():
                    word = "refused" if outcome.refused else str(outcome)
                    said = told.setdefault(owner, bytearray(messages))
                    said[number] = OUTCOMES.index(word)

        async def stream() -> None:
            while True:
                await node.publish(LOOSE, "x" * 200)
                await asyncio.sleep(0.0005)

        streaming = asyncio.create_task(stream())
        await asyncio.gather(*(worker() for _ in range(WORKERS)))
        took_s = monotonic() - began
        streaming.cancel()
        pipe.tell((took_s, {owner: bytes(said) for owner, said in told.items()}))
        while await pipe.heard(1e6) is not None:
            pipe.tell(dict(node.stats().counters))


# ---------------------------------------------------------------- the network


class Proxy:
    """What others dial in place of one node."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.speaks = asyncio.Event()  # cleared: what comes from those who dial is held back
        self.speaks.set()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        return f"tcp://{HOST}:{self.port}"

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()

    async def close(self) -> None:
        """No longer there; its links' sockets are closed when it returns."""
        self.refuse()
        if self._links:
            await asyncio.wait(self._links)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn

    def reset(self) -> None:
        for link in self._links:
            link.cancel()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._links.add(task)
        task.add_done_callback(self._links.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner: asyncio.StreamWriter | None = None
        try:
            answers, inner = await asyncio.open_connection(HOST, self.target_port)
            there = asyncio.create_task(self._pump(reader, inner, held=True))
            back = asyncio.create_task(self._pump(answers, writer, held=False))
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            if inner is not None:
                inner.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if held:
                    await self.speaks.wait()  # a reset comes first, and these bytes are lost
                writer.write(data)
                await writer.drain()


async def faults(proxies: list[Proxy], every_s: float, seed: int, seen: Counter[str]) -> None:
    """One after the other, until cancelled. The first proxy is the publisher's."""
    dice = Random(seed)
    mine, *theirs = proxies
    while True:
        await asyncio.sleep(every_s * (0.8 + 0.4 * dice.random()))
        there = dice.choice(theirs)
        kind = dice.choice(("to", "from", "both", "one way", "refused"))
        seen[kind] += 1
        if kind in ("to", "both"):
            there.reset()
        if kind in ("from", "both"):
            mine.reset()
        if kind == "one way":
            cut = dice.choice(proxies)
            cut.speaks.clear()
            await asyncio.sleep(1.0)
            cut.reset()
            await asyncio.sleep(0)  # its links are cancelled before they go on
            cut.speaks.set()
        if kind == "refused":
            there.refuse()
            await asyncio.sleep(0.5)
            await there.listen()


# ---------------------------------------------------------------- the question


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


async def measure(messages: int, receivers: int, every_s: float, seed: int) -> dict[str, object]:
    proxies = [Proxy(free_port()) for _ in range(receivers + 1)]
    for proxy in proxies:
        await proxy.listen()
    seen: Counter[str] = Counter()
    with Children() as children:
        talker = children.start(publisher, proxies[0].target_port, proxies[0].endpoint, receivers)
        await talker.heard()
        listeners: dict[str, Child] = {}
        for proxy in proxies[1:]:
            child = children.start(
                receiver, proxy.target_port, proxy.endpoint, [proxies[0].endpoint]
            )
            listeners[await child.heard()] = child
        await talker.heard()
        breaking = asyncio.create_task(faults(proxies, every_s, seed, seen))
        talker.tell(messages)
        took_s, told = await talker.heard(3600.0)
        breaking.cancel()
        await asyncio.wait([breaking])
        for proxy in proxies:
            proxy.speaks.set()
            if not proxy.listening:
                await proxy.listen()
        unsettled = await settled(talker, list(listeners.values()))
        verdict: Counter[str] = Counter(unaccounted=unsettled)
        for owner, listener in listeners.items():
            listener.tell("all")
            counts, loose, counters = await listener.heard()
            judge(verdict, told.get(owner, bytes(messages)), counts)
            verdict["loose_received"] += loose
            verdict["loose_lost_reported"] += counters.get("publications_lost", 0)
        talker.tell("stats")
        stats = await talker.heard()
    for proxy in proxies:
        await proxy.close()
    return {
        "messages": messages,
        "receivers": receivers,
        "confirmed_per_s": round(messages / took_s),
        "took_s": round(took_s, 1),
        "faults": dict(sorted(seen.items())),
        **verdict,
        "loose_sent": stats["publications_sent"],
        "loose_unacknowledged": stats["publications_unacknowledged"],
        "loose_unsent": stats["publications_unsent"],
        "said_again": stats.get("confirmed_said_again", 0),
    }


async def settled(talker: Child, listeners: list[Child]) -> int:
    """Wait until all that was sent unconfirmed was received or is reported; what is missing."""
    missing = 1
    until = monotonic() + 30.0
    while missing and monotonic() < until:
        await asyncio.sleep(0.2)
        accounted = 0
        for listener in listeners:
            listener.tell("account")
            accounted += sum(await listener.heard())
        talker.tell("stats")
        missing = (await talker.heard())["publications_sent"] - accounted
    return missing


def judge(verdict: Counter[str], told: bytes, counts: dict[int, int]) -> None:
    """What one receiver saw beside what the receipts said of it."""
    for number, said in enumerate(told):
        came = counts.get(number, 0)
        word = OUTCOMES[said] or "not_asked"  # it was down then: its members were not listed
        verdict[word] += 1
        verdict["received"] += came
        verdict["duplicated"] += max(came - 1, 0)
        verdict["lost"] += word == "delivered" and not came
        verdict["unexpected"] += word in ("refused", "not_asked") and came > 0
        verdict["unknown_received"] += word == "unknown" and came > 0
    verdict["unexpected"] += sum(number >= len(told) for number in counts)


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--messages", type=int, default=200_000)
    cli.add_argument("--receivers", type=int, default=2)
    cli.add_argument("--reset-every-s", type=float, default=2.0)
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args()
    row = asyncio.run(measure(args.messages, args.receivers, args.reset_every_s, args.seed))
    emit("confirmed_under_resets", f"1->{args.receivers}, seed {args.seed}", **row)
    wrong = [row.get(k, 0) for k in ("lost", "duplicated", "unexpected", "unaccounted")]
    sys.exit(1 if any(wrong) or not row.get("delivered") else 0)


if __name__ == "__main__":
    main()
