"""The command `greenshift front`: what a study of a service has found."""

from __future__ import annotations

import csv
import sys
from typing import Annotated

import typer

from service.cli.fetched import run_of
from service.cli.live import front_table
from service.cli.remote import AsJson, StudyName, echo_json, study_of
from service.cli.tables import print_table
from service.errors import InputError
from service.report.tables import columns, hyperparameters_of, row
from service.study_run import StudyRun


def front(
    study: StudyName,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, like front.csv of `greenshift run`.")] = False,
) -> None:
    """Shows the networks that no other dominates."""
    if as_json and as_csv:
        raise InputError("json: not allowed with --csv; choose one")
    with study_of(study) as handle:
        if as_json:
            echo_json([trial.model_dump(mode="json") for trial in handle.front()])
            return
        run = run_of(handle)
    if as_csv:
        _print_csv(run)
    elif run.front:
        print_table(front_table(run, None))
    else:
        typer.echo(
            f"{handle.name} ({handle.study_id}) has no front: no trial has completed at full fidelity with every "
            f"objective known and every constraint kept; the study is {run.study.standing}"
        )


def _print_csv(run: StudyRun) -> None:
    """The same columns as front.csv: also hyperparameters that only trials beyond the front have."""
    spec, names = run.study.spec, hyperparameters_of(run.trials)
    writer = csv.DictWriter(sys.stdout, columns(spec, names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(spec, trial, names) for trial in run.front)
