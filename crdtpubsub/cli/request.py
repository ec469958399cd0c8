"""`crdtpubsub request`: ask one member of a channel, and print what it answers."""

from __future__ import annotations

import argparse
from time import monotonic
from typing import TYPE_CHECKING, Final

from crdtpubsub import NoMembersError, PayloadError
from crdtpubsub.cli.joining import add_verb, found, joined, patience_s
from crdtpubsub.cli.output import objects, shown
from crdtpubsub.cli.payload import add_data, said

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]

LEFT_MIN_S: Final = 0.05


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "request", _run,
        summary="ask one member of a channel, and print its answer",
        description="Ask one member of CHANNEL and print what it answers. Exit 1: there was "
        "nobody, or nobody answered within --timeout. `crdtpubsub sub CHANNEL --reply TEXT` "
        "answers.",
        examples="request time 'what time is it?'\nrequest sums '[1, 2]' --parse --timeout 30",
    )  # fmt: skip
    parser.add_argument("channel", metavar="CHANNEL", help="its name")
    add_data(parser)


async def _run(args: argparse.Namespace) -> int:
    data = await said(args)
    async with joined(args, "request") as node:
        until = monotonic() + patience_s(args)
        await found(node, args)
        if not node.count(args.channel):
            raise NoMembersError(f"{args.channel!r} has no member; nothing was sent")
        left_s = max(LEFT_MIN_S, round(until - monotonic(), 1))
        answer = await node.request(args.channel, data, timeout=left_s, headers=dict(args.header))
        names = {peer.node: peer.name for peer in node.peers()}
    try:
        told = answer.data
    except PayloadError:
        told = answer.payload
    if args.json:
        who = {"channel": args.channel, "node": answer.sender, "name": names.get(answer.sender)}
        objects({**who, "data": told, "headers": dict(answer.headers)})
    else:
        print(shown(told), flush=True)
    return 0
