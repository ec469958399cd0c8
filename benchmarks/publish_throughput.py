"""How many messages a second from one process to one and to four others, loopback TCP?

Sketch    Publisher: pack 0.5 us, route and lock 1 us, outbox 0.3 us, `await` 0.3 us: ~3 us; the
          receiver: envelope 1 us, Message 0.5 us, queue 0.3 us, `async for` 1 us, unpack 0.7 us:
          ~4 us. So 250 k/s at 100 B; bare batched ~1 M/s; a ratio of 0.25 to 0.3 untuned.
Setup     One publisher process, 1 or 4 receiver processes with one member each. The publisher
          does `await publish()`, the receivers `async for` over a subscription.
          `publish_stall_s` is 10 s: on a busy machine a receiver that was not scheduled for the
          usual 0.1 s would be refused, and nothing shall be lost here.
Measures  Deliveries a second, from the first publish to the last receipt, over all receivers.
          Every message is built, numbered and checked at both ends; what is lost, doubled or out
          of order is counted. The median of the repeats, with the best and the worst. Beside it
          CPU time per message in each process, which other people's load hardly changes.
Excludes  Processes, links, joins; the first run of each case (warm-up).
Compares  bare pyzmq + msgpack in the same run: one frame a message (`one`), and frames of up to
          256 messages or 64 kB (`batched`). `ratio` is ours to the batched;
          `cpu_ratio` the same by CPU time of the dearer process (trust it on a busy machine).
Run       python -m benchmarks.publish_throughput --repeat 3
Prints    One JSON line for each number of receivers and size: deliveries_per_s, ratio, lost.
"""

from __future__ import annotations

import asyncio
from statistics import median
from time import monotonic, process_time
from typing import Any

import msgpack  # type: ignore[import-untyped,unused-ignore]

from benchmarks.bare import Packer, bound, dialled
from benchmarks.common import Children, Pipe, Role, emit, linked, medians, parser
from crdtpubsub import Config, Node

CHANNEL = "prices"
BATCH_MESSAGES = 256
BATCH_BYTES = 64 * 1024
STALLED_S = 20.0


