"""Commands that say how the studies of a service are doing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from service.cli.remote import AsJson, StudyName, echo_json, print_table, study_of
from service.client import Client
from service.schema import because


def studies(as_json: AsJson = False) -> None:
    """Lists all studies of the service."""
    with Client() as client:
        found = client.studies()
    if as_json:
        echo_json([{"study_id": s.study_id, "name": s.name, "state": s.state} for s in found])
        return
    table = Table(Column("study", no_wrap=True), "name", "state", "created (UTC)", "trials")
    for s in found:
        numbers = ", ".join(f"{n} {state}" for state, n in s.n_trials.model_dump().items() if n)
        table.add_row(s.study_id, s.name, s.state, f"{s.created_at:%Y-%m-%d %H:%M}", numbers)
    print_table(table)


def status(study: StudyName, as_json: AsJson = False) -> None:
    """Says how far a study is."""
    with study_of(study) as handle:
        found = handle.status()
    if as_json:
        echo_json(found)
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{handle.name} ({found['study_id']}): {because(found['state'], found['reason'])}")
    console.print("trials: " + ", ".join(f"{n} {state}" for state, n in found["n_trials"].items()))
    if found["hypervolume"] is not None:
        point = ", ".join(f"{name} {value:.3g}" for name, value in found["reference_point"].items())
        console.print(f"hypervolume: {found['hypervolume']:.4g} from {point}")
    joules = found["energy_joules"]
    console.print(f"energy spent: {'unknown' if joules is None else f'{joules:.4g} J'}")
