"""`python -m tests.chaos --seed 7 --seconds 60 --transport netns`: chaos, and its verdict.

Exit 0: nothing lost, resurrected or made up; 1: something was, and here is what to run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.history import History, load
from tests.chaos.mesh import Mesh
from tests.chaos.netns import Namespaces, missing
from tests.chaos.run import Run, Verdict, judge
from tests.chaos.schedule import KINDS
from tests.chaos.worlds import judge_worlds

__all__ = ["chaos"]


def chaos(
    *,
    seed: int,
    seconds: float,
    transport: str,
    nodes: int = 5,
    rate_hz: float = 20.0,
    kinds: tuple[str, ...] = (),
    journal: Path | None = None,
    log: bool = False,
) -> Verdict:
    """Run it, and judge.

    Raises:
        AssertionError: it did not come to rest, or a process complained. The history is kept.
    """
    names = [chr(ord("a") + n) for n in range(nodes)]
    if journal is None:
        journal = Path(tempfile.mkdtemp(prefix="chaos-")) / "history.jsonl"
    history = History(journal)
    replay = f"python -m tests.chaos --seed {seed} --seconds {seconds:g} --transport {transport}"
    replay += f" --nodes {nodes} --rate {rate_hz:g}"
    replay += f" --kinds {','.join(kinds)}" if kinds else ""

    async def play() -> None:
        arena: Arena
        arena = Namespaces(names, seed=seed) if transport == "netns" else Mesh(names, seed=seed)
        async with arena:
            run = Run(arena, history, seed, kinds or KINDS[transport], rate_hz=rate_hz, log=log)
            await run.play(seconds)

    try:
        asyncio.run(play())
    except BaseException:
        print(f"FAILED; replay: {replay}", file=sys.stderr)
        raise
    finally:
        history.close()
        verdict = judge(history.entries)
        if not verdict.valid:
            print("\n".join(verdict.as_dict()["why"]), file=sys.stderr)
            print(f"replay: {replay}", file=sys.stderr)
            print(f"judge again: python -m tests.chaos --judge {journal}", file=sys.stderr)
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults")
    parser.add_argument("--transport", choices=sorted(KINDS), default="proxy")
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--rate", type=float, default=20.0, help="operations per node and second")
    parser.add_argument("--kinds", default="", help="of faults, with commas; default: all")
    parser.add_argument("--journal", type=Path, help="where the history is kept")
    parser.add_argument("--judge", type=Path, help="a history that was kept; runs nothing")
    parser.add_argument("--worlds", type=int, help="judge so many simulated worlds instead")
    parser.add_argument("--jobs", type=int, default=1, help="processes for --worlds")
    parser.add_argument("--log", action="store_true", help="print each fault")
    given = parser.parse_args()
    began_s = time.monotonic()
    if given.worlds is not None:
        totals = judge_worlds(given.seed, given.worlds, jobs=given.jobs)
        print(json.dumps({"took_s": round(time.monotonic() - began_s, 1), **totals}))
        return 1 if totals["invalid"] else 0
    if given.judge is not None:
        verdict = judge(load(given.judge))
    else:
        if given.transport == "netns" and (why := missing()) is not None:
            print(f"no namespaces here: {why}; use --transport proxy", file=sys.stderr)
            return 2
        verdict = chaos(
            seed=given.seed,
            seconds=given.seconds,
            transport=given.transport,
            nodes=given.nodes,
            rate_hz=given.rate,
            kinds=tuple(filter(None, given.kinds.split(","))),
            journal=given.journal,
            log=given.log,
        )
    print(json.dumps({"took_s": round(time.monotonic() - began_s, 1), **verdict.as_dict()}))
    return 0 if verdict.valid else 1


if __name__ == "__main__":
    sys.exit(main())
