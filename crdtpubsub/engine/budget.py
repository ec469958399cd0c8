"""What all outboxes of a node may hold together."""

from __future__ import annotations

from typing import Final

__all__ = ["FLOOR_BYTES", "SHARED_BYTES", "Budget"]

FLOOR_BYTES: Final = 256 * 1024
"""Each link may hold so much, whatever the others hold: slow peers starve nobody."""

SHARED_BYTES: Final = 4096
"""A record this long is counted once, however many outboxes share it. Shorter ones are counted
in each: the place in the queue weighs as much as they do."""


class Budget:
    """Bytes queued in all outboxes, and what each of them may still take.

    An outbox may be as long as what is left for all (dynamic thresholds: Choudhury and Hahne,
    IEEE/ACM ToN 6(2), 1998): a few slow peers get much each, many get little each, and a healthy
    one always finds as much room as any of them has.
    """

    __slots__ = ("_holders", "bytes", "bytes_max", "refused")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self.refused = 0  # records that one outbox had room for, and all together had not
        self._holders: dict[int, int] = {}  # id of a long record that is queued -> in how many

    @property
    def share_bytes(self) -> int:
        """How long any one outbox may be now."""
        return max(self.bytes_max - self.bytes, FLOOR_BYTES)

    def fits(self, record: bytes, queued_bytes: int) -> bool:
        """Whether an outbox that holds `queued_bytes` may take `record` too."""
        if queued_bytes + len(record) <= max(self.bytes_max - self.bytes, FLOOR_BYTES):
            return True
        if not queued_bytes and id(record) in self._holders:
            return True  # others hold it: here it costs nothing
        self.refused += 1
        return False

    def charge(self, record: bytes) -> None:
        """One outbox more holds it."""
        size = len(record)
        if size >= SHARED_BYTES:
            held = self._holders[id(record)] = self._holders.get(id(record), 0) + 1
            if held > 1:
                return
        self.bytes += size

    def release(self, record: bytes) -> None:
        """One outbox less holds it."""
        size = len(record)
        if size >= SHARED_BYTES:
            held = self._holders.pop(id(record), 0) - 1
            if held > 0:
                self._holders[id(record)] = held
                return
        self.bytes -= size

    def clear(self) -> None:
        """Nothing is queued: to be charged anew, after an interrupt."""
        self.bytes = 0
        self._holders.clear()
