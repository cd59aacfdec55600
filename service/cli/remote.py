"""What commands that talk to a service share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from service.client import Client, StudyHandle

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Its id, or its name if no other has that.")]
TrialName = Annotated[str, typer.Argument(metavar="TRIAL", help="The id of a trial of the study.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@contextmanager
def study_of(name: str) -> Iterator[StudyHandle]:
    """The study of this id or name, of the service that the environment names."""
    with Client() as client:
        yield client.study(name)


def echo_json(document: Any) -> None:
    """Prints JSON for programs."""
    typer.echo(json.dumps(document, indent=2))
