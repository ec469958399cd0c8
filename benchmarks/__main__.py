"""Run every benchmark, one after the other, and keep the JSON lines: `python -m benchmarks`.

Sketch    Nine questions of 10 to 55 s: five minutes.
Setup     Each in a process of its own, as when run by hand; nothing runs beside it.
Measures  What each of them says in its header.
Excludes  Nothing.
Compares  Each with its floor, in the same run.
Run       python -m benchmarks --out results.jsonl [NAME ...]
Prints    The JSON lines, also to the file; to stderr what runs, and what failed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic

from benchmarks.common import machine_busy, parser

ALL = (
    "micro",
    "idle",
    "confirmed_under_resets",
    "join_visible",
    "publish_latency",
    "publish_throughput",
    "joins_bulk",
    "join_under_load",
    "detection",
    "slow_reader",
)
LIMIT_S = 600


def main() -> int:
    cli = parser(__doc__)
    cli.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; none is all")
    cli.add_argument("--out", type=Path, default=Path("benchmarks.jsonl"))
    args = cli.parse_args()
    if unknown := sorted(set(args.names) - set(ALL)):
        cli.error(f"no such benchmark: {', '.join(unknown)}")
    if machine_busy():
        _say("this machine has other work: trust ratios and CPU times, and no absolute figure")
    failed = []
    with args.out.open("w", encoding="utf-8") as out:
        for name in args.names or ALL:
            start = monotonic()
            if not _run(name, out.fileno()):
                failed.append(name)
            _say(f"{name}: {monotonic() - start:.0f} s")
    sys.stdout.write(args.out.read_text(encoding="utf-8"))
    if failed:
        _say(f"failed: {', '.join(failed)}")
    return bool(failed)


def _run(name: str, out: int) -> bool:
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    try:
        return subprocess.run(command, stdout=out, timeout=LIMIT_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _say(what: str) -> None:
    sys.stderr.write(f"benchmarks: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
