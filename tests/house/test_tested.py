"""Every public name has a test: a class or function, a method, a property, a field.

Found by reading the tests (`uses.py` says how): a use of the right name on the wrong class is none.
What a test then asserts is read by people.
"""

from __future__ import annotations

import crdtpubsub
from tests.house.surface import CLASSES, attributes_of
from tests.house.uses import definer, uses, uses_in

USES = uses()


def test_every_public_name_is_used_by_a_test() -> None:
    assert [name for name in crdtpubsub.__all__ if ("", name) not in USES] == []


def test_every_public_method_property_and_field_is_used_by_a_test() -> None:
    public = {(definer(cls, name), name) for cls in CLASSES.values() for name in attributes_of(cls)}
    assert sorted(public - USES) == []


def test_the_right_name_on_the_wrong_class_is_no_use() -> None:
    """And what is found, is found through calls, unions, tuples, loops and patterns."""
    found = uses_in(
        """
from crdtpubsub import Client, Exit, Message, Node, PeerUp, SyncNode

async def maker() -> tuple[Client, Node]: ...

async def test_it(notice: object, thing: Thing, blocking: SyncNode) -> None:
    client, node = await maker()
    async with node.subscribe("room") as messages:
        async for message in messages:
            message.payload
        thing.payload, thing.token()
    (await client.get(timeout=1)).reason
    [peer.endpoint for peer in blocking.peers()]
    match notice:
        case PeerUp(name=name) as up:
            up.node
    def inner() -> None:
        node.scope("games").close()
"""
    )
    assert found - {use for use in found if not use[0]} == {
        ("Overlay", "subscribe"),
        ("Message", "payload"),
        ("Client", "get"),
        ("Exit", "reason"),
        ("SyncNode", "peers"),
        ("Peer", "endpoint"),
        ("PeerUp", "name"),
        ("PeerUp", "node"),
        ("Node", "scope"),
        ("Scope", "close"),
    }
