"""The command `greenshift export`: what a study has found, as files for others."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.export_exchange import write_mlflow, write_optuna, write_smac
from service.cli.export_models import write_models
from service.cli.export_tables import write_csv, write_parquets
from service.cli.sources import FolderOrStudy, Source, source_of
from service.errors import InputError, NotFoundError
from service.extras import EXTRAS, require


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
            help="Folder of the files; those of an earlier export are replaced. Of mlflow also a tracking server's URI."
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
) -> None:
    """Writes the networks of a front, each with a card, or a study as tables, into a folder."""
    if to in EXTRAS:
        require(to, f"to: {to}")
    source = source_of(study, models)
    writer = _WRITERS[to]
    notes = writer(out, source) if to is ExportFormat.MLFLOW and "://" in out else _into(out, writer, source)
    first, second = source.said
    typer.echo(f"{first}\n{second}: {out}")
    for note in notes:
        typer.echo(note, err=True)


def _into(out: str, writer: Callable[[Path, Source], list[str]], source: Source) -> list[str]:
    """What is written into a folder, which is left as it was where there is nothing to write."""
    folder = Path(out)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return writer(folder, source)
    except NotFoundError:
        if is_new:
            folder.rmdir()
        raise
    except OSError as error:
        raise InputError(f"out: {out} is no folder that can be written: {error.strerror}") from error
