"""Fuzz the decoder and the whole node: `python -m tests.fuzz --decoder 10000000 --seed 1`.

Inputs come in blocks, each with dice of its own. A block that fails prints the command that runs
it again, and nothing else does: a seed and a block number are one history.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable

from tests.fuzz import decoder, handler

Run = Callable[[int, int, int], Counter[str]]


def main(arguments: list[str]) -> int:
    """Run what was asked for; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--decoder", type=int, default=0, help="inputs for the decoder")
    parser.add_argument("--handler", type=int, default=0, help="inputs for the whole node")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--block", type=int, default=0, help="the first block")
    asked = parser.parse_args(arguments)
    if asked.decoder + asked.handler < 1:
        parser.error("say how many inputs: --decoder N, --handler N, or both")
    held = True
    for name, run, size, inputs in (
        ("decoder", decoder.run, decoder.BLOCK, asked.decoder),
        ("handler", handler.run, handler.BLOCK, asked.handler),
    ):
        held = _blocks(name, run, size, inputs, asked.seed, asked.block) and held
    return 0 if held else 1


def _blocks(name: str, run: Run, size: int, inputs: int, seed: int, first: int) -> bool:
    totals: Counter[str] = Counter()
    started_s = time.monotonic()
    done, block = 0, first
    while done < inputs:
        now = min(size, inputs - done)
        try:
            totals += run(seed, block, now)
        except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
            traceback.print_exc()
            print(f"again: python -m tests.fuzz --{name} {now} --seed {seed} --block {block}")
            return False
        done += now
        block += 1
    if done:
        took_s = time.monotonic() - started_s
        print(f"{name}: {done:,} inputs held in {took_s:.0f} s ({done / took_s:,.0f}/s)")
        for what, number in totals.most_common():
            print(f"    {number:>12,}  {what}")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
