"""`crdtpubsub sim`: random clusters on invented time, checked at every step."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from crdtpubsub.cli.asked import number, verb_parser, whole
from crdtpubsub.cli.progress import Bar
from crdtpubsub.sim import Summary, run_world
from crdtpubsub.sim.summary import RareWalks

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = verb_parser(
        subparsers,
        "sim",
        summary="run random clusters on invented time and check what is promised",
        description="Run the production engine and codec on an invented network and clock: "
        "crashes, cuts, loss, restarts. Exit 0: all held; 1: the command that replays it is shown.",
        examples="sim --seed 7\nsim --worlds 100\nsim --seed 7 --loss 0.2 --partition --trace",
    )
    parser.add_argument(
        "--nodes", type=whole(4, 32), metavar="N", help="at the start, 4 to 32 (default: drawn)"
    )
    parser.add_argument(
        "--seed", type=whole(0), default=1, metavar="S",
        help="decides all that happens in the first world (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--loss", type=number(0, 0.5), metavar="P",
        help="the part of all frames that is lost, 0 to 0.5 (default: drawn)",
    )  # fmt: skip
    parser.add_argument("--partition", action="store_true", help="partitions among the faults")
    parser.add_argument(
        "--work", action="store_true", help="queue groups and requests in each world"
    )
    parser.add_argument(
        "--until", type=number(0), metavar="T", help="at least so many invented seconds"
    )
    parser.add_argument("--trace", action="store_true", help="print every step to stderr")
    parser.add_argument(
        "--worlds", type=whole(1, 10_000_000), default=1, metavar="K",
        help="so many, of the seeds S to S+K-1 (default: 1)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one object per world, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the worlds; 0 if all held, 1 at the first that did not."""
    longest_s = 0.0
    walks = RareWalks()
    steps = 0
    with ExitStack() as showing:
        several = args.worlds > 1 and not args.trace
        bar = (
            showing.enter_context(Bar("worlds", args.worlds, quiet=args.json)) if several else None
        )
        for world in range(args.worlds):
            summary = run_world(
                args.seed + world,
                nodes=args.nodes,
                loss=args.loss,
                until=args.until,
                partition=args.partition,
                work=args.work,
                trace=args.trace,
            )
            if args.trace:
                print("\n".join(summary.trace), file=sys.stderr)
            if not summary.converged:
                showing.close()
            if args.json:
                print(json.dumps(summary.as_dict(), sort_keys=True), flush=True)
            elif args.worlds == 1 or not summary.converged:
                _show(summary)
            if not summary.converged:
                return 1
            longest_s = max(longest_s, summary.converged_after_s)
            steps += summary.steps
            walks.add(summary)
            if bar is not None:
                bar.at(world + 1)
    if args.worlds > 1 and not args.json:
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
