"""Anything a node may say, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from crdtpubsub.crdt.delta import PLAIN, Delta
from crdtpubsub.crdt.intervals import Runs, count, pairs
from crdtpubsub.crdt.token import Token, Writes
from crdtpubsub.names import NAME_BYTES_MAX, NodeId
from crdtpubsub.wire.limits import RELAYS_MAX
from crdtpubsub.wire.messages import (
    ANYBODY,
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
    Frame,
    Goodbye,
    Header,
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

__all__ = [
    "deltas",
    "facts",
    "frames",
    "headers",
    "lives",
    "messages",
    "messages_by_kind",
    "names",
    "plain_data",
    "runs",
    "texts",
    "u32s",
    "u64s",
]

BIRTH_MAX = 2**62

u32s = st.integers(0, 2**32 - 1)
u64s = st.integers(0, 2**64 - 1)
rising = st.integers(1, 2**64 - 1)
lives = st.binary(min_size=16, max_size=16).filter(any).map(lambda raw: NodeId(raw.hex()))
"""Every `NodeId` there can be."""

names = st.one_of(
    st.sampled_from(["a", "prices", "user:7", "größe", "𝄞", "x" * NAME_BYTES_MAX]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20),
)
clients = st.one_of(st.just(""), names)
texts = st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def runs(draw: st.DrawFn) -> Runs:
    """Well-formed runs: mostly one, at times many, at times up to the last birth."""
    bounds = draw(
        st.one_of(
            st.sets(st.integers(1, 60), max_size=8),
            st.sets(st.integers(1, BIRTH_MAX + 1), max_size=4),
        )
    )
    flat = sorted(bounds)
    return tuple(flat[: len(flat) // 2 * 2])


def _inside(given: Runs) -> st.SearchStrategy[set[int]]:
    if not given:
        return st.just(set())
    return st.sets(st.one_of([st.integers(lo, hi - 1) for lo, hi in pairs(given)]), max_size=8)


extras = st.tuples(u32s, st.one_of(st.just(""), names), st.binary(max_size=20)).filter(
    lambda extra: extra != PLAIN
)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    """Deltas with and without bodies, removals, declarations and metadata."""
    said = draw(runs())
    entries: dict[str, dict[str, int]] = {}
    for birth in draw(_inside(said)):
        entries.setdefault(draw(names), {})[draw(clients)] = birth
    live = [birth for held in entries.values() for birth in held.values()]
    told = draw(st.dictionaries(st.sampled_from(live), extras, max_size=3)) if live else {}
    return Delta(draw(lives), said, entries, told)


facts = st.builds(
    Fact,
    node=lives,
    name=names,
    endpoint=st.one_of(
        st.just("tcp://127.0.0.1:5555"),
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=40),
    ),
    incarnation=u32s,
    scopes=st.sets(names, max_size=4).map(lambda scopes: tuple(sorted(scopes))),
)
_facts = st.lists(facts, max_size=3).map(tuple)


@st.composite
def _rows(draw: st.DrawFn) -> Row:
    said = draw(runs())
    return Row(draw(lives), said, draw(st.integers(0, count(said))), draw(u64s))


@st.composite
def _writes(draw: st.DrawFn) -> Writes:
    updates = draw(st.dictionaries(st.integers(1, BIRTH_MAX), st.integers(1, 9), max_size=3))
    top = draw(st.integers(1, BIRTH_MAX))
    return Writes(draw(lives), top, draw(runs()), draw(runs()), tuple(sorted(updates.items())))


tokens = st.builds(Token, names, st.lists(_writes(), max_size=3).map(tuple))


@st.composite
def _lives(draw: st.DrawFn) -> Live:
    said = draw(runs())
    versions = st.one_of(st.just(0), u32s)
    held = {birth: draw(versions) for birth in draw(_inside(said))}
    return Live(draw(names), draw(lives), said, held)


messages_by_kind: dict[type[Message], st.SearchStrategy[Message]] = {
    Hello: st.builds(Hello, facts, u64s, u64s),
    Welcome: st.builds(Welcome, u64s, u64s, facts, _facts),
    Echo: st.builds(Echo, u64s),
    Goodbye: st.builds(Goodbye),
    Probe: st.builds(Probe, u64s, _facts),
    Ack: st.builds(Ack, u64s, facts),
    ProbeFor: st.builds(ProbeFor, u64s, lives, st.lists(lives, max_size=RELAYS_MAX).map(tuple)),
    RelayedAck: st.builds(RelayedAck, u64s, lives, st.none() | facts, st.booleans()),
    Facts: st.builds(Facts, _facts),
    Taken: st.builds(Taken, u32s, u64s),
    Accuse: st.builds(Accuse, lives, u32s, st.sampled_from(Opinion)),
    Deltas: st.builds(
        Deltas, names, st.lists(deltas(), max_size=3).map(tuple), u64s, st.booleans()
    ),
    Rows: st.builds(
        Rows,
        names,
        u64s,
        st.none() | st.lists(_rows(), max_size=3).map(tuple),
        st.booleans(),
        u32s,
    ),
    Pull: st.builds(Pull, names, lives, runs(), u64s),
    Sums: st.builds(Sums, names, lives, runs(), st.lists(u64s, max_size=4).map(tuple)),
    Live: _lives(),
    Publication: st.builds(
        Publication,
        names,
        names,
        st.binary(max_size=60),
        clients,
        st.dictionaries(texts, texts, max_size=3),
        st.none() | st.tuples(lives, names),
        st.lists(deltas(), max_size=2).map(tuple),
    ),
    Publications: st.builds(
        Publications, names, names, st.lists(st.binary(max_size=60), min_size=1).map(tuple)
    ),
    Ask: st.builds(Ask, names, u32s, st.lists(_writes(), max_size=3).map(tuple)),
    Seen: st.builds(Seen, names, u32s, st.booleans()),
    Addressed: st.builds(
        Addressed,
        u64s,
        names,
        names,
        clients,
        st.binary(max_size=60),
        st.dictionaries(texts, texts, max_size=3),
        st.none() | st.tuples(lives, names),
    )
    | st.builds(
        Addressed,
        u64s,
        names,
        names,
        names,
        st.binary(max_size=60),
        st.dictionaries(texts, texts, max_size=3),
        st.none() | st.tuples(lives, names),
        names,
        st.lists(deltas(), max_size=2).map(tuple),
    ),
    Request: st.builds(
        Request,
        rising,
        names,
        clients,
        names,
        st.binary(max_size=60),
        st.dictionaries(texts, texts, max_size=3),
        st.none(),
        id=rising,
        within_ms=u32s,
    ),
    Reply: st.builds(
        Reply,
        rising,
        rising,
        st.binary(max_size=60),
        st.dictionaries(texts, texts, max_size=3),
    ),
    Invite: st.builds(
        Invite,
        rising,
        names,
        names,
        names,
        st.none() | st.binary(max_size=60),
        st.just("") | names,
    ),
    Terms: st.builds(Terms, u64s, u64s, u64s),
    Answers: st.builds(
        Answers,
        u64s,
        u64s,
        st.lists(st.tuples(u64s, st.integers(0, 500), u64s), max_size=6).map(tuple),
    ),
    Chunk: st.builds(
        lambda id_, before, data, after: Chunk(id_, before + len(data) + after, before, data),
        u32s,
        st.integers(0, 2**20),
        st.binary(min_size=1, max_size=60),
        st.integers(0, 2**20),
    ),
}

messages: st.SearchStrategy[Message] = st.one_of(list(messages_by_kind.values()))

headers = st.builds(
    Header,
    st.binary(min_size=8, max_size=8),
    lives,
    st.one_of(st.just(ANYBODY), lives),
    u32s,
    u64s,
    u64s,
)

frames = st.builds(Frame, headers, st.lists(messages, max_size=20).map(tuple))

_keys = texts | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=5)
plain_data: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=20,
)
"""What a user may publish. A dictionary key may be what msgpack takes and Python hashes."""
