"""A study as runs of MLflow: one for the study, and below it one for each trial that has ended."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from service.analysis.attempts import attempt_rows
from service.errors import InputError
from service.ranking import front, volume
from service.schema import StudyState, Trial, TrialState
from service.study_run import StudyRun, as_yaml, document_of
from service.wire import Event, without_places

FILE = "mlflow.sqlite3"
# What tells our runs from others, and each from the next: a trial that was tried again is another run.
_STUDY, _TRIAL, _ATTEMPT = "greenshift.study_id", "greenshift.trial_id", "greenshift.attempt"
_ENDS = {
    TrialState.COMPLETED: "FINISHED",
    TrialState.FAILED: "FAILED",
    TrialState.STOPPED: "KILLED",
    StudyState.COMPLETED: "FINISHED",
    StudyState.FAILED: "FAILED",
    StudyState.STOPPED: "KILLED",
}
# Of MLflow's own.
_PARENT, _MAX_METRICS, _MAX_TAG = "mlflow.parentRunId", 1000, 5000


def write_mlflow(uri: str, run: StudyRun, log: Iterable[Event]) -> list[str]:
    """Writes the study to a tracking store; what an earlier export wrote there stays, and what is new is added.

    Args:
        uri: of the store, such as `http://127.0.0.1:5000` or `sqlite:///FILE`.
        run: the study.
        log: its events.

    Returns:
        A line about what was left out.

    Raises:
        InputError: no tracking store is there.
    """
    with _quietly():
        try:
            return _write(MlflowClient(tracking_uri=uri), run, list(log))
        except MlflowException as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"out: {uri} is no tracking store of MLflow that can be written: {reason}") from error


def _write(client: MlflowClient, run: StudyRun, log: list[Event]) -> list[str]:
    spec = run.study.spec
    known = client.get_experiment_by_name(spec.name)
    experiment = known.experiment_id if known is not None else client.create_experiment(spec.name)
    ours = _runs_of(client, experiment, run.study.study_id)
    parent = next((r.info.run_id for r in ours if _TRIAL not in r.data.tags), None) or _begin_study(
        client, experiment, run
    )
    there = {(r.data.tags.get(_TRIAL), r.data.tags.get(_ATTEMPT)) for r in ours}
    times = {row["trial_id"]: row for row in attempt_rows(log)}
    best = {trial.trial_id for trial in front(spec, run.trials)}
    ended = [trial for trial in run.trials if trial.state.is_finished]
    for trial in ended:
        if (trial.trial_id, str(trial.attempt)) not in there:
            _write_trial(client, experiment, parent, trial, times.get(trial.trial_id, {}))
    for each in _runs_of(client, experiment, run.study.study_id):
        if (name := each.data.tags.get(_TRIAL)) is not None:
            client.set_tag(each.info.run_id, "on_front", str(name in best).lower())
    _end_study(client, parent, run, log[-1].at)
    n_left = len(run.trials) - len(ended)
    return [f"{n_left} trials that have not ended are left out"] if n_left else []


def _runs_of(client: MlflowClient, experiment: str, study_id: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{_STUDY}` = '{study_id}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _begin_study(client: MlflowClient, experiment: str, run: StudyRun) -> str:
    tags = {_STUDY: run.study.study_id}
    started = _milliseconds(run.study.created_at)
    return str(client.create_run(experiment, started, tags, run.study.spec.name).info.run_id)


def _end_study(client: MlflowClient, parent: str, run: StudyRun, ended_at: datetime) -> None:
    spec, now = run.study.spec, volume(run.study.spec, run.trials)
    text = as_yaml(without_places(document_of(spec, brief=True)))
    tags = {
        "study.yaml": text if len(text) <= _MAX_TAG else "too long for a tag",
        "subject": spec.subject,
        "state": run.study.standing[:_MAX_TAG],
        **({f"reference_point.{name}": str(value) for name, value in now.reference_point.items()} if now else {}),
    }
    figures = {
        "n_trials": float(len(run.trials)),
        "n_on_front": float(len(run.front)),
        **({"hypervolume": now.hypervolume} if now else {}),
    }
    metrics = [
        Metric(name, value, _milliseconds(run.study.created_at), len(run.trials)) for name, value in figures.items()
    ]
    client.log_batch(parent, metrics=metrics, tags=[RunTag(name, value) for name, value in tags.items()])
    if run.study.state in _ENDS:
        client.set_terminated(parent, _ENDS[run.study.state], _milliseconds(ended_at))
    else:
        client.update_run(parent, RunStatus.to_string(RunStatus.RUNNING))


def _write_trial(client: MlflowClient, experiment: str, parent: str, trial: Trial, times: dict[str, Any]) -> None:
    start, end = (_milliseconds(times[key]) if times.get(key) else None for key in ("started_at", "ended_at"))
    tags = {_PARENT: parent, _STUDY: trial.study_id, _TRIAL: trial.trial_id, _ATTEMPT: str(trial.attempt)}
    run_id = client.create_run(experiment, start, tags, f"trial {trial.trial_id}").info.run_id
    metrics = list(_metrics(trial, end or 0))
    for first in range(0, max(1, len(metrics)), _MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _MAX_METRICS])
    client.log_batch(run_id, params=list(_params(trial)), tags=list(_tags(trial)))
    client.set_terminated(run_id, _ENDS[trial.state], end)


def _params(trial: Trial) -> Iterator[Param]:
    """The config, and what else was decided before the trial began."""
    decided = trial.model_dump(
        mode="json", include={"fidelity", "shift_depth", "epochs", "data_fraction", "family", "seed"}
    )  # fmt: skip
    for name, value in (decided | trial.config).items():
        if value is not None:
            yield Param(name, str(value))


def _metrics(trial: Trial, at: int) -> Iterator[Metric]:
    """Every figure that is known, and the training loss by epoch."""
    result = trial.result
    if result is None:
        return
    for name, figure in result.objectives.items():
        if figure.value is not None:
            yield Metric(name, figure.value, at, 0)
    for epoch, loss in enumerate(result.training_loss, 1):
        yield Metric("training_loss", loss, at, epoch)
    yield Metric("duration_seconds", result.duration_seconds, at, 0)


def _tags(trial: Trial) -> Iterator[RunTag]:
    """How each figure is known, and what became of the trial."""
    result = trial.result
    said: dict[str, Any] = {
        "state": trial.state,
        "is_default": str(trial.is_default).lower(),
        "is_full": str(trial.is_full).lower(),
        "promoted_from": trial.promoted_from,
    }
    if result is not None:
        for name, figure in result.objectives.items():
            said |= {f"{name}.method": figure.method, f"{name}.quality": figure.quality, f"{name}.unit": figure.unit}
        said["worker"] = result.worker
        said["device"] = result.energy.device if result.energy else None
        if result.failure is not None:
            said |= {"failure": result.failure.kind, "failure_message": result.failure.message[:_MAX_TAG]}
    for name, value in said.items():
        if value:
            yield RunTag(name, str(value))


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


@contextmanager
def _quietly() -> Iterator[None]:
    """MLflow tells of the tables that it makes, and is warned of by what it uses."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
