"""How the verbs are asked: numbers with their bounds, and help that ends with examples."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["EXITS", "Help", "number", "verb_parser", "whole"]

EXITS: Final = "exit code: 0 done, 1 failed, 2 asked wrongly, 130 Ctrl-C"


class Help(argparse.HelpFormatter):
    """Texts of one line are filled; those of several are shown as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "\n".join(indent + line for line in text.splitlines())
        return super()._fill_text(text, width, indent)


def verb_parser(
    subparsers: Subparsers,
    name: str,
    *,
    summary: str,
    description: str,
    examples: str,
    exits: str = EXITS,
) -> argparse.ArgumentParser:
    """A parser for one verb. `examples`: lines, each what follows `crdtpubsub`."""
    lines = "\n".join(f"  crdtpubsub {line}" for line in examples.splitlines())
    return subparsers.add_parser(
        name, help=summary, description=description, formatter_class=Help,
        epilog=f"examples:\n{lines}\n\n{exits}",
    )  # fmt: skip


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A whole number between these."""
    between = f"of at least {low:,}" if high is None else f"between {low:,} and {high:,}"

    def read(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = low - 1
        if found < low or (high is not None and found > high):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {between}")
        return found

    return read


def number(low: float, high: float | None = None, *, of: str = "") -> Callable[[str], float]:
    """A number between these; without `high`, above `low`."""
    between = f"above {low:g}" if high is None else f"between {low:g} and {high:g}"

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        fits = low < found < math.inf if high is None else low <= found <= high
        if not fits:
            raise argparse.ArgumentTypeError(f"{text!r} is no number {of}{between}")
        return found

    return read
