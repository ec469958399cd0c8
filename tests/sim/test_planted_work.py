"""Bugs of shared work, put into the engine on purpose: worlds in which users work must notice."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from crdtpubsub.engine import scopes
from crdtpubsub.engine.cluster import Cluster
from crdtpubsub.engine.delivery import Router
from crdtpubsub.engine.engine import Engine
from crdtpubsub.engine.groups import Grade, InGroup, Turns
from crdtpubsub.engine.outcome import Outcome
from crdtpubsub.engine.picking import Picking, _Pick
from crdtpubsub.engine.scopes import ScopeState
from crdtpubsub.names import NodeId
from crdtpubsub.sim import run_world
from crdtpubsub.wire.messages import Addressed, Publication
from tests.sim.test_planted_confirmed import duplicates_not_recognised

Plant = Callable[[pytest.MonkeyPatch], None]

WORLDS: Final = 40


def what_may_have_arrived_is_given_to_another(patch: pytest.MonkeyPatch) -> None:
    plain = Picking._answer

    def answer(self: Picking, pick: _Pick, owner: NodeId, outcome: Outcome, clients: int) -> None:
        if outcome is Outcome.UNKNOWN:
            outcome = Outcome.REFUSED_NOBODY
            pick.deadline = self._clock() + 1.0
        plain(self, pick, owner, outcome, clients)

    patch.setattr(Picking, "_answer", answer)


def turns_are_drawn_each_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turns, "took", lambda *_: None)


def one_has_all_the_turns(patch: pytest.MonkeyPatch) -> None:
    plain = Turns.took

    def took(self: Turns, channel: str, group: str, member: InGroup) -> None:
        if (channel, group) not in self._last:
            plain(self, channel, group, member)

    patch.setattr(Turns, "took", took)


def a_suspect_is_as_good_as_any(patch: pytest.MonkeyPatch) -> None:
    plain = scopes._grade_of

    def grade_of(cluster: Cluster, owner: NodeId) -> Grade:
        grade = plain(cluster, owner)
        return Grade.GOOD if grade is Grade.DOUBTFUL else grade

    patch.setattr(scopes, "_grade_of", grade_of)


def who_has_come_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    plain = Router.everybody
    first: dict[tuple[int, str], tuple[InGroup, ...]] = {}

    def everybody(self: Router, channel: str) -> tuple[InGroup, ...]:
        return first.setdefault((id(self), channel), plain(self, channel))

    patch.setattr(Router, "everybody", everybody)


def a_full_queue_is_called_delivered(patch: pytest.MonkeyPatch) -> None:
    plain = Engine.answered

    def answered(self: Engine, sender: NodeId, counter: int, *, took: int, full: int) -> None:
        plain(self, sender, counter, took=took or full, full=0)

    patch.setattr(Engine, "answered", answered)


def delivered_is_called_a_full_queue(patch: pytest.MonkeyPatch) -> None:
    """So the next one gets it too."""
    plain = Engine.answered

    def answered(self: Engine, sender: NodeId, counter: int, *, took: int, full: int) -> None:
        plain(self, sender, counter, took=0, full=took or full)

    patch.setattr(Engine, "answered", answered)


def the_owner_gives_it_to_the_wrong_group(patch: pytest.MonkeyPatch) -> None:
    plain = ScopeState.clients_for

    def clients_for(self: ScopeState, publication: Publication | Addressed) -> tuple[str, ...]:
        if isinstance(publication, Addressed) and publication.group:
            for other, _ in self.router.route(publication.channel).mine:
                if other != publication.group:
                    publication = replace(publication, group=other)
        return plain(self, publication)

    patch.setattr(ScopeState, "clients_for", clients_for)


PLANTS: Final[tuple[tuple[Plant, str], ...]] = (
    (what_may_have_arrived_is_given_to_another, "a group got it twice|refused: .*, and delivered"),
    (turns_are_drawn_each_time, "each got"),
    (one_has_all_the_turns, "each got"),
    (a_suspect_is_as_good_as_any, "a suspect"),
    (who_has_come_is_not_asked, "nobody is there to ask|no answer of"),
    (a_full_queue_is_called_delivered, "said to be delivered|is said to have it"),
    (delivered_is_called_a_full_queue, "got it twice|was handled|refused"),
    (the_owner_gives_it_to_the_wrong_group, "which was for"),
    (duplicates_not_recognised, "got it twice|was handled|delivered twice|two answers"),
)


@pytest.mark.parametrize(("plant", "complaint"), PLANTS, ids=[p.__name__ for p, _ in PLANTS])
def test_a_planted_bug_is_noticed_by_who_works(
    plant: Plant, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    for seed in range(WORLDS):
        summary = run_world(seed, work=True)
        if not summary.converged:
            assert re.search(complaint, summary.failure), summary.failure
            return
    pytest.fail(f"{WORLDS} worlds did not notice {plant.__name__}")
