"""What the verbs that join a cluster share: their options, their node, and how they end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from crdtpubsub import BindError, ConfigError, CrdtPubSubError, InvalidNameError, Node, NodeId
from crdtpubsub.arguments import from_environment
from crdtpubsub.cli.asked import EXITS, number, verb_parser
from crdtpubsub.cli.output import told

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
    Verb = Callable[[argparse.Namespace], Coroutine[None, None, int]]

__all__ = [
    "add_verb",
    "cluster_of",
    "found",
    "joined",
    "make_node",
    "patience_s",
    "run_verb",
    "secret_of",
    "seeds_of",
]

TIMEOUT_S: Final = 5.0
LOOK_EVERY_S: Final = 0.02
QUIET_S: Final = 0.3
"""Nobody new for so long: those who are there have been met. A meeting brings the addresses of all
others in one round trip."""


def add_verb(
    subparsers: Subparsers, name: str, verb: Verb, *, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add a verb that joins, with the options that all of them have."""
    parser = verb_parser(
        subparsers,
        name,
        summary=summary,
        description=description,
        examples=examples,
        exits=f"{EXITS}, 0 SIGTERM",
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="one object per line, for programs")
    parser.set_defaults(run=lambda args: run_verb(name, verb, args))
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """How to join. Without any: the nodes of this user on this host."""
    group = parser.add_argument_group(
        "joining",
        "Without any of these it joins the nodes of this user on this host. What is not given "
        "is read from CRDTPUBSUB_SEEDS, _BIND, _ADVERTISE, _NAME, _CLUSTER and _SECRET, as "
        "`Node.from_env` does; with --bind, _ADVERTISE is not.",
    )
    group.add_argument(
        "--seed", action="append", metavar="ENDPOINT",
        help="a node to join, tcp://host:port or dns://name:port; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--bind", metavar="ENDPOINT",
        help="where to listen, tcp://host:port; '*' as port takes a free one",
    )  # fmt: skip
    group.add_argument(
        "--advertise", metavar="ENDPOINT",
        help="what others shall dial, where it differs from --bind",
    )  # fmt: skip
    group.add_argument(
        "--cluster", metavar="NAME",
        help="nodes of different clusters never meet (default: default)",
    )  # fmt: skip
    group.add_argument(
        "--secret-file", type=Path, metavar="PATH",
        help="a file with the secret of the cluster; of several lines, the first is listened "
        "with. Or set CRDTPUBSUB_SECRET. Never an argument: others can read those",
    )  # fmt: skip
    group.add_argument(
        "--name", metavar="NAME", help="what others see this node by (default: cli-VERB-PID)"
    )
    group.add_argument(
        "--insecure", action="store_true", help="allow --bind beyond this host without a secret"
    )
    group.add_argument(
        "--timeout", type=number(0, of="of seconds "), metavar="S",
        help=f"seconds to wait for what is asked (default: {TIMEOUT_S:g}, where one waits for "
        "something; else for ever)",
    )  # fmt: skip


def make_node(args: argparse.Namespace, verb: str, **instead: Any) -> Node:
    """The node that the options ask for, and where they say nothing the environment.

    `instead`: arguments of `Node` that win over both.
    """
    said = {
        "bind": args.bind,
        "seeds": args.seed,
        "advertise": args.advertise,
        "name": args.name,
        "cluster": args.cluster,
        "secret": _secret_file(args),
    }
    given = {name: value for name, value in said.items() if value is not None} | instead
    if "bind" in given:
        given.setdefault("advertise", None)  # what the environment says is of what it binds
    if "name" not in given and _said("name") is None:
        given["name"] = f"cli-{verb}-{os.getpid()}"
    return Node.from_env(insecure=args.insecure, **given)


def cluster_of(args: argparse.Namespace) -> str:
    """The name of the cluster that is joined."""
    return str(args.cluster or _said("cluster") or "default")


def seeds_of(args: argparse.Namespace) -> list[str]:
    """Each --seed, or what the environment holds."""
    seeds: list[str] = args.seed or _said("seeds") or []
    return seeds


def secret_of(args: argparse.Namespace) -> str | list[str] | None:
    """What --secret-file or the environment holds.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    secret: str | list[str] | None = _secret_file(args) or _said("secret")
    return secret


def _secret_file(args: argparse.Namespace) -> list[str] | None:
    if args.secret_file is None:
        return None
    try:
        lines = args.secret_file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--secret-file {args.secret_file}: {error}") from None
    secrets = [line.strip() for line in lines if line.strip()]
    if not secrets:
        raise ConfigError(f"--secret-file {args.secret_file} is empty")
    return secrets


def _said(argument: str) -> Any:
    """What the environment says, read as `Node.from_env` reads it: lists have commas."""
    variable = f"CRDTPUBSUB_{argument.upper()}"
    return from_environment({variable: os.environ.get(variable, "")}).get(argument)


def patience_s(args: argparse.Namespace) -> float:
    """How long to wait."""
    return TIMEOUT_S if args.timeout is None else float(args.timeout)


@asynccontextmanager
async def joined(args: argparse.Namespace, verb: str) -> AsyncIterator[Node]:
    """A running node of these options; says goodbye at the end, however that comes."""
    async with make_node(args, verb) as node:
        yield node


async def found(node: Node, args: argparse.Namespace, *, needed: bool = True) -> float:
    """Wait until the nodes that are there have been met and have shown what they hold.

    Returns:
        The seconds that are left of `--timeout`.

    Raises:
        TimeoutError: nobody answered, and `needed`.
    """
    within_s = patience_s(args)
    until = monotonic() + within_s
    before: list[NodeId] = []
    quiet_since = monotonic()
    while True:
        now = monotonic()
        links = [peer.node for peer in node.peers() if peer.linked]
        if links != before:
            before, quiet_since = links, now
        if links and now - quiet_since >= QUIET_S:
            break
        if now >= until:
            if needed and not links:
                raise TimeoutError(
                    f"no other node answered within {within_s:g} s; `crdtpubsub doctor` with the "
                    "same options says why"
                )
            break
        await asyncio.sleep(LOOK_EVERY_S)
    if before:
        try:
            await node.converged(timeout=max(LOOK_EVERY_S, until - monotonic()))
        except TimeoutError as error:
            told(f"what is shown may be incomplete: {error}")
    return max(0.0, until - monotonic())


def run_verb(name: str, verb: Verb, args: argparse.Namespace) -> int:
    """Run it; what goes wrong is one sentence on stderr, and 1, or 2 for what was asked wrongly."""
    try:
        return asyncio.run(_ended_by_sigterm(verb(args)))
    except BindError as error:
        told(f"{name}: {error}{'' if args.bind else _taken(error.endpoint)}")
        return 1
    except (ConfigError, InvalidNameError) as error:
        told(f"{name}: {error}")
        return 2
    except (CrdtPubSubError, TimeoutError) as error:
        told(f"{name}: {error}")
        return 1


def _taken(endpoint: str) -> str:
    """In a container, the environment says where the node listens that is there already."""
    if _said("bind") is None:
        return ""
    host = endpoint.rpartition(":")[0]
    return f"; CRDTPUBSUB_BIND says so, and who runs here has it: add --bind '{host}:*'"


async def _ended_by_sigterm(work: Awaitable[int]) -> int:
    """SIGTERM is how a supervisor asks a process to leave: it does, and that is no failure."""
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 60.0  # `-X dev`: a busy machine is no fault of ours
    task = asyncio.ensure_future(work)
    asked = False

    def leave() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    with contextlib.suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, leave)
    try:
        return await task
    except asyncio.CancelledError:
        if asked:
            return 0
        raise
