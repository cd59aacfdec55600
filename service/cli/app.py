"""Commands of `greenshift`, and how errors become exit codes."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from service.cli.certs import certs
from service.cli.control import cancel_trial, pause, resume, retry, stop
from service.cli.live import LiveView, print_scores
from service.cli.logs import logs
from service.cli.options import Insecure, Scheduler, Tls, access_to, as_arguments
from service.cli.remote import AsJson, echo_json
from service.cli.serve import serve
from service.cli.studies import export, front, status, studies, submit
from service.cli.tokens import token
from service.cli.trial import trial
from service.cli.watch import watch
from service.cli.worker import worker
from service.cli.workers import workers
from service.errors import ServiceError
from service.report import write_files
from service.report.words import amount
from service.schema import StudySpec, StudyState, preset_names
from service.server import finalize_study, run_study
from worker.schema import TrialResult

INTERRUPTED = 130
app = typer.Typer(
    name="greenshift",
    help="Finds deep shift neural networks that are accurate and frugal at once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Keeps `run` a command of its own however many there are."""


@app.command()
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
) -> None:
    """Runs a study on this machine or a Dask cluster, and goes on with it where the folder holds it already."""
    spec = _adjusted(StudySpec.load(study), data_dir, n_trials, seed)
    folder = out or Path("runs") / spec.name
    access = access_to(scheduler, tls, insecure)
    with LiveView(spec) as view:
        finished = run_study(
            spec,
            folder,
            n_workers=workers,
            scheduler=access,
            download=download,
            on_start=_stop_on_signal,
            on_change=view.show,
        )
    write_files(folder, finished.study, finished.trials, finished.ledger)
    view.conclude(finished, folder)
    if finished.study.state is StudyState.STOPPED:
        again = ["greenshift", "run", str(folder / "study.yaml"), "--out", str(folder)]
        again += as_arguments(access)
        typer.echo(f"Stopped. Every finished trial is kept; go on with: {shlex.join(again)}", err=True)
        raise typer.Exit(INTERRUPTED)
    if finished.study.state is StudyState.FAILED:
        raise ServiceError(f"no trial of the search completed; {folder}/trials.csv says why")


@app.command()
def finalize(
    study: Annotated[Path, typer.Argument(help="The folder of a study that has run.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes on this machine.")] = None,
    scheduler: Scheduler = None,
    tls: Tls = None,
    insecure: Insecure = False,
) -> None:
    """Trains the front anew on training and validation data, three seeds each, and judges it once by the test split."""

    def tell(result: TrialResult, n_done: int, n_all: int) -> None:
        outcome = result.failure.kind if result.failure else amount(result.objectives["error"])
        typer.echo(f"[{n_done} of {n_all}] {result.trial_id}: test error {outcome}")

    access = access_to(scheduler, tls, insecure)
    scores, is_complete = finalize_study(
        study, n_workers=workers, scheduler=access, on_start=_stop_on_signal, on_result=tell
    )
    if not is_complete:
        typer.echo("Stopped. Every finished training is kept; the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED)
    print_scores(scores)
    typer.echo(f"Every training: {study / 'final.csv'}")
    if not any(score.errors for score in scores):
        raise ServiceError(f"no final training completed; {study}/final.csv says why")


@app.command()
def presets(as_json: AsJson = False) -> None:
    """Lists the studies that come with the program."""
    specs = {name: StudySpec.load(name) for name in preset_names()}
    if as_json:
        echo_json([{"name": n, "subject": s.subject, "objectives": dict(s.objectives)} for n, s in specs.items()])
        return
    for name, spec in specs.items():
        typer.echo(f"{name:24} {spec.subject}: {', '.join(spec.objectives)}")


_COMMANDS: tuple[Callable[..., None], ...] = (
    trial, worker, certs, serve, submit, studies, status, watch, front, export, pause, resume, stop, retry,
    cancel_trial, logs, workers,
)  # fmt: skip
for command in _COMMANDS:
    app.command()(command)
app.add_typer(token, name="token")


def main() -> NoReturn:
    """Runs the command line; errors of the service end as one message and their exit code."""
    # Dask tells of every connection that ends; what matters of that becomes an error of ours.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        app()
    except ServiceError as error:
        for line in str(error).splitlines()[:4]:
            print(f"error: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    sys.exit(0)


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


def _stop_on_signal(stop: Callable[[], None]) -> None:
    """The first Ctrl-C or SIGTERM ends the study cleanly; a second one ends the program at once."""

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
