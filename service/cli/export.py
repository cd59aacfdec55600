"""The command `greenshift export`: what a study of a service has found, as files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.fetched import ledger_of, run_of
from service.cli.remote import StudyName, study_of
from service.errors import InputError
from service.report.files import write_files
from service.study_run import write_spec


class ExportFormat(StrEnum):
    """What a study can be exported to."""

    CSV = "csv"


def export(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="Folder of the files.")],
    to: Annotated[ExportFormat, typer.Option(help="What files: csv is what `greenshift run` leaves.")],
) -> None:
    """Writes the tables, the picture and the report of a study into a folder."""
    with study_of(study) as handle:
        run, ledger = run_of(handle), ledger_of(handle)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_files(out, run.study, run.trials, ledger)
        write_spec(run.study.spec, out)
    except OSError as error:
        raise InputError(f"out: {out} is no folder that can be written: {error.strerror}") from error
    typer.echo(f"{handle.name} ({handle.study_id}): {run.study.standing}")
    typer.echo(f"{len(run.trials)} trials, {len(run.front)} on the front: {out}")
