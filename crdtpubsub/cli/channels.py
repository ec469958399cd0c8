"""`crdtpubsub channels`: every channel that exists, and how many are in it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from crdtpubsub.cli.joining import add_verb, found, joined
from crdtpubsub.cli.output import objects, table, told

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "channels", _run,
        summary="list the channels and how many members they have",
        description="List every channel that has a member or was declared. Exit 1: no other node "
        "answered.",
        examples="channels\nchannels game-",
    )  # fmt: skip
    parser.add_argument(
        "prefix", metavar="PREFIX", nargs="?", default="", help="only those that begin with it"
    )


async def _run(args: argparse.Namespace) -> int:
    async with joined(args, "channels") as node:
        await found(node, args)
        counts = [(channel, node.count(channel)) for channel in node.channels(args.prefix)]
    if args.json:
        for channel, members in counts:
            objects({"channel": channel, "members": members})
    elif not counts:
        told(
            f"channels: there is none{f' that begins with {args.prefix!r}' if args.prefix else ''}"
        )
    else:
        table(("channel", "members"), counts)
    return 0
