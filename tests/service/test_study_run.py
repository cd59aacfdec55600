from __future__ import annotations

from typing import Any

import pytest
import yaml

from service.schema import StudySpec, preset_names
from service.study_run import as_yaml, document_of
from tests.service.fakes import study_document

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


def test_a_brief_study_is_what_its_author_wrote() -> None:
    assert document_of(StudySpec.load(OF_A_TASK), brief=True) == OF_A_TASK
