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

__all__ = ["main"]

INTERRUPTED: Final = 130
"""128 + SIGINT, what a shell expects of a program that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 ok, 1 failed, 130 interrupted. Wrong usage exits with 2."""
    args = _parser().parse_args(argv)
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
        description="Processes that find each other, know who is in which channel, and publish.",
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
