"""Parts of records that are numbers alone, each field checked."""

from __future__ import annotations

from operator import lt

from crdtpubsub.crdt.intervals import count
from crdtpubsub.crdt.token import Writes
from crdtpubsub.wire import fields
from crdtpubsub.wire.limits import BIRTH_MAX, U32_MAX, U64_MAX
from crdtpubsub.wire.messages import Row
from crdtpubsub.wire.refusal import bad, refuse

__all__ = ["read_row", "read_writes"]


def read_writes(part: object) -> Writes:
    """What was written of one owner."""
    if type(part) is not tuple or len(part) != 5:
        bad("part of a question", part)
    owner, top, written, removed, updates = part
    flat = fields.u64s(updates)
    births = flat[0::2]
    if len(flat) % 2 or not all(map(lt, births, births[1:])) or (births and births[0] < 1):
        refuse("updates are no rising births with one version each")
    if max(births, default=1) > BIRTH_MAX or max(flat[1::2], default=0) > U32_MAX:
        refuse("an update is out of range")
    return Writes(
        fields.life(owner),
        max(1, fields.number("top", top, BIRTH_MAX)),
        fields.runs(written),
        fields.runs(removed),
        tuple(zip(births, flat[1::2], strict=True)),
    )


def read_row(row: object) -> Row:
    """One owner in a nutshell."""
    if type(row) is not tuple or len(row) != 4:
        bad("row", row)
    owner, packed_runs, live, sum_ = row
    runs = fields.runs(packed_runs)
    return Row(
        fields.life(owner),
        runs,
        fields.number("count of live births", live, count(runs)),
        fields.number("sum", sum_, U64_MAX),
    )
