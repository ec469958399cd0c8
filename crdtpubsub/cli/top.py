"""`crdtpubsub top`: nodes, channels, rates and lag, live."""

from __future__ import annotations

import argparse
import asyncio
import sys
from time import monotonic
from typing import TYPE_CHECKING

from crdtpubsub import Node
from crdtpubsub.cli.asked import number, whole
from crdtpubsub.cli.joining import add_verb, found, joined
from crdtpubsub.cli.output import objects, plain_table, shown

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]

CHANNELS_SHOWN = 20
LAG_S = 2.0
"""So long it is waited for equal rows, if `--every` is shorter: they may take a round of gossip."""
CLEAR = "\x1b[H\x1b[2J"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "top", _run,
        summary="nodes, channels, rates and lag, live",
        description="Show the nodes, the largest channels, frames a second that come to this "
        "node, and the lag: how long it takes until every live peer has shown rows equal to "
        "those here. Messages between other nodes do not come this way, and are not seen. "
        "Until Ctrl-C.",
        examples="top\ntop --every 0.5\ntop --count 1 --json",
    )  # fmt: skip
    parser.add_argument(
        "--every", type=number(0.1, 60), default=1.0, metavar="S",
        help="seconds between two looks, 0.1 to 60 (default: 1)",
    )  # fmt: skip
    parser.add_argument("--count", type=whole(1), metavar="N", help="end after N looks")


async def _run(args: argparse.Namespace) -> int:
    every_s: float = args.every
    async with joined(args, "top") as node:
        await found(node, args, needed=False)
        frames, at, looks = node.stats().counters.get("frames", 0), monotonic(), 0
        while args.count is None or looks < args.count:
            await asyncio.sleep(every_s)
            lag_ms = await _lag_ms(node, max(every_s, LAG_S))
            now, seen = monotonic(), node.stats().counters.get("frames", 0)
            _show(_look(node, (seen - frames) / (now - at), lag_ms), as_json=args.json)
            frames, at, looks = seen, now, looks + 1
    return 0


async def _lag_ms(node: Node, within_s: float) -> float | None:
    began_at = monotonic()
    try:
        await node.converged(timeout=within_s)
    except TimeoutError:
        return None
    return round((monotonic() - began_at) * 1000, 1)


def _look(node: Node, frames_per_s: float, lag_ms: float | None) -> dict[str, object]:
    counts = {channel: node.count(channel) for channel in node.channels()}
    largest = sorted(counts, key=lambda channel: (-counts[channel], channel))[:CHANNELS_SHOWN]
    return {
        "nodes": [
            {"name": p.name, "node": p.node, "state": p.state, "linked": p.linked}
            for p in node.peers()
        ],
        "channels": len(counts),
        "memberships": sum(counts.values()),
        "largest": {channel: counts[channel] for channel in largest},
        "frames_per_s": round(frames_per_s, 1),
        "lag_ms": lag_ms,
    }


def _show(look: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        objects(look)
        return
    nodes, largest, lag = look["nodes"], look["largest"], look["lag_ms"]
    assert isinstance(nodes, list)
    assert isinstance(largest, dict)
    lines = [
        f"{_many(len(nodes), 'other node')}, {_many(look['channels'], 'channel')}, "
        f"{_many(look['memberships'], 'membership')}, {look['frames_per_s']} frames/s, "
        + ("lag: not equal in time" if lag is None else f"lag {lag} ms"),
        "",
        *plain_table(
            ("node", "life", "state", "link"),
            [
                [shown(n["name"]), n["node"][:8], n["state"], "yes" if n["linked"] else "no"]
                for n in nodes
            ],
        ),
        "",
        *plain_table(("channel", "members"), [[shown(c), str(n)] for c, n in largest.items()]),
    ]
    print((CLEAR if sys.stdout.isatty() else "") + "\n".join(lines), flush=True)


def _many(number: object, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
