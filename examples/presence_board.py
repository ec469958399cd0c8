"""A presence board in the terminal: who is where, and what they are doing, live.

    .venv/bin/python examples/presence_board.py --name Ann --place office

Start it in several terminals. What you type is your status; `/go kitchen` moves you, `/quit` or
Ctrl-C leaves. A place is a channel, a person its member, the status what the member says of
itself. With `rich` and a terminal the board is redrawn in place; else each change prints it.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import os
import sys
import termios
import threading
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from crdtpubsub import Change, Client, Member, Node, Snapshot

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ImportError:
    HAS_RICH = False
else:
    HAS_RICH = True

PLACES = "place/"


class Board:
    """Who is where, as `watch` tells it."""

    def __init__(self) -> None:
        self.people: dict[tuple[str, str, str], Member] = {}
        self.news = ""

    def take(self, item: Snapshot | Change) -> None:
        if isinstance(item, Snapshot):
            self.people = {key(member): member for member in item.members}
            return
        for member in item.left:
            self.people.pop(key(member), None)
        for member in (*item.joined, *item.updated):
            self.people[key(member)] = member
        how = {"node_down": "cannot be reached any more", "node_up": "can be reached"}
        self.news = "; ".join(
            f"{said(member, 'name')} {how.get(item.cause, word)} {place(member)}".rstrip()
            for word, members in (("left", item.left), ("is in", item.joined))
            for member in members
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """Place, name, status."""
        return sorted((place(m), said(m, "name"), said(m, "status")) for m in self.people.values())


def key(member: Member) -> tuple[str, str, str]:
    return member.node, member.id, member.channel


def place(member: Member) -> str:
    return printable(member.channel.removeprefix(PLACES))


def said(member: Member, what: str) -> str:
    """What a member says of itself; a stranger may say anything."""
    meta = member.meta
    return printable(str(meta.get(what, ""))) if isinstance(meta, dict) else ""


def printable(text: str) -> str:
    """Without what would steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


class Plain:
    """Prints the board, whenever it is another one."""

    def show(self, board: Board, _typed: str) -> None:
        if board.news:
            print(f"* {board.news}")
        for where, name, status in board.rows():
            print(f"{where:<12} {name:<12} {status}".rstrip())
        print(flush=True)


class Drawn:
    """Redraws the board in place, with the line that is being typed below it."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def show(self, board: Board, typed: str) -> None:
        table = Table("where", "who", "status", expand=True, header_style="bold")
        for row in board.rows():
            table.add_row(*map(Text, row))  # `Text`: nobody's markup is obeyed
        line = Text(f"your status> {typed}█", style="bold green")
        hint = Text(board.news or "/go PLACE moves you, /quit leaves", style="dim")
        self.live.update(Group(table, hint, line), refresh=True)


@contextmanager
def screen(*, plain: bool) -> Iterator[Plain | Drawn]:
    """What fits the terminal; it is given back as it was."""
    if plain or not (HAS_RICH and sys.stdin.isatty() and sys.stdout.isatty()):
        yield Plain()
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)  # keys as they are typed, shown by us
        with Live(console=Console(), screen=True, auto_refresh=False) as live:
            yield Drawn(live)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def keys() -> AsyncIterator[str]:
    """What is typed, from a terminal, a pipe or a file, until its end."""
    loop, typed = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def read() -> None:
        data = b"?"
        while data:
            data = os.read(0, 1024)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(typed.put_nowait, data)

    threading.Thread(target=read, daemon=True).start()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := await typed.get():
        for char in decoder.decode(data):
            yield char


async def main(args: argparse.Namespace) -> None:
    me = {"name": args.name, "status": args.status}
    board, typed = Board(), ""
    async with Node(name=args.name, cluster="presence-board") as node:
        client = node.client()
        await client.join(PLACES + args.place, meta=me)
        with screen(plain=args.plain) as shown:

            async def watch() -> None:
                async for item in node.watch(prefix=PLACES):
                    board.take(item)
                    shown.show(board, typed)

            watcher = asyncio.create_task(watch())
            async for key in keys():
                if key not in "\r\n":
                    typed = typed[:-1] if key in "\x7f\b" else typed + printable(key)
                elif typed == "/quit":
                    break
                else:
                    await do(client, typed.strip(), me)
                    typed = ""
                if isinstance(shown, Drawn):
                    shown.show(board, typed)
            else:
                await watcher  # nobody types: go on showing
            watcher.cancel()


async def do(client: Client, line: str, me: dict[str, str]) -> None:
    """Move, or say something else about oneself: others see it change, not leave."""
    if line.startswith("/go "):
        for channel in client.channels:
            await client.leave(channel)
        await client.join(PLACES + line.removeprefix("/go ").strip()[:40], meta=me)
    else:
        me["status"] = line[:200]
        for channel in client.channels:
            await client.update(channel, meta=me)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A presence board: who is where, live.")
    parser.add_argument("--name", default=os.environ.get("USER", "somebody"))
    parser.add_argument("--place", default="office")
    parser.add_argument("--status", default="")
    parser.add_argument("--plain", action="store_true", help="print, do not redraw")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
