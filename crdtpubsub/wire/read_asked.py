"""The records that are asked by counter, checked. Part of `reader`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdtpubsub.wire import fields
from crdtpubsub.wire.limits import ANSWERS_MAX, META_BYTES_MAX, U32_MAX, U64_MAX
from crdtpubsub.wire.messages import Addressed, Answers, Invite, Reply, Request, Terms
from crdtpubsub.wire.refusal import bad, refuse

__all__ = ["answers", "invite", "reply", "request", "terms"]


def request(record: tuple[Any, ...], addressed: Callable[[tuple[Any, ...]], Addressed]) -> Request:
    """A request: its two numbers, and then what an `Addressed` holds, read by `addressed`."""
    kind, id_, within_ms, *rest = record
    said = addressed((kind, *rest, None))
    if not said.client:
        refuse("a request to nobody in particular")
    return Request(
        _counter(said.counter),
        said.scope,
        said.channel,
        said.client,
        said.payload,
        said.headers,
        id=_id(id_),
        within_ms=fields.number("time to wait", within_ms, U32_MAX),
    )


def reply(record: tuple[Any, ...]) -> Reply:
    """A reply."""
    _, id_, counter, payload, headers = record
    if type(payload) is not bytes:
        bad("payload", payload)
    fields.check_headers(headers)
    return Reply(_counter(counter), _id(id_), payload, headers)


def invite(record: tuple[Any, ...], name: Callable[[str, object], str]) -> Invite:
    """An invitation."""
    _, counter, scope, channel, client, meta, group = record
    if meta is not None and (type(meta) is not bytes or len(meta) > META_BYTES_MAX):
        bad("metadata", meta)
    return Invite(
        _counter(counter),
        name("scope", scope),
        name("channel", channel),
        name("client id", client),
        meta,
        "" if type(group) is str and not group else name("queue group", group),
    )


def terms(record: tuple[Any, ...]) -> Terms:
    """Terms."""
    _, table, lowest, stamp = record
    return Terms(
        fields.number("table", table, U64_MAX),
        fields.number("counter", lowest, U64_MAX),
        fields.number("stamp", stamp, U64_MAX),
    )


def answers(record: tuple[Any, ...]) -> Answers:
    """Answers."""
    _, table, stamp, packed_runs = record
    flat = fields.u64s(packed_runs)
    if len(flat) % 3:
        refuse("answers do not come in threes")
    if sum(flat[1::3]) > ANSWERS_MAX:
        refuse(f"more than {ANSWERS_MAX} answers")
    return Answers(
        fields.number("table", table, U64_MAX),
        fields.number("stamp", stamp, U64_MAX),
        tuple(zip(flat[0::3], flat[1::3], flat[2::3], strict=True)),
    )


def _counter(value: object) -> int:
    number = fields.number("counter", value, U64_MAX)
    if not number:
        refuse("what must be answered has no counter")
    return number


def _id(value: object) -> int:
    number = fields.number("id of a request", value, U64_MAX)
    if not number:
        refuse("a request without an id")
    return number
