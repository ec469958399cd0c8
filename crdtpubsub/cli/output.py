"""How results and progress are shown: tables to people, one JSON object per line to programs."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Sequence

try:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ImportError:  # the extra `cli` is not installed
    _HAS_RICH = False
else:
    _HAS_RICH = True

__all__ = ["jsonable", "objects", "shown", "table", "told"]


def told(text: str) -> None:
    """To people, beside the results."""
    print(f"crdtpubsub: {shown(text)}", file=sys.stderr, flush=True)


def objects(record: dict[str, object]) -> None:
    """One result, to a program."""
    print(json.dumps(jsonable(record)), flush=True)


def jsonable(data: object) -> object:
    """What msgpack carries, as JSON can: bytes as `{"base64": ...}`, keys as text."""
    match data:
        case bytes():
            return {"base64": base64.b64encode(data).decode()}
        case dict():
            return {k if isinstance(k, str) else str(k): jsonable(v) for k, v in data.items()}
        case list() | tuple():
            return [jsonable(item) for item in data]
        case None | bool() | int() | float() | str():
            return data
    return str(data)


def shown(data: object) -> str:
    """Data on one line. Text as it is, but what would steer a terminal is escaped."""
    text = data if isinstance(data, str) else json.dumps(jsonable(data), ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under a header, drawn by rich on a terminal if it is there."""
    cells = [[shown(cell) for cell in row] for row in rows]
    if _HAS_RICH and sys.stdout.isatty():
        drawn = Table(header_style="bold")
        for column in columns:
            drawn.add_column(column, overflow="fold")  # an endpoint that was cut cannot be copied
        for row in cells:
            drawn.add_row(*(Text(cell) for cell in row))  # `Text`: nobody's markup is obeyed
        Console().print(drawn)
        return
    for line in plain_table(columns, cells):
        print(line)
    sys.stdout.flush()


def plain_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """The same as aligned lines."""
    lines = [[column.upper() for column in columns], *cells]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
