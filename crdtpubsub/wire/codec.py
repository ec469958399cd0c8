"""Frames as bytes: a fixed header, then a msgpack array of records.

Encoding trusts the caller. Decoding trusts nobody: it is strict and total, every byte string
gives a `Frame` or one `FrameError`, and a frame with one bad record is refused whole. What
it costs is bounded by what came: see `CHUNK` and `_Budget`.

A record is `[kind, ...fields]`, of fixed arity. Inside of records:

    life    16 bytes, not all zero
    u64s    one bin of 8 bytes each, big endian: runs, births, sums
    list    an array of arrays of at most `CHUNK` items: facts, rows, deltas, extras
    fact    [life, name, endpoint, incarnation, [scope, ...]]
    delta   [life, u64s runs, {channel: {client: birth}}, list of birth, version, group, meta]
    row     [life, u64s runs, count, sum]

A record of a kind that is not known is counted and skipped: a newer minor version may send
it. Another major version stands in the header and is refused by name.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from hashlib import blake2b
from itertools import chain, islice, pairwise
from operator import lt
from struct import Struct, pack, unpack
from typing import Any, Final, Literal, NoReturn, assert_never

import msgpack  # type: ignore[import-untyped,unused-ignore]

from crdtpubsub.crdt.delta import PLAIN, Delta, Extra
from crdtpubsub.crdt.intervals import Runs, count, is_runs, pairs
from crdtpubsub.errors import WireError
from crdtpubsub.names import NAME_BYTES_MAX, NodeId, is_name
from crdtpubsub.wire.messages import (
    Accuse,
    Ack,
    Deltas,
    Echo,
    Fact,
    Facts,
    Frame,
    Goodbye,
    Header,
    Hello,
    Live,
    Message,
    Opinion,
    Probe,
    ProbeFor,
    Publication,
    Pull,
    RelayedAck,
    Row,
    Rows,
    Sums,
    Welcome,
)

__all__ = [
    "BIRTH_MAX",
    "ENDPOINT_BYTES_MAX",
    "FRAME_BYTES_MAX",
    "HEADERS_MAX",
    "HEADER_BYTES",
    "HEADER_TEXT_BYTES_MAX",
    "META_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "RECORDS_MAX",
    "SCOPES_MAX",
    "WIRE_VERSION",
    "Decoder",
    "Encoder",
    "FrameError",
    "Kind",
    "Reason",
    "cluster_tag",
    "decode",
    "frame",
    "peek",
]

WIRE_VERSION: Final = 1

U32_MAX: Final = 2**32 - 1
U64_MAX: Final = 2**64 - 1
BIRTH_MAX: Final = 2**62
PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
FRAME_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 64 * 1024
RECORDS_MAX: Final = 65_536
META_BYTES_MAX: Final = 4096
HEADERS_MAX: Final = 64
HEADER_TEXT_BYTES_MAX: Final = 4096
ENDPOINT_BYTES_MAX: Final = 255
SCOPES_MAX: Final = 64

CHUNK: Final = 4096
"""Longest msgpack array inside a record.

