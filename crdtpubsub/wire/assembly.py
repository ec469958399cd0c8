"""Long records put together again from the chunks they travelled in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from crdtpubsub.names import NodeId
from crdtpubsub.wire.decode import Decoder
from crdtpubsub.wire.messages import Chunk, Frame, Header, Message

__all__ = ["Assemblies"]

_ONE_RECORD: Final = b"\x91"
"""What a frame's body starts with that holds one record: so the whole decodes in place."""


@dataclass(slots=True)
class _Open:
    """A record of which the first bytes are here."""

    link: int
    id: int
    size: int
    body: bytearray


class Assemblies:
    """What is open, at most one record per sender: an outbox cuts one at a time.

    Chunks come in order on a link, or something was lost and the record with it. Bounded: one
    longest record per sender, `bytes_max` in all, nothing of lives that are not listed. What is
    dropped is counted under one of the names below, with its sender; the gap in the sequence
    numbers, or a new link, tells the rest of the node that something was lost.

        chunks_refused      of a life that is not listed, or beyond `bytes_max`
        chunks_orphaned     of a record whose start was lost or refused
        assemblies_dropped  records begun and never ended
    """

    __slots__ = ("_bytes_max", "_count", "_decoder", "_held", "_me", "_open", "bytes")

    def __init__(
        self,
        me: NodeId,
        decoder: Decoder,
        bytes_max: int,
        *,
        held: Callable[[NodeId], bool],
        count: Callable[[str, NodeId], object],
    ) -> None:
        self._me = me
        self._decoder = decoder
        self._bytes_max = bytes_max
        self._held = held
        self._count = count
        self._open: dict[NodeId, _Open] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def take(self, frame: Frame) -> Frame:
        """The same frame with each chunk replaced by the record that it completes, if any.

        Raises:
            FrameError: a completed record does not decode.
        """
        header = frame.header
        if self._open and header.to == self._me:
            begun = self._open.get(header.sender)
            if begun is not None and begun.link < header.link:
                self.drop(header.sender)  # what was under way on the old link is lost
        if Chunk not in map(type, frame.messages):
            return frame
        messages: list[Message] = []
        for message in frame.messages:
            if not isinstance(message, Chunk):
                messages.append(message)
            elif header.to == self._me and (whole := self._add(message, header)) is not None:
                messages.append(whole)
        return replace(frame, messages=tuple(messages))

    def sweep(self) -> None:
        """Let go of what lives began that are not listed any more."""
        for sender in [life for life in self._open if not self._held(life)]:
            self.drop(sender)

    def drop(self, sender: NodeId) -> None:
        """Its link or its life is gone: so is what was begun."""
        if (begun := self._open.pop(sender, None)) is not None:
            self.bytes -= len(begun.body)
            self._count("assemblies_dropped", sender)

    def _add(self, chunk: Chunk, header: Header) -> Message | None:
        sender = header.sender
        begun = self._open.get(sender)
        if chunk.at == 0:
            if begun is not None and begun.link > header.link:
                self._count("chunks_orphaned", sender)
                return None  # late, from an older link
            self.drop(sender)
            if not self._held(sender):
                self._count("chunks_refused", sender)
                return None
            begun = self._open[sender] = _Open(
                header.link, chunk.id, chunk.size, bytearray(_ONE_RECORD)
            )
            self.bytes += len(_ONE_RECORD)
        elif begun is None or (begun.link, begun.id, begun.size) != (
            header.link,
            chunk.id,
            chunk.size,
        ):
            self._count("chunks_orphaned", sender)
            return None
        have = len(begun.body) - len(_ONE_RECORD)
        if chunk.at < have:
            self._count("chunks_orphaned", sender)  # it came twice
            return None
        if chunk.at > have:
            self.drop(sender)
            return None
        if self.bytes + len(chunk.data) > self._bytes_max:
            self._count("chunks_refused", sender)
            self.drop(sender)
            return None
        begun.body += chunk.data
        self.bytes += len(chunk.data)
        if len(begun.body) - len(_ONE_RECORD) < begun.size:
            return None
        del self._open[sender]
        self.bytes -= len(begun.body)
        return self._decoder.record(begun.body)
