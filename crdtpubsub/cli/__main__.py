"""`crdtpubsub VERB`, and `python -m crdtpubsub.cli VERB`: one file per verb beside this one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from crdtpubsub.cli import (
    bench,
    channels,
    demo,
    doctor,
    keygen,
    members,
    node,
    peers,
    pub,
    request,
    sim,
    sub,
    top,
    watch,
)
from crdtpubsub.cli.asked import EXITS, Help

__all__ = ["main"]

INTERRUPTED: Final = 130
"""128 + SIGINT, what a shell expects of a program that Ctrl-C ended."""


EPILOG: Final = f"""\
examples:
  crdtpubsub sub room            in one terminal: prints what is published to room
  crdtpubsub pub room hello      in another one
  crdtpubsub VERB --help         what a verb does, and its options

{EXITS}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 done, 1 failed, 2 asked wrongly, 130 interrupted. See `EXITS`."""
    parser = _parser()
    if not (sys.argv[1:] if argv is None else argv):
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `| head` has read enough. What is still buffered must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crdtpubsub",
        description="Processes that find each other, know who is in which channel, and publish to "
        "it, with no broker. Two terminals are enough to try: the verbs join the nodes of this "
        "user on this host, unless they are told otherwise.",
        formatter_class=Help,
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"crdtpubsub {_version()}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in (
        demo,
        node,
        sub,
        pub,
        request,
        members,
        channels,
        peers,
        watch,
        top,
        doctor,
        bench,
        sim,
        keygen,
    ):
        verb.add_parser(verbs)
    return parser


def _version() -> str:
    try:
        return version("crdtpubsub")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
