"""The command `greenshift export`: what a study has found, as files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.sources import FolderOrStudy, source_of
from service.errors import InputError
from service.extras import require
from service.report.files import write_files
from service.report.parquet import write_parquet
from service.report.tidy import Table, tables
from service.study_run import StudyRun, write_spec

# What `greenshift run` does not leave, and csv therefore adds.
_MORE = ("measurements", "attempts")


class ExportFormat(StrEnum):
    """What a study can be exported to."""

    CSV = "csv"
    PARQUET = "parquet"


def export(
    study: FolderOrStudy,
    out: Annotated[Path, typer.Option(help="Folder of the files; those of an earlier export are replaced.")],
    to: Annotated[
        ExportFormat,
        typer.Option(
            help="csv: what `greenshift run` leaves and two more tables; parquet: all tables, for data frames."
        ),
    ],
) -> None:
    """Writes the tables of a study into a folder, as CSV with its picture and its report."""
    if to is ExportFormat.PARQUET:
        require("parquet", "to: parquet")
    source = source_of(study)
    run = source.run
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out, to, run, tables(run, source.log))
        write_spec(run.study.spec, out)
    except OSError as error:
        raise InputError(f"out: {out} is no folder that can be written: {error.strerror}") from error
    first, second = source.said
    typer.echo(f"{first}\n{second}: {out}")


def _write(out: Path, to: ExportFormat, run: StudyRun, found: dict[str, Table]) -> None:
    if to is ExportFormat.PARQUET:
        for name, table in found.items():
            write_parquet(out / f"{name}.parquet", table)
        return
    write_files(out, run)
    for name in _MORE:
        found[name].write_csv(out / f"{name}.csv")