msgpack allocates an array when its length is claimed, before an item of it has come, and
1024 claims may be open inside each other: 5 kB of input would hold 1024 times the limit.
Hence a low limit, and longer lists in chunks of it (a multiple of 4: extras come in fours).
Worst case 1024 * 4096 * 8 bytes = 34 MB for the length of one call.
"""

_GUARDED_BYTES: Final = 256 * 1024
"""Longer frames are decoded with a `_Budget`; shorter ones cannot do harm (18 MB at most)."""

_MAGIC: Final = b"\xc5p"
_HEADER: Final = Struct(">2sBB8s16s16sIQ")
HEADER_BYTES: Final = _HEADER.size
_NOBODY: Final = bytes(16)

Reason = Literal["header", "version", "cluster", "body"]


class FrameError(WireError):
    """A frame that cannot be used; `reason` says which counter it belongs to.

    Raised by: `peek`, `decode` and `Decoder.decode`, which raise nothing else.
    State: unchanged.
    Do: count it and drop the frame.
    """

    def __init__(self, complaint: str, *, reason: Reason) -> None:
        super().__init__(complaint)
        self.reason: Final = reason


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


_PUBLICATION: Final = int(Kind.PUBLICATION)


def cluster_tag(name: str) -> bytes:
    """The 8 bytes that tell frames of one cluster from those of another. Not a secret."""
    return blake2b(name.encode(), digest_size=8, person=b"crdtps-cluster").digest()


# ---------------------------------------------------------------- to bytes


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
        return _HEADER.pack(
            _MAGIC,
            WIRE_VERSION,
            0,
            header.cluster,
            bytes.fromhex(header.sender),
            bytes.fromhex(header.to),
            header.link,
            header.seq,
        )

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
    ) -> bytes:
        """The record of a `Publication`, without the cost of making one first."""
        but = None if exclude is None else (bytes.fromhex(exclude[0]), exclude[1])
        return self._pack((_PUBLICATION, scope, channel, payload, sender, headers or {}, but))


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


def _record(message: Message) -> tuple[object, ...]:
    match message:
        case Publication(scope, channel, payload, sender, headers, exclude):
            but = None if exclude is None else (bytes.fromhex(exclude[0]), exclude[1])
            return Kind.PUBLICATION, scope, channel, payload, sender, headers, but
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
        case ProbeFor(nonce, target):
            return Kind.PROBE_FOR, nonce, bytes.fromhex(target)
        case RelayedAck(nonce, target, maybe, refused):
            said = None if maybe is None else _fact(maybe)
            return Kind.RELAYED_ACK, nonce, bytes.fromhex(target), said, refused
        case Facts(facts):
            return Kind.FACTS, _facts(facts)
        case Accuse(target, incarnation, opinion):
            return Kind.ACCUSE, bytes.fromhex(target), incarnation, opinion
        case Rows(scope, root, rows, reply, stamp):
            told = None if rows is None else _chunks([_row(row) for row in rows])
            return Kind.ROWS, scope, root, told, reply, stamp
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


def _row(row: Row) -> tuple[object, ...]:
    return bytes.fromhex(row.owner), _u64s(row.runs), row.count, row.sum


def _u64s(numbers: tuple[int, ...]) -> bytes:
    return pack(f">{len(numbers)}Q", *numbers)


def _chunks(items: Sequence[object]) -> list[Sequence[object]]:
    return [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]


# ---------------------------------------------------------------- from bytes


def peek(data: bytes | memoryview) -> Header:
    """The header alone, for cheap checks; of which cluster is for the caller to compare.

    Raises:
        FrameError: it is not a frame of this wire version, or longer than any may be.
    """
    try:
        return _peek(data)
    except FrameError:
        raise
    except Exception as error:  # noqa: BLE001 - the one door: total, whatever came
        raise _opaque("header", error) from None


def decode(data: bytes | memoryview, cluster: bytes) -> Frame:
    """The frame in `data`, all of it checked. `Decoder` also counts what it skipped.

    Raises:
        FrameError: anything else.
    """
    return Decoder(cluster).decode(data)


class Decoder:
    """Decodes frames of one cluster, and counts the records of kinds it does not know."""

    __slots__ = ("_cluster", "unknown_records")

    def __init__(self, cluster: bytes) -> None:
        self._cluster = cluster
        self.unknown_records = 0

    def decode(self, data: bytes | memoryview) -> Frame:
        """The frame in `data`, all of it checked.

        Raises:
            FrameError: it is no frame of this cluster and wire version.
        """
        try:
            header = _peek(data)
            if header.cluster != self._cluster:
                _refuse(f"a frame of cluster {header.cluster.hex()}", reason="cluster")
            messages, unknown = _body(memoryview(data)[HEADER_BYTES:])
        except FrameError:
            raise
        except Exception as error:  # noqa: BLE001 - the one door: total, whatever came
            raise _opaque("body", error) from None
        self.unknown_records += unknown
        return Frame(header, tuple(messages))


def _peek(data: bytes | memoryview) -> Header:
    size = len(data)
    if size < HEADER_BYTES:
        _refuse(f"{size} bytes are no header", reason="header")
    if size > FRAME_BYTES_MAX:
        _refuse(f"{size} bytes; a frame has at most {FRAME_BYTES_MAX}", reason="header")
    magic, version, flags, cluster, sender, to, link, seq = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        _refuse("no magic at the start", reason="header")
    if version != WIRE_VERSION:
        _refuse(f"wire version {version}; this is {WIRE_VERSION}", reason="version")
    if flags:
        _refuse(f"flags {flags:#x} are not known", reason="header")
    if sender == _NOBODY:
        _refuse("the sender is nobody", reason="header")
    return Header(cluster, NodeId(sender.hex()), NodeId(to.hex()), link, seq)


def _body(body: memoryview) -> tuple[list[Message], int]:
    size = len(body)
    budget = _Budget() if size > _GUARDED_BYTES else None
    unpacker = msgpack.Unpacker(
        None,
        read_size=size,
        max_buffer_size=size,
        use_list=False,
        raw=False,
        strict_map_key=True,
        max_str_len=HEADER_TEXT_BYTES_MAX,
        max_bin_len=PAYLOAD_BYTES_MAX,
        max_array_len=CHUNK,
        max_map_len=size,
        max_ext_len=0,
        ext_hook=_no_ext,
        object_hook=budget and budget.spend,
        list_hook=budget and budget.spend,
    )
    unpacker.feed(body)
    claimed: int = unpacker.read_array_header()
    if claimed > RECORDS_MAX:
        _refuse(f"{claimed} records; at most {RECORDS_MAX} are allowed")
    if budget:
        budget.left = 2 * claimed + size // 5
    messages: list[Message] = []
    unknown = 0
    read = _Reader().read
    for record in islice(unpacker, claimed):  # one by one: rubbish fails early
        if (message := read(record)) is None:
            unknown += 1
        else:
            messages.append(message)
    if len(messages) + unknown != claimed:
        _refuse(f"{claimed} records claimed, {len(messages) + unknown} found")
    if unpacker.tell() != size:
        _refuse(f"{size - unpacker.tell()} bytes beyond the last record")
    return messages, unknown


class _Budget:
    """How many arrays and maps a large frame may make.

    The smallest is one byte of input and 64 of memory. What an `Encoder` makes has a channel
    name, a client id and a birth for every map (5 bytes), and fewer arrays than that.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def spend(self, made: object) -> object:
        self.left -= 1
        if self.left < 0:
            _refuse("more arrays and maps than a frame of this size can need")
        return made


