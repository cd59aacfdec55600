"""The command `greenshift export`: what a study has found, as files for others."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.export_exchange import write_mlflow, write_optuna, write_smac
from service.cli.export_folder import ExportFolder
from service.cli.export_models import write_models
from service.cli.export_tables import write_csv, write_parquets
from service.cli.sources import FolderOrStudy, Source, source_of
from service.errors import InputError
from service.extras import EXTRAS, require, require_torch
from service.schema import StudySpec


class ExportFormat(StrEnum):
    """What a study can be exported to."""

    MODELS = "models"
    CSV = "csv"
    PARQUET = "parquet"
    OPTUNA = "optuna"
    SMAC = "smac"
    MLFLOW = "mlflow"


# What writes each, given a folder (of mlflow also a URI) and a source.
_WRITERS: dict[ExportFormat, Callable[[Any, Source], list[str]]] = {
    ExportFormat.MODELS: write_models,
    ExportFormat.CSV: write_csv,
    ExportFormat.PARQUET: write_parquets,
    ExportFormat.OPTUNA: write_optuna,
    ExportFormat.SMAC: write_smac,
    ExportFormat.MLFLOW: write_mlflow,
}


def export(
    study: FolderOrStudy,
    out: Annotated[
        str,
        typer.Option(
            help="Folder of the files; an earlier export there is replaced, and other files are left alone. Of mlflow "
            "also a tracking server's URI."
        ),
    ],
    to: Annotated[
        ExportFormat,
        typer.Option(
            help="models: the networks of the front; csv: what `greenshift run` leaves and two more tables; "
            "parquet: all tables, for data frames; optuna: a storage for Optuna and its dashboard; smac: a run folder "
            "of SMAC3; mlflow: a run for each trial."
        ),
    ] = ExportFormat.MODELS,
    models: Annotated[
        Path | None, typer.Option(help="Folder of the trained weights; default models/ of a folder of run.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Use a folder with other files, and replace those that are in the way.")
    ] = False,
) -> None:
    """Writes the networks of a front, each with a card, or a study as tables, into a folder."""
    writer = _writer(to)
    is_remote = to is ExportFormat.MLFLOW and "://" in out
    if "://" in out and not is_remote:
        raise InputError(f"out: must be a folder, as only mlflow writes to a server; got {out}")
    folder = None if is_remote else ExportFolder(Path(out), force=force)
    source = source_of(study, models)
    if folder is None:
        notes = writer(out, source)
    else:
        with folder.writing(_kind(to, source.run.study.spec)) as stage:
            notes = writer(stage, source)
    first, second = source.said
    typer.echo(f"{first}\n{second}: {out}")
    for note in notes:
        typer.echo(note, err=True)


def _writer(to: ExportFormat) -> Callable[[Any, Source], list[str]]:
    if to in EXTRAS:
        require(to, f"to: {to}")
    if to is ExportFormat.MODELS:
        require_torch(f"to: {to}")
    return _WRITERS[to]


def _kind(to: ExportFormat, spec: StudySpec) -> str:
    """What an export takes the place of: a folder holds one of each kind, and of SMAC's runs as many as there are."""
    return f"{to} {spec.name}/{spec.seed}" if to is ExportFormat.SMAC else str(to)
