"""What commands that talk to a service share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.client import Client, StudyHandle

_WIDE = 250
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Its id, or its name if no other has that.")]
TrialName = Annotated[str, typer.Argument(metavar="TRIAL", help="The id of a trial of the study.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@contextmanager
def study_of(name: str) -> Iterator[StudyHandle]:
    """The study of this id or name, of the service that the environment names."""
    with Client() as client:
        yield client.study(name)


def print_table(table: Table) -> None:
    """Prints a table, as wide as it is where no terminal limits it."""
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)


def echo_json(document: Any) -> None:
    """Prints JSON for programs."""
    typer.echo(json.dumps(document, indent=2))
