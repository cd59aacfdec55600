"""A study as runs of MLflow: one for the study, and below it one for each trial that has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.tracking import MlflowClient

from service.errors import InputError
from service.exchange.mlflow_store import tracking_store
from service.exchange.times import Times, times_of
from service.ranking import volume
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

    What an export that was broken off left half-written is replaced.

    Args:
        uri: of the store, such as `http://127.0.0.1:5000` or `sqlite:///FILE`.
        run: the study.
        log: its events.

    Returns:
        A line about what was left out.

    Raises:
        UnreachableError: no server answers there.
        InputError: no tracking store is there, or the study's experiment was deleted in it.
    """
    with tracking_store(uri) as client:
        return _write(client, run, list(log))


def _write(client: MlflowClient, run: StudyRun, log: list[Event]) -> list[str]:
    spec, times = run.study.spec, times_of(log)
    experiment = _experiment(client, spec.name)
    parent, there = _sorted(client, _runs_of(client, experiment, run.study.study_id))
    parent = parent or _begin_study(client, experiment, run)
    ended = [trial for trial in run.trials if trial.state.is_finished]
    for trial in ended:
        if (trial.trial_id, str(trial.attempt)) not in there:
            _write_trial(client, experiment, parent, trial, times.get(trial.trial_id))
    best = {(trial.trial_id, str(trial.attempt)) for trial in run.front}
    for each in _runs_of(client, experiment, run.study.study_id):
        if (key := _key(each)) is not None:
            _tag(client, each, {_PARENT: parent, "on_front": str(key in best).lower()})
    _end_study(client, parent, run, log[-1].at)
    n_left = len(run.trials) - len(ended)
    return [f"{n_left} trials that have not ended are left out"] if n_left else []


def _experiment(client: MlflowClient, name: str) -> str:
    known = client.get_experiment_by_name(name)
    if known is None:
        return str(client.create_experiment(name))
    if known.lifecycle_stage != "active":
        raise InputError(
            f"out: experiment {name} was deleted there and can be restored: its id is {known.experiment_id}"
        )
    return str(known.experiment_id)


def _sorted(client: MlflowClient, runs: list[Any]) -> tuple[str | None, set[tuple[str, str]]]:
    """The study's run, if there is one, and which attempts have one.

    A trial's run is ended when all of it is there; one that was broken off is deleted, to be written anew.
    """
    parent = None
    there: set[tuple[str, str]] = set()
    for each in runs:
        if (key := _key(each)) is None:
            parent = parent or each.info.run_id
        elif key in there or each.info.status not in _ENDS.values():
            client.delete_run(each.info.run_id)
        else:
            there.add(key)
    return parent, there


def _key(run: Any) -> tuple[str, str] | None:
    """Which attempt at which trial; None is the study itself."""
    tags = run.data.tags
    return (tags[_TRIAL], tags.get(_ATTEMPT, "")) if _TRIAL in tags else None


def _tag(client: MlflowClient, run: Any, tags: dict[str, str]) -> None:
    """Sets what is not set: every tag is a request."""
    for name, value in tags.items():
        if run.data.tags.get(name) != value:
            client.set_tag(run.info.run_id, name, value)


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


def _write_trial(client: MlflowClient, experiment: str, parent: str, trial: Trial, times: Times | None) -> None:
    start, end = map(_milliseconds, times) if times else (None, None)
    tags = {_PARENT: parent, _STUDY: trial.study_id, _TRIAL: trial.trial_id, _ATTEMPT: str(trial.attempt)}
    name = f"trial {trial.trial_id}" + (f", attempt {trial.attempt}" if trial.attempt > 1 else "")
    run_id = client.create_run(experiment, start, tags, name).info.run_id
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
    yield Metric("duration_seconds", result.seconds, at, 0)


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
