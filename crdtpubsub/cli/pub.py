"""`crdtpubsub pub`: publish one message, or one for each line of stdin."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from crdtpubsub import ConfigError, Node, Receipt
from crdtpubsub.cli import stdin
from crdtpubsub.cli.joining import add_verb, found, joined, patience_s
from crdtpubsub.cli.output import objects, told
from crdtpubsub.cli.payload import add_data, payload, said
from crdtpubsub.cli.progress import Bar

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]

SHOW_EVERY: Final = 500


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "pub", _run,
        summary="publish a message to a channel",
        description="Publish to every member of CHANNEL and wait for their nodes' answers. Exit "
        "1: there was nobody within --timeout, or one of their nodes did not take it.",
        examples="pub room hello\n"
        "pub room '{\"price\": 3}' --parse\n"
        "pub room < picture.png\n"
        "pub room --lines < words.txt",
    )  # fmt: skip
    parser.add_argument("channel", metavar="CHANNEL", help="its name")
    add_data(parser)
    parser.add_argument(
        "--lines", action="store_true",
        help="each line of stdin is a message, in order: sent at once, acknowledged at the end",
    )  # fmt: skip


async def _run(args: argparse.Namespace) -> int:
    if args.lines and args.data not in (None, "-"):
        raise ConfigError("--lines reads stdin; leave DATA out")
    data = None if args.lines else await said(args)
    async with joined(args, "pub") as node:
        left_s = await found(node, args)
        if not node.count(args.channel):
            try:
                await node.wait_for(args.channel, 1, timeout=max(left_s, 0.01))
            except TimeoutError:
                raise TimeoutError(
                    f"{args.channel!r} had no member within {patience_s(args):g} s"
                ) from None
        if args.lines:
            return await _lines(node, args)
        receipt = await node.publish(
            args.channel, data, headers=dict(args.header), confirm=patience_s(args)
        )
        return _report(node, args, receipt)


async def _lines(node: Node, args: argparse.Namespace) -> int:
    """In order, over links that keep it; `drain` tells whether all arrived."""
    sent = refused = 0
    stdin.invite("each line that you type is a message; Ctrl-D ends it")
    with Bar("published") as bar:
        async for line in stdin.lines():
            data = payload(line, parse=args.parse)
            receipt = await node.publish(args.channel, data, headers=dict(args.header))
            sent += 1
            said = (*receipt.owners.values(), *receipt.groups.values())
            refused += any(outcome.refused for outcome in said)
            refused += not receipt.owners
            if sent % SHOW_EVERY == 0:
                bar.at(sent)
    await node.drain(timeout=patience_s(args))
    if args.json:
        objects({"channel": args.channel, "published": sent, "refused": refused})
    else:
        print(f"published {sent} to {args.channel}, {refused} refused by an owner")
    return 1 if refused else 0


def _report(node: Node, args: argparse.Namespace, receipt: Receipt) -> int:
    names = {peer.node: peer.name for peer in node.peers()}
    failed = {n: o for n, o in receipt.owners.items() if o.refused or o == "unknown"}
    missed = {g: o for g, o in receipt.groups.items() if o.refused or o == "unknown"}
    if args.json:
        owners = {life: str(outcome) for life, outcome in sorted(receipt.owners.items())}
        groups = {group: str(outcome) for group, outcome in sorted(receipt.groups.items())}
        said = {"channel": args.channel, "members": receipt.members, "owners": owners}
        objects({**said, "groups": groups})
    else:
        plural = "" if receipt.members == 1 else "s"
        print(f"{args.channel}: {receipt.members} client{plural} took it")
    for life, outcome in sorted(failed.items()):
        told(f"pub: node {names.get(life, life[:8])}: {outcome}")
    for group, outcome in sorted(missed.items()):
        told(f"pub: queue group {group}: {outcome}")
    return 1 if failed or missed or not receipt.members else 0
