"""The command `greenshift trials`: every trial of a study of a service."""

from __future__ import annotations

from rich.table import Table

from service.cli.fetched import run_of
from service.cli.remote import AsJson, StudyName, echo_json, print_table, study_of
from service.report.words import amount, extent, recipe, title
from service.schema import StudySpec, Trial, TrialState
from worker.schema import TrialResult

_TO_END = (TrialState.WAITING, TrialState.RUNNING)


def trials(study: StudyName, as_json: AsJson = False) -> None:
    """Lists the trials of a study: state, fidelity, config, objectives; where it ended worker and reason."""
    with study_of(study) as handle:
        run = run_of(handle)
    if as_json:
        echo_json([trial.model_dump(mode="json") for trial in run.trials])
    else:
        print_table(_table(run.study.spec, run.trials))


def _table(spec: StudySpec, trials: list[Trial]) -> Table:
    table = Table("trial", "state", "fidelity", *map(title, spec.objectives), "config", "worker", "reason")
    for trial in trials:
        # Of a trial that is tried again the store still has what came of it before.
        result = None if trial.state in _TO_END else trial.result
        values = [amount(trial.measurement(name)) if result else "" for name in spec.objectives]
        worker = result.worker if result else ""
        table.add_row(trial.trial_id, trial.state, extent(trial), *values, recipe(trial), worker, _reason(result))
    return table


def _reason(result: TrialResult | None) -> str:
    """Why it failed, in one line: `greenshift logs` says more."""
    failure = result.failure if result else None
    return "" if failure is None else " ".join(f"{failure.kind}: {failure.message}".split())
