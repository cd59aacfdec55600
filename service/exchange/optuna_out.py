"""A study as one of Optuna, in an SQLite file that Optuna and its dashboard open."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import optuna
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as State

from service.exchange.space import part_of, space_of
from service.exchange.times import Times, times_of
from service.ranking import comparable
from service.schema import StudySpec, Trial, TrialState
from service.study_run import StudyRun, as_yaml, document_of
from service.wire import Event, without_places

FILE = "optuna.sqlite3"


def write_optuna(out: Path, run: StudyRun, log: Iterable[Event]) -> list[str]:
    """Writes `optuna.sqlite3`; returns a line about what was left out.

    COMPLETE are the trials that the study itself compares, so that Optuna's best trials are its front: the dashboard
    looks at no constraint. A trial that completed and does not count, such as one below full fidelity or the default,
    is PRUNED, its figures and the reason among its attributes; one that failed or was stopped is FAIL.
    """
    log, spec = list(log), run.study.spec
    path = out / FILE
    path.unlink(missing_ok=True)
    ended = [trial for trial in run.trials if trial.state.is_finished]
    with opened(f"sqlite:///{path}") as storage:
        study = optuna.create_study(
            storage=storage, study_name=spec.name, directions=list(spec.objectives.values())
        )  # fmt: skip
        with warnings.catch_warnings():
            # It has been experimental since 2023, and the dashboard shows it.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(spec.objectives))
        study.set_user_attr("greenshift_study_id", run.study.study_id)
        study.set_user_attr("study.yaml", as_yaml(without_places(document_of(spec, brief=True))))
        space = space_of(run, log)
        distributions = {name: _distribution(hp, run.trials) for name, hp in space.items()}
        counted = {trial.trial_id for trial in comparable(spec, run.trials)}
        times = times_of(log)
        for trial in ended:
            is_counted = trial.trial_id in counted
            study.add_trial(_frozen(spec, trial, space, distributions, is_counted, times.get(trial.trial_id)))
    n_left = len(run.trials) - len(ended)
    return [f"{n_left} trials that have not ended are left out"] if n_left else []


@contextmanager
def opened(url: str, **options: Any) -> Iterator[optuna.storages.RDBStorage]:
    """A storage, with all connections given back; Optuna says nothing on standard error."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(url, **options)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    finally:
        optuna.logging.set_verbosity(before)


def _frozen(
    spec: StudySpec,
    trial: Trial,
    space: ConfigurationSpace,
    distributions: dict[str, BaseDistribution],
    is_counted: bool,
    times: Times | None,
) -> FrozenTrial:
    state, values = _outcome(spec, trial, is_counted)
    params = part_of(space, trial)
    losses = trial.result.training_loss if trial.result else ()
    frozen = optuna.create_trial(
        state=state,
        values=values,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=_attributes(trial) | ({"pruned_because": _why_pruned(trial)} if state is State.PRUNED else {}),
        intermediate_values=dict(enumerate(losses, 1)),
    )
    if times is not None:
        # Optuna's times have no zone.
        frozen.datetime_start, frozen.datetime_complete = (at.astimezone(UTC).replace(tzinfo=None) for at in times)
    return frozen


def _outcome(spec: StudySpec, trial: Trial, is_counted: bool) -> tuple[State, list[float] | None]:
    if trial.state is not TrialState.COMPLETED:
        return State.FAIL, None
    values = [value for name in spec.objectives if (value := trial.value(name)) is not None]
    return (State.COMPLETE, values) if is_counted else (State.PRUNED, None)


def _why_pruned(trial: Trial) -> str:
    if trial.is_default:
        return "what the search is compared with"
    return "known in another way, or breaks a constraint" if trial.is_full else "below full fidelity"


def _attributes(trial: Trial) -> dict[str, Any]:
    """All that Optuna has no place for; what is unknown is left out."""
    known: dict[str, Any] = trial.model_dump(
        mode="json",
        include={"trial_id", "state", "fidelity", "shift_depth", "epochs", "data_fraction", "family", "seed",
                 "promoted_from", "is_default", "is_full", "config"},
    )  # fmt: skip
    if (result := trial.result) is not None:
        for name, figure in result.objectives.items():
            known |= {name: figure.value, f"{name}_unit": figure.unit}
            known |= {f"{name}_method": figure.method, f"{name}_quality": figure.quality}
        known |= {"worker": result.worker, "duration_seconds": result.seconds}
        if result.failure is not None:
            known |= {"failure": str(result.failure.kind), "failure_message": result.failure.message}
    return {name: value for name, value in known.items() if value is not None}


def _distribution(hp: Hyperparameter[Any, Any], trials: Iterable[Trial]) -> BaseDistribution:
    """A range as a range, and all else as the values that there are."""
    log = bool(getattr(hp, "log", False))
    if isinstance(hp, IntegerHyperparameter):
        return IntDistribution(int(hp.lower), int(hp.upper), log=log)
    if isinstance(hp, FloatHyperparameter):
        return FloatDistribution(float(hp.lower), float(hp.upper), log=log)
    listed = getattr(hp, "choices", getattr(hp, "sequence", None))
    values = [hp.default_value, *(t.config[hp.name] for t in trials if hp.name in t.config)]
    return CategoricalDistribution(list(listed) if listed is not None else list(dict.fromkeys(values)))
