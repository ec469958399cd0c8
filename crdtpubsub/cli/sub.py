"""`crdtpubsub sub`: join channels and print what is published to them."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Final

from crdtpubsub import Client, Exit, Message, PayloadError, QueueFullError
from crdtpubsub.cli.asked import whole
from crdtpubsub.cli.joining import add_verb, joined, patience_s
from crdtpubsub.cli.output import objects, shown, told

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]

ACKNOWLEDGED_S: Final = 0.15
"""What was taken is acknowledged 100 ms later at the latest."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "sub", _run,
        summary="join channels and print their messages",
        description="Join each CHANNEL as a member and print messages until Ctrl-C. Exit 1: "
        "others ended the last membership, or --count messages did not come within --timeout.",
        examples="sub room\n"
        "sub news alerts --json\n"
        "sub jobs --queue workers\n"
        "sub time --reply noon --count 1",
    )  # fmt: skip
    parser.add_argument("channels", metavar="CHANNEL", nargs="+", help="its name: any text")
    parser.add_argument("--id", help="the name of the member (default: drawn)")
    parser.add_argument(
        "--queue",
        metavar="GROUP",
        help="share the messages: of all members with this GROUP one gets each",
    )
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument("--reply", metavar="TEXT", help="answer each request with TEXT")
    answers.add_argument(
        "--echo", action="store_true", help="answer each request with what it said"
    )
    parser.add_argument("--count", type=whole(1), metavar="N", help="end after N messages")


async def _run(args: argparse.Namespace) -> int:
    async with joined(args, "sub") as node:
        client = node.client(args.id)
        for channel in args.channels:
            await client.join(channel, queue=args.queue)
        group = f" as one of {args.queue}" if args.queue else ""
        told(f"sub: {client.id} is in {', '.join(args.channels)}{group}, on {node.endpoint}")
        try:
            async with asyncio.timeout(args.timeout):
                return await _read(client, args)
        except TimeoutError:
            raise TimeoutError(f"--timeout: {args.timeout:g} s are over") from None


async def _read(client: Client, args: argparse.Namespace) -> int:
    got = 0
    async for item in client:
        _show(item, args)
        if isinstance(item, Message):
            got += 1
            _answer(item, args)
        if args.count is not None and got >= args.count:
            await asyncio.sleep(ACKNOWLEDGED_S)  # or whoever published would be left in doubt
            if args.echo or args.reply is not None:
                await client.node.drain(timeout=patience_s(args))  # the last answer arrives
            return 0
        if isinstance(item, Exit) and not client.channels:
            return 1
    return 1


def _answer(message: Message, args: argparse.Namespace) -> None:
    if not message.wants_reply or not (args.echo or args.reply is not None):
        return
    try:
        message.reply(message.data if args.echo else args.reply)
    except (PayloadError, QueueFullError) as error:
        told(f"sub: no answer was sent: {error}")


def _show(item: Message | Exit, args: argparse.Namespace) -> None:
    group = {"group": args.queue} if args.queue else {}
    if isinstance(item, Exit):
        if args.json:
            objects({"channel": item.channel, "exit": item.reason, **group})
        else:
            told(f"sub: the membership in {item.channel} was ended: {item.reason}")
        return
    try:
        data = item.data
    except PayloadError:
        data = item.payload
    if args.json:
        record = {"channel": item.channel, "data": data, "sender": item.sender}
        asks = {"wants_reply": True} if item.wants_reply else {}
        objects({**record, "headers": dict(item.headers), **group, **asks})
    else:
        print(
            f"{item.channel}: {shown(data)}" if len(args.channels) > 1 else shown(data), flush=True
        )
