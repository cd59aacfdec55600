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
from service.ledger import AMOUNTS, Entry, Ledger
from service.schema import Study, Trial
from service.server import StudyRun
from service.wire import Spending

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


def run_of(handle: StudyHandle) -> StudyRun:
    """The study as it stands, with all its trials in the order in which they were added."""
    study = handle.document()
    known = Study(study_id=study.study_id, spec=study.spec, state=study.state, created_at=study.created_at)
    return StudyRun(known, sorted(handle.trials(), key=_place))


def ledger_of(handle: StudyHandle) -> Ledger:
    """All that the study has spent; what is unknown counts as nothing in the sums of a ledger."""
    return Ledger([_entry(spending) for spending in handle.ledger().entries])


def _entry(spending: Spending) -> Entry:
    values: dict[str, Any] = spending.model_dump()
    return Entry(**values | {name: values[name] or 0.0 for name in AMOUNTS})


def _place(trial: Trial) -> tuple[bool, int, str]:
    """Baselines are added first, and the others are numbered."""
    return not trial.is_default, len(trial.trial_id), trial.trial_id