def _no_ext(code: int, _data: bytes) -> NoReturn:
    _refuse(f"extension type {code}")


def _refuse(complaint: str, *, reason: Reason = "body") -> NoReturn:
    raise FrameError(complaint, reason=reason)


def _bad(what: str, value: object) -> NoReturn:
    _refuse(f"{_show(value)} is no {what}")


def _opaque(reason: Reason, error: Exception) -> FrameError:
    """Nothing but the type: the text of a foreign exception may hold what the peer wrote."""
    return FrameError(f"{reason} does not decode: {type(error).__name__}", reason=reason)


def _show(value: object) -> str:
    """At most 120 characters; never the `repr` of something nested or long."""
    if isinstance(value, (str, bytes)):
        return f"{value[:120]!r:.120}"
    if isinstance(value, (int, float)):
        return repr(value)
    return f"a {type(value).__name__}"


class _Reader:
    """The records of one frame, checked. Each name is looked at once per frame.

    Every method takes a record whose arity is right and says no by raising.
    """

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[object, str] = {}

    def read(self, record: object) -> Message | None:
        """The message in `record`; None if it is of a kind that is not known."""
        if type(record) is not tuple or not record or type(record[0]) is not int:
            _refuse("a record is no array that starts with its kind")
        if (entry := _READERS.get(record[0])) is None:
            return None
        arity, reader = entry
        if len(record) != arity:
            _refuse(f"a record of kind {record[0]} has {len(record)} items, not {arity}")
        return reader(self, record)

    # ---------------------------------------------------------------- records

    def publication(self, record: tuple[Any, ...]) -> Publication:
        _, scope, channel, payload, sender, headers, exclude = record
        known = self._names.get
        scope = known(scope) or self._name("scope", scope)
        channel = known(channel) or self._name("channel", channel)
        if type(payload) is not bytes:  # its length is limited by the unpacker
            _bad("payload", payload)
        if sender != "":
            sender = known(sender) or self._name("client id", sender)
        if headers != {}:
            _check_headers(headers)
        if exclude is not None:
            if type(exclude) is not tuple or len(exclude) != 2:
                _bad("member to exclude", exclude)
            exclude = (_life(exclude[0]), self._name("client id", exclude[1]))
        return Publication(scope, channel, payload, sender, headers, exclude)

    def deltas(self, record: tuple[Any, ...]) -> Deltas:
        _, scope, deltas, answers, more = record
        return Deltas(
            self._name("scope", scope),
            tuple([self._delta(delta) for delta in _list(deltas)]),
            _number("pull id", answers, U64_MAX),
            _flag(more),
        )

    def hello(self, record: tuple[Any, ...]) -> Hello:
        _, fact, nonce, capabilities = record
        return Hello(self._fact(fact), _nonce(nonce), _number("set", capabilities, U64_MAX))

    def welcome(self, record: tuple[Any, ...]) -> Welcome:
        _, echo, nonce, fact, known = record
        return Welcome(_nonce(echo), _nonce(nonce), self._fact(fact), self._facts(known))

    def echo(self, record: tuple[Any, ...]) -> Echo:
        return Echo(_nonce(record[1]))

    def goodbye(self, _record: tuple[Any, ...]) -> Goodbye:
        return Goodbye()

    def probe(self, record: tuple[Any, ...]) -> Probe:
        return Probe(_nonce(record[1]), self._facts(record[2]))

    def ack(self, record: tuple[Any, ...]) -> Ack:
        return Ack(_nonce(record[1]), self._fact(record[2]))

    def probe_for(self, record: tuple[Any, ...]) -> ProbeFor:
        return ProbeFor(_nonce(record[1]), _life(record[2]))

    def relayed_ack(self, record: tuple[Any, ...]) -> RelayedAck:
        _, nonce, target, fact, refused = record
        said = None if fact is None else self._fact(fact)
        return RelayedAck(_nonce(nonce), _life(target), said, _flag(refused))

    def facts(self, record: tuple[Any, ...]) -> Facts:
        return Facts(self._facts(record[1]))

    def accuse(self, record: tuple[Any, ...]) -> Accuse:
        _, target, incarnation, opinion = record
        return Accuse(
            _life(target),
            _number("incarnation", incarnation, U32_MAX),
            Opinion(_number("opinion", opinion, max(Opinion))),
        )

    def rows(self, record: tuple[Any, ...]) -> Rows:
        _, scope, root, rows, reply, stamp = record
        return Rows(
            self._name("scope", scope),
            _number("root", root, U64_MAX),
            None if rows is None else tuple([_read_row(row) for row in _list(rows)]),
            _flag(reply),
            _number("stamp", stamp, U32_MAX),
        )

    def pull(self, record: tuple[Any, ...]) -> Pull:
        _, scope, owner, runs, id_ = record
        return Pull(
            self._name("scope", scope),
            _life(owner),
            _runs(runs),
            _number("pull id", id_, U64_MAX),
        )

    def sums(self, record: tuple[Any, ...]) -> Sums:
        _, scope, owner, runs, sums = record
        return Sums(self._name("scope", scope), _life(owner), _runs(runs), _read_u64s(sums))

    def live(self, record: tuple[Any, ...]) -> Live:
        _, scope, owner, packed_runs, packed_births, packed_versions = record
        runs = _runs(packed_runs)
        births = _read_u64s(packed_births)
        if not all(map(lt, births, births[1:])):
            _refuse("live births do not rise")
        _check_inside(births, runs)
        live = dict.fromkeys(births, 0)
        versions = _read_u64s(packed_versions)
        if len(versions) % 2 or not all(map(lt, versions[0::2], versions[2::2])):
            _refuse("versions are no rising births with one each")
        for birth, version in pairs(versions):
            if birth not in live:
                _refuse(f"version of birth {birth}, which is not listed")
            if not 0 < version <= U32_MAX:
                _bad("version to tell", version)
            live[birth] = version
        return Live(self._name("scope", scope), _life(owner), runs, live)

    # ---------------------------------------------------------------- parts

    def _name(self, what: str, value: object) -> str:
        """`value` if it is a name, interned: registries hold each of them many times."""
        if (known := self._names.get(value)) is not None:
            return known
        if not isinstance(value, str) or not is_name(value):
            _bad(what, value)
        self._names[value] = known = sys.intern(value)
        return known

    def _fact(self, fact: object) -> Fact:
        if type(fact) is not tuple or len(fact) != 5:
            _bad("fact", fact)
        node, name, endpoint, incarnation, scopes = fact
        if type(endpoint) is not str or not endpoint.isprintable():
            _bad("endpoint", endpoint)
        if not 0 < len(endpoint.encode()) <= ENDPOINT_BYTES_MAX:
            _bad("endpoint", endpoint)
        if type(scopes) is not tuple or len(scopes) > SCOPES_MAX:
            _bad("tuple of scopes", scopes)
        named = tuple([self._name("scope", scope) for scope in scopes])
        if any(a >= b for a, b in pairwise(named)):
            _refuse("scopes are not sorted, or not unique")
        return Fact(
            _life(node),
            self._name("name of a node", name),
            endpoint,
            _number("incarnation", incarnation, U32_MAX),
            named,
        )

    def _facts(self, facts: object) -> tuple[Fact, ...]:
        return tuple([self._fact(fact) for fact in _list(facts)])

    def _delta(self, delta: object) -> Delta:
        if type(delta) is not tuple or len(delta) != 4:
            _bad("delta", delta)
        owner, packed_runs, entries, packed_extras = delta
        runs = _runs(packed_runs)
        births = self._check_entries(entries)
        _check_types("birth", births, int)
        live = set(births)
        if len(live) != len(births):
            _refuse("a birth is listed twice")
        _check_inside(sorted(births) if len(runs) > 2 else births, runs)
        extras = _list(packed_extras)
        return Delta(_life(owner), runs, entries, self._extras(extras, live) if extras else {})

    def _check_entries(self, entries: object) -> list[int]:
        """Check channels and client ids; return the births, which the caller checks.

        In bulk: one look at all names joined, and one by one only if that look says no.
        """
        if type(entries) is not dict:
            _bad("map of channels", entries)
        if not entries:
            return []
        _check_types("map of clients", entries.values(), dict)
        if {} in entries.values():
            _refuse("a channel without clients")
        clients = list(chain.from_iterable(entries.values()))
        _check_types("channel", entries, str)
        _check_types("client id", clients, str)
        plain = all(
            text.isascii() and text.isprintable() for text in ("".join(entries), "".join(clients))
        )
        longest = max(map(len, chain(entries, clients)))
        if not plain or longest > NAME_BYTES_MAX or "" in entries:
            for channel in entries:
                self._name("channel", channel)
            for client in set(clients):
                if client != "" and not is_name(client):
                    _bad("client id", client)
        return [birth for held in entries.values() for birth in held.values()]

    def _extras(self, flat: list[Any], live: set[int]) -> dict[int, Extra]:
        if len(flat) % 4:
            _refuse("extras do not come in fours")
        births, versions, groups, metas = (flat[i::4] for i in range(4))
        _check_types("birth", births, int)
        _check_types("version", versions, int)
        _check_types("queue group", groups, str)
        _check_types("metadata", metas, bytes)
        if not live.issuperset(births):
            _refuse("an extra of a birth that is not listed")
        if min(versions) < 0 or max(versions) > U32_MAX:
            _refuse("a version is out of range")
        if max(map(len, metas)) > META_BYTES_MAX:
            _refuse(f"metadata beyond {META_BYTES_MAX} bytes")
        known = {group: group and self._name("queue group", group) for group in set(groups)}
        told = zip(versions, map(known.__getitem__, groups), metas, strict=True)
        extras: dict[int, Extra] = dict(zip(births, told, strict=True))
        if len(extras) != len(births):
            _refuse("two extras of one birth")
        if PLAIN in extras.values():
            _refuse("an extra that says nothing")
        return extras


