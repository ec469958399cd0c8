"""`crdtpubsub keygen`: a fresh secret for `Node(secret=...)`."""

from __future__ import annotations

import argparse
import json
import secrets
from typing import TYPE_CHECKING, Final

from crdtpubsub.cli.asked import verb_parser

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser", "run"]

SECRET_BYTES: Final = 32


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = verb_parser(
        subparsers,
        "keygen",
        summary="print a fresh secret for Node(secret=...)",
        description="Print 256 random bits as 64 hex digits. Give the same to every node of a "
        "cluster; who holds it can do everything a node can.",
        examples="keygen > key   # then: chmod 600 key",
    )
    parser.add_argument("--json", action="store_true", help="as an object with one field, secret")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it. Hex, so that no shell, file or URL has to quote it."""
    secret = secrets.token_hex(SECRET_BYTES)
    print(json.dumps({"secret": secret}) if args.json else secret)
    return 0
