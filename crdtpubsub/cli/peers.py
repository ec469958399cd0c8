"""`crdtpubsub peers`: the nodes of the cluster."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from crdtpubsub.cli.joining import add_verb, found, joined
from crdtpubsub.cli.output import objects, table

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    add_verb(
        subparsers, "peers", _run,
        summary="list the nodes of the cluster, as a new one sees them",
        description="List every node that this one meets. Exit 1: no other node answered.",
        examples="peers\npeers --seed tcp://10.0.0.5:7400 --secret-file key",
    )  # fmt: skip


async def _run(args: argparse.Namespace) -> int:
    async with joined(args, "peers") as node:
        await found(node, args)
        peers = node.peers()
    if args.json:
        for peer in peers:
            objects(asdict(peer))
        return 0
    table(
        ("node", "life", "endpoint", "state", "link"),
        [(p.name, p.node[:8], p.endpoint, p.state, "yes" if p.linked else "no") for p in peers],
    )
    return 0
