"""The command `greenshift export`: what a study has found, as files for others."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from service.cli.sources import FolderOrStudy, source_of
from service.errors import InputError, NotFoundError
from service.extras import EXTRAS, require


class ExportFormat(StrEnum):
    """What a study can be exported to."""

    MODELS = "models"
    CSV = "csv"
    PARQUET = "parquet"
    OPTUNA = "optuna"
    SMAC = "smac"


# Where each is written: a module that is loaded when it is used, and its function of a folder and a source.
_WRITERS = {
    ExportFormat.MODELS: ("service.cli.export_models", "write_models"),
    ExportFormat.CSV: ("service.cli.export_tables", "write_csv"),
    ExportFormat.PARQUET: ("service.cli.export_tables", "write_parquets"),
    ExportFormat.OPTUNA: ("service.cli.export_exchange", "write_optuna"),
    ExportFormat.SMAC: ("service.cli.export_exchange", "write_smac"),
}


def export(
    study: FolderOrStudy,
    out: Annotated[Path, typer.Option(help="Folder of the files; those of an earlier export are replaced.")],
    to: Annotated[
        ExportFormat,
        typer.Option(
            help="models: the networks of the front; csv: what `greenshift run` leaves and two more tables; "
            "parquet: all tables, for data frames; optuna: a storage for Optuna and its dashboard; smac: a run folder "
            "of SMAC3."
        ),
    ] = ExportFormat.MODELS,
    models: Annotated[
        Path | None, typer.Option(help="Folder of the trained weights; default models/ of a folder of run.")
    ] = None,
) -> None:
    """Writes the networks of a front, each with a card, or a study as tables, into a folder."""
    if to in EXTRAS:
        require(to, f"to: {to}")
    source = source_of(study, models)
    module, function = _WRITERS[to]
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        notes: list[str] = getattr(import_module(module), function)(out, source)
    except NotFoundError:
        if is_new:
            out.rmdir()
        raise
    except OSError as error:
        raise InputError(f"out: {out} is no folder that can be written: {error.strerror}") from error
    first, second = source.said
    typer.echo(f"{first}\n{second}: {out}")
    for note in notes:
        typer.echo(note, err=True)
