"""The command `greenshift trials`: every trial of a study of a service."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from service.cli.fetched import run_of
from service.cli.remote import AsJson, StudyName, echo_json, study_of
from service.cli.tables import add_row, amounts, column, print_table, table_of, text_console
from service.report.words import extent, recipe
from service.schema import TrialState
from service.study_run import StudyRun
from worker.schema import TrialResult

_TO_END = (TrialState.WAITING, TrialState.RUNNING)


def trials(study: StudyName, as_json: AsJson = False) -> None:
    """Lists the trials of a study: state, fidelity, config, objectives; where it ended worker and reason."""
    with study_of(study) as handle:
        run = run_of(handle)
    if as_json:
        echo_json([trial.model_dump(mode="json") for trial in run.trials])
    else:
        show(run, text_console())


def show(run: StudyRun, console: Console) -> None:
    """Prints the trials of a study; on a terminal, why some have failed stands below, where it has the room."""
    # Of a trial that is tried again the store still has what came of it before.
    results = [None if trial.state in _TO_END else trial.result for trial in run.trials]
    reasons = [_reason(result) for result in results]
    table = _table(run, results, [] if console.is_terminal or not any(reasons) else reasons)
    print_table(table, empty=f"{run.study.spec.name} has no trial yet.", console=console)
    if console.is_terminal:
        for trial, reason in zip(run.trials, reasons, strict=True):
            if reason:
                console.print(f"{trial.trial_id} {reason}")


def _table(run: StudyRun, results: list[TrialResult | None], reasons: list[str]) -> Table:
    figures = [amounts(name, run.trials) for name in run.study.spec.objectives]
    table = table_of(
        column("trial", is_whole=True),
        column("state", is_whole=True),
        column("fidelity"),
        *(column(heading, is_number=True) for heading, _ in figures),
        column("config"),
        column("worker"),
        *([column("reason")] if reasons else []),
    )
    for i, (trial, result) in enumerate(zip(run.trials, results, strict=True)):
        values = [cells[i] if result else "" for _, cells in figures]
        worker, reason = result.worker if result else "", reasons[i : i + 1]
        add_row(table, trial.trial_id, trial.state, extent(trial), *values, recipe(trial), worker, *reason)
    return table


def _reason(result: TrialResult | None) -> str:
    """Why it failed, in one line: `greenshift logs` says more."""
    failure = result.failure if result else None
    return "" if failure is None else " ".join(f"{failure.kind}: {failure.message}".split())
