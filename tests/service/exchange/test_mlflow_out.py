"""A study in a real tracking store of MLflow, read back by MLflow's own client."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from service.errors import InputError, UnreachableError
from service.study_run import StudyRun
from tests.service.exchange.conftest import CONFIG, Told
from tests.service.processes import reserved_port

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
tracking = pytest.importorskip(
    "mlflow.tracking", reason="NO MLFLOW: that a study is written to a tracking store is NOT TESTED"
)


NO_SERVER = "NO MLFLOW SERVER: that a study is written to a tracking server over HTTP is NOT TESTED"


@pytest.fixture(scope="module", params=["sqlite", "http"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A file, and a real tracking server."""
    folder = tmp_path_factory.mktemp("mlflow")
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/store.sqlite3"
    else:
        with served(folder) as url:
            yield url


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of `mlflow server`: what it needs beside what writes to it is installed with `dev`."""
    pytest.importorskip("flask_cors", reason=NO_SERVER)
    with reserved_port() as port, started_server(folder, port) as url:
        yield url


@contextmanager
def started_server(folder: Path, port: int) -> Iterator[str]:
    store = f"sqlite:///{folder}/served.sqlite3"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
             "--backend-store-uri", store, "--default-artifact-root", str(folder)],
            cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        while not answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None:
                pytest.fail(f"the tracking server ended: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def write(uri: str, told: Told, run: StudyRun | None = None) -> list[str]:
    notes: list[str] = import_module("service.exchange.mlflow_out").write_mlflow(uri, run or told.run, told.log)
    return notes


@pytest.fixture(scope="module")
def runs(uri: str, told: Told) -> Iterator[dict[str | None, Any]]:
    """By trial, the study's own under None."""
    assert write(uri, told) == ["1 trials that have not ended are left out"]
    yield found(uri)


def found(uri: str) -> dict[str | None, Any]:
    runs = all_runs(uri)
    by_trial = {run.data.tags.get("greenshift.trial_id"): run for run in runs}
    assert len(by_trial) == len(runs)
    return by_trial


def all_runs(uri: str, name: str = "toy") -> list[Any]:
    client = tracking.MlflowClient(tracking_uri=uri)
    return list(client.search_runs([client.get_experiment_by_name(name).experiment_id]))


def named(told: Told, name: str) -> StudyRun:
    """The same study in an experiment of another name."""
    study = told.run.study
    return replace(told.run, study=study.model_copy(update={"spec": study.spec.model_copy(update={"name": name})}))


def test_each_trial_that_has_ended_is_a_run_below_that_of_the_study(runs: dict[str | None, Any]) -> None:
    assert runs.keys() == {None, "default", *(f"{number:05}" for number in range(1, 8))}
    parent = runs[None].info
    assert {run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if name} == {parent.run_id}
    assert (parent.run_name, parent.status) == ("toy", "RUNNING")
    assert {name: run.info.status for name, run in runs.items() if name in ("00001", "00006", "00007")} == {
        "00001": "FINISHED", "00006": "FAILED", "00007": "KILLED"}  # fmt: skip


def test_params_metrics_and_tags_are_config_figures_and_their_origin(runs: dict[str | None, Any], told: Told) -> None:
    data = runs["00002"].data
    config = CONFIG | {"learning_rate": 0.02}
    assert data.params.items() >= {name: str(value) for name, value in config.items()}.items()
    assert data.params["fidelity"] == "10.0"
    assert data.metrics == {"error": 0.2, "deployment_energy": 4.0, "duration_seconds": 2.0}
    assert (data.tags["error.method"], data.tags["error.quality"]) == ("analytic", "estimated")
    assert runs["00006"].data.tags["failure"] == "memory_limit"
    began, ended = (told.when(f"attempt_{what}", "00002") for what in ("started", "finished"))
    times = (runs["00002"].info.start_time, runs["00002"].info.end_time)
    assert times == tuple(round(at.timestamp() * 1000) for at in (began, ended))
    assert sorted(name for name, run in runs.items() if run.data.tags.get("on_front") == "true") == ["00001", "00002"]
    assert runs[None].data.metrics["n_on_front"] == 2
    assert "network: resnet8" in runs[None].data.tags["study.yaml"]


