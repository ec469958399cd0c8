"""Messages as bytes. Encoding trusts the caller; the format stands in `codec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from struct import Struct, pack
from typing import Final, assert_never

import msgpack  # type: ignore[import-untyped,unused-ignore]

from crdtpubsub.crdt.delta import Delta
from crdtpubsub.crdt.token import Writes
from crdtpubsub.names import NodeId
from crdtpubsub.wire.header import pack_header
from crdtpubsub.wire.kind import Kind
from crdtpubsub.wire.limits import CHUNK, PAIR
from crdtpubsub.wire.messages import (
    Accuse,
    Ack,
    Addressed,
    Answers,
    Ask,
    Chunk,
    Deltas,
    Echo,
    Fact,
    Facts,
    Goodbye,
    Header,
    Hello,
    Invite,
    Live,
    Message,
    Probe,
    ProbeFor,
    Publication,
    Publications,
    Pull,
    RelayedAck,
    Reply,
    Request,
    Row,
    Rows,
    Seen,
    Sums,
    Taken,
    Terms,
    Welcome,
)

__all__ = ["Encoder", "chunk", "frame"]

_PUBLICATION: Final = int(Kind.PUBLICATION)
_PUBLICATIONS: Final = int(Kind.PUBLICATIONS)
_PICKED: Final = int(Kind.PICKED)
_CHUNK: Final = Struct(">BBBIBIBIBI")  # an array of 5: a small int, three u32, the start of a bin


class Encoder:
    """Messages and headers as bytes. One per thread: it reuses one packer.

    It does not check: who builds a message keeps to the limits above, or no peer takes it.
    """

    __slots__ = ("_pack",)

    def __init__(self) -> None:
        packer = msgpack.Packer(autoreset=True, use_bin_type=True)
        self._pack: Callable[[object], bytes] = packer.pack

    def header(self, header: Header) -> bytes:
        """The first `HEADER_BYTES` of a frame."""
        return pack_header(header)

    def message(self, message: Message) -> bytes:
        """One record, to be shared by all frames that carry it."""
        return self._pack(_record(message))

    def publication(
        self,
        scope: str,
        channel: str,
        payload: bytes,
        *,
        sender: str = "",
        headers: Mapping[str, str] | None = None,
        exclude: tuple[NodeId, str] | None = None,
        after: tuple[Delta, ...] = (),
    ) -> bytes:
        """The record of a `Publication`, without the cost of making one first."""
        if after:
            said = Publication(scope, channel, payload, sender, dict(headers or {}), exclude, after)
            return self.message(said)
        but = None if exclude is None else (bytes.fromhex(exclude[0]), exclude[1])
        return self._pack((_PUBLICATION, scope, channel, payload, sender, headers or {}, but))

    def publications(self, scope: str, channel: str, payloads: Sequence[bytes]) -> bytes:
        """The record of a `Publications`, likewise."""
        return self._pack((_PUBLICATIONS, scope, channel, payloads))

    def picked(
        self, said: Addressed, group: str, client: str, after: tuple[Delta, ...] = ()
    ) -> bytes:
        """The record of `said` for that client of that group, without the cost of a copy of it."""
        return self._pack(_picked(said, group, client, after))


def _picked(
    said: Addressed, group: str, client: str, after: tuple[Delta, ...]
) -> tuple[object, ...]:
    but = None if said.exclude is None else (bytes.fromhex(said.exclude[0]), said.exclude[1])
    ahead = _chunks([_delta(delta) for delta in after]) if after else ()
    where = said.scope, said.channel, client
    return _PICKED, group, ahead, said.counter, *where, said.payload, said.headers, but


def frame(header_bytes: bytes, records: Sequence[bytes]) -> bytes:
    """A frame of records that were encoded before, by whomever. At most `RECORDS_MAX` of them."""
    n = len(records)
    if n < 16:
        claim = (0x90 | n).to_bytes(1, "big")
    elif n < 65_536:
        claim = b"\xdc" + n.to_bytes(2, "big")
    else:
        claim = b"\xdd" + n.to_bytes(4, "big")
    return b"".join((header_bytes, claim, *records))


def chunk(number: int, size: int, at: int, data: bytes | memoryview) -> bytes:
    """The record of a `Chunk`: one copy of these bytes, and no packer."""
    head = _CHUNK.pack(0x95, int(Kind.CHUNK), 0xCE, number, 0xCE, size, 0xCE, at, 0xC6, len(data))
    return b"".join((head, data))


def _record(message: Message) -> tuple[object, ...]:
    match message:
        case Publication(scope, channel, payload, sender, headers, exclude, after):
            but = None if exclude is None else (bytes.fromhex(exclude[0]), exclude[1])
            if after:
                ahead = _chunks([_delta(delta) for delta in after])
                whole = (ahead, scope, channel, payload, sender, headers, but)
                return Kind.PUBLICATION_AFTER, *whole
            return Kind.PUBLICATION, scope, channel, payload, sender, headers, but
        case Publications(scope, channel, payloads):
            return Kind.PUBLICATIONS, scope, channel, payloads
        case Deltas(scope, deltas, answers, more):
            return Kind.DELTAS, scope, _chunks([_delta(d) for d in deltas]), answers, more
        case Hello(fact, nonce, capabilities):
            return Kind.HELLO, _fact(fact), nonce, capabilities
        case Welcome(echo, nonce, fact, known):
            return Kind.WELCOME, echo, nonce, _fact(fact), _facts(known)
        case Echo(echo):
            return Kind.ECHO, echo
        case Goodbye():
            return (Kind.GOODBYE,)
        case Probe(nonce, facts):
            return Kind.PROBE, nonce, _facts(facts)
        case Ack(nonce, fact):
            return Kind.ACK, nonce, _fact(fact)
        case ProbeFor(nonce, target, through):
            return Kind.PROBE_FOR, nonce, bytes.fromhex(target), bytes.fromhex("".join(through))
        case RelayedAck(nonce, target, maybe, refused):
            said = None if maybe is None else _fact(maybe)
            return Kind.RELAYED_ACK, nonce, bytes.fromhex(target), said, refused
        case Facts(facts):
            return Kind.FACTS, _facts(facts)
        case Accuse(target, incarnation, opinion):
            return Kind.ACCUSE, bytes.fromhex(target), incarnation, opinion
        case Taken(link, seq):
            return Kind.TAKEN, link, seq
        case Chunk(number, size, at, data):
            return Kind.CHUNK, number, size, at, data
        case Request() as said:
            to = said.scope, said.channel, said.client
            asked = said.id, said.within_ms, said.counter
            return Kind.REQUEST, *asked, *to, said.payload, said.headers
        case Reply(counter, id_, payload, headers):
            return Kind.REPLY, id_, counter, payload, headers
        case Invite(counter, scope, channel, client, meta, group):
            return Kind.INVITE, counter, scope, channel, client, meta, group
        case Addressed(counter, scope, channel, client, payload, headers, exclude, group, after):
            but = None if exclude is None else (bytes.fromhex(exclude[0]), exclude[1])
            if group:
                return _picked(message, group, client, after)
            return Kind.ADDRESSED, counter, scope, channel, client, payload, headers, but
        case Terms(table, lowest, stamp):
            return Kind.TERMS, table, lowest, stamp
        case Answers(table, stamp, runs):
            return Kind.ANSWERS, table, stamp, _u64s(tuple(chain.from_iterable(runs)))
        case Rows(scope, root, rows, reply, stamp):
            told = None if rows is None else _chunks([_row(row) for row in rows])
            return Kind.ROWS, scope, root, told, reply, stamp
        case Ask(scope, id_, writes):
            return Kind.ASK, scope, id_, _chunks([_writes(part) for part in writes])
        case Seen(scope, id_, seen):
            return Kind.SEEN, scope, id_, seen
        case Pull(scope, owner, runs, id_):
            return Kind.PULL, scope, bytes.fromhex(owner), _u64s(runs), id_
        case Sums(scope, owner, runs, sums):
            return Kind.SUMS, scope, bytes.fromhex(owner), _u64s(runs), _u64s(sums)
        case Live(scope, owner, runs, births):
            rising = sorted(births)
            updated = [x for birth in rising if (x := births[birth])]
            where = [birth for birth in rising if births[birth]]
            versions = _u64s(tuple(chain.from_iterable(zip(where, updated, strict=True))))
            return (
                Kind.LIVE,
                scope,
                bytes.fromhex(owner),
                _u64s(runs),
                _u64s(tuple(rising)),
                versions,
            )
        case _:
            assert_never(message)


def _fact(fact: Fact) -> tuple[object, ...]:
    return bytes.fromhex(fact.node), fact.name, fact.endpoint, fact.incarnation, fact.scopes


def _facts(facts: tuple[Fact, ...]) -> list[Sequence[object]]:
    return _chunks([_fact(fact) for fact in facts])


def _delta(delta: Delta) -> tuple[object, ...]:
    flat: list[object] = []
    for birth, extra in delta.extras.items():
        flat += (birth, *extra)
    return bytes.fromhex(delta.owner), _u64s(delta.runs), delta.entries, _chunks(flat)


def _writes(part: Writes) -> tuple[object, ...]:
    updates = tuple(chain.from_iterable(part.updates))
    owner = bytes.fromhex(part.owner)
    return owner, part.top, _u64s(part.written), _u64s(part.removed), _u64s(updates)


def _row(row: Row) -> tuple[object, ...]:
    return bytes.fromhex(row.owner), _u64s(row.runs), row.count, row.sum


def _u64s(numbers: tuple[int, ...]) -> bytes:
    if len(numbers) == 2:  # the single run of a young life
        return PAIR.pack(*numbers)
    return pack(f">{len(numbers)}Q", *numbers)


def _chunks(items: Sequence[object]) -> list[Sequence[object]]:
    if len(items) <= CHUNK:
        return [items] if items else []
    return [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]
