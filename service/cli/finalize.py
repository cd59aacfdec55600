"""The command `greenshift finalize`: the networks of a front, trained anew and judged by the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import Insecure, Scheduler, Tls, access_to
from service.cli.results import write_results
from service.cli.signals import INTERRUPTED, stop_on_signal
from service.cli.tables import add_row, column, print_table, table_of
from service.errors import ServiceError
from service.report.words import amount, recipe
from service.scores import FinalScore
from service.server import finalize_study
from worker.schema import TrialResult


def finalize(
    study: Annotated[Path, typer.Argument(help="The folder of a study that has run.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes on this machine.")] = None,
    scheduler: Scheduler = None,
    tls: Tls = None,
    insecure: Insecure = False,
) -> None:
    """Trains the front anew on training and validation data, three seeds each, and judges it once by the test split."""

    def tell(result: TrialResult, n_done: int, n_all: int) -> None:
        outcome = result.failure.kind if result.failure else amount(result.objectives["error"])
        typer.echo(f"[{n_done} of {n_all}] {result.trial_id}: test error {outcome}")

    access = access_to(scheduler, tls, insecure)
    scores, run, is_complete = finalize_study(
        study, n_workers=workers, scheduler=access, on_start=stop_on_signal, on_result=tell
    )
    write_results(study, run)
    if not is_complete:
        typer.echo("Stopped. Every finished training is kept; the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED)
    print_scores(scores)
    typer.echo(f"Every training: {study / 'final.csv'}; the whole story: {study / 'report.html'}")
    if not any(score.errors for score in scores):
        raise ServiceError(f"no final training completed; {study}/final.csv says why")


def print_scores(scores: list[FinalScore]) -> None:
    """Prints the test errors of the front after its final trainings, each as mean and deviation over seeds."""
    typer.echo("Judged once by the test split, after training on all other data:")
    numbers = [column(heading, is_number=True) for heading in ("test error", "seeds", "validation error of the search")]
    table = table_of(column("trial", is_whole=True), *numbers, column("config"))
    for score in scores:
        found = amount(score.trial.measurement("error"))
        style = "red" if score.trial.is_default else None
        add_row(
            table, score.trial.trial_id, score.said, str(len(score.errors)), found, recipe(score.trial), style=style
        )
    print_table(table)
