"""Commands about studies of a service: submit them, see them, take their results away."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from service.cli.live import front_table
from service.cli.remote import AsJson, StudyName, echo_json, ledger_of, print_table, run_of, study_of
from service.cli.watch import follow, outcome
from service.client import Client
from service.errors import InputError
from service.report import write_files
from service.report.tables import columns, hyperparameters_of, row
from service.server import StudyRun, write_spec


class ExportFormat(StrEnum):
    """What a study can be exported to."""

    CSV = "csv"


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
            outcome(handle, follow(handle, Console(stderr=True)), quiet=as_json)
        elif not as_json:
            typer.echo(f"Submitted {handle.name}; watch it with: greenshift watch {handle.study_id}", err=True)


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
    console.print(f"{handle.name} ({found['study_id']}): {found['state']}")
    console.print("trials: " + ", ".join(f"{n} {state}" for state, n in found["n_trials"].items()))
    if found["hypervolume"] is not None:
        point = ", ".join(f"{name} {value:.3g}" for name, value in found["reference_point"].items())
        console.print(f"hypervolume: {found['hypervolume']:.4g} from {point}")
    joules = found["energy_joules"]
    console.print(f"energy spent: {'unknown' if joules is None else f'{joules:.4g} J'}")


def front(
    study: StudyName,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, like front.csv of `greenshift run`.")] = False,
) -> None:
    """Shows the networks that no other dominates."""
    if as_json and as_csv:
        raise InputError("json: not allowed with --csv; choose one")
    with study_of(study) as handle:
        if as_json:
            echo_json([trial.model_dump(mode="json") for trial in handle.front()])
            return
        run = run_of(handle)
    if as_csv:
        _print_csv(run)
    else:
        print_table(front_table(run, None))


def export(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="Folder of the files.")],
    to: Annotated[ExportFormat, typer.Option(help="What files: csv is what `greenshift run` leaves.")],
) -> None:
    """Writes the tables, the picture and the report of a study into a folder."""
    with study_of(study) as handle:
        run, ledger = run_of(handle), ledger_of(handle)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_files(out, run.study, run.trials, ledger)
        write_spec(run.study.spec, out)
    except OSError as error:
        raise InputError(f"out: {out} is no folder that can be written: {error.strerror}") from error
    typer.echo(f"{len(run.trials)} trials, {len(run.front)} on the front: {out}")


def _print_csv(run: StudyRun) -> None:
    """The same columns as front.csv: also hyperparameters that only trials beyond the front have."""
    spec, names = run.study.spec, hyperparameters_of(run.trials)
    writer = csv.DictWriter(sys.stdout, columns(spec, names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(spec, trial, names) for trial in run.front)
