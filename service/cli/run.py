"""The command `greenshift run`: a study in a folder of its own, here or on a Dask cluster."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from service.access import Access
from service.cli.live import LiveView
from service.cli.options import Insecure, Scheduler, Tls, access_to, as_arguments
from service.cli.results import write_results
from service.cli.signals import INTERRUPTED, stop_on_signal
from service.errors import ServiceError
from service.schema import Study, StudySpec, StudyState
from service.server import run_study
from service.showing import showing


def run(
    study: Annotated[str, typer.Argument(help="A YAML file, or a preset's name.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes on this machine; default one per GPU, else per core.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default runs/NAME.")] = None,
    scheduler: Scheduler = None,
    tls: Tls = None,
    insecure: Insecure = False,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data sets; default GREENSHIFT_DATA_DIR.")] = None,
    n_trials: Annotated[int | None, typer.Option(min=1, help="Another number of trials than the study says.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed.")] = None,
    download: Annotated[bool, typer.Option(help="Fetch a missing data set (CIFAR-10).")] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show the study in the browser, at an address of this machine alone.")
    ] = False,
) -> None:
    """Runs a study on this machine or a Dask cluster, and goes on with it where the folder holds it already."""
    spec = _adjusted(StudySpec.load(study), data_dir, n_trials, seed)
    folder = out or Path("runs") / spec.name
    access = access_to(scheduler, tls, insecure)
    opened: list[Study] = []
    # The pages are there until the report is written, so that they show how it ended.
    with ExitStack() as pages:

        def begin(study: Study) -> None:
            opened.append(study)
            if dashboard:
                url = pages.enter_context(showing(folder / "study.sqlite", folder / "report.html"))
                view.say(f"Dashboard, while this runs: {url}/studies/{study.study_id}")
            if study.state is not StudyState.COMPLETED:
                view.waits("starting workers ..." if access is None else f"asking the workers of {access.address} ...")

        try:
            with LiveView(spec) as view:
                finished = run_study(
                    spec,
                    folder,
                    n_workers=workers,
                    scheduler=access,
                    download=download,
                    on_open=begin,
                    on_start=stop_on_signal,
                    on_change=view.show,
                )
        except KeyboardInterrupt:
            # One that came before anything could be stopped, or a second one.
            if opened and (folder / "study.sqlite").is_file():
                _end_stopped(folder, workers, access)
            raise
        write_results(folder, finished)
        view.conclude(finished, folder)
    if finished.study.state is StudyState.STOPPED:
        _end_stopped(folder, workers, access)
    if finished.study.state is StudyState.FAILED:
        raise ServiceError(f"no trial of the search completed; {folder}/trials.csv says why")


def _end_stopped(folder: Path, n_workers: int | None, access: Access | None) -> NoReturn:
    again = ["greenshift", "run", str(folder / "study.yaml"), "--out", str(folder)]
    again += [] if n_workers is None else ["--workers", str(n_workers)]
    again += as_arguments(access)
    typer.echo(f"Stopped. Every finished trial is kept; go on with: {shlex.join(again)}", err=True)
    raise typer.Exit(INTERRUPTED)


def _adjusted(spec: StudySpec, data_dir: Path | None, n_trials: int | None, seed: int | None) -> StudySpec:
    """The study with the options of the command line on top."""
    study = spec.model_dump(mode="json")
    if data_dir is not None:
        study["data_dir"] = str(data_dir.resolve())
    if n_trials is not None:
        study["budget"]["n_trials"] = n_trials
    if seed is not None:
        study["seed"] = seed
    return StudySpec.load(study)
