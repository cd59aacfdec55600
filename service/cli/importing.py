"""The command `greenshift import`: a study that begins with what another optimizer found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.new_file import taken, write_new
from service.errors import InputError
from service.extras import require_torch
from service.schema import StudySpec
from service.study_run import as_yaml, document_of
from service.tasks import completed
from worker.entry import describe_task, inspect_task
from worker.errors import ConfigurationError
from worker.schema import AnyFacts, TaskDescription


def import_(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A run folder of SMAC3, or of Optuna an SQLite file or a URL.")
    ],
    study: Annotated[str, typer.Option(help="The study that is to begin with it: a YAML file, or a preset's name.")],
    out: Annotated[Path, typer.Option(help="The file of the new study.")],
    name: Annotated[str | None, typer.Option(help="Of the study of Optuna, where there are several.")] = None,
    most: Annotated[
        int, typer.Option(min=1, help="How many configs: the front, all of it, and what comes next up to so many.")
    ] = 10,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data sets; default GREENSHIFT_DATA_DIR.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Writes a study whose first configs are the best of another optimizer, parameters mapped by their names."""
    if out.exists() and not force:
        raise taken(out)
    spec, n_layers = _known(StudySpec.load(study), data_dir)
    from service.exchange.begin import beginning

    found = beginning(source, spec, n_layers, name=name, most=most)
    document = document_of(spec, brief=True)
    document["initial_configs"] = [*spec.initial_configs, *found.configs]
    StudySpec.load(document)
    said = f"{len(found.configs)} of {found.n_found} configs of {found.origin}"
    text = f"# Begins with {' '.join(said.split())}.\n{as_yaml(document)}"
    write_new(out, text.encode(), force=force)
    typer.echo(f"{said}: {out}")
    for line in found.left_out:
        typer.echo(line, err=True)


def _known(spec: StudySpec, data_dir: Path | None) -> tuple[StudySpec, int]:
    """The study, completed by its task if it is of one, and the layers of its network."""
    require_torch("study: to know its network")
    place = spec.data_dir if data_dir is None else str(data_dir)
    try:
        facts: AnyFacts = (
            describe_task(spec.task)
            if spec.task is not None
            else inspect_task(str(spec.dataset), str(spec.network), place)
        )
    except ConfigurationError as error:
        raise InputError(f"study: {error}") from error
    if isinstance(facts, TaskDescription):
        return completed(spec, facts), 0
    return spec, facts.n_layers
