"""A plain look at an endpoint: does anybody listen there, and is it a node with a secret?"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

__all__ = ["Seen", "probe"]

GREETING_BYTES: Final = 64
OPENING: Final = b"\xff" + bytes(8) + b"\x7f\x03"
"""ZMTP 3 (https://rfc.zeromq.org/spec/23/): the signature and the major version. The mechanism, 20
bytes at 12, follows on both sides; we wait for theirs, since who sees another one hangs up."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen; `complaint` says it in words, '' if it may be a node."""

    complaint: str
    mechanism: str = ""  # NULL without a secret, CURVE with one


async def probe(endpoint: str, timeout_s: float) -> Seen:
    """Connect, exchange greetings, hang up."""
    if complaint := await _unresolved(endpoint, timeout_s):
        return Seen(complaint)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _open(endpoint)
    except TimeoutError:
        return Seen("no answer at all: a firewall drops it, or that host is not there")
    except ConnectionRefusedError:
        return Seen("nothing listens there")
    except FileNotFoundError:
        return Seen("nothing listens there: there is no such path")
    except (OSError, ValueError) as error:
        return Seen(f"it cannot be dialled: {error}")
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(OPENING)
            greeting = await reader.readexactly(GREETING_BYTES)
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return Seen("what listens there is no node: it does not speak ZeroMQ, or hangs")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if greeting[:1] != b"\xff" or greeting[9:10] != b"\x7f":
        return Seen("what listens there is no node: it does not speak ZeroMQ")
    return Seen("", greeting[12:32].rstrip(b"\0").decode("ascii", "replace"))


async def _unresolved(endpoint: str, timeout_s: float) -> str:
    """Why the name in it has no address; '' if it has, or is one."""
    scheme, _, rest = endpoint.partition("://")
    host = rest.rpartition(":")[0].strip("[]")
    if scheme not in ("tcp", "dns") or not host:
        return ""
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().getaddrinfo(host, None)
    except TimeoutError:
        return f"the name {host} does not resolve: the resolver does not answer"
    except (OSError, UnicodeError) as error:
        return f"the name {host} does not resolve: {error}"
    return ""


async def _open(endpoint: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        return await asyncio.open_unix_connection(rest)
    host, _, port = rest.rpartition(":")
    if scheme not in ("tcp", "dns") or not port.isdecimal():
        raise ValueError(f"{endpoint!r} is no tcp://host:port")
    return await asyncio.open_connection(host.strip("[]"), int(port))
