"""Dials whose handshake failed: with which key next, and when; and what to call it.

ZeroMQ redials by itself when a connection is refused or breaks, slower and slower. A handshake
that fails is another matter: it redials ten times a second, for ever with the same key, or, after
an ERROR and after a mechanism that differs, never again. So those are ours.
"""

from __future__ import annotations

import errno
import heapq
import random
from typing import Final

import zmq

__all__ = ["FAILED", "NONSENSE", "SILENT", "Retries", "why_inbound", "why_outbound"]

SILENT: Final = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
"""The far end hung up, or said nothing until the time was over."""
FAILED: Final = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL) | int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)

NONSENSE: Final = 0
"""No event of ZeroMQ: what came was not its protocol, of which it says nothing."""

RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 5.0
"""Between two rounds through all keys; it doubles from the one to the other."""

SILENT_ROUNDS: Final = 2
"""Who hangs up once may be dying. Only then it is said that the secret differs."""

REMEMBERED_MAX: Final = 4096
"""Endpoints of which it is remembered that another key than the first is theirs."""

_MECHANISM_DIFFERS: Final = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)


class Retries:
    """Per endpoint: the key to dial with, and the time to dial again. Reads no clock."""

    def __init__(self, keys: int) -> None:
        self._keys = max(keys, 1)
        self._other: dict[str, int] = {}  # the key that worked last, where it is not the first
        self._failing: dict[str, _Failing] = {}
        self._due: list[tuple[float, str]] = []  # a heap; some of it is out of date

    def key(self, endpoint: str) -> int:
        """The number of the key to dial `endpoint` with now."""
        failing = self._failing.get(endpoint)
        first = self._other.get(endpoint, 0)
        return first if failing is None else (first + failing.tries) % self._keys

    def failed(self, endpoint: str, now_s: float) -> int:
        """Plan the next dial. Return how many rounds through all keys have failed, or 0 in one."""
        failing = self._failing.setdefault(endpoint, _Failing())
        failing.tries += 1
        rounds, within = divmod(failing.tries, self._keys)
        failing.due_s = now_s
        if not within:
            wait_s = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(rounds - 1, 16))
            failing.due_s += wait_s * random.uniform(0.8, 1.2)  # all saw the same cut
        heapq.heappush(self._due, (failing.due_s, endpoint))
        return 0 if within else rounds

    def worked(self, endpoint: str) -> None:
        """The key last dialled with is the right one: begin with it the next time."""
        key = self.key(endpoint)
        self._failing.pop(endpoint, None)
        self._other.pop(endpoint, None)
        if key:
            if len(self._other) >= REMEMBERED_MAX:
                del self._other[next(iter(self._other))]
            self._other[endpoint] = key

    def forget(self, endpoint: str) -> None:
        """Nobody wants `endpoint` dialled any more. Its key stays known."""
        self._failing.pop(endpoint, None)

    def due(self, now_s: float) -> list[str]:
        """The endpoints to dial now, each said once."""
        found = []
        while self._due and self._due[0][0] <= now_s:
            due_s, endpoint = heapq.heappop(self._due)
            failing = self._failing.get(endpoint)
            if failing is not None and failing.due_s == due_s:
                failing.due_s = float("inf")
                found.append(endpoint)
        return found

    def timeout_s(self, limit_s: float | None, now_s: float) -> float | None:
        """The shorter of `limit_s` and the time to the next dial."""
        if not self._due:
            return limit_s
        left_s = max(0.0, self._due[0][0] - now_s)
        return left_s if limit_s is None else min(limit_s, left_s)


class _Failing:
    __slots__ = ("due_s", "tries")

    def __init__(self) -> None:
        self.tries = 0
        self.due_s = float("inf")


def why_outbound(event: int, value: int, rounds: int, *, secret: bool) -> str | None:
    """What a failed dial of ours means, for people; None: nothing yet."""
    if not rounds or (event == SILENT and (value == errno.EAGAIN or rounds < SILENT_ROUNDS)):
        return None  # EAGAIN: it did not hang up, the time was over. It may be stopped, or busy
    if event == NONSENSE:
        return "what listens there is no node"
    if not secret:
        return "the other side uses a secret or is no node, and this node has no secret"
    if event == SILENT:
        # Also when the mechanisms differ: who reads the other's greeting first closes.
        return "it hangs up: the secret differs or the other side uses none, or it is no node"
    if value == _MECHANISM_DIFFERS:
        return "the other side uses no secret or is no node, and this node has a secret"
    return "the secret differs or the other side uses none"


def why_inbound(value: int, *, secret: bool) -> str:
    """What a stranger's failed handshake means, for people."""
    if not secret:
        return "who dialled uses a secret or is no node, and this node has no secret"
    if value == _MECHANISM_DIFFERS:
        return "who dialled uses no secret or is no node, and this node has a secret"
    return "who dialled has a secret that is none of ours, or guesses"
