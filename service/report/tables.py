"""A study as tables: one row a trial, with the columns that other programs rely on."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from service.schema import RESULT_COLUMNS, TRIAL_COLUMNS, StudySpec, Trial

_ALWAYS = ("error", "deployment_energy", "energy", "emissions")


def write_csv(path: Path, spec: StudySpec, trials: list[Trial], hyperparameters: list[str]) -> None:
    """Writes trials to a CSV file; unknown values are empty. Energies in J, deployment energy in J per image."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns(spec, hyperparameters), restval="")
        writer.writeheader()
        writer.writerows(row(spec, trial, hyperparameters) for trial in trials)


def columns(spec: StudySpec, hyperparameters: Iterable[str]) -> list[str]:
    """Names of all columns, in order."""
    names = list(TRIAL_COLUMNS)
    for objective in shown_objectives(spec):
        names += [objective, f"{objective}_method", f"{objective}_quality"]
    return names + [*RESULT_COLUMNS] + [f"config.{name}" for name in hyperparameters]


def row(spec: StudySpec, trial: Trial, hyperparameters: Iterable[str]) -> dict[str, Any]:
    """One trial by column name."""
    values: dict[str, Any] = trial.model_dump(mode="json", include=set(TRIAL_COLUMNS))
    for objective in shown_objectives(spec):
        measurement = trial.measurement(objective)
        if measurement is not None:
            values[objective] = measurement.value
            values[f"{objective}_method"] = measurement.method
            values[f"{objective}_quality"] = measurement.quality
    if trial.result is not None:
        values["duration_seconds"] = round(trial.result.seconds, 3)
        values["worker"] = trial.result.worker
        values["failure"] = trial.result.failure.kind if trial.result.failure else None
    for name in hyperparameters:
        values[f"config.{name}"] = trial.config.get(name)
    return values


def hyperparameters_of(trials: Iterable[Trial]) -> list[str]:
    """Names of all hyperparameters that some trial has, sorted."""
    return sorted({name for trial in trials for name in trial.config})


def shown_objectives(spec: StudySpec) -> list[str]:
    """The study's objectives and then the others that every table shows."""
    return [*spec.objectives, *(name for name in _ALWAYS if name not in spec.objectives)]
