"""The command `greenshift report`: a study of a service as one page, for somebody who was not there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.fetched import whole_of
from service.cli.remote import StudyName, study_of
from service.errors import InputError, RefusedError
from service.report.markdown import markdown_page
from service.report.page import html_page
from service.report.picture import png
from service.study_run import StudyRun


class ReportFormat(StrEnum):
    """What a report can be written in."""

    HTML = "html"
    MD = "md"


def report(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="The file.")],
    form: Annotated[
        ReportFormat,
        typer.Option("--format", help="html is the page of `greenshift run`, md is for where text is read."),
    ] = ReportFormat.HTML,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Writes the report of a study as one page that needs no network."""
    if out.exists() and not force:
        raise _taken(out)
    with study_of(study) as handle:
        run = whole_of(handle)
    page = _page(run, form)
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(page)
    except FileExistsError as error:
        raise _taken(out) from error
    except OSError as error:
        raise InputError(f"out: {out} is no file that can be written: {error.strerror}") from error
    typer.echo(f"{handle.name} ({handle.study_id}): {run.study.standing}")
    typer.echo(f"{len(run.trials)} trials, {len(run.front)} on the front: {out}")


def _taken(out: Path) -> RefusedError:
    return RefusedError(f"out: {out} is there already; name another file, or say --force")


def _page(run: StudyRun, form: ReportFormat) -> str:
    return markdown_page(run) if form is ReportFormat.MD else html_page(run, png(run.study.spec, run.trials))
