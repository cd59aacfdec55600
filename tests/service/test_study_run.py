from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from service.schema import Study, StudySpec, preset_names
from service.study_run import StudyRun, as_yaml, document_of
from tests.service.fakes import full_trial, study_document, study_spec

OF_A_TASK = {"name": "mine", "task": "valley", "budget": {"n_trials": 3}}
STUDIES: list[str | dict[str, Any]] = [
    *preset_names(),
    study_document(fidelity=None, site={"country": "SWE"}, baselines=["deepshift-recommended"]),
    OF_A_TASK,
]


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("source", STUDIES, ids=str)
def test_a_study_is_read_back_as_it_was_written(source: str | dict[str, Any], brief: bool) -> None:
    spec = StudySpec.load(source)
    again = StudySpec.load(yaml.safe_load(as_yaml(document_of(spec, brief=brief))))
    assert (again, again.gaps) == (spec, spec.gaps)


def test_a_run_prints_as_a_line_that_says_which_trials_tie() -> None:
    study = Study(study_id="s", spec=study_spec(), state="RUNNING", created_at=datetime(2026, 1, 2, tzinfo=UTC))
    trials = [full_trial("1", 0.1, 2.0), full_trial("2", 0.2, 1.0), full_trial("3", 0.2, 1.0)]
    assert repr(StudyRun(study, trials[:2])) == "StudyRun('toy', RUNNING: 2 trials, 2 on the front)"
    assert repr(StudyRun(study, trials)) == "StudyRun('toy', RUNNING: 3 trials, 3 on the front (2 distinct points))"


def test_a_brief_study_is_what_its_author_wrote() -> None:
    assert document_of(StudySpec.load(OF_A_TASK), brief=True) == OF_A_TASK
