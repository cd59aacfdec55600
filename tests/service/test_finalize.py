from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from service.dispatch import lost
from service.errors import InputError
from service.finalize import N_SEEDS, finalize, write_final
from service.schema import Study, TrialState
from service.store import Store
from tests.service.fakes import FakeDispatcher, evaluate, failed, full_trial, study_spec
from worker.schema import FailureKind


@pytest.fixture
def store():
    with Store(None) as store:
        yield store


def searched(store: Store, *, recommended: bool = False, **changes: Any) -> Study:
    """A study of two networks on the front, one that is dominated, and the default, once or twice."""
    study = store.create_study(study_spec(**changes))
    points = {"a": (0.1, 3.0), "b": (0.2, 2.0), "c": (0.3, 2.5), "default": (0.4, 9.0)}
    if recommended:
        points["default-recommended"] = (0.05, 9.0)
    for trial_id, values in points.items():
        trial = full_trial(trial_id, *values).model_copy(
            update={
                "study_id": study.study_id,
                "is_default": trial_id.startswith("default"),
                "result": None,
                "attempt": 0,
            }
        )
        store.add_trial(trial.model_copy(update={"state": TrialState.WAITING}))
        running = store.start_attempt(trial)
        result = full_trial(trial_id, *values).result
        store.finish_attempt(
            result.model_copy(update={"study_id": study.study_id, "attempt": running.attempt}), TrialState.COMPLETED
        )
    return study


def test_the_front_and_the_default_are_trained_over_three_seeds(store):
    study, dispatcher = searched(store), FakeDispatcher()

    scores = finalize(study, store, dispatcher)

    assert [score.trial.trial_id for score in scores] == ["a", "b", "default"]
    assert all(len(score.errors) == N_SEEDS for score in scores)
    assert len(dispatcher.submitted) == 3 * N_SEEDS
    assert all(spec.is_final for spec in dispatcher.submitted)
    assert len({(spec.trial_id, spec.seed) for spec in dispatcher.submitted}) == 3 * N_SEEDS


def test_a_recommended_baseline_is_judged_as_well_and_told_apart(store, tmp_path: Path):
    study = searched(store, recommended=True)

    scores = finalize(study, store, FakeDispatcher())
    write_final(tmp_path / "final.csv", study, store)

    assert [score.trial.trial_id for score in scores] == ["a", "b", "default", "default-recommended"]
    with (tmp_path / "final.csv").open() as file:
        rows = {(row["trial_id"], row["is_default"]) for row in csv.DictReader(file)}
    assert rows == {("a", "False"), ("b", "False"), ("default", "True"), ("default-recommended", "True")}


def test_a_final_training_has_one_seed_however_many_the_trials_of_the_search_had(store):
    study, dispatcher = searched(store, n_seeds=4), FakeDispatcher()

    finalize(study, store, dispatcher)

    assert {spec.n_seeds for spec in dispatcher.submitted} == {1}
    assert {spec.seed for spec in dispatcher.submitted} == {0, 1, 2}


def test_no_network_is_judged_twice(store):
    study = searched(store)
    first = finalize(study, store, FakeDispatcher())
    again = FakeDispatcher()

    second = finalize(study, store, again)

    assert again.submitted == []
    assert [score.errors for score in second] == [score.errors for score in first]


def test_what_was_broken_off_goes_on(store):
    study, told = searched(store), []
    finalize(
        study, store, FakeDispatcher(), on_result=lambda *news: told.append(news[1:]), should_stop=lambda: len(told) > 3
    )
    rest = FakeDispatcher()

    finalize(study, store, rest)

    assert [n_done for n_done, _ in told] == list(range(1, len(told) + 1))
    assert len(rest.submitted) == 3 * N_SEEDS - len(told)


def test_a_lost_worker_is_no_verdict(store):
    study = searched(store)

    scores = finalize(
        study, store, FakeDispatcher(2, lambda spec: lost(spec, "gone") if spec.attempt == 1 else evaluate(spec))
    )

    assert all(len(score.errors) == N_SEEDS for score in scores)


def test_a_training_that_failed_has_no_error_and_is_written_down(store, tmp_path: Path):
    study = searched(store)
    kind = FailureKind.DIVERGED

    scores = finalize(
        study,
        store,
        FakeDispatcher(2, lambda spec: failed(spec.trial_id, spec.attempt, kind, study_id=spec.study_id)),
    )
    write_final(tmp_path / "final.csv", study, store)

    assert all(score.errors == () and score.mean is None and score.deviation is None for score in scores)
    with (tmp_path / "final.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * N_SEEDS
    assert {row["failure"] for row in rows} == {"diverged"}
    assert {row["test_error"] for row in rows} == {""}
    assert {row["is_default"] for row in rows if row["trial_id"] == "default"} == {"True"}


def test_a_study_without_a_front_is_refused(store):
    study = store.create_study(study_spec())

    with pytest.raises(InputError, match="has no front yet"):
        finalize(study, store, FakeDispatcher())
