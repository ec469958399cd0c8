"""Records as messages, each field of them checked. The format stands in `codec`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import chain, pairwise
from operator import lt
from typing import Any, Final

from crdtpubsub.crdt.delta import PLAIN, Delta, Extra
from crdtpubsub.crdt.intervals import pairs
from crdtpubsub.crdt.token import TOKEN_NUMBERS_MAX, numbers
from crdtpubsub.names import NAME_BYTES_MAX, is_name
from crdtpubsub.wire import fields, read_asked
from crdtpubsub.wire.kind import Kind
from crdtpubsub.wire.limits import (
    ENDPOINT_BYTES_MAX,
    META_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORDS_MAX,
    SCOPES_MAX,
    U32_MAX,
    U64_MAX,
)
from crdtpubsub.wire.messages import (
    Accuse,
    Ack,
    Addressed,
    Ask,
    Chunk,
    Deltas,
    Echo,
    Fact,
    Facts,
    Goodbye,
    Hello,
    Invite,
    Live,
    Message,
    Opinion,
    Probe,
    ProbeFor,
    Publication,
    Publications,
    Pull,
    RelayedAck,
    Request,
    Rows,
    Seen,
    Sums,
    Taken,
    Welcome,
)
from crdtpubsub.wire.parts import read_row, read_writes
from crdtpubsub.wire.refusal import bad, refuse

__all__ = ["reader"]

_FEW_SCOPES: Final = 4
"""Facts with more are not kept: 1024 of them could weigh 16 MB."""

_PLAIN: Final = bytes(range(0x20, 0x7F))
"""Bytes that any name may hold. To delete them is the fastest look at all of a text."""


def reader() -> Callable[[object], Message | None]:
    """Reads the records of one frame: the message, or None if its kind is not known.

    Raises `FrameError`, or anything else, at a record that is not as it should be.
    """
    return _Reader().read


class _Reader:
    """The records of one frame, checked. Each name is looked at once per frame.

    Every method takes a record whose arity is right and says no by raising.
    """

    __slots__ = ("_in_a_row", "_names")

    def __init__(self) -> None:
        self._in_a_row = 0
        self._names: dict[object, str] = {}

    def read(self, record: object) -> Message | None:
        """The message in `record`; None if it is of a kind that is not known."""
        if type(record) is not tuple or not record or type(kind := record[0]) is not int:
            refuse("a record is no array that starts with its kind")
        if (entry := _READERS.get(kind)) is None:
            return None
        if len(record) != entry[0]:
            refuse(f"a record of kind {kind} has {len(record)} items, not {entry[0]}")
        return entry[1](self, record)

    # ---------------------------------------------------------------- records

    def publication(self, record: tuple[Any, ...]) -> Publication:
        _, scope, channel, payload, sender, headers, exclude = record
        known = self._names.get
        scope = known(scope) or self._name("scope", scope)
        channel = known(channel) or self._name("channel", channel)
        if (
            type(payload) is bytes
            and sender == ""
            and type(headers) is dict
            and not headers
            and exclude is None
        ):  # nearly always
            return Publication(scope, channel, payload, "", headers)
        if type(payload) is not bytes:  # its length is limited by the unpacker
            bad("payload", payload)
        if sender or sender != "":
            sender = known(sender) or self._name("client id", sender)
        if headers or type(headers) is not dict:
            fields.check_headers(headers)
        if exclude is not None:
            if type(exclude) is not tuple or len(exclude) != 2:
                bad("member to exclude", exclude)
            exclude = (fields.life(exclude[0]), self._name("client id", exclude[1]))
        return Publication(scope, channel, payload, sender, headers, exclude)

    def publications(self, record: tuple[Any, ...]) -> Publications:
        _, scope, channel, payloads = record
        if type(payloads) is not tuple or not payloads:  # the unpacker limits both lengths
            bad("list of payloads", payloads)
        fields.check_types("payload", payloads, bytes)
        self._in_a_row += len(payloads)
        if self._in_a_row > RECORDS_MAX:
            refuse(f"more than {RECORDS_MAX} payloads")
        return Publications(self._name("scope", scope), self._name("channel", channel), payloads)

    def addressed(self, record: tuple[Any, ...]) -> Addressed:
        _, counter, scope, channel, client, payload, headers, exclude = record
        if type(payload) is not bytes:
            bad("payload", payload)
        if channel or channel != "":
            channel = self._name("channel", channel)
        if client or client != "":
            client = self._name("client id", client)
        if not channel and not client:
            refuse("addressed to nobody")
        fields.check_headers(headers)
        if exclude is not None:
            if type(exclude) is not tuple or len(exclude) != 2:
                bad("member to exclude", exclude)
            exclude = (fields.life(exclude[0]), self._name("client id", exclude[1]))
        number = fields.number("counter", counter, U64_MAX)
        scope = self._name("scope", scope)
        return Addressed(number, scope, channel, client, payload, headers, exclude)

    def request(self, record: tuple[Any, ...]) -> Request:
        return read_asked.request(record, self.addressed)

    def invite(self, record: tuple[Any, ...]) -> Invite:
        return read_asked.invite(record, self._name)

    def deltas(self, record: tuple[Any, ...]) -> Deltas:
        _, scope, deltas, answers, more = record
        return Deltas(
            self._name("scope", scope),
            tuple([self._delta(delta) for delta in fields.unchunked(deltas)]),
            fields.number("pull id", answers, U64_MAX),
            fields.flag(more),
        )

    def hello(self, record: tuple[Any, ...]) -> Hello:
        _, fact, nonce, capabilities = record
        return Hello(
            self._fact(fact), fields.nonce(nonce), fields.number("set", capabilities, U64_MAX)
        )

    def welcome(self, record: tuple[Any, ...]) -> Welcome:
        _, echo, nonce, fact, known = record
        return Welcome(
            fields.nonce(echo), fields.nonce(nonce), self._fact(fact), self._facts(known)
        )

    def echo(self, record: tuple[Any, ...]) -> Echo:
        return Echo(fields.nonce(record[1]))

    def goodbye(self, _record: tuple[Any, ...]) -> Goodbye:
        return Goodbye()

    def probe(self, record: tuple[Any, ...]) -> Probe:
        return Probe(fields.nonce(record[1]), self._facts(record[2]))

    def ack(self, record: tuple[Any, ...]) -> Ack:
        return Ack(fields.nonce(record[1]), self._fact(record[2]))

    def probe_for(self, record: tuple[Any, ...]) -> ProbeFor:
        _, nonce, target, through = record
        return ProbeFor(fields.nonce(nonce), fields.life(target), fields.lives(through))

    def relayed_ack(self, record: tuple[Any, ...]) -> RelayedAck:
        _, nonce, target, fact, refused = record
        said = None if fact is None else self._fact(fact)
        return RelayedAck(fields.nonce(nonce), fields.life(target), said, fields.flag(refused))

    def facts(self, record: tuple[Any, ...]) -> Facts:
        return Facts(self._facts(record[1]))

    def taken(self, record: tuple[Any, ...]) -> Taken:
        _, link, seq = record
        return Taken(fields.number("link", link, U32_MAX), fields.number("seq", seq, U64_MAX))

    def chunk(self, record: tuple[Any, ...]) -> Chunk:
        _, id_, size, at, data = record
        if type(data) is not bytes or not data:
            bad("part of a record", data)
        fields.number("size", size, RECORD_BYTES_MAX)
        if fields.number("place", at, RECORD_BYTES_MAX) + len(data) > size:
            refuse("a chunk beyond the end of its record")
        return Chunk(fields.number("id", id_, U32_MAX), size, at, data)

    def accuse(self, record: tuple[Any, ...]) -> Accuse:
        _, target, incarnation, opinion = record
        return Accuse(
            fields.life(target),
            fields.number("incarnation", incarnation, U32_MAX),
            Opinion(fields.number("opinion", opinion, max(Opinion))),
        )

    def rows(self, record: tuple[Any, ...]) -> Rows:
        _, scope, root, rows, reply, stamp = record
        return Rows(
            self._name("scope", scope),
            fields.number("root", root, U64_MAX),
            None if rows is None else tuple([read_row(row) for row in fields.unchunked(rows)]),
            fields.flag(reply),
            fields.number("stamp", stamp, U32_MAX),
        )

    def ask(self, record: tuple[Any, ...]) -> Ask:
        _, scope, id_, parts = record
        writes = tuple([read_writes(part) for part in fields.unchunked(parts)])
        if numbers(writes) > TOKEN_NUMBERS_MAX:
            refuse(f"a question of more than {TOKEN_NUMBERS_MAX} numbers")
        return Ask(self._name("scope", scope), fields.number("id", id_, U32_MAX), writes)

    def seen(self, record: tuple[Any, ...]) -> Seen:
        _, scope, id_, seen = record
        return Seen(
            self._name("scope", scope), fields.number("id", id_, U32_MAX), fields.flag(seen)
        )

    def publication_after(self, record: tuple[Any, ...]) -> Publication:
        after = tuple([self._delta(delta) for delta in fields.unchunked(record[1])])
        if not after:
            refuse("a publication after nothing")
        return replace(self.publication((record[0], *record[2:])), after=after)

    def picked(self, record: tuple[Any, ...]) -> Addressed:
        _, group, after, *rest = record
        said = self.addressed((record[0], *rest))
        if not said.channel or not said.client:
            refuse("a member of a queue group who is in no channel, or nobody")
        ahead = tuple([self._delta(delta) for delta in fields.unchunked(after)])
        return replace(said, group=self._name("queue group", group), after=ahead)

    def pull(self, record: tuple[Any, ...]) -> Pull:
        _, scope, owner, runs, id_ = record
        return Pull(
            self._name("scope", scope),
            fields.life(owner),
            fields.runs(runs),
            fields.number("pull id", id_, U64_MAX),
        )

    def sums(self, record: tuple[Any, ...]) -> Sums:
        _, scope, owner, runs, sums = record
        return Sums(
            self._name("scope", scope), fields.life(owner), fields.runs(runs), fields.u64s(sums)
        )

    def live(self, record: tuple[Any, ...]) -> Live:
        _, scope, owner, packed_runs, packed_births, packed_versions = record
        runs = fields.runs(packed_runs)
        births = fields.u64s(packed_births)
        if not all(map(lt, births, births[1:])):
            refuse("live births do not rise")
        fields.check_inside(births, runs)
        live = dict.fromkeys(births, 0)
        versions = fields.u64s(packed_versions)
        if len(versions) % 2 or not all(map(lt, versions[0::2], versions[2::2])):
            refuse("versions are no rising births with one each")
        for birth, version in pairs(versions):
            if birth not in live:
                refuse(f"version of birth {birth}, which is not listed")
            if not 0 < version <= U32_MAX:
                bad("version to tell", version)
            live[birth] = version
        return Live(self._name("scope", scope), fields.life(owner), runs, live)

    # ---------------------------------------------------------------- parts

    def _name(self, what: str, value: object) -> str:
        """`value` if it is a name, interned: registries hold each of them many times."""
        if (known := self._names.get(value)) is not None:
            return known
        if not isinstance(value, str) or not is_name(value):
            bad(what, value)
        self._names[value] = known = sys.intern(value)
        return known

    def _fact(self, fact: object) -> Fact:
        if type(fact) is not tuple or len(fact) != 5:
            bad("fact", fact)
        node, name, endpoint, incarnation, scopes = fact
        if type(scopes) is not tuple or len(scopes) > SCOPES_MAX:
            bad("tuple of scopes", scopes)
        if len(scopes) <= _FEW_SCOPES:  # the same lives are named again and again
            return _known_fact(node, name, endpoint, incarnation, scopes)
        return self.read_fact(node, name, endpoint, incarnation, scopes)

    def read_fact(
        self, node: object, name: object, endpoint: object, incarnation: object, scopes: Any
    ) -> Fact:
        if type(endpoint) is not str or not endpoint.isprintable():
            bad("endpoint", endpoint)
        if not 0 < len(endpoint.encode()) <= ENDPOINT_BYTES_MAX:
            bad("endpoint", endpoint)
        named = tuple([self._name("scope", scope) for scope in scopes])
        if any(a >= b for a, b in pairwise(named)):
            refuse("scopes are not sorted, or not unique")
        return Fact(
            fields.life(node),
            self._name("name of a node", name),
            endpoint,
            fields.number("incarnation", incarnation, U32_MAX),
            named,
        )

    def _facts(self, facts: object) -> tuple[Fact, ...]:
        return tuple([self._fact(fact) for fact in fields.unchunked(facts)])

    def _delta(self, delta: object) -> Delta:
        if type(delta) is not tuple or len(delta) != 4:
            bad("delta", delta)
        owner, packed_runs, entries, packed_extras = delta
        runs = fields.runs(packed_runs)
        births = self._check_entries(entries)
        fields.check_types("birth", births, int)
        live = set(births)
        if len(live) != len(births):
            refuse("a birth is listed twice")
        births.sort()  # they come sorted within a channel: cheaper than `min` and `max`
        fields.check_inside(births, runs)
        extras = fields.unchunked(packed_extras)
        return Delta(
            fields.life(owner), runs, entries, self._extras(extras, live) if extras else {}
        )

    def _check_entries(self, entries: object) -> list[int]:
        """Check channels and client ids; return the births, which the caller checks.

        In bulk: one look at all names joined, and one by one only if that look says no.
        """
        if type(entries) is not dict:
            bad("map of channels", entries)
        if not entries:
            return []
        held = entries.values()
        fields.check_types("map of clients", held, dict)
        if not all(held):
            refuse("a channel without clients")
        clients = list(chain.from_iterable(held))
        try:
            joined = ("".join(entries) + "".join(clients)).encode()
        except TypeError:
            refuse("a name among others is no str")
        if (
            joined.translate(None, _PLAIN)
            or "" in entries
            or max(map(len, entries)) > NAME_BYTES_MAX
            or max(map(len, clients)) > NAME_BYTES_MAX
        ):
            for channel in entries:
                self._name("channel", channel)
            for client in set(clients):
                if client != "" and not is_name(client):
                    bad("client id", client)
        return [birth for clients in held for birth in clients.values()]

    def _extras(self, flat: list[Any], live: set[int]) -> dict[int, Extra]:
        if len(flat) % 4:
            refuse("extras do not come in fours")
        births, versions, groups, metas = (flat[i::4] for i in range(4))
        fields.check_types("birth", births, int)
        fields.check_types("version", versions, int)
        fields.check_types("queue group", groups, str)
        fields.check_types("metadata", metas, bytes)
        if not live.issuperset(births):
            refuse("an extra of a birth that is not listed")
        if min(versions) < 0 or max(versions) > U32_MAX:
            refuse("a version is out of range")
        if max(map(len, metas)) > META_BYTES_MAX:
            refuse(f"metadata beyond {META_BYTES_MAX} bytes")
        known = {group: group and self._name("queue group", group) for group in set(groups)}
        told = zip(versions, map(known.__getitem__, groups), metas, strict=True)
        extras: dict[int, Extra] = dict(zip(births, told, strict=True))
        if len(extras) != len(births):
            refuse("two extras of one birth")
        if PLAIN in extras.values():
            refuse("an extra that says nothing")
        return extras


@lru_cache(maxsize=1024, typed=True)  # typed: True and 1.0 are no incarnation, though equal to 1
def _known_fact(
    node: object, name: object, endpoint: object, incarnation: object, scopes: tuple[object, ...]
) -> Fact:
    return _Reader().read_fact(node, name, endpoint, incarnation, scopes)


_READERS: Final[dict[int, tuple[int, Callable[[_Reader, tuple[Any, ...]], Message]]]] = {
    int(Kind.HELLO): (4, _Reader.hello),
    int(Kind.WELCOME): (5, _Reader.welcome),
    int(Kind.ECHO): (2, _Reader.echo),
    int(Kind.GOODBYE): (1, _Reader.goodbye),
    int(Kind.PROBE): (3, _Reader.probe),
    int(Kind.ACK): (3, _Reader.ack),
    int(Kind.PROBE_FOR): (4, _Reader.probe_for),
    int(Kind.RELAYED_ACK): (5, _Reader.relayed_ack),
    int(Kind.FACTS): (2, _Reader.facts),
    int(Kind.ACCUSE): (4, _Reader.accuse),
    int(Kind.DELTAS): (5, _Reader.deltas),
    int(Kind.ROWS): (6, _Reader.rows),
    int(Kind.PULL): (5, _Reader.pull),
    int(Kind.SUMS): (5, _Reader.sums),
    int(Kind.LIVE): (6, _Reader.live),
    int(Kind.PUBLICATION): (7, _Reader.publication),
    int(Kind.PUBLICATIONS): (4, _Reader.publications),
    int(Kind.ASK): (4, _Reader.ask),
    int(Kind.SEEN): (4, _Reader.seen),
    int(Kind.PUBLICATION_AFTER): (8, _Reader.publication_after),
    int(Kind.PICKED): (10, _Reader.picked),
    int(Kind.TAKEN): (3, _Reader.taken),
    int(Kind.CHUNK): (5, _Reader.chunk),
    int(Kind.ADDRESSED): (8, _Reader.addressed),
    int(Kind.REQUEST): (9, _Reader.request),
    int(Kind.REPLY): (5, lambda _reader, record: read_asked.reply(record)),
    int(Kind.INVITE): (7, _Reader.invite),
    int(Kind.TERMS): (4, lambda _reader, record: read_asked.terms(record)),
    int(Kind.ANSWERS): (4, lambda _reader, record: read_asked.answers(record)),
}
"""Kind -> arity and method. Keyed by plain ints: an `IntEnum` takes twice as long to find."""
