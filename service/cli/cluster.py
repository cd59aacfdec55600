"""The command `greenshift cluster`: workers as jobs of a batch system, as many as there is work for."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from service.access import Access
from service.batch import SYSTEMS, WARNING_SECONDS, Batch, JobRequest, SystemName
from service.carbon_series import intensity_of, read_series
from service.cli.options import Insecure, Tls
from service.cli.signals import INTERRUPTED, noted_signals
from service.client import Client
from service.errors import InputError
from service.scaler import Scaler
from service.scaling import Rules, WhenDirty
from service.settings import Settings


def cluster(
    system: Annotated[SystemName, typer.Argument(help="The batch system of this cluster.")],
    scheduler: Annotated[str, typer.Option(help="The Dask scheduler, as `greenshift serve` was given it.")],
    gpus: Annotated[int, typer.Option(min=1, help="Jobs at most; each holds one worker and one GPU.")] = 8,
    minimum: Annotated[int, typer.Option(min=0, help="Jobs at least, whatever there is to do.")] = 0,
    time: Annotated[str, typer.Option(help="How long a job may run, as HH:MM:SS.")] = "24:00:00",
    cores: Annotated[int, typer.Option(min=1, help="Cores of each job.")] = 4,
    memory_gb: Annotated[int, typer.Option(min=1, help="Memory of each job in GB.")] = 16,
    without_gpu: Annotated[bool, typer.Option("--without-gpu", help="Jobs of cores alone, on machines without.")] = (
        False
    ),
    queue: Annotated[str | None, typer.Option(help="Queue, or partition, that jobs wait in.")] = None,
    extra: Annotated[list[str] | None, typer.Option(help="A further option of the batch system, repeatable.")] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(help="A line of shell before the worker, repeatable; default this program's PATH."),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the jobs, and of no others of yours.")] = "greenshift",
    log_dir: Annotated[Path, typer.Option(help="Folder, seen by all machines, of what jobs print.")] = Path(),
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the data sets, as all machines see it; default GREENSHIFT_DATA_DIR.")
    ] = None,
    tls: Tls = None,
    insecure: Insecure = False,
    cool_down: Annotated[
        float, typer.Option(min=0, help="Seconds for which fewer must be wanted before a worker goes.")
    ] = 300.0,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 30.0,
    carbon_series: Annotated[
        Path | None, typer.Option(help="CSV of time and grams_per_kwh, recorded or still being written.")
    ] = None,
    carbon_limit: Annotated[
        float | None, typer.Option(min=0, help="gCO2eq/kWh above which no worker is added; needs --carbon-series.")
    ] = None,
    when_dirty: Annotated[
        WhenDirty, typer.Option(help="Above it, keep the workers that there are, or let all but the minimum finish.")
    ] = WhenDirty.HOLD,
    print_script: Annotated[bool, typer.Option("--print-script", help="Print the script of a job, and end.")] = False,
) -> None:
    """Begins and ends jobs of a batch system, as many as the studies of a service have work for, until Ctrl-C."""
    access = Access(scheduler, tls and tls.resolve(), insecure)
    request = JobRequest(
        name,
        access,
        _seconds(time),
        n_cores=cores,
        memory_gb=memory_gb,
        has_gpu=not without_gpu,
        queue=queue,
        log_dir=str(log_dir.resolve()),
        data_dir=str(data_dir.resolve()) if data_dir is not None else Settings.from_environment().data_dir,
        extra=tuple(extra or ()),
        setup=tuple(setup or [f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"]),
    )
    if print_script:
        typer.echo(SYSTEMS[system].script(request), nl=False)
        return
    access.files("worker")
    rules = Rules(gpus, minimum, cool_down, _limit(carbon_limit, carbon_series), when_dirty)
    intensity = (lambda: None) if carbon_series is None else intensity_of(carbon_series, partial(datetime.now, UTC))
    log_dir.mkdir(parents=True, exist_ok=True)
    with Client() as client:
        client.health()
        scaler = Scaler(
            Batch(system, request), client, name, rules, intensity=intensity, say=partial(typer.echo, err=True)
        )
        signals = noted_signals(scaler.stop)
        scaler.run(every)
    if signal.SIGINT in signals:
        raise typer.Exit(INTERRUPTED)


def _seconds(time: str) -> int:
    found = re.fullmatch(r"(\d{1,4}):([0-5]\d):([0-5]\d)", time)
    if found is None:
        raise InputError(f"time must be HH:MM:SS, got {time!r}")
    hours, minutes, seconds = map(int, found.groups())
    if (total := 3600 * hours + 60 * minutes + seconds) <= 2 * WARNING_SECONDS:
        raise InputError(f"time must be more than {2 * WARNING_SECONDS} s, got {time}")
    return total


def _limit(limit: float | None, series: Path | None) -> float | None:
    if (limit is None) != (series is None):
        raise InputError("carbon-limit and carbon-series: each needs the other")
    if series is not None:
        read_series(series)
    return limit
