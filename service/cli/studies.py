"""Commands that say how the studies of a service are doing."""

from __future__ import annotations

import typer

from service.cli.remote import AsJson, StudyName, echo_json
from service.cli.tables import add_row, column, print_table, table_of
from service.client import Client
from service.schema import StudyState, because
from service.wire import WorkersDocument


def studies(as_json: AsJson = False) -> None:
    """Lists all studies of the service."""
    with Client() as client:
        found = client.studies()
    if as_json:
        echo_json([{"study_id": s.study_id, "name": s.name, "state": s.state} for s in found])
        return
    table = table_of(
        column("study", is_whole=True),
        column("name"),
        column("state", is_whole=True),
        column("created (UTC)"),
        column("trials"),
    )
    for s in found:
        numbers = ", ".join(f"{n} {state}" for state, n in s.n_trials.model_dump().items() if n)
        add_row(table, s.study_id, s.name, s.state, f"{s.created_at:%Y-%m-%d %H:%M}", numbers)
    print_table(table, empty="There is no study yet; `greenshift submit STUDY` gives one.")


def status(study: StudyName, as_json: AsJson = False) -> None:
    """Says how far a study is."""
    with Client() as client:
        handle = client.study(study)
        found = handle.status()
        is_idle = found["state"] in (StudyState.WAITING, StudyState.RUNNING) and not found["n_trials"]["running"]
        idle = _why_nothing_runs(client.workers()) if is_idle and not as_json else None
    if as_json:
        echo_json(found)
        return
    lines = [f"{handle.name} ({found['study_id']}): {because(found['state'], found['reason'])}"]
    if idle is not None:
        lines.append(f"nothing runs: {idle}")
    lines.append("trials: " + ", ".join(f"{n} {state}" for state, n in found["n_trials"].items()))
    if found["hypervolume"] is not None:
        point = ", ".join(f"{name} {value:.3g}" for name, value in found["reference_point"].items())
        lines.append(f"hypervolume: {found['hypervolume']:.4g} from {point}")
    spent = " + ".join(f"{joules:.4g} J {quality}" for quality, joules in found["energy_joules_by_quality"].items())
    lines.append(f"energy spent: {spent or 'unknown'}")
    typer.echo("\n".join(lines))


def _why_nothing_runs(found: WorkersDocument) -> str | None:
    if not found.is_current:
        return "the service has no cluster at the moment; its log says why"
    if not any(worker.state == "active" for worker in found.workers):
        return "no worker is there that takes trials"
    return None
