"""What the verbs that say something say: DATA from the command line or stdin, and headers."""

from __future__ import annotations

import argparse
import json

from crdtpubsub import ConfigError
from crdtpubsub.cli import stdin

__all__ = ["add_data", "payload", "said"]


def add_data(parser: argparse.ArgumentParser) -> None:
    """DATA, and how it is meant."""
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="what is said; '-' or nothing: all of stdin, as it is",
    )
    parser.add_argument("--parse", action="store_true", help="DATA is JSON, and travels as data")
    parser.add_argument(
        "--header", action="append", default=[], metavar="KEY=VALUE", type=header,
        help="travels with it; may be repeated",
    )  # fmt: skip


async def said(args: argparse.Namespace) -> object:
    """What shall be said."""
    if args.data in (None, "-"):
        stdin.invite("type what shall be said; Ctrl-D on a line of its own ends it")
        read: str | bytes = await stdin.whole()
    else:
        read = args.data
    return payload(read, parse=args.parse)


def payload(read: str | bytes, *, parse: bool) -> object:
    """Text where it is text, bytes where it is not."""
    if isinstance(read, bytes):
        try:
            read = read.decode()
        except UnicodeDecodeError:
            if parse:
                raise ConfigError("--parse: this is no JSON, it is not even UTF-8") from None
            return read
    if not parse:
        return read
    try:
        parsed: object = json.loads(read)
    except ValueError as error:
        raise ConfigError(f"--parse: this is no JSON: {error}") from None
    return parsed


def header(text: str) -> tuple[str, str]:
    """One --header."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r}: write KEY=VALUE")
    return key, value
