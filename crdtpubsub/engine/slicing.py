"""Big frames in small bites, so that a caller who waits for the lock never waits long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from crdtpubsub.wire.messages import (
    Deltas,
    Frame,
    Hello,
    Live,
    Message,
    ProbeFor,
    Pull,
    Rows,
    Sums,
)

__all__ = ["slices"]

COSTLY = frozenset({Rows, Pull, Sums, Live, Hello, ProbeFor})
_LOOKED_AT = COSTLY | {Deltas}


def slices(frame: Frame, births_max: int) -> Iterator[Frame]:
    """The same frame as a sequence of frames with at most `births_max` births to merge each.

    What costs more than it weighs (a question that is answered at length) stands alone.

    They share one header: hand them to the engine one after the other, without another frame
    of the same sender in between. What a `Deltas` answers is said by its last slice.
    """
    costly = 0
    for message in frame.messages:
        if message.__class__ not in _LOOKED_AT:
            continue
        if not isinstance(message, Deltas):
            costly += 1
            if costly > 1:
                break
        elif _births(message) > births_max:
            break
    else:  # nearly always
        yield frame
        return
    gathered: list[Message] = []
    number = 0
    for message in frame.messages:
        if not isinstance(message, Deltas) or _births(message) <= births_max:
            gathered.append(message)
            if message.__class__ in COSTLY:
                yield Frame(frame.header, tuple(gathered), number)
                number += 1
                gathered = []
            continue
        if gathered:
            yield Frame(frame.header, tuple(gathered), number)
            number += 1
            gathered = []
        parts = [part for delta in message.deltas for part in delta.slices(births_max)]
        for part in parts[:-1]:
            yield Frame(frame.header, (Deltas(message.scope, (part,)),), number)
            number += 1
        gathered = [replace(message, deltas=(parts[-1],))]
    if gathered:
        yield Frame(frame.header, tuple(gathered), number)


def _births(message: Deltas) -> int:
    return sum([len(clients) for delta in message.deltas for clients in delta.entries.values()])
