"""What a node tells its operator: notes become log lines and notices, tallies become notices."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from crdtpubsub.engine import effects as ef
from crdtpubsub.engine.peers import PeerState
from crdtpubsub.names import NodeId
from crdtpubsub.runtime import notices
from crdtpubsub.runtime.handover import HandOverLock
from crdtpubsub.runtime.limits import LIMIT_TOLD, TRANSPORT_LIMITS

__all__ = ["LOGGED", "Teller", "log"]

log = logging.getLogger("crdtpubsub")
log.addHandler(logging.NullHandler())  # who has not asked for them is shown none

TELL_EVERY_S = 0.1

LOGGED = frozenset({1, 10, 100, 1_000, 10_000, 100_000, 1_000_000})
"""What repeats is logged the first, tenth, hundredth ... time."""

FLAPS_TOLD = 1_000
"""So many times it is logged that a node is suspect, down or back; then as what else repeats."""

TROUBLED_MAX = 4096
"""Nodes remembered as such for the log."""


class Teller:
    """Hands notices to the board. Never under the runtime's lock."""

    def __init__(self, name: str, counters: Counter[str], lock: HandOverLock) -> None:
        """For the node of that name, whose driver counts in `counters` under `lock`."""
        self.board = notices.NoticeBoard()
        self.tallies = notices.Tallies()
        self._name = name
        self._counters = counters
        self._lock = lock
        self._tell_at = 0.0
        self._told_up: set[NodeId] = set()
        self._transport_told: Counter[str] = Counter()
        self._troubled: set[NodeId] = set()  # were suspect or down when last told of
        self._flaps = 0

    def tell_due(self, now: float, transport: Mapping[str, int]) -> None:
        """Tell what happened often, if it is time. For the I/O thread, which counts there."""
        if now < self._tell_at:
            return
        self._tell_at = now + TELL_EVERY_S
        for what in TRANSPORT_LIMITS:
            count = transport.get(what.removeprefix("transport_"), 0)
            if times := count - self._transport_told[what]:
                self._transport_told[what] = count
                with self._lock:
                    self.tallies.add(LIMIT_TOLD[what], "", times)
        if not self.tallies:
            return
        with self._lock:
            due = self.tallies.due(now)
        for notice in due:
            self.board.post(notice)

    def tell(self, note: ef.PeerChanged | ef.Noted) -> None:
        """Tell what the engine noted."""
        if isinstance(note, ef.PeerChanged):
            self._log_peer(note)
            self._tell_peer(note)
            return
        if note.what in ("unanswered", "handshake_failed", "unresolved"):
            self.board.post(notices.Unanswered(note.whom, note.about))
        elif note.what == "same_name":
            self.board.post(notices.NameShared(NodeId(note.whom), note.about))
        self._counters[f"noted_{note.what}"] += 1
        if self._counters[f"noted_{note.what}"] in LOGGED:
            log.warning("%s: %s: %.300s", self._name, note.what, note.about)

    def _log_peer(self, note: ef.PeerChanged) -> None:
        """A node that comes or leaves is no news to a log; one that is suspect, down or back is."""
        well = note.state in (PeerState.ALIVE, PeerState.LEFT) and note.node not in self._troubled
        if note.state in (PeerState.SUSPECT, PeerState.DOWN):
            if len(self._troubled) >= TROUBLED_MAX:
                self._troubled.clear()
            self._troubled.add(note.node)
        else:
            self._troubled.discard(note.node)
        level = logging.INFO
        if well:
            level = logging.DEBUG
        else:
            self._flaps += 1
            if self._flaps > FLAPS_TOLD and self._flaps not in LOGGED:
                return
        log.log(level, "%s: node %s (%s) is %s", self._name, note.name, note.node[:8], note.state)

    def _tell_peer(self, note: ef.PeerChanged) -> None:
        who = (note.node, note.name, note.endpoint)
        match note.state:
            case PeerState.ALIVE if note.node not in self._told_up:
                self._told_up.add(note.node)
                self.board.post(notices.PeerUp(*who))
            case PeerState.DOWN:
                self._told_up.discard(note.node)
                self.board.post(notices.PeerDown(*who))
            case PeerState.LEFT:
                self._told_up.discard(note.node)
                self.board.post(notices.PeerLeft(*who))
            case _:
                pass  # a suspect is listed as before
