"""How the demo is told: as a story to people, as one JSON object per step to programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

try:
    from rich.console import Console
    from rich.text import Text
except ImportError:  # the extra `cli` is not installed
    _HAS_RICH = False
else:
    _HAS_RICH = True

__all__ = ["JsonNarrator", "Narrator", "StoryNarrator"]

Spans = Iterable[tuple[str, str]]
"""(style, text), in order. Styles are words that rich knows; `_ANSI` has those we use."""

_ANSI: Final = {
    "": "",
    "bold": "1",
    "dim": "2",
    "bold green": "1;32",
    "bold red": "1;31",
    "cyan": "36",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "blue": "34",
}
_NODE_STYLES: Final = ("cyan", "green", "yellow", "magenta", "blue")


class Narrator(Protocol):
    """Is told what happens while it happens."""

    def begin(self, title: str) -> None:
        """A step begins."""

    def say(self, text: str, *, ms: float | None = None) -> None:
        """Something was done, or was seen `ms` after it was done."""

    def view(
        self, who: str, channels: Mapping[str, Iterable[str]], *, ms: float | None = None
    ) -> None:
        """What one node lists."""

    def end(self, record: Mapping[str, object]) -> None:
        """A step is over; the last one is called `summary`."""


class JsonNarrator:
    """One object per step, on stdout."""

    def begin(self, title: str) -> None:
        """Not told."""

    def say(self, text: str, *, ms: float | None = None) -> None:
        """Not told."""

    def view(
        self, who: str, channels: Mapping[str, Iterable[str]], *, ms: float | None = None
    ) -> None:
        """Not told; it is in the record."""

    def end(self, record: Mapping[str, object]) -> None:
        """Print it."""
        print(json.dumps(record), flush=True)


class StoryNarrator:
    """Lines for people; in colour on a terminal, with rich or without."""

    def __init__(self, names: Iterable[str]) -> None:
        self._styles = dict(zip(names, _NODE_STYLES, strict=False))
        self._names = re.compile(rf"\b({'|'.join(self._styles)})\b")
        self._width = max(map(len, self._styles))
        self._chapter = 0
        self._paint = _RichPainter() if _HAS_RICH else _AnsiPainter()

    def begin(self, title: str) -> None:
        """Print the headline."""
        self._chapter += 1
        self._paint.line([("bold", f"\n{self._chapter:2}  {title}")])

    def say(self, text: str, *, ms: float | None = None) -> None:
        """Print it, with its time in a column of its own."""
        self._paint.line([_time(ms), *self._coloured(text)])

    def view(
        self, who: str, channels: Mapping[str, Iterable[str]], *, ms: float | None = None
    ) -> None:
        """Print it on one line: clients in the colours of their nodes."""
        spans = [_time(ms), *self._coloured(f"{who:<{self._width}}")]
        for channel, members in sorted(channels.items()):
            spans.append(("dim", f"  {channel}:"))
            for member in sorted(members):
                client, _, node = member.partition("@")
                spans.append((self._styles.get(node, "bold red"), f" {client}"))
        self._paint.line(spans)

    def end(self, record: Mapping[str, object]) -> None:
        """Print whether all was as it should be."""
        if record["step"] == "summary":
            self._summary(record)
        elif record["ok"]:
            self._paint.line([("bold green", f"{'✓':>12}  "), ("dim", f"{record['took_ms']} ms")])
        else:
            self._paint.line([("bold red", f"{'✗':>12}  {record['error']}")])
            for key in ("expected", "seen"):
                self._paint.line([("dim", f"{key:>12}  "), ("", str(record.get(key, "")))])

    def _summary(self, record: Mapping[str, object]) -> None:
        held = bool(record["ok"])
        said = ", ".join(
            f"{record[key]} {key.replace('_', ' ')}"
            for key in ("nodes", "processes", "delivered", "lost", "duplicated", "exits", "ghosts")
        )
        self._paint.line(
            [
                (
                    "bold green" if held else "bold red",
                    "\n    All held" if held else "\n    FAILED",
                ),
                ("", f" after {record['seconds']} s: {said}."),
            ]
        )
        for problem in _texts(record["problems"]):
            self._paint.line([("bold red", f"    {problem}")])

    def _coloured(self, text: str) -> list[tuple[str, str]]:
        return [(self._styles.get(part, ""), part) for part in self._names.split(text)]


class _AnsiPainter:
    """Escape sequences on a terminal, and none elsewhere."""

    def __init__(self) -> None:
        self._on = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def line(self, spans: Spans) -> None:
        print("".join(self._painted(style, text) for style, text in spans).rstrip(), flush=True)

    def _painted(self, style: str, text: str) -> str:
        return f"\x1b[{_ANSI[style]}m{text}\x1b[0m" if self._on and style else text


class _RichPainter(_AnsiPainter):
    """The same by rich, which knows more terminals."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(highlight=False, soft_wrap=True)

    def line(self, spans: Spans) -> None:
        # Captured, since rich itself answers a closed pipe by SystemExit in the middle of the loop.
        with self._console.capture() as painted:
            self._console.print(Text.assemble(*((text, style) for style, text in spans)), end="")
        print(painted.get().rstrip(), flush=True)


def _time(ms: float | None) -> tuple[str, str]:
    took = "" if ms is None else f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.1f} ms"
    return "dim", f"{took:>12}  "


def _texts(found: object) -> list[str]:
    return [str(one) for one in found] if isinstance(found, list) else []
