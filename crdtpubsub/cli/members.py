"""`crdtpubsub members`: who is in a channel, on every node."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from crdtpubsub import Member, PayloadError
from crdtpubsub.cli.joining import add_verb, found, joined
from crdtpubsub.cli.output import objects, table, told

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser", "meta_of"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "members", _run,
        summary="list who is in a channel, on every node",
        description="List the members of CHANNEL. Exit 1: no other node answered.",
        examples="members room\nmembers room --down --json",
    )  # fmt: skip
    parser.add_argument("channel", metavar="CHANNEL", help="its name")
    parser.add_argument(
        "--down", action="store_true", help="also those whose node cannot be reached"
    )


async def _run(args: argparse.Namespace) -> int:
    async with joined(args, "members") as node:
        await found(node, args)
        names = {peer.node: peer.name for peer in node.peers()}
        members = node.members(args.channel, include_down=args.down)
    if args.json:
        for m in members:
            objects(
                {
                    "channel": m.channel,
                    "id": m.id,
                    "node": m.node,
                    "name": names.get(m.node),
                    "group": m.group,
                    "meta": meta_of(m),
                    "down": m.down,
                }
            )
        return 0
    if not members:
        told(f"members: nobody is in {args.channel!r}")
        return 0
    table(
        ("member", "node", "life", "queue", "meta", "reachable"),
        [
            (
                m.id,
                names.get(m.node, "?"),
                m.node[:8],
                m.group,
                "" if (meta := meta_of(m)) is None else meta,
                "no" if m.down else "yes",
            )
            for m in members
        ],
    )
    return 0


def meta_of(member: Member) -> object:
    """Its metadata; as bytes if they do not unpack."""
    try:
        return member.meta
    except PayloadError:
        return member.packed_meta
