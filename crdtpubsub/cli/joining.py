"""What the verbs that join a cluster share: their options, their node, and how they end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from crdtpubsub import ConfigError, CrdtPubSubError, InvalidNameError, Node, NodeId
from crdtpubsub.arguments import from_environment
from crdtpubsub.cli.output import told

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
    Verb = Callable[[argparse.Namespace], Coroutine[None, None, int]]

__all__ = [
    "add_verb",
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
    subparsers: Subparsers, name: str, verb: Verb, *, summary: str, description: str
) -> argparse.ArgumentParser:
    """Add a verb that joins, with the options that all of them have."""
    parser = subparsers.add_parser(name, help=summary, description=description)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="one object per line, for programs")
    parser.set_defaults(run=lambda args: run_verb(name, verb, args))
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """How to join. Without any: the nodes of this user on this host."""
    group = parser.add_argument_group(
        "joining",
        "Without --seed and --bind it joins the nodes of this user on this host. What is not "
        "given is read from CRDTPUBSUB_SEEDS, _BIND, _ADVERTISE, _NAME, _CLUSTER and _SECRET.",
    )
    said = os.environ.get
    group.add_argument(
        "--seed", action="append", metavar="ENDPOINT",
        help="another node, tcp://host:port; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--bind", default=said("CRDTPUBSUB_BIND") or None, metavar="ENDPOINT",
        help="where to listen, tcp://host:port; * takes a free port",
    )  # fmt: skip
    group.add_argument(
        "--advertise", default=said("CRDTPUBSUB_ADVERTISE") or None, metavar="ENDPOINT",
        help="what others shall dial, where it differs",
    )  # fmt: skip
    group.add_argument(
        "--cluster", default=said("CRDTPUBSUB_CLUSTER") or "default", help="its name",
    )  # fmt: skip
    group.add_argument(
        "--secret-file", type=Path, metavar="PATH",
        help="holds the secret of the cluster; of several lines, the first is listened with. "
        "Or set CRDTPUBSUB_SECRET. Never an argument: others can read those",
    )  # fmt: skip
    group.add_argument("--name", default=said("CRDTPUBSUB_NAME") or None, help="of this node")
    group.add_argument(
        "--insecure", action="store_true", help="listen beyond this host without a secret"
    )
    group.add_argument(
        "--timeout", type=_seconds, metavar="S",
        help=f"how long to wait for what is asked; {TIMEOUT_S:g} s where nothing else is said",
    )  # fmt: skip


def make_node(args: argparse.Namespace, verb: str) -> Node:
    """The node that the options ask for."""
    return Node(
        args.bind,
        seeds=seeds_of(args),
        advertise=args.advertise,
        name=args.name or f"cli-{verb}-{os.getpid()}",
        cluster=args.cluster,
        secret=secret_of(args),
        insecure=args.insecure,
    )


def seeds_of(args: argparse.Namespace) -> list[str]:
    """Each --seed, or what the environment holds."""
    seeds: list[str] = args.seed or _said("seeds") or []
    return seeds


def secret_of(args: argparse.Namespace) -> str | list[str] | None:
    """What --secret-file or the environment holds.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    if args.secret_file is None:
        secret: str | list[str] | None = _said("secret")
        return secret
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
    except (ConfigError, InvalidNameError) as error:
        told(f"{name}: {error}")
        return 2
    except (CrdtPubSubError, TimeoutError) as error:
        told(f"{name}: {error}")
        return 1


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


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number
