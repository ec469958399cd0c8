"""How far something long has come: a bar on stderr, if that is a terminal, and else not a word."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final, Self

try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as LeftColumn
except ImportError:  # the extra `cli` is not installed
    _HAS_RICH = False
else:
    _HAS_RICH = True

__all__ = ["Bar"]

WIDTH: Final = 30
CLEAR_LINE: Final = "\r\x1b[K"


class Bar:
    """`with Bar("worlds", 100) as bar: bar.at(7)`; gone without a trace at the end.

    By rich where that is installed. Results go to stdout meanwhile; where that is the same
    terminal and they are for programs (`quiet`), no bar runs into them.
    """

    def __init__(self, what: str, total: int | None = None, *, quiet: bool = False) -> None:
        """`total` None: nobody knows how many there will be."""
        self._what = what
        self._total = total
        self._on = sys.stderr.isatty() and not (quiet and sys.stdout.isatty())
        self._rich: Progress | None = None
        if self._on and _HAS_RICH:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), LeftColumn())
            some = (MofNCompleteColumn(), TextColumn(what)) if total is None else columns
            self._rich = Progress(
                *some, console=Console(stderr=True), transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._task = self._rich.add_task(what, total=total)

    def at(self, done: int) -> None:
        """So many are done."""
        if self._rich is not None:
            self._rich.update(self._task, completed=done)
        elif self._on:
            said = f"{done:,} {self._what}"
            if self._total is not None:
                full = WIDTH * done // max(self._total, 1)
                said = (
                    f"[{'#' * full + '.' * (WIDTH - full)}] {done:,}/{self._total:,} {self._what}"
                )
            print(CLEAR_LINE + said, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
        elif self._on:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
