"""The floor: the same work on bare pyzmq and msgpack. No names, no repair, no CRDT, no links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped,unused-ignore]
import zmq

__all__ = ["Inbox", "Packer", "bound", "dialled", "pack", "unpack"]


def Packer() -> Callable[[object], bytes]:  # noqa: N802  (makes one, as msgpack spells it)
    """A packer that is used again and again: a new one each call costs 3x."""
    packer: Callable[[object], bytes] = msgpack.Packer(autoreset=True, use_bin_type=True).pack
    return packer


pack = Packer()


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, use_list=False)


def bound() -> tuple[zmq.Socket[bytes], str]:
    """A DEALER that listens on a free port, and where."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind("tcp://127.0.0.1:*")
    return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def dialled(endpoint: str) -> zmq.Socket[bytes]:
    """A DEALER that sends to `endpoint`, and blocks when that does not keep up."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    return socket


class Inbox:
    """A listening DEALER in the event loop: woken once, read until empty, no zmq.asyncio."""

    def __init__(self, on_frame: Callable[[bytes], None]) -> None:
        self._socket, self.endpoint = bound()
        self._on_frame = on_frame
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._drain)

    def _drain(self) -> None:
        while True:
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._on_frame(frame)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
