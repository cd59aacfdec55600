"""The same tests run over every kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.schema import Study, Trial
from service.store import Store
from tests.service.fakes import study_spec, trial

AddTrial = Callable[..., Trial]


@pytest.fixture(params=["memory", "file", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    where = {"memory": None, "file": tmp_path / "study.sqlite"}
    database = where[request.param] if request.param in where else request.getfixturevalue("postgresql_url")
    with Store(database) as store:
        yield store


@pytest.fixture
def study(store: Store) -> Study:
    return store.create_study(study_spec())


@pytest.fixture
def add(store: Store, study: Study) -> AddTrial:
    def add(trial_id: str = "00001", **changes: object) -> Trial:
        store.add_trial(trial(trial_id, study_id=study.study_id, **changes))
        return store.trial(study.study_id, trial_id)

    return add
