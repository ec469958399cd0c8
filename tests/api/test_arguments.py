"""What can be refused before anything happens: names, endpoints, knobs, nodes that do not run."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crdtpubsub import (
    ClosedError,
    Config,
    ConfigError,
    CrdtPubSubError,
    InvalidNameError,
    Member,
    Node,
    NodeId,
)
from crdtpubsub.arguments import check_headers
from crdtpubsub.names import check_channel, check_client, check_group, check_label, is_name
from tests import strategies
from tests.api.helpers import WAIT_S, at_once, nodes, story

CHECKS = [check_channel, check_client, check_group, check_label]


def fine(text: str) -> bool:
    """The rule for names, said another way."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    return 1 <= size <= 255 and not any(unicodedata.category(c) == "Cc" for c in text)


@given(strategies.names)
def test_what_is_a_name_is_taken_everywhere(name: str) -> None:
    assert all(check(name) == name for check in CHECKS)


@given(st.text(st.characters(), max_size=300))
@example("")
@example("a" * 255)
@example("a" * 256)
@example("ä" * 128)
@example("tab\t")
@example("\x7f")
@example("\x85")
@example("\ud800")
@example("zero\u200bwidth")
@example("\x1b[31m")
def test_names_follow_one_rule(text: str) -> None:
    assert is_name(text) == fine(text)
    for check in CHECKS:
        if fine(text):
            assert check(text) == text
        else:
            with pytest.raises(InvalidNameError) as caught:
                check(text)
            assert len(str(caught.value)) < 300


@pytest.mark.parametrize("no_text", [None, 5, b"room", ["room"]])
def test_a_name_is_a_str(no_text: Any) -> None:
    for check in CHECKS:
        with pytest.raises(InvalidNameError, match=f"not {type(no_text).__name__}"):
            check(no_text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bind": "nonsense"}, "tcp://host:port"),
        ({"bind": "udp://127.0.0.1:7400"}, "tcp://host:port"),
        ({"bind": "tcp://"}, "tcp://host:port"),
        ({"bind": ""}, "tcp://host:port"),
        ({"bind": "tcp://0.0.0.0:7400"}, "insecure=True"),
        ({"bind": "tcp://*:7400"}, "insecure=True"),
        ({"bind": "tcp://192.0.2.1:7400"}, "insecure=True"),
        ({"bind": "tcp://[::]:7400"}, "insecure=True"),
        ({"bind": "tcp://0.0.0.0:7400", "insecure": True}, "advertise"),
        ({"bind": "tcp://*:7400", "insecure": True}, "advertise"),
        ({"advertise": "nonsense"}, "advertise"),
        ({"advertise": "tcp://host"}, "advertise"),
        ({"advertise": "tcp://host:*"}, "advertise"),
        ({"seeds": "tcp://127.0.0.1:7400"}, "seeds must be a list"),
        ({"bind": 7400}, "write 'tcp://127.0.0.1:7400'"),
        ({"bind": b"tcp://127.0.0.1:7400"}, "as a str"),
        ({"seeds": None}, "leave it out"),
        ({"seeds": 7400}, "leave it out"),
        ({"seeds": b"tcp://127.0.0.1:7400"}, "list of endpoints"),
        ({"seeds": ["nonsense"]}, "nonsense"),
        ({"seeds": ["tcp://127.0.0.1:0"]}, "cannot be dialled"),
        ({"seeds": ["tcp://127.0.0.1:99999"]}, "cannot be dialled"),
        ({"seeds": ["tcp://127.0.0.1:7400", 5]}, "cannot be dialled"),
    ],
)
def test_nonsense_is_refused_by_the_constructor(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Node(**options)
    assert says in str(caught.value)


@pytest.mark.parametrize("options", [{"name": ""}, {"name": "a\nb"}, {"cluster": ""}])
def test_a_label_that_is_no_name(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidNameError):
        Node(**options)


@pytest.mark.parametrize(
    "knobs",
    [
        {"probe_timeout_max_s": 0.6},
        {"probe_timeout_min_s": 0.0},
        {"suspicion_max_mult": 0.5},
        {"forget_after_s": 10.0},
        {"outbox_high_water_bytes": 2**30},
        {"frame_bytes": 2**30},
    ],
)
def test_knobs_that_contradict_each_other(knobs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(knobs))):
        Config(**knobs)


def test_a_node_that_was_not_started_says_so() -> None:
    node = Node(name="asleep")
    assert (node.name, node.endpoint) == ("asleep", "")
    assert len(node.id) == 32
    assert "not started" in repr(node)
    member = Member("room", "c", NodeId("0" * 32))
    calls: list[Callable[[], object]] = [
        lambda: node.members("room"),
        lambda: node.members("room", include_down=True),
        lambda: node.local_members("room"),
        lambda: node.count("room"),
        node.channels,
        node.local_channels,
        node.peers,
        node.stats,
        node.client,
        lambda: node.subscribe("room"),
        lambda: node.publish_nowait("room", 1),
        lambda: at_once(node.publish("room", 1)),
        lambda: at_once(node.add_channel("room")),
        lambda: at_once(node.del_channel("room")),
        lambda: at_once(node.leave("room", member)),
        lambda: at_once(node.wait_for("room")),
        lambda: at_once(node.converged()),
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="not started; use `async with Node"):
            call()
    at_once(node.close())


