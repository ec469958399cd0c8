"""`crdtpubsub demo`: five real processes on this machine, and everything that may befall them."""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from typing import TYPE_CHECKING

from crdtpubsub.cli.asked import verb_parser
from crdtpubsub.cli.demo_narrator import JsonNarrator, Narrator, StoryNarrator
from crdtpubsub.cli.demo_process import Cluster
from crdtpubsub.cli.demo_stage import NODES, PATIENCE_S
from crdtpubsub.cli.demo_story import Story

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = verb_parser(
        subparsers,
        "demo",
        summary="watch five node processes on this machine: needs nothing, takes some seconds",
        description="Start five node processes on loopback and show what each of them reports: "
        "they find each other, clients join, publish and are told to leave, a process is killed "
        "and comes back, a cut heals. Exit 0: all was as it should be; 1: something was not.",
        examples="demo\ndemo --json",
    )
    parser.add_argument("--json", action="store_true", help="one object per step, then a summary")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell the story; 0 if all was as it should be."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without a tick mark is no failure
    return 0 if asyncio.run(_tell(JsonNarrator() if args.json else StoryNarrator(NODES))) else 1


async def _tell(narrator: Narrator) -> bool:
    # Strictness (`-X dev`) would tell of every slow moment of a busy machine: not of interest here.
    asyncio.get_running_loop().slow_callback_duration = PATIENCE_S
    cluster = Cluster()
    try:
        return await Story(cluster, narrator).tell()
    finally:
        await cluster.close()
