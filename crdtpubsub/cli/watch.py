"""`crdtpubsub watch`: who is there, and then who comes and goes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from crdtpubsub import ConfigError, Member, NodeId, Snapshot
from crdtpubsub.cli.joining import add_verb, joined
from crdtpubsub.cli.members import meta_of
from crdtpubsub.cli.output import objects, shown

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]

NAMES_MAX: Final = 4096
"""Of nodes that have left, too: it is said who left, and where it was."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "watch", _run,
        summary="print who joins and leaves, as it happens",
        description="Print who is in CHANNEL (or in every channel), then every change until "
        "Ctrl-C: + joined, - left, ~ updated. After a snapshot (=) forget what was printed before.",
        examples="watch room\nwatch --prefix game- --json",
    )  # fmt: skip
    parser.add_argument(
        "channel", metavar="CHANNEL", nargs="?", help="its name; without one: every channel"
    )
    parser.add_argument("--prefix", help="every channel that begins with it")


async def _run(args: argparse.Namespace) -> int:
    if args.channel is not None and args.prefix is not None:
        raise ConfigError("watch CHANNEL or --prefix, not both")
    names: dict[NodeId, str] = {}
    async with joined(args, "watch") as node:
        async for item in node.watch(args.channel, prefix=args.prefix):
            if len(names) > NAMES_MAX:
                names.clear()
            names |= {peer.node: peer.name for peer in node.peers()}
            if isinstance(item, Snapshot):
                if args.json:
                    objects({"event": "snapshot", "members": len(item.members)})
                else:
                    print(f"= {len(item.members)} members", flush=True)
                _show(names, "present", item.members, "snapshot", as_json=args.json)
                continue
            for event in ("joined", "left", "updated"):
                _show(names, event, getattr(item, event), str(item.cause), as_json=args.json)
    return 1


def _show(
    names: Mapping[NodeId, str],
    event: str,
    members: tuple[Member, ...],
    cause: str,
    *,
    as_json: bool,
) -> None:
    for m in members:
        name, meta = names.get(m.node), meta_of(m)
        if as_json:
            record = {"event": event, "cause": cause, "channel": m.channel, "id": m.id}
            objects({**record, "node": m.node, "name": name, "group": m.group, "meta": meta})
            continue
        sign = {"joined": "+", "left": "-", "updated": "~"}.get(event, " ")
        why = f"  ({cause})" if cause not in ("op", "snapshot") else ""
        group = f"  [{m.group}]" if m.group else ""
        said = "" if meta is None else f"  {shown(meta)}"
        print(f"{sign} {m.channel}: {m.id} on {name or m.node[:8]}{group}{said}{why}", flush=True)
