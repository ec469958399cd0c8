"""The five operations of the control map, as the example has them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from examples.control_map import ControlMap
from tests.api.helpers import WAIT_S, exits, message, nodes, story
from tests.net.cluster import ROOT, STRICT, without_slowness

pytestmark = pytest.mark.net


def test_it_runs_as_it_says() -> None:
    ran = subprocess.run(
        [sys.executable, *STRICT, "examples/control_map.py"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (ran.returncode, without_slowness(ran.stderr)) == (0, "")
    said = ran.stdout.splitlines()
    assert said[-1] == "channels: () ()"
    assert Counter(said[:-1]) == {
        "told: 2": 2,
        "ann: hello from here": 1,
        "ann: hello from there": 1,
        "bob: hello from here": 1,
        "bob: hello from there": 1,
        "removed: 1": 1,
        "ann: exit from room": 1,
        "ended: 1": 1,
        "bob: exit from room": 1,
    }


@story
async def test_each_operation() -> None:
    async with nodes(2) as (a, b):
        one, other = ControlMap(a), ControlMap(b)
        await one.add_channel("room")
        await b.converged(timeout=WAIT_S)
        assert b.channels() == ("room",)
        twins = [a.client("ann"), b.client("ann")]
        await one.add_client("room", twins[0])
        await other.add_client("room", twins[1])
        await a.wait_for("room", 2, timeout=WAIT_S)
        assert await one.send_msg("room", {"n": 1}) == 2
        for twin in twins:
            assert (await message(twin)).data == {"n": 1}
        assert await one.del_client("room", "nobody") == 0
        assert await one.del_client("room", "ann") == 2  # the same id on two nodes
        for twin in twins:
            await exits(twin)
        assert await one.del_channel("room") == 0  # nobody was left in it
        await b.converged(timeout=WAIT_S)
        assert b.channels() == ()