class Tally:
    """What one receiver saw of the messages 0 .. expected - 1."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.received = 0
        self.disordered = 0
        self._next = 0
        self._cpu_at = process_time()

    def note(self, number: int) -> bool:
        """True with the last one."""
        if number != self._next:
            self.disordered += 1
        self._next = number + 1
        self.received += 1
        return number >= self.expected - 1

    def report(self) -> dict[str, float]:
        return {
            "at": monotonic(),
            "cpu_us": (process_time() - self._cpu_at) / self.expected * 1e6,
            "lost": self.expected - self.received,
            "disordered": self.disordered,
        }


def padding(size_bytes: int) -> bytes:
    """What makes a message of about `size_bytes` out of its number."""
    return b"x" * max(0, size_bytes - 16)


def sent(started_at: float, cpu_at: float, messages: int, refused: int) -> dict[str, float]:
    """What a publisher says when all is out."""
    cpu_us = (process_time() - cpu_at) / messages * 1e6
    return {"at": started_at, "cpu_us": cpu_us, "refused": refused}


# ---------------------------------------------------------------- ours


async def node_receiver(pipe: Pipe, seeds: list[str]) -> None:
    async with Node("tcp://127.0.0.1:*", seeds=seeds) as node:
        messages = await node.subscribe(CHANNEL, max_pending=10_000_000)
        pipe.tell(node.endpoint)
        while (expected := await pipe.heard()) is not None:
            tally = Tally(expected)
            try:
                async with asyncio.timeout(STALLED_S):
                    async for message in messages:
                        data: Any = message.data
                        if tally.note(data["n"]):
                            break
            except TimeoutError:
                pass
            pipe.tell(tally.report())


async def node_publisher(pipe: Pipe, receivers: int, size_bytes: int, stall_s: float) -> None:
    patient = Config(publish_stall_s=stall_s, publish_wait_max_s=max(1.0, 2 * stall_s))
    async with Node("tcp://127.0.0.1:*", config=patient) as node:
        pipe.tell(node.endpoint)
        await linked(node, receivers)
        await node.wait_for(CHANNEL, receivers, timeout=20)
        pipe.tell("ready")
        pad = padding(size_bytes)
        while (messages := await pipe.heard()) is not None:
            refused = 0
            started_at, cpu_at = monotonic(), process_time()
            for number in range(messages):
                receipt = await node.publish(CHANNEL, {"n": number, "pad": pad})
                refused += receivers - receipt.members
            await node.converged(timeout=STALLED_S)  # so that its CPU time covers the I/O too
            pipe.tell(sent(started_at, cpu_at, messages, refused))


# ---------------------------------------------------------------- bare


async def bare_receiver(pipe: Pipe, _seeds: list[str]) -> None:
    socket, endpoint = bound()
    pipe.tell(endpoint)
    while (expected := pipe.hear()) is not None:
        tally = Tally(expected)
        members = {CHANNEL: tally.note}  # somebody's handler, found by name as a user would
        done = False
        while not done and socket.poll(int(STALLED_S * 1000)):
            unpacker = msgpack.Unpacker(use_list=False)
            unpacker.feed(socket.recv())
            for channel, data in unpacker:
                done = members[channel](data["n"])
        pipe.tell(tally.report())


async def bare_publisher(pipe: Pipe, endpoints: list[str], size_bytes: int, batch: int) -> None:
    members = {CHANNEL: [dialled(endpoint) for endpoint in endpoints]}
    pack = Packer()
    pad = padding(size_bytes)
    pipe.tell("ready")
    while (messages := pipe.hear()) is not None:
        started_at, cpu_at = monotonic(), process_time()
        waiting: list[bytes] = []
        waiting_bytes = 0
        for number in range(messages):
            record = pack((CHANNEL, {"n": number, "pad": pad}))
            waiting.append(record)
            waiting_bytes += len(record)
            if len(waiting) >= batch or waiting_bytes >= BATCH_BYTES:
                _send(members[CHANNEL], waiting)
                waiting, waiting_bytes = [], 0
        _send(members[CHANNEL], waiting)
        pipe.tell(sent(started_at, cpu_at, messages, 0))


def _send(sockets: list[Any], records: list[bytes]) -> None:
    if records:
        frame = b"".join(records)
        for socket in sockets:
            socket.send(frame)


# ---------------------------------------------------------------- the question


def measure(
    kind: str, receivers: int, size_bytes: int, messages: int, repeat: int, stall_s: float
) -> list[dict[str, float]]:
    """One row for each run of `messages` messages: its rate and its losses."""
    with Children() as children:
        receive: Role = node_receiver if kind == "ours" else bare_receiver
        if kind == "ours":
            publisher = children.start(node_publisher, receivers, size_bytes, stall_s)
            seeds = [publisher.hear()]
            ears = [children.start(receive, seeds) for _ in range(receivers)]
            for ear in ears:
                ear.hear()
        else:
            ears = [children.start(receive, []) for _ in range(receivers)]
            endpoints = [ear.hear() for ear in ears]
            batch = 1 if kind == "one" else BATCH_MESSAGES
            publisher = children.start(bare_publisher, endpoints, size_bytes, batch)
        publisher.hear()
        rows = []
        for turn in range(repeat + 1):
            n = messages if turn else max(100, messages // 10)
            for ear in ears:
                ear.tell(n)
            said = publisher.ask(n)
            heard = [ear.hear() for ear in ears]
            took_s = max(row["at"] for row in heard) - said["at"]
            lost = sum(row["lost"] for row in heard)
            rows.append(
                {
                    "deliveries_per_s": round((n * receivers - lost) / took_s),
                    "publisher_cpu_us": round(said["cpu_us"], 2),
                    "receiver_cpu_us": round(median(row["cpu_us"] for row in heard), 2),
                    "lost": lost,
                    "refused": said["refused"],
                    "disordered": sum(row["disordered"] for row in heard),
                }
            )
        return rows[1:]


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--repeat", type=int, default=3)
    cli.add_argument("--messages", type=int, default=40_000, help="of 100 B; a third of 4 KiB")
    cli.add_argument("--stall-s", type=float, default=10.0, help="Config.publish_stall_s")
    cli.add_argument("--receivers", type=int, nargs="*", default=[1, 4])
    cli.add_argument("--payload-bytes", type=int, nargs="*", default=[100, 4096])
    args = cli.parse_args()
    for size_bytes in args.payload_bytes:
        for receivers in args.receivers:
            messages = args.messages // (1 if size_bytes < 1000 else 3)
            runs = {
                kind: measure(
                    kind, receivers, size_bytes, times * messages, args.repeat, args.stall_s
                )
                for kind, times in (("ours", 1), ("one", 1), ("batched", 3))
            }
            ours = runs["ours"]
            of = {kind: medians(rows) for kind, rows in runs.items()}
            emit(
                "publish_throughput",
                f"1->{receivers} {size_bytes} B",
                deliveries_per_s=of["ours"]["deliveries_per_s"],
                worst=min(row["deliveries_per_s"] for row in ours),
                best=max(row["deliveries_per_s"] for row in ours),
                bare_one_per_s=of["one"]["deliveries_per_s"],
                bare_batched_per_s=of["batched"]["deliveries_per_s"],
                ratio=round(of["ours"]["deliveries_per_s"] / of["batched"]["deliveries_per_s"], 3),
                publisher_cpu_us=of["ours"]["publisher_cpu_us"],
                receiver_cpu_us=of["ours"]["receiver_cpu_us"],
                bare_batched_publisher_cpu_us=of["batched"]["publisher_cpu_us"],
                bare_batched_receiver_cpu_us=of["batched"]["receiver_cpu_us"],
                cpu_ratio=round(_dearer(of["batched"]) / _dearer(of["ours"]), 3),
                lost=sum(row["lost"] for row in ours),
                refused=sum(row["refused"] for row in ours),
                disordered=sum(row["disordered"] for row in ours),
                messages=messages,
            )


def _dearer(row: dict[str, float]) -> float:
    """The process that limits, if each had a core of its own."""
    return max(row["publisher_cpu_us"], row["receiver_cpu_us"])


if __name__ == "__main__":
    main()
