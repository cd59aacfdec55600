from __future__ import annotations

from fastapi.testclient import TestClient

from service.schema import Study, TrialState
from service.store import Store
from service.wire import PointsDocument
from tests.service.fakes import completed, measurement, study_spec
from tests.service.served import begin, finish
from worker.schema import TrialResult


def points(http: TestClient, study: Study, **query: int) -> PointsDocument:
    answer = http.get(f"/api/v1/studies/{study.study_id}/points", params=query)
    assert answer.status_code == 200
    return PointsDocument.model_validate_json(answer.text)


def test_columns_hold_every_trial_in_the_order_of_its_last_event(http: TestClient, study: Study) -> None:
    found = points(http, study)
    assert found.trial_id == ["default", "00001", "00002", "00003", "00004", "00005", "00006"]
    assert found.front == ["00001", "00002"]
    assert found.is_whole
    assert found.state[-3:] == ["FAILED", "RUNNING", "WAITING"]
    assert found.is_default == [True] + [False] * 6
    assert found.failure == [None] * 4 + ["diverged", None, None]
    assert found.figures["error"].value == [0.3, 0.1, 0.2, 0.4, None, None, None]
    assert found.figures["deployment_energy"].value[:2] == [9.0, 4.0]
    assert found.config["weight_bits"] == [3] * 7
    assert found.config["shift_depth"] == [10] * 7


def test_asked_again_only_what_is_new_or_has_changed_comes(http: TestClient, store: Store, study: Study) -> None:
    seq = points(http, study).seq
    assert points(http, study, after=seq).trial_id == []
    assert points(http, study, after=seq).seq == seq
    store.start_attempt(store.trial(study.study_id, "00006"))
    begin(store, study, "00007")
    found = points(http, study, after=seq)
    assert (found.trial_id, found.state) == (["00006", "00007"], [TrialState.RUNNING] * 2)


def test_pages_follow_each_other(http: TestClient, study: Study) -> None:
    first = points(http, study, limit=4)
    second = points(http, study, limit=4, after=first.seq)
    assert (first.is_whole, second.is_whole) == (False, True)
    assert len(first.trial_id + second.trial_id) == 7


def test_a_figure_has_its_origin_and_its_deviation_over_seeds(http: TestClient, store: Store) -> None:
    study = store.create_study(study_spec(n_seeds=2))
    by_seed = tuple({"error": measurement(value, "evaluation", "measured", "ratio")} for value in (0.1, 0.3))
    result = completed(
        "00001", deployment_energy=4.0, objectives={"error": measurement(0.2, "evaluation", "measured", "ratio")}
    )
    finish(store, study, TrialResult.model_validate(result.model_copy(update={"by_seed": by_seed}).model_dump()))
    found = points(http, study)
    error, energy = found.figures["error"], found.figures["deployment_energy"]
    assert error.deviation == [2**0.5 / 10]
    assert energy.deviation == [None]
    origins = [found.origins[figure.origin[0] or 0] for figure in (error, energy)]
    assert [(origin.unit, origin.quality) for origin in origins] == [("ratio", "measured"), ("J", "estimated")]
