"""`crdtpubsub bench`: how many messages a second go from one process to another, here and now."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from crdtpubsub.cli.asked import verb_parser, whole
from crdtpubsub.cli.output import objects, told
from crdtpubsub.cli.progress import Bar

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = verb_parser(
        subparsers,
        "bench",
        summary="measure messages a second between two processes on this machine",
        description="Start two node processes on loopback; one publishes, the other reads and "
        "checks every message. Exit 1: one was lost, or came out of order.",
        examples="bench\nbench --messages 20000 --size 4096 --output bench.json",
    )
    parser.add_argument(
        "--messages", type=whole(1, 100_000_000), default=100_000, metavar="N",
        help="how many (default: 100000)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=whole(8, 16 * 1024 * 1024 - 64), default=128, metavar="BYTES",
        help="of each payload, 8 to 16 MiB less 64 (default: 128)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one object, for programs")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write that object into FILE as well"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure once; 0 if every message came."""
    if args.output is not None and not args.output.absolute().parent.is_dir():
        told(f"bench: --output {args.output}: there is no such directory; nothing was measured")
        return 2
    options = {"cluster": f"bench-{os.getpid()}", "messages": args.messages}
    with ExitStack() as stack:
        receiver = stack.enter_context(_Child(options))
        endpoint = receiver.hear()["endpoint"]
        sender = stack.enter_context(
            _Child({**options, "size_bytes": args.size, "endpoint": endpoint})
        )
        with Bar("messages", args.messages) as bar:
            while "at" not in (heard := receiver.hear()):
                bar.at(heard["received"])
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
    failed = bool(lost or heard["disordered"])
    if args.output is not None:
        try:
            args.output.write_text(json.dumps(record) + "\n", "utf-8")
        except OSError as error:
            told(f"bench: --output: {error}")
            failed = True
    if args.json:
        objects(record)
    else:
        print(
            f"{args.messages:,} messages of {args.size} B from one process to another: "
            f"{rate:,.0f} msgs/sec ~ {rate * args.size / 2**20:.2f} MiB/sec, {lost} lost"
        )
    return int(failed)


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
