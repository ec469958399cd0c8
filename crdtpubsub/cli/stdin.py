"""Standard input, read without standing in the way of Ctrl-C."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from threading import Thread
from typing import Final

from crdtpubsub.cli.output import told

__all__ = ["invite", "lines", "whole"]

STDIN: Final = 0
READ_BYTES: Final = 65_536


def invite(text: str) -> None:
    """A terminal waits for its user, who should know."""
    if os.isatty(STDIN):
        told(text)


async def whole() -> bytes:
    """All of it."""
    parts = []
    while part := await _some():
        parts.append(part)
    return b"".join(parts)


async def lines() -> AsyncIterator[bytes]:
    """One line after the other, without their ends."""
    rest = b""
    while part := await _some():
        *full, rest = (rest + part).split(b"\n")
        for line in full:
            yield line.removesuffix(b"\r")
    if rest:
        yield rest


async def _some() -> bytes:
    """The next bytes; none at the end.

    In a thread that nobody waits for (asyncio waits for those of its executor until the user has
    typed a line), and past `sys.stdin`, whose lock it would hold at the end of the process.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def give(part: bytes | None, error: OSError | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(part or b"")

    def read() -> None:
        part, failed = None, None
        try:
            part = os.read(STDIN, READ_BYTES)
        except OSError as error:
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(give, part, failed)

    Thread(target=read, daemon=True, name="crdtpubsub-stdin").start()
    return await done
