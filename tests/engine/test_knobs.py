"""Knobs of `Config` do what their docstrings say. On invented time."""

from __future__ import annotations

from math import log10
from typing import Any

import pytest

from crdtpubsub import Config, ConfigError
from crdtpubsub.engine import effects as ef
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.engine import Engine
from crdtpubsub.sim import World
from crdtpubsub.wire import messages as msg
from tests.engine.test_bounds import at, engine, life, meet, said


def run(node: Engine, since: float, for_s: float) -> list[ef.Effect]:
    """What it does of itself in that time, at the moments it asks for."""
    effects: list[ef.Effect] = []
    now = since
    while (now := max(now, node.next_deadline())) < since + for_s:
        node.handle(ev.Tick(), now)
        effects += node.take()
        now += 0.001
    return effects


@pytest.mark.parametrize("interval_s", [0.5, 2.0])
def test_hello_is_repeated_each_interval_until_answered(interval_s: float) -> None:
    node = engine(Config(hello_interval_s=interval_s), at(1))
    node.handle(ev.Tick(), 0.1)  # the seed is dialled
    node.handle(ev.LinkUp(at(1), 1), 0.1)
    node.take()
    did = run(node, 0.1, 12.0)
    hellos = [e for e in did if isinstance(e, ef.Greet) and isinstance(e.message, msg.Hello)]
    most = 12.0 / interval_s
    assert 0.6 * most <= len(hellos) <= most + 1  # now and then it is dialled anew instead


@pytest.mark.parametrize("interval_s", [1.0, 5.0])
def test_a_round_of_gossip_goes_out_each_interval(interval_s: float) -> None:
    world = World(1, nodes=2, settle=True, config=Config(gossip_interval_s=interval_s))
    gossip, rounds = world.slots[0].engine._replication, 0
    before, until = gossip._gossip_at, world.now + 60.0
    while world.now < until:
        world.run_for(0.1)
        rounds += gossip._gossip_at != before
        before = gossip._gossip_at
    assert 0.8 * 60 / interval_s <= rounds <= 60 / 0.8 / interval_s + 1


@pytest.mark.parametrize("kept_s", [60.0, 5.0])
def test_who_said_goodbye_is_not_met_again_while_that_is_remembered(kept_s: float) -> None:
    """A frame of it that comes late would bring it back."""
    node = engine(Config(goodbye_kept_s=kept_s))
    assert meet(node, 1, now=0.1)
    node.handle(said(life(1), msg.Goodbye(), seq=2), 1.0)
    assert not meet(node, 1, now=2.0)
    run(node, 2.0, kept_s)
    assert meet(node, 1, now=2.0 + kept_s)


@pytest.mark.parametrize("helpers", [0, 1, 3])
def test_so_many_peers_are_asked_to_probe_in_ones_place(helpers: int) -> None:
    node = engine(Config(indirect_probes=helpers))
    for number in range(6):
        assert meet(node, number, now=0.1)
    sent = [e for e in run(node, 0.1, 2.0) if isinstance(e, ef.Send)]
    asked = [e.endpoints for e in sent if isinstance(e.message, msg.ProbeFor)]
    assert {len(links) for links in asked} == ({helpers} if helpers else set())


@pytest.mark.parametrize("nodes", [1, 10, 100])
def test_suspicion_lasts_as_its_formula_says(nodes: int) -> None:
    config = Config(probe_interval_s=1.0, suspicion_mult=3.0, suspicion_max_mult=5.0)
    assert config.suspicion_min_s(nodes) == pytest.approx(3.0 * max(1.0, log10(nodes)))
    assert config.suspicion_max_s(nodes) == pytest.approx(5.0 * config.suspicion_min_s(nodes))


@pytest.mark.parametrize(
    ("knob", "least", "most"),
    [
        ("assemblies_bytes_max", 17 * 2**20, None),
        ("link_credit_bytes", 2**18, None),
        ("sums_births", 1, 4096),
        ("payload_bytes_max", 0, 16 * 2**20),
        ("meta_bytes_max", 0, 4096),
        ("frame_bytes", 1, 512 * 2**10),
    ],
)
def test_a_knob_at_its_bound_is_taken_and_one_beyond_is_refused(
    knob: str, least: int, most: int | None
) -> None:
    def made(value: int) -> Config:
        knobs: dict[str, Any] = {knob: value}
        return Config(**knobs)

    for bound, beyond in ((least, least - 1), (most, (most or 0) + 1)):
        if bound is not None:
            assert getattr(made(bound), knob) == bound
            with pytest.raises(ConfigError, match=knob):
                made(beyond)