# These touch no names, hence need no reader.


def _read_row(row: object) -> Row:
    if type(row) is not tuple or len(row) != 4:
        _bad("row", row)
    owner, packed_runs, live, sum_ = row
    runs = _runs(packed_runs)
    return Row(
        _life(owner),
        runs,
        _number("count of live births", live, count(runs)),
        _number("sum", sum_, U64_MAX),
    )


def _life(value: object) -> NodeId:
    if type(value) is not bytes or len(value) != 16 or value == _NOBODY:
        _bad("life", value)
    return NodeId(value.hex())


def _number(what: str, value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        _bad(what, value)
    return value


def _nonce(value: object) -> int:
    return _number("nonce", value, U64_MAX)


def _flag(value: object) -> bool:
    if type(value) is not bool:
        _bad("bool", value)
    return value


def _list(chunks: object) -> list[Any]:
    if type(chunks) is not tuple:
        _bad("list of chunks", chunks)
    _check_types("chunk", chunks, tuple)
    return list(chain.from_iterable(chunks))


def _read_u64s(packed: object) -> tuple[int, ...]:
    if type(packed) is not bytes or len(packed) % 8:
        _bad("sequence of u64", packed)
    return unpack(f">{len(packed) // 8}Q", packed)


def _runs(packed: object) -> Runs:
    runs = _read_u64s(packed)
    if not is_runs(runs) or (runs and runs[-1] > BIRTH_MAX + 1):
        _refuse("malformed runs")
    return runs


def _check_types(what: str, values: Iterable[object], expected: type) -> None:
    """Exactly that type, of all: bool is not int."""
    if not set(map(type, values)) <= {expected}:
        _refuse(f"something among others is no {what}")


def _check_inside(births: Sequence[int], runs: Runs) -> None:
    """Whether all `births`, sorted if there is more than one run, lie in `runs`."""
    if not births:
        return
    if len(runs) == 2:
        inside = min(births) >= runs[0] and max(births) < runs[1]
    else:
        found = sum(bisect_left(births, hi) - bisect_left(births, lo) for lo, hi in pairs(runs))
        inside = found == len(births)
    if not inside:
        _refuse("a birth outside of the runs")


def _check_headers(headers: object) -> None:
    if type(headers) is not dict or len(headers) > HEADERS_MAX:
        _bad("map of headers", headers)
    _check_types("header", headers, str)  # their lengths are limited by the unpacker
    _check_types("header", headers.values(), str)


_READERS: Final[dict[int, tuple[int, Callable[[_Reader, tuple[Any, ...]], Message]]]] = {
    Kind.HELLO: (4, _Reader.hello),
    Kind.WELCOME: (5, _Reader.welcome),
    Kind.ECHO: (2, _Reader.echo),
    Kind.GOODBYE: (1, _Reader.goodbye),
    Kind.PROBE: (3, _Reader.probe),
    Kind.ACK: (3, _Reader.ack),
    Kind.PROBE_FOR: (3, _Reader.probe_for),
    Kind.RELAYED_ACK: (5, _Reader.relayed_ack),
    Kind.FACTS: (2, _Reader.facts),
    Kind.ACCUSE: (4, _Reader.accuse),
    Kind.DELTAS: (5, _Reader.deltas),
    Kind.ROWS: (6, _Reader.rows),
    Kind.PULL: (5, _Reader.pull),
    Kind.SUMS: (5, _Reader.sums),
    Kind.LIVE: (6, _Reader.live),
    Kind.PUBLICATION: (7, _Reader.publication),
}
