"""`crdtpubsub node`: a node without members, for others to find; prints what an operator asks."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from crdtpubsub import LimitReached, Notice
from crdtpubsub.cli.joining import add_verb, make_node
from crdtpubsub.cli.output import objects, shown

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    add_verb(
        subparsers, "node", _run,
        summary="run a node without members, and print who comes and goes",
        description="Run a node until Ctrl-C or SIGTERM: a seed for others, which outlives them. "
        "Prints its endpoint first, then every notice that `Node.events` tells.",
        examples="node\nnode --bind tcp://127.0.0.1:7400\n"
        "node --bind tcp://0.0.0.0:7400 --advertise tcp://10.0.0.5:7400 --secret-file key",
    )  # fmt: skip


async def _run(args: argparse.Namespace) -> int:
    node = make_node(args, "node")
    notices = node.events()
    async with node:
        if args.json:
            record = {"event": "Started", "node": node.id, "name": node.name}
            objects({**record, "endpoint": node.endpoint})
        else:
            print(f"node {node.name} ({node.id[:8]}) on {shown(node.endpoint)}", flush=True)
        async for notice in notices:
            _show(notice, as_json=args.json)
    return 1


def _show(notice: Notice, *, as_json: bool) -> None:
    event, said = type(notice).__name__, asdict(notice)
    if isinstance(notice, LimitReached):
        said["about"] = notice.about
    if as_json:
        objects({"event": event, **said})
        return
    if life := said.get("node"):
        said["node"] = life[:8]
    print(event, " ".join(f"{key}={shown(value)}" for key, value in said.items()), flush=True)
