"""A study in a real tracking store of MLflow, read back by MLflow's own client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from service.errors import InputError
from tests.service.exchange.conftest import CONFIG, Told

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
tracking = pytest.importorskip(
    "mlflow.tracking", reason="NO MLFLOW: that a study is written to a tracking store is NOT TESTED"
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/store.sqlite3"


def write(uri: str, told: Told) -> list[str]:
    notes: list[str] = import_module("service.exchange.mlflow_out").write_mlflow(uri, told.run, told.log)
    return notes


@pytest.fixture(scope="module")
def runs(uri: str, told: Told) -> Iterator[dict[str | None, Any]]:
    """By trial, the study's own under None."""
    assert write(uri, told) == ["1 trials that have not ended are left out"]
    yield found(uri)


def found(uri: str) -> dict[str | None, Any]:
    client = tracking.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("toy")
    runs = client.search_runs([experiment.experiment_id])
    by_trial = {run.data.tags.get("greenshift.trial_id"): run for run in runs}
    assert len(by_trial) == len(runs)
    return by_trial


def test_each_trial_that_has_ended_is_a_run_below_that_of_the_study(runs: dict[str | None, Any]) -> None:
    assert runs.keys() == {None, "default", *(f"{number:05}" for number in range(1, 8))}
    parent = runs[None].info
    assert {run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if name} == {parent.run_id}
    assert (parent.run_name, parent.status) == ("toy", "RUNNING")
    assert {name: run.info.status for name, run in runs.items() if name in ("00001", "00006", "00007")} == {
        "00001": "FINISHED", "00006": "FAILED", "00007": "KILLED"}  # fmt: skip


def test_params_metrics_and_tags_are_config_figures_and_their_origin(runs: dict[str | None, Any]) -> None:
    data = runs["00002"].data
    config = CONFIG | {"learning_rate": 0.02}
    assert data.params.items() >= {name: str(value) for name, value in config.items()}.items()
    assert data.params["fidelity"] == "10.0"
    assert data.metrics == {"error": 0.2, "deployment_energy": 4.0, "duration_seconds": 2.0}
    assert (data.tags["error.method"], data.tags["error.quality"]) == ("analytic", "estimated")
    assert runs["00006"].data.tags["failure"] == "memory_limit"
    assert runs["00006"].info.end_time >= runs["00006"].info.start_time
    assert sorted(name for name, run in runs.items() if run.data.tags.get("on_front") == "true") == ["00001", "00002"]
    assert runs[None].data.metrics["n_on_front"] == 2
    assert "network: resnet8" in runs[None].data.tags["study.yaml"]


def test_written_again_only_what_is_new_is_added(uri: str, runs: dict[str | None, Any], told: Told) -> None:
    study = told.run.study.model_copy(update={"state": "COMPLETED"})
    write(uri, replace(told, run=replace(told.run, study=study)))
    again = found(uri)
    assert {name: run.info.run_id for name, run in again.items()} == {n: r.info.run_id for n, r in runs.items()}
    assert again[None].info.status == "FINISHED"


def test_what_is_no_tracking_store_is_bad_input(told: Told, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no tracking store of MLflow that can be written"):
        write("nothing://like/that", told)