def test_written_again_only_what_is_new_is_added(uri: str, runs: dict[str | None, Any], told: Told) -> None:
    study = told.run.study.model_copy(update={"state": "COMPLETED"})
    write(uri, told, replace(told.run, study=study))
    again = found(uri)
    assert {name: run.info.run_id for name, run in again.items()} == {n: r.info.run_id for n, r in runs.items()}
    assert again[None].info.status == "FINISHED"


def test_a_trial_that_was_tried_again_is_another_run_and_it_alone_is_on_the_front(uri: str, told: Told) -> None:
    write(uri, told, named(told, "again"))
    again = [t.model_copy(update={"attempt": 2}) if t.trial_id == "00001" else t for t in told.run.trials]
    write(uri, told, replace(named(told, "again"), trials=again))
    tags = [run.data.tags for run in all_runs(uri, "again") if run.data.tags.get("greenshift.trial_id") == "00001"]
    assert sorted((t["greenshift.attempt"], t["on_front"], t["mlflow.runName"]) for t in tags) == [
        ("1", "false", "trial 00001"), ("2", "true", "trial 00001, attempt 2"),
    ]  # fmt: skip


@pytest.mark.parametrize("n_calls", [0, 1, 3])
def test_what_was_broken_off_is_finished_and_nothing_is_there_twice(
    uri: str, told: Told, runs: dict[str | None, Any], monkeypatch: pytest.MonkeyPatch, n_calls: int
) -> None:
    run, calls = named(told, f"broken off {n_calls}"), iter(range(n_calls))
    log_batch = tracking.MlflowClient.log_batch

    def breaks(*arguments: Any, **options: Any) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        log_batch(*arguments, **options)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(tracking.MlflowClient, "log_batch", breaks)
        write(uri, told, run)
    write(uri, told, run)
    whole = {r.data.tags.get("greenshift.trial_id"): r for r in all_runs(uri, run.study.spec.name)}
    assert len(whole) == len(all_runs(uri, run.study.spec.name)) == len(runs)
    for name, each in whole.items():
        assert (each.data.metrics, each.data.params) == (runs[name].data.metrics, runs[name].data.params)
        assert (each.info.status, each.info.end_time) == (runs[name].info.status, runs[name].info.end_time)
        assert each.data.tags.keys() == runs[name].data.tags.keys()


def test_a_run_of_the_study_that_was_deleted_is_made_anew_for_all_that_are_there(uri: str, told: Told) -> None:
    run = named(told, "parentless")
    write(uri, told, run)
    (parent,) = (r for r in all_runs(uri, "parentless") if "greenshift.trial_id" not in r.data.tags)
    tracking.MlflowClient(tracking_uri=uri).delete_run(parent.info.run_id)
    write(uri, told, run)
    by_parent = Counter(r.data.tags.get("mlflow.parentRunId") for r in all_runs(uri, "parentless"))
    assert sorted(by_parent.values()) == [1, 8] and parent.info.run_id not in by_parent


def test_an_experiment_that_was_deleted_is_bad_input(uri: str, told: Told) -> None:
    client = tracking.MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(InputError, match="experiment deleted was deleted there and can be restored"):
        write(uri, told, named(told, "deleted"))


def test_a_server_that_is_not_there_is_said_at_once(told: Told, free_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"^no tracking server answers at http://\S+ \(Connection refused\)$"):
        write(f"http://127.0.0.1:{free_port}", told)
    assert time.monotonic() - began < 60


def test_a_server_that_never_answers_is_not_waited_for(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    store = import_module("service.exchange.mlflow_store")
    monkeypatch.setitem(store._FIRST_PATIENCE, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreachableError, match=r"\(timed out\)$"):
        write(f"http://127.0.0.1:{silent.getsockname()[1]}", told)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_what_is_no_tracking_store_is_bad_input(told: Told, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no tracking store of MLflow that can be written"):
        write("nothing://like/that", told)
