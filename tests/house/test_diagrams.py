"""What docs/PROTOCOL.md draws is what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

from crdtpubsub.config import Config
from crdtpubsub.engine.peers import TRANSITIONS, PeerState, Sign
from crdtpubsub.wire import limits
from crdtpubsub.wire.header import HEADER_BYTES, WIRE_VERSION
from crdtpubsub.wire.kind import Kind
from crdtpubsub.wire.messages import Message

PROTOCOL = Path(__file__).resolve().parents[2] / "docs" / "PROTOCOL.md"
MESSAGE_ROW = re.compile(r"^\| (\d+) \| `(\w+)` \|([^|]*)\|", re.MULTILINE)


def peers_table() -> Iterator[str]:
    """`TRANSITIONS`, a row for each sign and a column for each state."""
    yield "| sign | " + " | ".join(f"from {state}" for state in PeerState) + " |"
    yield "|---|" + "---|" * len(PeerState)
    for sign in Sign:
        moves = (TRANSITIONS[state].get(sign, state) for state in PeerState)
        shown = (
            str(after) if after is not state else "–"
            for state, after in zip(PeerState, moves, strict=True)
        )
        yield f"| {sign} | " + " | ".join(shown) + " |"


def section(name: str) -> str:
    """What stands between the markers of `name`."""
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text(), re.DOTALL)
    assert found, f"docs/PROTOCOL.md has lost its markers of {name}"
    return found[1]


def text() -> str:
    return PROTOCOL.read_text("utf-8")


def test_the_life_of_a_peer_is_drawn_as_it_is() -> None:
    drawn = "\n".join(peers_table()) + "\n"
    assert section("peers") == drawn, f"put this between the markers:\n\n{drawn}"


def test_every_message_is_there_with_its_number_and_fields() -> None:
    said = {
        name: (int(number), tuple(re.findall(r"`(\w+)`", told)))
        for number, name, told in MESSAGE_ROW.findall(section("messages"))
    }
    by_name = {kind.name.replace("_", "").lower(): int(kind) for kind in Kind}
    assert said == {
        message.__name__: (
            by_name[message.__name__.lower()],
            tuple(field.name for field in fields(message)),
        )
        for message in get_args(Message)
    }


def test_the_limits_are_those_of_the_code() -> None:
    """The figures in the table of limits, spelt as it spells them."""
    figures = {
        "frame": f"{limits.FRAME_BYTES_MAX // 2**20} MiB",
        "record put together from chunks": f"{limits.RECORD_BYTES_MAX // 2**20} MiB",
        "records begun by all peers": f"{Config().assemblies_bytes_max // 2**20} MiB",
        "records in a frame": f"{limits.RECORDS_MAX:_}".replace("_", " "),
        "payload": f"{limits.PAYLOAD_BYTES_MAX // 2**20} MiB",
        "metadata of a member": f"{limits.META_BYTES_MAX:_} bytes".replace("_", " "),
        "headers of a publication": f"{limits.HEADERS_MAX}, ",
        "endpoint": f"{limits.ENDPOINT_BYTES_MAX} bytes",
        "scopes of a life": f"{limits.SCOPES_MAX} ",
        "candidates": f"{Config().candidates_max} ",
        "lives held": f"{Config().peers_max} ",
        "members of one owner in one scope": f"{Config().owner_members_max} ",
        "unsent for all peers": f"{Config().outboxes_bytes_max // 2**20} MiB",
        "unsent for one peer": f"{Config().outbox_bytes_max // 2**20} MiB",
    }
    for what, figure in figures.items():
        assert f"\n| {what} | {figure}" in text(), (what, figure)
    assert f" {HEADER_BYTES}\n" in text()
    assert f"| {WIRE_VERSION:02} | 00 |" in text()
