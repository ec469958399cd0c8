"""Chaos for a quarter of a minute, and in a soak for ten: nothing lost, nobody made up."""

from __future__ import annotations

import json

import pytest

from tests.chaos.__main__ import chaos
from tests.chaos.netns import missing

pytestmark = [pytest.mark.net]


def holds(transport: str, *, seed: int, seconds: float) -> None:
    verdict = chaos(seed=seed, seconds=seconds, transport=transport)
    print(json.dumps(verdict.as_dict()))
    assert verdict.valid, verdict.as_dict()["why"]
    assert verdict.faults.total() >= 5
    assert verdict.operations.total() >= 200


@pytest.mark.timeout(120)
def test_chaos_by_proxies() -> None:
    holds("proxy", seed=7, seconds=10.0)


@pytest.mark.timeout(120)
def test_chaos_in_namespaces() -> None:
    if (why := missing()) is not None:
        pytest.skip(f"no network namespaces: {why}")
    holds("netns", seed=13, seconds=12.0)


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("transport", ["netns", "proxy"])
def test_ten_minutes_of_chaos(transport: str) -> None:
    if transport == "netns" and (why := missing()) is not None:
        pytest.skip(f"no network namespaces: {why}")
    holds(transport, seed=7, seconds=600.0)
