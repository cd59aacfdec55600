"""The command `greenshift report`: a study as one document, for somebody who was not there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.new_file import taken, write_new
from service.cli.sources import FolderOrStudy, source_of
from service.errors import InputError
from service.extras import loaded, require
from service.report.markdown import markdown_page
from service.report.page import html_page
from service.report.picture import png
from service.study_run import StudyRun


class ReportFormat(StrEnum):
    """What a report can be written in."""

    HTML = "html"
    MD = "md"
    PDF = "pdf"


def report(
    study: FolderOrStudy,
    out: Annotated[Path, typer.Option(help="The file.")],
    form: Annotated[
        ReportFormat,
        typer.Option(
            "--format", help="html is the page of `greenshift run`, md is for where text is read, pdf for print."
        ),
    ] = ReportFormat.HTML,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Writes the report of a study as one file that needs no network."""
    if out.is_dir():
        raise InputError(f"out: {out} is a folder; name a file, such as {out / f'report.{form}'}")
    if out.exists() and not force:
        raise taken(out)
    if form is ReportFormat.PDF:
        require("pdf", "format: pdf")
    source = source_of(study)
    page = _page(source.run, form)
    write_new(out, page, force=force)
    first, second = source.said
    typer.echo(f"{first}\n{second}: {out}")


def _page(run: StudyRun, form: ReportFormat) -> bytes:
    if form is ReportFormat.PDF:
        found: bytes = loaded("service.report.pdf", "pdf", "format: pdf").pdf_page(run)
        return found
    text = markdown_page(run) if form is ReportFormat.MD else html_page(run, png(run.study.spec, run.trials))
    return text.encode()
