"""`crdtpubsub doctor`: why two nodes do not see each other, in words."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Final

from crdtpubsub import Events, Node, Peer, Unanswered
from crdtpubsub.cli.joining import (
    add_verb,
    cluster_of,
    make_node,
    patience_s,
    secret_of,
    seeds_of,
)
from crdtpubsub.cli.output import objects, shown
from crdtpubsub.cli.probe import Seen, probe

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["add_parser"]

LOOK_EVERY_S: Final = 0.05
PROBE_S: Final = 2.0
SETTLE_S: Final = 1.0
"""Nobody new for so long: all were met. And so long another cluster is tried."""
LOCAL: Final = ("127.", "localhost", "[::1]")


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = add_verb(
        subparsers, "doctor", _run,
        summary="say why nodes do not see each other",
        description="Dial each ENDPOINT (or --seed) plainly, then join as a node with the same "
        "options as the one that is alone, and say in words what is wrong. With --bind on the "
        "address that others have as a seed, it also hears what they say wrongly. Exit 0: "
        "nothing was found to be wrong.",
        examples="doctor\n"
        "doctor tcp://10.0.0.5:7400 dns://fleet:7400\n"
        "doctor tcp://10.0.0.5:7400 --bind 'tcp://10.0.0.9:*' --secret-file key",
    )  # fmt: skip
    parser.add_argument(
        "endpoints", metavar="ENDPOINT", nargs="*",
        help="a node that is not seen, tcp://host:port or dns://name:port",
    )  # fmt: skip


class _Findings:
    """Each is told at once, and once."""

    def __init__(self, *, as_json: bool) -> None:
        self.wrong = 0
        self._as_json = as_json
        self._told: set[tuple[str, str]] = set()

    def say(self, about: str, finding: str, words: str, *, ok: bool = False) -> None:
        """`finding` is a fixed word for programs."""
        if (about, finding) in self._told:
            return
        self._told.add((about, finding))
        self.wrong += not ok
        if self._as_json:
            objects({"about": about, "finding": finding, "ok": ok, "words": words})
        else:
            print(f"{'ok   ' if ok else 'WRONG'} {shown(about)}: {shown(words)}", flush=True)


async def _run(args: argparse.Namespace) -> int:
    findings = _Findings(as_json=args.json)
    args.seed = endpoints = [*args.endpoints, *seeds_of(args)]
    secret = secret_of(args) is not None
    looked = dict(
        zip(endpoints, await asyncio.gather(*(probe(e, PROBE_S) for e in endpoints)), strict=True)
    )
    candidates = [e for e, seen in looked.items() if _plainly(findings, e, seen, secret=secret)]
    node = make_node(args, "doctor")
    notices = node.events()
    async with node:
        await _own(findings, node, endpoints)
        unanswered: dict[str, str] = {}
        reader = asyncio.create_task(_read(notices, unanswered))
        await _met(node, candidates, patience_s(args))
        reader.cancel()
        await _peers(findings, node)
        _heard(findings, node)
        met = any(peer.linked for peer in node.peers())
        silent = [] if met else candidates
        for endpoint in silent:
            await _silent(findings, args, node, endpoint, unanswered.get(endpoint, ""))
    if not met and not findings.wrong:
        findings.say(
            "cluster", "nobody",
            f"no other node of cluster {cluster_of(args)!r} was met within {patience_s(args):g} s: "
            "start one of the same user on this host with the same cluster name and "
            "XDG_RUNTIME_DIR, or give its --seed",
        )  # fmt: skip
    return 1 if findings.wrong else 0


def _plainly(findings: _Findings, endpoint: str, seen: Seen, *, secret: bool) -> bool:
    """What the plain look says; whether it is worth while to wait for that node."""
    if seen.complaint:
        word = "nothing_listens" if seen.complaint.startswith("nothing") else "not_reached"
        word = "no_node" if "no node" in seen.complaint else word
        word = "unresolved" if "does not resolve" in seen.complaint else word
        findings.say(endpoint, word, seen.complaint)
        return False
    if (seen.mechanism == "CURVE") == secret:
        return True
    if secret:
        words = "that node uses no secret, and this one does: give both the same, or neither"
    else:
        words = "that node uses a secret, and this one has none: --secret-file or CRDTPUBSUB_SECRET"
    findings.say(endpoint, "secret", words)
    return False


async def _own(findings: _Findings, node: Node, endpoints: list[str]) -> None:
    """Whether others can dial what this node says of itself."""
    mine = node.endpoint
    seen = await probe(mine, PROBE_S)
    if seen.complaint:
        findings.say(
            mine, "advertised",
            f"this node advertises it, and not even this host reaches it: {seen.complaint}. "
            "Correct --advertise",
        )  # fmt: skip
    far = [e for e in endpoints if not _is_local(e)]
    if far and _is_local(mine):
        findings.say(
            mine, "advertised",
            f"this node advertises it, and {far[0]} on another host cannot dial that: give "
            "--bind, or --advertise, with an address of this host",
        )  # fmt: skip


async def _read(notices: Events, unanswered: dict[str, str]) -> None:
    async for notice in notices:
        if isinstance(notice, Unanswered):
            unanswered[notice.endpoint] = notice.about


async def _met(node: Node, candidates: list[str], within_s: float) -> None:
    """Wait until all were met and nobody new came for a while, or the time is over."""
    until = monotonic() + within_s
    quiet_since, before = monotonic(), node.peers()
    while (now := monotonic()) < until:
        if (peers := node.peers()) != before:
            quiet_since, before = now, peers
        if now - quiet_since >= SETTLE_S and _all_met(node, candidates):
            return
        await asyncio.sleep(LOOK_EVERY_S)


def _all_met(node: Node, candidates: list[str]) -> bool:
    peers = [peer for peer in node.peers() if peer.state == "alive"]
    if not peers or not all(peer.linked for peer in peers):
        return False
    found = {peer.endpoint for peer in peers}
    return all(endpoint in found or endpoint.startswith("dns:") for endpoint in candidates)


async def _peers(findings: _Findings, node: Node) -> None:
    """Who was met: can it be dialled, and is its name its own?"""
    peers = node.peers()
    for peer in peers:
        if peer.linked:
            findings.say(_who(peer), "met", f"met on {peer.endpoint}", ok=True)
            continue
        seen = await probe(peer.endpoint, PROBE_S)
        findings.say(
            _who(peer), "peer_advertised",
            f"it is there, and advertises {peer.endpoint}, which cannot be reached from here"
            f"{': ' + seen.complaint if seen.complaint else ''}. Correct its advertise, or open "
            "the way to it: messages to it are refused",
        )  # fmt: skip
    names = Counter([node.name, *(peer.name for peer in peers)])
    for name, times in sorted(names.items()):
        if times > 1:
            findings.say(
                name, "name_shared",
                f"{times} running nodes have this name; they are different nodes all the same, "
                "but people and logs will take them for one: give each its own",
            )  # fmt: skip


def _heard(findings: _Findings, node: Node) -> None:
    """What strangers said to this node."""
    counters = node.stats().counters
    if counters.get("frames_malformed_version", 0):
        findings.say(
            "version", "version",
            "a node of another wire version speaks to this one: install one crdtpubsub on both",
        )  # fmt: skip
    if counters.get("frames_malformed_cluster", 0):
        findings.say(
            "cluster", "cluster",
            "a node of another cluster speaks to this one: --cluster differs from its cluster=",
        )  # fmt: skip
    if counters.get("strangers_refused", 0):
        findings.say(
            "secret", "secret_of_others", "somebody dials this node with another secret or none"
        )


async def _silent(
    findings: _Findings, args: argparse.Namespace, node: Node, endpoint: str, about: str
) -> None:
    """It is a node by its greeting, secrets are used by both or neither, and no word came."""
    if secret_of(args) is not None and "secret" in about:
        findings.say(endpoint, "secret", f"the secrets differ: {about}")
        return
    cluster = cluster_of(args)
    if cluster != "default" and await _is_in_default(args, endpoint):
        findings.say(
            endpoint, "cluster",
            f"another cluster: that node is in 'default', and this one in {cluster!r}",
        )  # fmt: skip
        return
    findings.say(
        endpoint, "silent",
        f"it takes connections and does not answer: it is in another cluster than "
        f"{cluster!r}, has another version, or cannot dial {node.endpoint}, which this node "
        f"advertises. On its host, `crdtpubsub doctor {node.endpoint}` tells which, while "
        "`crdtpubsub node` runs here",
    )  # fmt: skip


async def _is_in_default(args: argparse.Namespace, endpoint: str) -> bool:
    """Whether it answers to the name that a node has which was given none."""
    there = {"cluster": "default", "seeds": [endpoint], "bind": None, "advertise": None}
    until = monotonic() + SETTLE_S
    async with make_node(args, "doctor", **there) as node:
        while monotonic() < until:
            if any(peer.linked for peer in node.peers()):
                return True
            await asyncio.sleep(LOOK_EVERY_S)
    return False


def _who(peer: Peer) -> str:
    return f"{peer.name} ({peer.node[:8]})"


def _is_local(endpoint: str) -> bool:
    scheme, _, rest = endpoint.partition("://")
    return scheme == "ipc" or rest.startswith(LOCAL)
