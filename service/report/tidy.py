"""A study as tables for data frames, each column of one type: the same tables, whatever they are written as."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from service.analysis.attempts import ATTEMPT_COLUMNS, attempt_rows
from service.ledger import LEDGER_COLUMNS, ledger_rows
from service.report.tables import columns, hyperparameters_of, row
from service.schema import Trial
from service.spread import deviation, uncertainty
from service.study_run import StudyRun
from service.wire import Event

# Types of columns that are no text.
_TYPES: dict[str, type] = {
    **dict.fromkeys(("shift_depth", "epochs", "seed", "attempt", "n_attempts", "n_unknown"), int),
    **dict.fromkeys(("fidelity", "duration_seconds", "value", "uncertainty", "deviation", "joules", "emissions_grams",
                     "water_litres", "embodied_grams", "seconds", "uncertainty_joules", "inference_joules"), float),
    **dict.fromkeys(("started_at", "ended_at"), datetime),
    "is_default": bool,
}  # fmt: skip
_MEASUREMENT_COLUMNS = ("trial_id", "objective", "value", "unit", "method", "quality", "uncertainty", "deviation")


@dataclass(frozen=True)
class Table:
    """Rows by column name, what is unknown missing or None; each column with its type."""

    columns: dict[str, type]
    rows: list[dict[str, Any]]

    def write_csv(self, path: Path) -> None:
        """Writes it as CSV: what is unknown is empty, times are ISO 8601 in UTC."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows({name: _as_text(value) for name, value in row.items()} for row in self.rows)


def tables(run: StudyRun, log: Iterable[Event]) -> dict[str, Table]:
    """`trials`, `front`, `ledger`, `measurements` and `attempts` of a study.

    `trials` and `front` have a row for each trial and the columns of `trials.csv`; `measurements` has one for each
    figure that a trial measured, `attempts` one for each attempt, and for each result that came late one of its own.

    Args:
        run: the study with its ledger.
        log: all events of the study.
    """
    return {
        "trials": _trials(run, run.trials),
        "front": _trials(run, run.front),
        "ledger": _table(LEDGER_COLUMNS, ledger_rows(run.ledger)),
        "measurements": _table(_MEASUREMENT_COLUMNS, [each for trial in run.trials for each in _measured(trial)]),
        "attempts": _table(ATTEMPT_COLUMNS, attempt_rows(log)),
    }


def _as_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _table(names: Iterable[str], rows: list[dict[str, Any]]) -> Table:
    return Table({name: _TYPES.get(name, str) for name in names}, rows)


def _trials(run: StudyRun, trials: list[Trial]) -> Table:
    """Both tables have the columns of all trials, with the same types."""
    spec, names = run.study.spec, hyperparameters_of(run.trials)
    known = _TYPES | {f"config.{name}": _type_of([t.config.get(name) for t in run.trials]) for name in names}
    figures = {name.removesuffix("_method") for name in columns(spec, []) if name.endswith("_method")}
    types = {name: float if name in figures else known.get(name, str) for name in columns(spec, names)}
    return Table(types, [row(spec, trial, names) for trial in trials])


def _type_of(values: list[Any]) -> type:
    """That of all values that are there; text where they differ, and numbers are of one kind."""
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {int, float}:
        return int if kinds == {int} else float
    return bool if kinds == {bool} else str


def _measured(trial: Trial) -> Iterator[dict[str, Any]]:
    """Every figure of a trial.

    `uncertainty` is that of the meter, for a coverage factor of 2; `deviation` the sample standard deviation over the
    seeds of the trial. Both are in the unit of the figure, and None where they are unknown.
    """
    result = trial.result
    for name, measurement in (result.objectives if result else {}).items():
        assert result is not None
        yield {
            "trial_id": trial.trial_id,
            "objective": name,
            **measurement.model_dump(mode="json"),
            "uncertainty": uncertainty(name, measurement.value, result),
            "deviation": deviation(name, result),
        }
