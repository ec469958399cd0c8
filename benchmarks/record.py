"""The recorded run: every figure of the README, and the tables beside it, by one command.

Sketch    Rivals fifteen minutes, ours alone four, growth three, the release's ratios two.
Setup     Each part in processes of its own, one after the other; nothing shall run beside them.
Measures  What `benchmarks.peers`, `.growth`, `.regress` and the parts of `OURS` say.
Excludes  Nothing.
Compares  As they do.
Run       python -m benchmarks.record
          python -m benchmarks.record --quick --into /tmp/tried    # minutes: does all of it run?
          python -m benchmarks.record --only growth                # one part again
          python -m benchmarks.record --readme                     # no run: README from the files
Prints    What runs and how long it took. Writes peers, ours and growth (.jsonl, .md, .svg) and
          releases/VERSION.json into `--into` (docs/benchmarks), and, if it is that, the figures
          between the marks in README.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

from benchmarks.common import facts, machine_busy, parser
from benchmarks.peers.table import combined_facts, machine, table
from benchmarks.regress import VERSION

ROOT: Final = Path(__file__).resolve().parent.parent
RECORDED: Final = ROOT / "docs" / "benchmarks"
README: Final = ROOT / "README.md"
BEGIN, END = "<!-- performance:begin -->\n", "<!-- performance:end -->\n"

Found = Mapping[tuple[str, str], Mapping[str, Any]]
"""(benchmark, case) -> its line."""

OURS: Final = (
    ("join_under_load",),
    ("detection", "--kills", "30", "--silences", "20"),
    ("joins_bulk",),
    ("slow_reader",),
    ("confirmed_under_resets", "--messages", "50000"),
    ("idle", "--nodes", "3", "--seconds", "10"),
    ("idle", "--nodes", "10", "--seconds", "10"),
    ("idle", "--nodes", "50", "--seconds", "10"),
)
OURS_QUICK: Final = (
    ("join_under_load", "--memberships", "20000"),
    ("detection", "--kills", "2", "--silences", "0"),
    ("joins_bulk", "--joins", "2000"),
    ("slow_reader", "--messages", "200"),
    ("confirmed_under_resets", "--messages", "2000"),
    ("idle", "--nodes", "3", "--seconds", "2"),
)
PARTS: Final = ("peers", "ours", "growth", "regress")
LIMIT_S: Final = 1800


def main() -> int:
    cli = parser(__doc__)
    cli.add_argument("--quick", action="store_true", help="smaller, and each once")
    cli.add_argument("--only", help=f"of {','.join(PARTS)}")
    cli.add_argument("--into", type=Path, default=RECORDED)
    cli.add_argument("--readme", action="store_true", help="no run")
    args = cli.parse_args()
    into: Path = args.into
    parts = () if args.readme else tuple(args.only.split(",") if args.only else PARTS)
    if unknown := set(parts) - set(PARTS):
        cli.error(f"no such part: {', '.join(sorted(unknown))}")
    if parts and machine_busy():
        _say("this machine has other work: what is recorded is partly its")
    os.environ["BENCH_COMMIT"] = str(facts()["commit"])  # what is written makes the tree dirty
    into.mkdir(parents=True, exist_ok=True)
    failed = [part for part in parts if not _timed(part, into, quick=args.quick)]
    if failed:
        _say(f"failed: {', '.join(failed)}")
    if into.resolve() == RECORDED:
        README.write_text(rewritten(README.read_text("utf-8"), block(into)), "utf-8")
        _say("README.md has the figures")
    else:
        sys.stdout.write(block(into))
    return int(bool(failed))


def _timed(part: str, into: Path, *, quick: bool) -> bool:
    start = monotonic()
    well = RUNS[part](into, quick)
    _say(f"{part}: {monotonic() - start:.0f} s{'' if well else ', and it FAILED'}")
    return well


def _peers(into: Path, quick: bool) -> bool:
    more = ["--quick", "--repeat", "1"] if quick else []
    more += ["--give-up-s", "5" if quick else "20", "--kill-give-up-s", "5" if quick else "20"]
    return _ran("peers", "--out", str(into / "peers"), *more, out=subprocess.DEVNULL)


def _ours(into: Path, quick: bool) -> bool:
    with (into / "ours.jsonl").open("w", encoding="utf-8") as out:
        ran = [_ran(*command, out=out.fileno()) for command in (OURS_QUICK if quick else OURS)]
    return all(ran)


def _growth(into: Path, quick: bool) -> bool:
    more = ("--quick",) if quick else ()
    return _ran("growth", "--report", str(into / "growth"), *more, out=subprocess.DEVNULL)


def _regress(into: Path, quick: bool) -> bool:
    more = ("--repeat", "1") if quick else ()
    return _ran("regress", "--out", str(into / "releases" / f"{VERSION}.json"), *more, out=2)


RUNS: Final[dict[str, Callable[[Path, bool], bool]]] = {
    "peers": _peers,
    "ours": _ours,
    "growth": _growth,
    "regress": _regress,
}


def _ran(name: str, *arguments: str, out: int) -> bool:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    _say(" ".join(command[2:]))
    try:
        run = subprocess.run(command, stdout=out, timeout=LIMIT_S, check=False, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def _say(what: str) -> None:
    sys.stderr.write(f"record: {what}\n")
    sys.stderr.flush()


# ---------------------------------------------------------------- the README


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; none if it is not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rewritten(text: str, figures: str) -> str:
    """The README with these figures between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"README.md has no {BEGIN.strip()}"
    assert end, f"README.md has no {END.strip()}"
    return before + begin + figures + end + after


