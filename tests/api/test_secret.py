"""`Node(secret=...)`: what it takes, whom it lets in, what it says, and what it never shows."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from typing import Any, Final

import pytest
import zmq

from crdtpubsub import ConfigError, Node, Unanswered
from crdtpubsub.cli.__main__ import main
from crdtpubsub.transport import CurveSecurity
from crdtpubsub.transport.secret import SECRET_CHARS_MIN, SECRETS_MAX
from tests.api.helpers import nodes, story, until

SECRET: Final = "tr0ub4dor&3 is not a good one"
OTHER: Final = "correct horse battery staple"

# ---------------------------------------------------------------- what it takes


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("", "at least 16"),
        ("f1fteen-letters", "at least 16"),
        ([SECRET, "f1fteen-letters"], "number 2: is 15 characters"),
        (SECRET + "\n", "white space"),
        (" " + SECRET, "white space"),
        (SECRET + "\ud800", "surrogate"),
        (SECRET.encode(), "not bytes"),
        (16, "not int"),
        ([], "1 to 8"),
        ([SECRET] * (SECRETS_MAX + 1), "1 to 8"),
        ([SECRET, SECRET.encode()], "number 2: must be a str, not bytes"),
        ({SECRET: 1}, "not dict"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused_and_not_shown(secret: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Node(secret=secret)
    assert says in str(caught.value)
    whole = "".join(traceback.format_exception(caught.value))
    for part in (SECRET, "f1fteen-letters", "tr0ub4dor", "\\ud800"):
        assert part not in whole


def test_a_libzmq_without_curve_is_no_reason_to_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zmq, "has", lambda feature: feature != "curve")
    with pytest.raises(ConfigError, match="without CURVE"):
        Node(secret=SECRET)


def test_with_a_secret_a_node_may_listen_beyond_this_host() -> None:
    Node("tcp://192.0.2.1:7400", secret=SECRET)
    with pytest.raises(ConfigError, match="advertise"):
        Node("tcp://0.0.0.0:7400", secret=SECRET)
    with pytest.raises(ConfigError, match=r"secret=.*insecure=True"):
        Node("tcp://192.0.2.1:7400")


def test_the_keys_of_a_secret_are_these_for_ever() -> None:
    """Another derivation would lock out every node of another version: a wire change."""
    keys = CurveSecurity("0123456789abcdef")._keys[0]
    assert keys.server_public == b"MAtLz.87XM/KFk4@v=[Y4]i(u:!%7Yq1iTCd5vjU"
    assert keys.client_public == b"LMe+7h5?#R6siI=H}-=WxN7$]eP98XNe-C4hh0B["


def test_each_secret_counts_once() -> None:
    assert CurveSecurity([SECRET, OTHER, SECRET]).keys == 2
    assert CurveSecurity((SECRET,)).keys == 1


def test_keygen_prints_what_a_node_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen"]) == 0
    plain = capsys.readouterr()
    assert main(["keygen", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == ["secret"]
    first, second = plain.out.removesuffix("\n"), said["secret"]
    assert first != second
    for secret in (first, second):
        assert len(secret) == 64 > SECRET_CHARS_MIN
        int(secret, 16)
    assert plain.err == ""
    assert CurveSecurity([first, second]).keys == 2


# ---------------------------------------------------------------- whom it lets in


@pytest.mark.net
@story
async def test_nodes_with_the_secret_are_a_cluster() -> None:
    async with nodes(3, secret=SECRET) as (a, b, c):
        ann = a.client("ann")
        await ann.join("room")
        await b.wait_for("room", 1, timeout=10)
        await c.wait_for("room", 1, timeout=10)
        receipt = await c.publish("room", "hello")
        assert receipt.members == 1
        item = await ann.get(timeout=10)
        assert getattr(item, "data", None) == "hello"


@pytest.mark.net
@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (SECRET, OTHER, "the secret differs or the other side uses none"),
        (SECRET, None, "the other side uses no"),
        (None, SECRET, "the other side uses a secret"),
    ],
)
def test_who_does_not_hold_it_is_nobody_and_both_logs_say_why(
    here: str | None, there: str | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    @story
    async def scene() -> None:
        async with Node(name="inside", secret=there) as inside:
            await inside.client("ann").join("room")
            async with Node(name="outside", secret=here, seeds=[inside.endpoint]) as outside:
                events = outside.events()
                await outside.client("eve").join("room")
                await until(lambda: "outside: handshake_failed" in caplog.text)
                await until(
                    lambda: any(
                        inside.stats().counters[f"transport_strangers_{how}"]
                        for how in ("refused", "broke_off")
                    )
                )
                assert [m.id for m in inside.members("room")] == ["ann"]
                assert [m.id for m in outside.members("room")] == ["eve"]
                assert inside.peers() == outside.peers() == ()
                counters = outside.stats().counters
                assert counters["transport_handshakes_failed"] >= 1
                assert counters["noted_handshake_failed"] >= 1
                endpoint = inside.endpoint
                notice = await anext(events)
                assert isinstance(notice, Unanswered)
                assert notice.endpoint == endpoint
                assert "secret" in notice.about
        line = next(m for m in caplog.messages if "outside: handshake_failed" in m)
        assert endpoint in line
        assert words in line or "the other side uses none" in line

    with caplog.at_level(logging.WARNING, "crdtpubsub"):
        scene()


# ---------------------------------------------------------------- what it never shows


def strings_of(root: object) -> set[str | bytes]:
    """Every str and bytes that objects of ours hold, however deep."""
    found: set[str | bytes] = set()
    seen: set[int] = set()
    todo = [root]
    while todo:
        thing = todo.pop()
        if isinstance(thing, str | bytes | bytearray):
            found.add(bytes(thing) if isinstance(thing, bytearray) else thing)
            continue
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict):
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            todo += thing
        elif type(thing).__module__.startswith("crdtpubsub"):
            todo += vars(thing).values() if hasattr(thing, "__dict__") else ()
            for kind in type(thing).__mro__:
                for slot in getattr(kind, "__slots__", ()):
                    if hasattr(thing, slot):
                        todo.append(getattr(thing, slot))
    return found


@pytest.mark.net
def test_nothing_of_a_secret_is_shown_or_kept(caplog: pytest.LogCaptureFixture) -> None:
    """In a repr, a log of any level, an error, a statistic; nor held once the keys are made."""
    shown: list[str] = []
    held: set[str | bytes] = set()

    @story
    async def scene() -> None:
        async with (
            Node(name="a", secret=[SECRET, OTHER]) as a,
            Node(name="b", secret=[OTHER, SECRET], seeds=[a.endpoint]) as b,
            Node(name="c", secret="0123456789abcdef", seeds=[a.endpoint, b.endpoint]) as c,
            Node(name="d", seeds=[a.endpoint, b.endpoint, c.endpoint]) as d,
        ):
            await until(lambda: sum(p.linked for p in b.peers()) == 1)
            await until(lambda: c.stats().counters.get("noted_handshake_failed", 0) >= 2)
            await until(lambda: d.stats().counters.get("noted_handshake_failed", 0) >= 2)
            for node in (a, b, c, d):
                client = node.client("x")
                await client.join("room")
                shown.extend(map(repr, (node, client, node.stats(), node.peers())))
                shown.extend(map(repr, node.members("room")))
                shown.extend(map(repr, vars(node).values()))
                shown.extend(map(repr, vars(node._runtime).values()))
                shown.extend(map(repr, vars(node._runtime.core.transport).values()))
                for wrong in (
                    lambda node=node: node.client("x"),
                    lambda node=node: Node("nonsense", secret=SECRET),
                    lambda node=node: Node(node.endpoint, secret=[SECRET, OTHER], seeds=["x"]),
                ):
                    with pytest.raises(ConfigError) as caught:
                        wrong()
                    shown.append(repr(caught.value))
                    shown.append(str(caught.value))
                held.update(strings_of(node))
            with pytest.raises(OSError, match="cannot listen") as failed:
                await Node(a.endpoint, secret=SECRET).start()
            shown.append("".join(traceback.format_exception(failed.value)))

    with caplog.at_level(logging.DEBUG):
        scene()
    shown.extend(caplog.messages)
    shown.extend(str(record.__dict__) for record in caplog.records)
    shown.extend(thread.name for thread in threading.enumerate())
    assert caplog.messages
    keys = [k for s in (SECRET, OTHER, "0123456789abcdef") for k in CurveSecurity(s)._keys]
    assert keys[0].client_secret in held, "the search finds what is there"
    for secret in (SECRET, OTHER, "0123456789abcdef"):
        assert secret not in held
        assert secret.encode() not in held
        assert not [text for text in held if secret in str(text)]
        assert not [text for text in shown if secret in text]
    for key in keys:
        for made in (key.server_secret, key.client_secret, key.server_public, key.client_public):
            assert not [text for text in shown if made.decode() in text or repr(made) in text]
    assert repr(CurveSecurity([SECRET, OTHER])) == "CurveSecurity(2 secrets)"
