"""Which key next, and when: no sockets, no clock."""

from __future__ import annotations

from typing import Final

import zmq

from crdtpubsub.transport import handshakes
from crdtpubsub.transport.handshakes import SILENT, Retries, why_outbound

HERE: Final = "tcp://127.0.0.1:1"
CUT_SHORT: Final = 32  # EPIPE


def test_each_key_is_tried_at_once_and_a_round_waits_longer_each_time() -> None:
    retries = Retries(3)
    now_s, waits, keys = 0.0, [], []
    for _ in range(30):
        keys.append(retries.key(HERE))
        retries.failed(HERE, now_s)
        wait_s = retries.timeout_s(None, now_s)
        assert wait_s is not None
        if wait_s:
            assert retries.due(now_s + wait_s - 1e-6) == []
            waits.append(wait_s)
        now_s += wait_s
        assert retries.due(now_s) == [HERE]
        assert retries.due(now_s) == [], "said once"
    assert keys == [0, 1, 2] * 10
    assert len(waits) == 10
    for wait_s, wanted_s in zip(waits, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0), strict=False):
        assert 0.8 * wanted_s - 1e-6 <= wait_s <= 1.2 * wanted_s + 1e-6


def test_the_key_that_worked_comes_first_the_next_time() -> None:
    retries = Retries(2)
    assert retries.key(HERE) == 0
    assert retries.failed(HERE, 0.0) == 0
    assert retries.key(HERE) == 1
    retries.worked(HERE)
    assert retries.key(HERE) == 1
    retries.forget(HERE)
    assert retries.key(HERE) == 1
    assert retries.failed(HERE, 0.0) == 0
    assert retries.key(HERE) == 0, "the other one, at once"
    retries.worked(HERE)
    assert retries.key(HERE) == 0
    assert retries._other == {}


def test_what_is_remembered_is_bounded() -> None:
    retries = Retries(2)
    for number in range(handshakes.REMEMBERED_MAX + 10):
        retries.failed(f"tcp://h:{number}", 0.0)
        retries.worked(f"tcp://h:{number}")
    assert len(retries._other) == handshakes.REMEMBERED_MAX
    assert retries._failing == {}
    assert len(retries.due(1.0)) == 0
    assert retries._due == []


def test_what_is_forgotten_is_not_dialled() -> None:
    retries = Retries(1)
    retries.failed(HERE, 0.0)
    retries.forget(HERE)
    assert retries.due(100.0) == []
    assert retries.timeout_s(7.0, 100.0) == 7.0


def test_who_hangs_up_once_or_is_slow_is_not_said_to_have_another_secret() -> None:
    assert why_outbound(SILENT, CUT_SHORT, 0, secret=True) is None
    assert why_outbound(SILENT, CUT_SHORT, 1, secret=True) is None
    assert "the secret differs" in str(why_outbound(SILENT, CUT_SHORT, 2, secret=True))
    assert why_outbound(SILENT, 11, 99, secret=True) is None
    auth = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    assert "the secret differs" in str(why_outbound(auth, 400, 1, secret=True))
