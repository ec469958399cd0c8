"""What all outboxes hold together: bounded, counted once where shared, and fair."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from crdtpubsub.engine.budget import FLOOR_BYTES, Budget
from crdtpubsub.engine.outbox import Outbox
from crdtpubsub.names import NodeId

MIB = 1024 * 1024
HER = NodeId("02" * 16)


def cut(number: int, size: int, at: int, data: memoryview) -> bytes:
    return bytes(data)


def outboxes(count: int, budget: Budget) -> list[Outbox]:
    boxes = [Outbox(16 * MIB, MIB, cut, budget=budget) for _ in range(count)]
    for box in boxes:
        box.connected(1)
        box.bind(HER)
    return boxes


def fill(box: Outbox, size: int = 100_000) -> None:
    while box.put(random.Random(1).randbytes(size), publication=True):
        pass


def test_many_slow_peers_share_what_is_there_and_a_healthy_one_finds_room() -> None:
    """Each took its 16 MiB: a hundred peers that stopped reading were 1.6 GB."""
    budget = Budget(64 * MIB)
    *slow, healthy = outboxes(31, budget)
    for box in slow:
        fill(box)
    assert budget.bytes <= 64 * MIB + len(slow) * FLOOR_BYTES
    assert budget.refused > 0
    assert healthy.put(bytes(200_000), publication=True)
    assert healthy.put(b"small", publication=False)
    assert not healthy.lagging
    assert healthy.mark_bytes(MIB) >= FLOOR_BYTES // 2  # its publisher waits, and loses nothing
    for box in (*slow, healthy):
        box.clear()
    assert budget.bytes == 0


def test_a_message_for_many_is_counted_once() -> None:
    budget = Budget(64 * MIB)
    record = bytes(16 * MIB)
    boxes = outboxes(100, budget)
    assert all(box.put(record, publication=True) for box in boxes)
    assert budget.bytes == 16 * MIB
    for box in boxes[1:]:
        box.clear()
    assert budget.bytes == 16 * MIB
    boxes[0].clear()
    assert budget.bytes == 0


def test_what_is_charged_for_gossip_is_given_back_when_it_is_dropped() -> None:
    budget = Budget(64 * MIB)
    (box,) = outboxes(1, budget)
    box.put(b"p" * 5000, publication=True)
    while box.put(bytes(100_000), publication=False):
        pass
    assert box.lagging
    assert budget.bytes == box.queued_bytes == 5000


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("plsdxr")), max_size=60))
def test_the_sum_is_always_what_is_queued(steps: list[tuple[int, str]]) -> None:
    budget = Budget(1 << 40)
    boxes = outboxes(4, budget)
    shared = bytes(9000)
    held: dict[int, list[bytes]] = {n: [] for n in range(4)}
    for number, step in steps:
        box = boxes[number]
        record = {"p": b"small" * 5, "l": bytes(5000 + number), "s": shared}.get(step)
        if record is not None:
            assert box.put(record, publication=True)
            held[number].append(record)
        elif step == "d" and box.draw(1 << 20, 0.0) is not None:
            box.release(1, box.number(), 0.0)
            left = box.queued_bytes
            while held[number] and sum(map(len, held[number][1:])) >= left:
                held[number].pop(0)
        elif step == "x":
            box.clear()
            box.bind(HER)
            held[number].clear()
        elif step == "r":
            budget.clear()
            for each in boxes:
                each.recount()
        queued = [record for records in held.values() for record in records]
        long = {id(record): len(record) for record in queued if len(record) >= 4096}
        small = sum(len(record) for record in queued if len(record) < 4096)
        assert budget.bytes == small + sum(long.values())
