"""`greenshift trial`: one trial in the foreground, as a worker would run it."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from service.errors import InputError, ServiceError
from service.faults import describe
from service.workers import THREAD_DEFAULTS
from worker.entry import run_trial
from worker.schema import AnyTrialSpec, EpochMetrics, FailureKind, TaskTrialSpec, TrialSpec

_INTERRUPTED = 130


def trial(
    spec: Annotated[Path, typer.Argument(help="A JSON file: what a worker is given, a TrialSpec or a TaskTrialSpec.")],
    isolated: Annotated[
        bool, typer.Option("--isolated/--in-process", help="In a process of its own, as on a worker, or in this one.")
    ] = True,
) -> None:
    """Runs one trial in the foreground and prints its result as JSON."""
    loaded = load_spec(spec)
    # As on a worker, before the process of the trial loads what has threads.
    for variable, value in THREAD_DEFAULTS.items():
        os.environ.setdefault(variable, value)
    stop = threading.Event()
    _set_on_signal(stop)

    def tell(metrics: EpochMetrics) -> None:
        said = f"step {metrics.epoch}: loss {metrics.training_loss:.4g}"
        if isinstance(loaded, TrialSpec):
            index, epoch = divmod(metrics.epoch - 1, loaded.epochs)
            seed = f"seed {loaded.seed + index}, " if loaded.n_seeds > 1 else ""
            said = f"{seed}epoch {epoch + 1} of {loaded.epochs}: training loss {metrics.training_loss:.4g}"
        typer.echo(f"{said}, {metrics.seconds:.1f} s", err=True)

    result = run_trial(loaded, on_epoch=tell, should_stop=stop.is_set, isolated=isolated)
    typer.echo(result.model_dump_json(indent=2))
    if result.failure is None:
        return
    if result.failure.kind is FailureKind.CONFIGURATION:
        raise InputError(result.failure.message)
    if result.failure.kind is FailureKind.CANCELLED and stop.is_set():
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(_INTERRUPTED)
    raise ServiceError(f"the trial failed: {result.failure.kind}: {result.failure.message}")


def load_spec(path: Path) -> AnyTrialSpec:
    """The trial that a JSON file describes, of a task where it names one.

    Raises:
        InputError: no such file, no JSON, or no trial; one line with the key, the value and what is allowed.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"spec: {path} cannot be read: {why}") from error
    kind = _kind(text, path)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise InputError(describe(error.errors(), kind)) from error


def _kind(text: str, path: Path) -> type[TrialSpec] | type[TaskTrialSpec]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"spec: {path} is no JSON: {error}") from error
    return TaskTrialSpec if isinstance(document, dict) and "task" in document else TrialSpec


def _set_on_signal(stop: threading.Event) -> None:
    """The first Ctrl-C or SIGTERM stops the trial; a second one ends the program at once."""

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.default_int_handler)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
