"""What a worker is sent: the complete spec of a trial, made of the study and the trial."""

from __future__ import annotations

from typing import Any, get_args

from service.schema import StudySpec, Trial
from worker.schema import AnyTrialSpec, ExtraObjective, Recipe, TaskTrialSpec, TrialSpec


def trial_spec(spec: StudySpec, trial: Trial, **more: Any) -> AnyTrialSpec:
    """The spec of the present attempt at `trial`.

    Args:
        spec: of the study.
        trial: with its knobs and the hyperparameters of its config.
        more: further fields of the spec, or other values than these.
    """
    if spec.task is not None:
        return _of_a_task(spec, trial, **more)
    hyperparameters = {name: value for name, value in trial.config.items() if name in Recipe.model_fields}
    wanted = {*spec.objectives, *(bound.measurement for bound in spec.bounds)}
    fields: dict[str, Any] = {
        "study_id": trial.study_id,
        "trial_id": trial.trial_id,
        "attempt": trial.attempt,
        "dataset": spec.dataset,
        "network": spec.network,
        "recipe": Recipe(**hyperparameters),
        "family": trial.family,
        "shift_depth": trial.shift_depth,
        "epochs": trial.epochs,
        "data_fraction": trial.data_fraction,
        "extra_objectives": tuple(name for name in get_args(ExtraObjective) if name in wanted),
        "seed": trial.seed,
        "n_seeds": spec.n_seeds,
        "data_dir": spec.data_dir,
        "site": spec.site,
        "time_limit_seconds": spec.trial_time_limit_seconds,
        "memory_limit_bytes": spec.trial_memory_limit_bytes,
        "weights_path": spec.weights,
    }
    return TrialSpec(**fields | more)


def _of_a_task(spec: StudySpec, trial: Trial, **more: Any) -> TaskTrialSpec:
    fields: dict[str, Any] = {
        "study_id": trial.study_id,
        "trial_id": trial.trial_id,
        "attempt": trial.attempt,
        "task": spec.task,
        "config": trial.config,
        "fidelity": trial.fidelity,
        "seed": trial.seed,
        "data_dir": spec.data_dir,
        "site": spec.site,
        "time_limit_seconds": spec.trial_time_limit_seconds,
        "memory_limit_bytes": spec.trial_memory_limit_bytes,
    }
    return TaskTrialSpec(**fields | more)