def block(into: Path) -> str:
    """What the README says in figures, from what is recorded there."""
    peers = lines_of(into / "peers.jsonl")
    alone = lines_of(into / "ours.jsonl") + lines_of(into / "growth.jsonl")
    said: list[str] = []
    if peers:
        lost = [line for line in peers if (line.get("numbers") or {}).get("lost")]
        said += [
            "`python -m benchmarks.record` wrote what follows, and no figure here is by hand.",
            machine(combined_facts(peers)),
            f"{_repeats(peers)}, the systems in turn; compare ratios, since absolute figures drift",
            "with the machine. What a dash means, all versions and plots:",
            "[peers.md](docs/benchmarks/peers.md). "
            + ("Nothing was lost." if not lost else "What was lost stands beside the figure."),
            "",
            *table(peers)[0],
            "",
        ]
    found = {(line["benchmark"], line["case"]): line for line in alone}
    rows = [f"| {label} | {value} | `{command}` |" for label, value, command in _shown(found)]
    if rows:
        heads = ["| ours alone | | `python -m benchmarks.` |", "|---|---|---|"]
        said += [*heads, *rows, ""]
        if any(line["benchmark"] == "growth" for line in alone):
            costs = "Cost against nodes, channels, members and churn"
            said += [f"{costs}: [growth.md](docs/benchmarks/growth.md).", ""]
    return "\n".join(said[:-1]) + "\n" if said else ""


def _repeats(peers: Sequence[Mapping[str, Any]]) -> str:
    most = max([len(line.get("runs", ())) for line in peers])
    return f"Medians of {most} runs" if most > 1 else "One run each"


def _shown(found: Found) -> list[tuple[str, str, str]]:
    """The rows whose lines are there."""
    shown = []
    for label, command, say in ROWS:
        try:
            shown.append((label, say(found), command))
        except KeyError:
            continue
    return shown


def _load(found: Found) -> Mapping[str, Any]:
    return found["join_under_load", "1000000 memberships arrive"]


def _kill(found: Found) -> str:
    line = found["detection", "kill, 5 nodes"]
    return f"{line['p50_ms']:.1f} / {line['p99_ms']:.1f}"