def test_two_nodes_are_two_lives() -> None:
    assert Node(name="same").id != Node(name="same").id


def test_headers_travel_or_are_refused() -> None:
    assert check_headers({"traceparent": "00-1", "größe": "1"}) == {
        "traceparent": "00-1",
        "größe": "1",
    }
    bad: list[Any] = [
        {"a": 1},
        {1: "a"},
        {"a": None},
        {"a": "x" * 4097},
        {f"h{n}": "" for n in range(65)},
        {"a": "\ud800"},
    ]
    for headers in bad:
        with pytest.raises(ConfigError, match="headers"):
            check_headers(headers)


def test_every_error_is_one_of_ours_and_one_of_pythons() -> None:
    assert issubclass(ConfigError, CrdtPubSubError)
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ClosedError, RuntimeError)


@story
async def test_a_name_in_place_of_a_client_or_member_is_refused_in_words() -> None:
    """The first thing a newcomer writes; it was an AttributeError from inside."""
    async with nodes(1) as [node]:
        name: Any = "ann"
        for call in (
            node.join("room", name),
            node.leave("room", name),
            node.publish("room", 1, exclude=name),
        ):
            with pytest.raises(ConfigError, match="'ann'"):
                await call
        assert not node.channels()


WRONG_TYPES: list[tuple[str, Callable[[Any], Any], str]] = [
    ("confirm", lambda node: node.publish("room", 1, confirm="5"), "how many seconds"),
    ("confirm, none", lambda node: node.publish("room", 1, confirm=0), "how many seconds"),
    ("headers", lambda node: node.publish("room", 1, headers=["a"]), "dict of str to str"),
    ("headers, empty", lambda node: node.publish("room", 1, headers=[]), "dict of str to str"),
    ("headers, a text", lambda node: node.publish("room", 1, headers="a"), "dict of str to str"),
    ("wait_for, timeout", lambda node: node.wait_for("room", timeout="x"), "how many seconds"),
    ("wait_for, count", lambda node: node.wait_for("room", "2"), "how many members"),
    ("synced", lambda node: node.synced(timeout="x"), "how many seconds"),
    ("converged", lambda node: node.converged(timeout=float("nan")), "how many seconds"),
    ("drain", lambda node: node.drain(timeout="x"), "how many seconds"),
    ("get", lambda node: node.client("g").get(timeout="x"), "how many seconds"),
    ("get_many", lambda node: node.client("m").get_many(0), "at least 1"),
    ("get_many, timeout", lambda node: node.client("n").get_many(timeout="x"), "how many seconds"),
    ("join", lambda node: node.client("j").join("room", timeout="x"), "how many seconds"),
    ("max_pending", lambda node: node.client(max_pending="5"), "whole number"),
    ("prefix", lambda node: node.channels(None), "must be a str"),
    ("local prefix", lambda node: node.local_channels(b"r"), "must be a str"),
    ("members", lambda node: node.members(b"room"), "not bytes"),
    ("members, None", lambda node: node.members(None), "not NoneType"),
    ("members, a list", lambda node: node.members(["room"]), "not list"),
    ("with those down", lambda node: node.members(5, include_down=True), "not int"),
    ("local members", lambda node: node.local_members(b"room"), "not bytes"),
    ("count", lambda node: node.count(b"room"), "not bytes"),
    ("publish", lambda node: node.publish(b"room", 1), "not bytes"),
    ("wait_for", lambda node: node.wait_for(None), "not NoneType"),
]


@story
async def test_what_has_the_wrong_type_is_refused_in_words_and_reads_do_not_say_nobody() -> None:
    """`members(b"room")` was empty, and `confirm="5"` a TypeError from inside."""
    async with nodes(1) as [node]:
        for what, call, says in WRONG_TYPES:

            async def made(call: Callable[[Any], Any] = call) -> None:
                if asyncio.iscoroutine(result := call(node)):
                    await result

            with pytest.raises((ConfigError, InvalidNameError), match=says) as caught:
                await made()
            assert len(str(caught.value)) < 300, what
        assert not node.channels()
        with pytest.raises(TimeoutError):
            await node.wait_for("room", timeout=0)
        assert (await node.publish("room", 1, headers={}, confirm=1)).members == 0


@story
async def test_an_owner_with_too_many_members_is_named_by_who_waits_for_equal_rows() -> None:
    async with nodes(2, config=Config(owner_members_max=2)) as [here, there]:
        clients = [there.client(f"c{n}") for n in range(3)]
        for client in clients[:2]:
            await client.join("room", wait="all", timeout=WAIT_S)
        await clients[2].join("room")
        with pytest.raises(TimeoutError, match=r"not converged with n1 .* of n1 no more .*max=2"):
            await here.converged(timeout=0.3)
        with pytest.raises(TimeoutError, match=r"not converged with n0 .* this node .*max=2"):
            await there.converged(timeout=0.3)
        await clients[0].leave("room")
        await here.converged(timeout=WAIT_S)
        assert [member.id for member in here.members("room")] == ["c1", "c2"]
