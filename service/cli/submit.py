"""The command `greenshift submit`: gives a study to a service."""

from __future__ import annotations

import json
from time import monotonic, sleep
from typing import Annotated

import typer

from service.cli.tables import text_console
from service.cli.watch import follow, outcome
from service.client import Client, StudyHandle
from service.errors import ServiceError
from service.schema import StudyState, because

# Workers that have nothing to do say within seconds whether they have what a study names.
_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.5


def submit(
    study: Annotated[str, typer.Argument(help="A YAML file, or a preset's name.")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it ends; code 5 where it does not complete.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Nothing but JSON on standard output.")] = False,
    n_trials: Annotated[int | None, typer.Option(min=1, help="Another number of trials than the study says.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed.")] = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
) -> None:
    """Gives a study to the service, which runs it; prints its id."""
    changes = {"n_trials": n_trials, "seed": seed, "name": name}
    with Client() as client:
        handle = client.submit(study, **{key: value for key, value in changes.items() if value is not None})
        typer.echo(json.dumps({"study_id": handle.study_id}))
        if wait:
            outcome(handle, follow(handle, text_console(stderr=True)), quiet=as_json)
        elif not as_json:
            _let_workers_see(client, handle)
            typer.echo(f"Submitted {handle.name}; watch it with: greenshift watch {handle.study_id}", err=True)


def _let_workers_see(client: Client, handle: StudyHandle) -> None:
    """Waits a moment for the workers, if there are any, to find what the study names.

    Raises:
        ServiceError: they do not have it.
    """
    found, end = client.workers(), monotonic() + _PATIENCE_SECONDS
    if not found.is_current or not any(worker.state == "active" for worker in found.workers):
        return
    typer.echo("asking the workers ...", err=True)
    while (study := handle.document()).state is StudyState.WAITING and monotonic() < end:
        sleep(_LOOK_SECONDS)
    if study.state is StudyState.FAILED:
        raise ServiceError(f"study {handle.name} ({handle.study_id}) is {because(study.state, study.reason)}")
