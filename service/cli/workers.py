"""`greenshift workers`: who works for a service."""

from __future__ import annotations

import typer
from rich.table import Table

from service.cli.remote import AsJson, echo_json, print_table
from service.client import Client


def workers(as_json: AsJson = False) -> None:
    """Lists the workers of the service: what they offer, what they do, which studies have set them aside."""
    with Client() as client:
        found = client.workers()
    if as_json:
        echo_json(found.model_dump(mode="json"))
        return
    table = Table("worker", "address", "device", "slots", "busy", "set aside by")
    for w in found.workers:
        slots, aside = f"{w.n_slots} {w.resource}", ", ".join(w.set_aside_by)
        table.add_row(w.name, w.address, w.device or "unknown", slots, str(w.n_running), aside)
    if found.is_current:
        print_table(table)
    else:
        typer.echo("The service has no cluster at the moment.")
