"""The same questions asked of us, and of what people would use instead.

Sketch    TARGETS of issue 5: ahead of Redis, NATS, zenoh, pyre and Erlang pg wherever CPython and
          ZeroMQ allow, close to bare batched ZeroMQ.
Setup     Every node a process of its own; servers are children on free ports; all of it in a
          network namespace of its own where that can be had (as root, or with user namespaces).
          Each system as its manual says for speed: pipelines, uvloop, BLOCK, batching.
Measures  See `questions.py`. Each message is built, numbered and checked one by one at both
          ends; what is lost is counted exactly.
Excludes  Starting; warm-up.
Compares  Everything with everything, in one run: the systems take turns within each repeat.
Run       python -m benchmarks.peers --quick
          python -m benchmarks.peers --only ours,bare,zenoh --questions latency,join
Prints    JSON lines to `--out`.jsonl, a table to .md, plots to .svg (with matplotlib); to stderr
          what is missing and how to get it. Installs nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.common import facts, parser
from benchmarks.peers.plots import draw
from benchmarks.peers.questions import LIMITS, QUESTIONS, Numbers, Unasked
from benchmarks.peers.systems import OURS, SYSTEMS, program
from benchmarks.peers.table import combined, markdown

NAMESPACE = "PEERS_NAMESPACE"
_RELEASE = 'io:format("~s", [erlang:system_info(otp_release)]), halt().'
ASK_VERSION = {
    "Redis": ("redis-server", "--version"),
    "nats-server": ("nats-server", "--version"),
    "Erlang/OTP": ("erl", "-noinput", "-eval", _RELEASE),
}


def main() -> int:
    cli = parser(__doc__)
    cli.add_argument("--only", help=f"of {','.join(SYSTEMS)}; ours always runs")
    cli.add_argument("--questions", help=f"of {','.join(QUESTIONS)}")
    cli.add_argument("--quick", action="store_true", help="2 and 8 nodes, 3 idle ones")
    cli.add_argument("--repeat", type=int, default=3)
    cli.add_argument("--out", type=Path, help="without a suffix; docs/benchmarks/DATE-peers")
    cli.add_argument("--from-lines", type=Path, help="no run: table and plots of an older one")
    cli.add_argument("--give-up-s", type=float, default=60.0, help="on 100,000 memberships")
    cli.add_argument("--kill-give-up-s", type=float, default=45.0, help="on the end of a killed")
    args = cli.parse_args()
    LIMITS.joins_s, LIMITS.kill_s = args.give_up_s, args.kill_give_up_s
    out: Path = args.out or Path(f"docs/benchmarks/{datetime.now(tz=UTC):%Y-%m-%d}-peers")
    if args.from_lines:
        text = args.from_lines.read_text(encoding="utf-8")
        _written([json.loads(line) for line in text.splitlines()], out)
        return 0
    _enter_namespace()
    wanted = _names(args.only, SYSTEMS, cli.error) | {OURS}
    asked = _names(args.questions, QUESTIONS, cli.error)
    systems = _present([name for name in SYSTEMS if name in wanted])
    out.parent.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    failed = False
    with out.with_suffix(".jsonl").open("w", encoding="utf-8") as file:
        for name in [name for name in QUESTIONS if name in asked]:
            question = QUESTIONS[name]
            for case in question.quick if args.quick else question.cases:
                for line in _asked(name, case, systems, args.repeat):
                    failed = failed or bool(line.get("failed"))
                    lines.append(line)
                    file.write(json.dumps(line) + "\n")
                    file.flush()
    _written(lines, out)
    sys.stdout.write(out.with_suffix(".md").read_text(encoding="utf-8"))
    return int(failed)


def _names(given: str | None, known: Any, error: Any) -> set[str]:
    names = set(given.split(",")) if given else set(known)
    if unknown := names - set(known):
        error(f"no such name: {', '.join(sorted(unknown))}")
    return names


def _present(names: Sequence[str]) -> list[str]:
    present = []
    for name in names:
        system = SYSTEMS[name]
        if gone := system.missing():
            _say(f"{name} is not asked: no {', '.join(gone)} here. To have it: {system.get}")
        elif system.namespace and os.environ.get(NAMESPACE) != "1":
            _say(f"{name} is not asked: its beacons go to everybody on the network")
        else:
            present.append(name)
    return present


def _asked(question: str, case: str, systems: Sequence[str], repeat: int) -> list[dict[str, Any]]:
    """One case of all systems, which take turns in each repeat."""
    found: dict[str, list[Numbers]] = {name: [] for name in systems}
    reasons = {
        name: SYSTEMS[name].cannot[question] for name in systems if question in SYSTEMS[name].cannot
    }
    failed: set[str] = set()
    for _ in range(1 if QUESTIONS[question].once else repeat):
        for name in systems:
            if name in reasons or _gave_up(found[name]):
                continue
            start = monotonic()
            try:
                numbers = QUESTIONS[question].ask(name, *QUESTIONS[question].cases[case])
            except Unasked as error:
                reasons[name] = str(error)
            except Exception as error:  # noqa: BLE001  (one system's end is not that of the run)
                reasons[name] = f"failed: {str(error).strip().splitlines()[-1]}"
                failed.add(name)
                _say(f"{question}, {case}, {name}: {error}")
            else:
                found[name].append(numbers)
                said = {key: value and round(value, 2) for key, value in numbers.items()}
                _say(f"{question}, {case}, {name}: {said} ({monotonic() - start:.1f} s)")
    return [
        _line(question, case, name, found[name], reasons.get(name), failed=name in failed)
        for name in systems
    ]


def _gave_up(rows: Sequence[Numbers]) -> bool:
    """Not done in a minute: not asked twice."""
    return any(None in row.values() for row in rows)


def _line(
    question: str,
    case: str,
    name: str,
    rows: Sequence[Numbers],
    reason: str | None,
    *,
    failed: bool,
) -> dict[str, Any]:
    line: dict[str, Any] = {"benchmark": question, "case": case, "system": name}
    if reason is not None or not rows:
        line |= {"reason": reason or "not asked", "failed": failed}
    else:
        numbers = combined(rows)
        line |= {"numbers": numbers, "runs": list(rows)}
        if numbers.get("there") is not None and numbers.get("seconds") is None:
            line["unfinished"] = f"{numbers['there']:.0f} after {LIMITS.joins_s:.0f} s"
        elif numbers.get("left"):
            limit_s = LIMITS.stop_s if question == "stop" else LIMITS.kill_s
            line["unfinished"] = f"all {numbers['left']:.0f} still there after {limit_s:.0f} s"
    return {**line, "facts": {**facts(), "versions": _versions(name)}}


@cache
def _versions(name: str) -> dict[str, str]:
    versions = SYSTEMS[name].versions()
    for what, command in ASK_VERSION.items():
        found = program(command[0])
        if command[0] in SYSTEMS[name].programs and found:
            run = [found, *command[1:]]
            said = subprocess.run(run, capture_output=True, text=True, check=False, timeout=30)
            numbers = re.search(r"\d[\d.]*", said.stdout)
            versions[what] = numbers[0] if numbers else "unknown"
    return versions


def _written(lines: list[dict[str, Any]], out: Path) -> None:
    title = "Ours, and what people would use instead"
    out.with_suffix(".md").write_text(markdown(lines, title), encoding="utf-8")
    if not draw(lines, out.with_suffix(".svg")):
        _say('no plots: matplotlib is not there. To have them: pip install "crdtpubsub[bench]"')


def _enter_namespace() -> None:
    """Begin again in a network namespace of our own, if that can be had."""
    if os.environ.get(NAMESPACE) is not None:
        return
    unshare = shutil.which("unshare", path=os.environ.get("PATH", "") + ":/usr/bin")
    up = (
        "ip link set lo up && ip link add beacons type veth peer name nobody"
        " && ip addr add 10.77.0.1/24 brd + dev beacons"
        " && ip link set beacons up && ip link set nobody up"
    )
    if unshare and shutil.which("ip"):
        for flags in (["--net"], ["--net", "--map-root-user"]):
            inside = [unshare, *flags, "sh", "-c"]
            tried = subprocess.run([*inside, up], capture_output=True, check=False)
            if tried.returncode == 0:
                os.environ[NAMESPACE] = "1"
                again = [sys.executable, "-m", "benchmarks.peers", *sys.argv[1:]]
                os.execv(unshare, [*inside, f'{up} && exec "$@"', "sh", *again])
    os.environ[NAMESPACE] = "0"
    _say("no network namespace of our own: nothing is asked of pyre, and no idle bytes")


def _say(what: str) -> None:
    sys.stderr.write(f"peers: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
