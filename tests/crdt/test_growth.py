"""Q24, Z12: what came and went leaves nothing behind, at its owner and at others."""

from __future__ import annotations

import gc
import os
import tracemalloc
from typing import Final

from crdtpubsub.crdt.memberset import MemberSet
from crdtpubsub.names import NodeId
from tests.conftest import PROFILE

ME, OTHER = NodeId("01" * 16), NodeId("02" * 16)
CYCLES: Final = int(
    os.environ.get("CRDTPUBSUB_TEST_CYCLES", "1000000" if PROFILE == "soak" else "10000")
)


def _cycles(mine: MemberSet, theirs: MemberSet, count: int) -> None:
    for n in range(count):
        channel, client = f"room-{n % 7}", f"client-{n % 50}"
        change, births = mine.join(channel, client)
        theirs.merge(mine.delta(ME, births))
        (row,) = change.joined
        birth = row[2]
        _, ended = mine.remove(ME, (birth, birth + 1))
        theirs.merge(mine.delta(ME, ended))


def test_memory_is_back_at_the_baseline_after_a_million_joins_and_leaves() -> None:
    """10,000 in CI, a million in the soak profile: no tombstone, no log, no page is left."""
    mine, theirs = MemberSet(ME), MemberSet(OTHER)
    theirs.hold(ME)
    mine.join("kept", "always")
    tracemalloc.start()
    try:
        _cycles(mine, theirs, 2_000)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        _cycles(mine, theirs, CYCLES)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 64 * 1024
    assert mine.seen(ME) == (1, CYCLES + 2_000 + 2)
    assert (mine.size(ME), theirs.size(ME)) == (1, 0)  # the first one was never told of here
    for members in (mine, theirs):
        members.check()
