"""The numbers of the records."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Kind"]


class Kind(IntEnum):
    """The first item of a record. Numbers are never used again for something else."""

    HELLO = 1
    WELCOME = 2
    ECHO = 3
    GOODBYE = 4
    PROBE = 5
    ACK = 6
    PROBE_FOR = 7
    RELAYED_ACK = 8
    FACTS = 9
    ACCUSE = 10
    DELTAS = 11
    ROWS = 12
    PULL = 13
    SUMS = 14
    LIVE = 15
    PUBLICATION = 16
    TAKEN = 17
    CHUNK = 18
    ADDRESSED = 19
    TERMS = 20
    ANSWERS = 21
    ASK = 24
    SEEN = 25
    PUBLICATION_AFTER = 26
    PICKED = 27
    PUBLICATIONS = 28
    REQUEST = 29
    REPLY = 30
    INVITE = 31
