"""Big frames in small bites, so that a caller who waits for the lock never waits long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from crdtpubsub.wire.messages import (
    Addressed,
    Deltas,
    Frame,
    Hello,
    Live,
    Message,
    ProbeFor,
    Publication,
    Publications,
    Pull,
    Rows,
    Sums,
)

__all__ = ["runs", "slices", "unconfirmed"]

COSTLY = frozenset({Rows, Pull, Sums, Live, Hello, ProbeFor})
_LOOKED_AT = COSTLY | {Deltas}


def slices(frame: Frame, births_max: int) -> Iterator[Frame]:
    """The same frame as a sequence of frames with at most `births_max` births to merge each.

    What costs more than it weighs (a question that is answered at length) stands alone.

    They share one header: hand them to the engine one after the other, without another frame
    of the same sender in between. What a `Deltas` answers is said by its last slice.
    """
    kinds = list(map(type, frame.messages))  # in C: hundreds of publications are in one frame
    if _LOOKED_AT.isdisjoint(kinds) or not _is_big(frame.messages, births_max):  # nearly always
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


def runs(messages: Sequence[Message]) -> list[Message | list[Publication]]:
    """The same in order, with what goes to the same members gathered: publications in a row."""
    gathered: list[Message | list[Publication]] = []
    run: list[Publication] = []
    channel = scope = ""
    for message in messages:
        if message.__class__ is not Publication or message.exclude or message.after:
            gathered.append(message)
            channel = ""  # no channel has this name: what follows is another run
        elif message.channel == channel and message.scope == scope:
            run.append(message)
        else:
            channel, scope = message.channel, message.scope
            run = [message]
            gathered.append(run)
    return gathered


def unconfirmed(messages: Sequence[Message]) -> int:
    """How many publications count for the account of their sender."""
    kinds = list(map(type, messages))
    count = kinds.count(Publication)
    if Publications in kinds:
        count += sum([len(m.payloads) for m in messages if type(m) is Publications])
    if Addressed in kinds:
        count += sum([type(m) is Addressed and not m.counter for m in messages])
    return count


def _is_big(messages: Sequence[Message], births_max: int) -> bool:
    costly = 0
    for message in messages:
        if isinstance(message, Deltas):
            if _births(message) > births_max:
                return True
        elif message.__class__ in COSTLY:
            costly += 1
    return costly > 1


def _births(message: Deltas) -> int:
    return sum([len(clients) for delta in message.deltas for clients in delta.entries.values()])