def _stop(found: Found) -> str:
    five, two = (found["detection", f"stop, {nodes} nodes"] for nodes in (5, 2))
    spread = [f"{of['p50_ms'] / 1e3:.1f} / {of['p99_ms'] / 1e3:.1f}" for of in (five, two)]
    return f"{spread[0]} at 5 nodes, {spread[1]} at 2"


def _memory(found: Found) -> str:
    each = [
        found["joins_bulk", case]["bytes_per_membership"]
        for case in ("1 channel", "10,000 x 10 same ids")
    ]
    return f"{each[0]:.0f}; {each[1]:.0f} with shared names"


def _confirmed(found: Found) -> str:
    line = found["confirmed_under_resets", "1->2, seed 1"]
    wrong = f"{line.get('lost', 0)} lost, {line.get('duplicated', 0)} twice"
    return f"{line['confirmed_per_s']:,}; {wrong}"


def _idle(key: str, digits: int) -> Callable[[Found], str]:
    def say(found: Found) -> str:
        values = [found["idle", f"{nodes} nodes"][key] for nodes in (3, 10, 50)]
        return " / ".join(f"{value:.{digits}f}" for value in values)

    return say


def _growth_join(found: Found) -> str:
    line = found["growth", "nodes 10"]
    return f"{line['join_bytes'] / 9:.0f}"


def _heal(found: Found) -> str:
    line = found["growth", "heal of 1000000"]
    kb = [f"{line[key] / 1e3:,.0f}" for key in ("heal_bytes", "pushed_bytes", "whole_bytes")]
    return f"{kb[0]} kB in {line['heal_s']} s; {kb[1]} kB; {kb[2]} kB"


def _cut(found: Found) -> str:
    line = found["growth", "cut of 30 min"]
    return f"{line['resent']:,} of {line['memberships']:,}"


ROWS: Final[Sequence[tuple[str, str, Callable[[Found], str]]]] = (
    (
        "late joiner's bootstrap of 1 M memberships: s; peak memory, MB",
        "join_under_load",
        lambda found: f"{_load(found)['bootstrap_s']}; {_load(found)['peak_rss_mb']:.0f}",
    ),
    (
        "its longest turn of the I/O thread meanwhile; p99, ms",
        "join_under_load",
        lambda found: f"{_load(found)['io_turn_max_ms']:.1f}; {_load(found)['io_turn_p99_ms']:.1f}",
    ),
    (
        "a caller's `join` meanwhile, p50 / p99 ms",
        "join_under_load",
        lambda found: f"{_load(found)['join_p50_ms']:.2f} / {_load(found)['join_p99_ms']:.2f}",
    ),
    ("heal of 1 M with 1 % changed; those changes pushed; the whole set", "growth", _heal),
    ("memberships sent again after a cut of 30 minutes (invented time)", "growth", _cut),
    ("bytes a link for a join, headers of ours but not of TCP, 10 nodes", "growth", _growth_join),
    ("memory a membership where it is watched (RSS), bytes", "joins_bulk", _memory),
    ("SIGKILL of an owner of 1,000 until gone on 4 others, p50 / p99 ms", "detection", _kill),
    ("SIGSTOP of the same, p50 / p99 s", "detection", _stop),
    ("idle, 3 / 10 / 50 nodes: bytes/s a link", "idle", _idle("bytes_per_s_per_link", 0)),
    ("idle, 3 / 10 / 50 nodes: CPU a node, % of a core", "idle", _idle("cpu_percent", 2)),
    (
        "p99 of a healthy reader beside 5 stopped ones, to that without them",
        "slow_reader",
        lambda found: f"{found['slow_reader', '5 stopped']['ratio_p99']:.2f}",
    ),
    ("confirmed messages/s to 2 owners while links break", "confirmed_under_resets", _confirmed),
)
"""What is said, which benchmark says it, and how."""


if __name__ == "__main__":
    sys.exit(main())
