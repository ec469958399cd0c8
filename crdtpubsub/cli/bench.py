"""`crdtpubsub bench`: how many messages a second go from one process to another, here and now."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

from crdtpubsub.cli.output import objects, told

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser", "run"]

BAR: Final = 30


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "bench",
        help="measure messages a second between two processes on this machine",
        description="Start two node processes on loopback; one publishes, the other reads and "
        "checks every message. Exit 1: one was lost, or came out of order.",
    )
    parser.add_argument("--messages", type=_messages, default=100_000, metavar="N")
    parser.add_argument("--size", type=_size, default=128, metavar="BYTES", help="of each payload")
    parser.add_argument("--json", action="store_true", help="one object, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure once; 0 if every message came."""
    options = {"cluster": f"bench-{os.getpid()}", "messages": args.messages}
    with ExitStack() as stack:
        receiver = stack.enter_context(_Child(options))
        endpoint = receiver.hear()["endpoint"]
        sender = stack.enter_context(
            _Child({**options, "size_bytes": args.size, "endpoint": endpoint})
        )
        while "at" not in (heard := receiver.hear()):
            _progress(heard["received"], args.messages)
        sent = sender.hear()
    lost = args.messages - heard["received"]
    took_s = heard["at"] - sent["at"]
    rate = heard["received"] / took_s if heard["received"] else 0.0
    record = {
        "messages": args.messages,
        "size_bytes": args.size,
        "seconds": round(took_s, 4),
        "messages_per_s": round(rate),
        "bytes_per_s": round(rate * args.size),
        "lost": lost,
        "refused": sent["refused"],
        "disordered": heard["disordered"],
    }
    if args.json:
        objects(record)
    else:
        print(
            f"{args.messages:,} messages of {args.size} B from one process to another: "
            f"{rate:,.0f} msgs/sec ~ {rate * args.size / 2**20:.2f} MiB/sec, {lost} lost"
        )
    return 1 if lost or heard["disordered"] else 0


class _Child:
    """A process of the bench; ends with its stdin."""

    def __init__(self, options: dict[str, object]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "crdtpubsub.cli.bench_child", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the bench, which ends them
        )

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            told("bench: a process of the bench ended early")
            raise SystemExit(1)
        said: dict[str, Any] = json.loads(line)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()


def _progress(received: int, messages: int) -> None:
    if not sys.stderr.isatty():
        return
    full = BAR * received // messages
    end = "\n" if received >= messages else ""
    bar = "#" * full + "." * (BAR - full)
    print(f"\r[{bar}] {received:,}/{messages:,}", end=end, file=sys.stderr, flush=True)


def _messages(text: str) -> int:
    return _between(text, 1, 100_000_000)


def _size(text: str) -> int:
    return _between(text, 8, 16 * 1024 * 1024 - 64)


def _between(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not between {low} and {high}")
    return int(text)
