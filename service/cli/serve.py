"""The command `greenshift serve`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import Insecure, Scheduler, Tls, access_to
from service.errors import InputError
from service.logs import LogFormat, write_log
from service.serving import Serving
from service.serving import serve as serve_studies
from service.settings import DEFAULT_OUT, Settings

logger = logging.getLogger(__name__)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    database_url: Annotated[
        str | None,
        typer.Option(help="The store; default GREENSHIFT_DATABASE_URL, else a SQLite file in the folder of --out."),
    ] = None,
    https_certificate: Annotated[
        Path | None, typer.Option(help="Speaks HTTPS: a PEM file of the certificate and those that signed it.")
    ] = None,
    https_key: Annotated[Path | None, typer.Option(help="Its key, as PEM, without a password.")] = None,
    scheduler: Scheduler = None,
    tls: Tls = None,
    insecure: Insecure = False,
    local_workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes on this machine instead; default one per GPU, else per core."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data sets for local workers; default GREENSHIFT_DATA_DIR.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of models and checkpoints, as all workers see it.")] = DEFAULT_OUT,
    log_format: Annotated[LogFormat, typer.Option(help="What a line of the log is.")] = LogFormat.TEXT,
) -> None:
    """Runs studies that others submit, until Ctrl-C; started again, it goes on with them."""
    if scheduler is not None:
        for name, value in (("local-workers", local_workers), ("data-dir", data_dir)):
            if value is not None:
                raise InputError(f"{name}: is for workers of this process, and not allowed with --scheduler")
    if (https_certificate is None) != (https_key is None):
        raise InputError("https-certificate and https-key: each needs the other")
    write_log(log_format)
    settings = Settings.from_environment()
    serve_studies(
        Serving(
            host,
            port,
            out,
            database_url=database_url or settings.database_url,
            checkpoint_url=settings.checkpoint_url,
            scheduler=access_to(scheduler, tls, insecure),
            n_workers=local_workers,
            data_dir=data_dir,
            https=(https_certificate, https_key) if https_certificate and https_key else None,
        ),
        on_start=lambda url: _say(f"Serving at {url}; end with Ctrl-C.", log_format),
    )


def _say(line: str, log_format: LogFormat) -> None:
    """A line for people, or one of the log where programs read all that is written."""
    if log_format is LogFormat.JSON:
        logger.info(line)
    else:
        typer.echo(line)
