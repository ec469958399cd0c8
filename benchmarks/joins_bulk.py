"""How long until 100,000 joins, made one by one here, are all visible there? And their memory?

Sketch    The joining node: 15 us of set, engine and lock each, the other: decode 1 us and merge
          5 us each, side by side: 1.5 to 2 s. Memory there: dict entries 66 + reverse index 25 +
          names 60: ~150 bytes with distinct ids.
Setup     Two processes. Clients are made before. `1 channel`: 100,000 clients in one channel;
          `10,000 x 10`: each of 100,000 clients in one of 10,000 channels; `10,000 x 10 same
          ids`: ten clients in each of them, so that the names are shared.
Measures  From before the first `await join()` until the last channel is full there; then every
          channel is counted there and must be full. `bytes_per_membership`: growth of the
          resident set (RSS) of the process that only watches, garbage collected before and
          after, or with --tracemalloc what Python allocated (slower: its times mean nothing).
Excludes  Processes, links, making the clients (printed as clients_s).
Compares  Bare: one frame a join into a dict of dicts, made and read in blocking loops.
Run       python -m benchmarks.joins_bulk --joins 100000
Prints    One JSON line for each case: seconds, join_us and the CPU time a join costs on both
          sides, bytes_per_membership, bare_s, ratio.
"""

from __future__ import annotations

import tracemalloc
from time import monotonic, process_time

from benchmarks.bare import bound, dialled, pack, unpack
from benchmarks.common import Children, Pipe, counted, emit, linked, parser, rss_bytes
from crdtpubsub import Node

VISIBLE_S = 100.0


def memberships(case: str, joins: int) -> list[tuple[str, str]]:
    """Channel and client id of each join, in order."""
    if case == "1 channel":
        return [("everybody", f"client-{n:06}") for n in range(joins)]
    if case == "10,000 x 10":
        return [(f"channel-{n // 10:05}", f"client-{n:06}") for n in range(joins)]
    return [(f"channel-{n // 10:05}", f"client-{n % 10:06}") for n in range(joins)]


def full(case: str, joins: int) -> dict[str, int]:
    """How many members each channel shall have, the last one joined at the end."""
    counts: dict[str, int] = {}
    for channel, _ in memberships(case, joins):
        counts[channel] = counts.get(channel, 0) + 1
    return counts


def allocated(*, traced: bool) -> int:
    return tracemalloc.get_traced_memory()[0] if traced else rss_bytes()


async def node_joiner(pipe: Pipe, case: str, joins: int, _traced: bool) -> None:
    async with Node("tcp://127.0.0.1:*") as node:
        started_at = monotonic()
        rows = memberships(case, joins)
        clients = {name: node.client(name) for name in dict.fromkeys(row[1] for row in rows)}
        clients_s = monotonic() - started_at
        pipe.tell(node.endpoint)
        await linked(node, 1)
        pipe.tell("ready")
        await pipe.heard()
        started_at, cpu_at = monotonic(), process_time()
        for channel, name in rows:
            await node.join(channel, clients[name])
        took_s = monotonic() - started_at
        pipe.tell({"at": started_at, "took_s": took_s, "clients_s": clients_s})
        await pipe.heard()
        pipe.tell(process_time() - cpu_at)
        await pipe.heard()


async def node_watcher(pipe: Pipe, endpoint: str, case: str, joins: int, traced: bool) -> None:
    async with Node("tcp://127.0.0.1:*", seeds=[endpoint]) as node:
        await linked(node, 1)
        counts = full(case, joins)
        last = next(reversed(counts))
        if traced:
            tracemalloc.start()
        before, cpu_at = allocated(traced=traced), process_time()
        pipe.tell("ready")
        await counted(node, last, lambda n: n >= counts[last], VISIBLE_S)
        at = monotonic()
        cpu_s = process_time() - cpu_at
        missing = sum(n - node.count(channel) for channel, n in counts.items())
        grown = allocated(traced=traced) - before
        pipe.tell({"at": at, "missing": missing, "cpu_s": cpu_s, "bytes": grown / joins})
        await pipe.heard()


async def bare_joiner(pipe: Pipe, endpoint: str, case: str, joins: int, _traced: bool) -> None:
    socket = dialled(endpoint)
    rows = memberships(case, joins)
    pipe.tell("ready")
    pipe.hear()
    started_at = monotonic()
    for birth, (channel, name) in enumerate(rows):
        socket.send(pack((channel, name, birth)))
    pipe.tell({"at": started_at, "took_s": monotonic() - started_at, "clients_s": 0.0})
    pipe.hear()


async def bare_watcher(pipe: Pipe, case: str, joins: int, traced: bool) -> None:
    socket, endpoint = bound()
    pipe.tell(endpoint)
    counts = full(case, joins)
    if traced:
        tracemalloc.start()
    before, cpu_at = allocated(traced=traced), process_time()
    pipe.tell("ready")
    members: dict[str, dict[str, int]] = {}
    for _ in range(joins):
        channel, name, birth = unpack(socket.recv())
        members.setdefault(channel, {})[name] = birth
    at, cpu_s = monotonic(), process_time() - cpu_at
    missing = sum(n - len(members[channel]) for channel, n in counts.items())
    grown = allocated(traced=traced) - before
    pipe.tell({"at": at, "missing": missing, "cpu_s": cpu_s, "bytes": grown / joins})
    pipe.hear()


def measure(kind: str, case: str, joins: int, *, traced: bool) -> dict[str, float]:
    with Children() as children:
        if kind == "ours":
            joiner = children.start(node_joiner, case, joins, traced)
            watcher = children.start(node_watcher, joiner.hear(), case, joins, traced)
        else:
            watcher = children.start(bare_watcher, case, joins, traced)
            joiner = children.start(bare_joiner, watcher.hear(), case, joins, traced)
        joiner.hear(), watcher.hear()
        made = joiner.ask("go")
        seen = watcher.hear()
        joiner_cpu_s = joiner.ask("cpu") if kind == "ours" else 0.0
        return {
            "seconds": round(seen["at"] - made["at"], 3),
            "join_us": round(made["took_s"] / joins * 1e6, 2),
            "joiner_cpu_us": round(joiner_cpu_s / joins * 1e6, 2),
            "watcher_cpu_us": round(seen["cpu_s"] / joins * 1e6, 2),
            "bytes_per_membership": round(seen["bytes"], 1),
            "missing": seen["missing"],
            "clients_s": round(made["clients_s"], 3),
        }


def main() -> None:
    cli = parser(__doc__)
    cli.add_argument("--joins", type=int, default=100_000)
    cli.add_argument("--tracemalloc", action="store_true")
    args = cli.parse_args()
    for case in ("1 channel", "10,000 x 10", "10,000 x 10 same ids"):
        ours = measure("ours", case, args.joins, traced=args.tracemalloc)
        bare = measure("bare", case, args.joins, traced=args.tracemalloc)
        emit(
            "joins_bulk",
            case,
            **ours,
            memory="tracemalloc" if args.tracemalloc else "rss",
            bare_s=bare["seconds"],
            bare_watcher_cpu_us=bare["watcher_cpu_us"],
            bare_bytes_per_membership=bare["bytes_per_membership"],
            ratio=round(ours["seconds"] / bare["seconds"], 2),
            joins=args.joins,
        )


if __name__ == "__main__":
    main()
