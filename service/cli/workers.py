"""The commands `greenshift workers`: who works for a service, and who is to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.remote import AsJson, echo_json
from service.cli.tables import add_row, column, print_table, table_of
from service.client import Client
from service.wire import Worker

workers = typer.Typer(invoke_without_command=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the worker, as `greenshift workers` shows it.")]


@workers.callback()
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the workers of the service: what they offer, what they do, which studies have set them aside."""
    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        found = client.workers()
    if as_json:
        echo_json(found.model_dump(mode="json"))
        return
    table = table_of(*map(column, ("worker", "address", "device", "slots", "busy", "set aside by")))
    for w in found.workers:
        slots, aside = f"{w.n_slots} {w.resource}", ", ".join(w.set_aside_by)
        add_row(table, w.name, w.address, w.device or "unknown", slots, _busy(w), aside)
    if found.is_current:
        print_table(table, empty="No worker is there; start some with `greenshift worker ADDRESS`.")
        typer.echo(f"As the service saw them {found.age_seconds:.0f} s ago.")
    else:
        typer.echo("The service has no cluster at the moment.")


@workers.command()
def drain(name: Name) -> None:
    """Gives a worker no new trial; what it runs, it finishes."""
    with Client() as client:
        client.drain_worker(name)
    typer.echo(f"{name} gets no new trial; `greenshift workers` shows when it is drained.")


@workers.command()
def undrain(name: Name) -> None:
    """Gives a drained worker trials again."""
    with Client() as client:
        client.undrain_worker(name)
    typer.echo(f"{name} gets trials again.")


def _busy(worker: Worker) -> str:
    return str(worker.n_running) if worker.state == "active" else f"{worker.n_running}, {worker.state}"
