from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from service.assembly import make_optimizer
from service.dispatch import InlineDispatcher, Task
from service.known import known_objectives
from service.proposals import trial_of
from service.schema import Study, StudySpec, StudyState
from service.specs import trial_spec
from tests.service.fakes import FACTS
from worker.schema import TaskFacts, TrialResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "name": "known",
    "dataset": "digits",
    "network": "resnet8",
    "space": "dsnn",
    "objectives": {"error": "minimize", "deployment_energy": "minimize"},
    "fidelity": {"name": "shift_depth", "min_fidelity": 1, "max_fidelity": 10, "together": {"epochs": [1, 1]}},
    "budget": {"n_trials": 20},
    "fixed": {"weight_bits": 3},
}


@pytest.fixture(scope="module")
def facts() -> TaskFacts:
    found = InlineDispatcher().inspect(Task("digits", "resnet8"))
    assert isinstance(found, TaskFacts)
    return found


@pytest.mark.parametrize("more", [{}, {"family": "search"}, {"fidelity": None}])
def test_what_is_known_beforehand_is_what_the_trial_finds(facts: TaskFacts, more: dict[str, Any]) -> None:
    study = study_of(SPEC | more)
    suggestion = make_optimizer(study, facts, 1).ask()
    assert suggestion is not None
    (name, value), *others = known_objectives(study, facts).items()
    assert (name, others) == ("deployment_energy", [])
    spec = trial_spec(study.spec, trial_of(suggestion, study, facts), attempt=1, epochs=1)
    results: list[TrialResult] = []
    InlineDispatcher().submit(spec, results.append)
    found = results[0].objectives["deployment_energy"].value
    assert found == pytest.approx(value(suggestion.config, suggestion.fidelity), rel=1e-9)


def test_nothing_is_known_where_an_earlier_version_answered_or_nobody_asks(facts: TaskFacts) -> None:
    assert known_objectives(study_of(SPEC), FACTS) == {}
    assert known_objectives(study_of(SPEC | {"objectives": {"error": "minimize", "energy": "minimize"}}), facts) == {}


def study_of(document: dict[str, Any]) -> Study:
    return Study(study_id="s", spec=StudySpec.load(document), state=StudyState.RUNNING, created_at=NOW)
