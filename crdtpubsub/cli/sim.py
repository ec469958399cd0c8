"""`crdtpubsub sim`: random clusters on invented time, checked at every step."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from crdtpubsub.sim import Summary, run_world
from crdtpubsub.sim.summary import RareWalks

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "sim",
        help="run random clusters on invented time and check what is promised",
        description="Run the production engine and codec on an invented network and clock: "
        "crashes, cuts, loss, restarts. Exit 0: all held; 1: the command that replays it is shown.",
    )
    parser.add_argument("--nodes", type=_nodes, metavar="N", help="at the start (default: drawn)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the first world")
    parser.add_argument("--loss", type=_loss, metavar="P", help="of frames, 0 to 0.5")
    parser.add_argument("--partition", action="store_true", help="partitions among the faults")
    parser.add_argument("--until", type=float, metavar="T", help="at least so many seconds")
    parser.add_argument("--trace", action="store_true", help="print every step to stderr")
    parser.add_argument("--worlds", type=_worlds, default=1, metavar="K", help="seeds S .. S+K-1")
    parser.add_argument("--json", action="store_true", help="one object per world")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the worlds; 0 if all held, 1 at the first that did not."""
    longest_s = 0.0
    walks = RareWalks()
    steps = 0
    for number in range(args.worlds):
        summary = run_world(
            args.seed + number,
            nodes=args.nodes,
            loss=args.loss,
            until=args.until,
            partition=args.partition,
            trace=args.trace,
        )
        if args.trace:
            print("\n".join(summary.trace), file=sys.stderr)
        if args.json:
            print(json.dumps(summary.as_dict(), sort_keys=True), flush=True)
        elif args.worlds == 1 or not summary.converged:
            _show(summary)
        if not summary.converged:
            return 1
        longest_s = max(longest_s, summary.converged_after_s)
        steps += summary.steps
        walks.add(summary)
        if args.worlds > 1 and sys.stderr.isatty():
            print(f"\r{number + 1}/{args.worlds} worlds held", end="", file=sys.stderr, flush=True)
    if args.worlds > 1:
        print(f"\r{args.worlds}/{args.worlds} worlds held", file=sys.stderr)
        if not args.json:
            print(
                f"{args.worlds} worlds held from seed {args.seed} on: {steps} steps, "
                f"converged at most {longest_s:.1f} invented seconds after the last fault"
            )
            print(f"rare paths, times in worlds: {walks}")
    return 0


def _show(summary: Summary) -> None:
    faults = ", ".join(f"{kind} x{count}" for kind, count in sorted(summary.faults.items()))
    print(
        f"seed {summary.seed}: {summary.nodes} nodes, {summary.ops} operations, ends in a "
        f"{summary.topology or 'failure'}"
    )
    print(f"faults: {faults or 'none'}")
    print(f"{summary.steps} steps in {summary.lasted_s:.1f} invented seconds")
    if summary.converged:
        print(f"held; converged {summary.converged_after_s:.1f} s after the last fault")
    else:
        print(f"FAILED: {summary.failure}")  # its last line replays it
    print(f"digest {summary.digest}")


def _nodes(text: str) -> int:
    return _between(text, int(text), 4, 32)


def _worlds(text: str) -> int:
    return _between(text, int(text), 1, 10_000_000)


def _loss(text: str) -> float:
    if not 0.0 <= (loss := float(text)) <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 0.5")
    return loss


def _between(text: str, number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
    return number
