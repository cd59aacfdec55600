"""Workers as jobs of a batch system, with a real scheduler, service and study; the batch system is one folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.client import Client
from service.schema import StudySpec
from service.workers import n_cores
from tests.fakes import batch
from tests.service.processes import GREENSHIFT, dask_scheduler, started, wait_until

QUICK = StudySpec.load(str(Path(__file__).parents[1] / "service" / "quick.yaml")).model_dump(
    mode="json", exclude_none=True
)


def n_of(folder: Path, state: str, environment: dict[str, str]) -> int:
    """Jobs in a state, now."""
    listing = ["squeue", "--name=greenshift", "--format=%i %T"]
    said = subprocess.run(listing, env=os.environ | environment, capture_output=True, text=True, check=True).stdout
    return said.count(state)


@contextmanager
def scaled(folder: Path, address: str, url: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`greenshift cluster slurm` for at most three jobs, of which two run at a time."""
    command = [*GREENSHIFT, "cluster", "slurm", "--scheduler", address, "--without-gpu", "--cores", str(n_cores())]
    command += ["--gpus", "3", "--every", "0.3", "--cool-down", "1", "--log-dir", str(folder), "--setup", "true"]
    with started(*command, log=folder / "cluster.log", GREENSHIFT_URL=url, **environment) as process:
        yield process


def job_of_one_busy(client: Client) -> str:
    """The job of a worker at a trial; asked until the roster, a moment old, shows one."""
    found: list[str] = []

    def is_one_busy() -> bool:
        found.extend(worker.name for worker in client.workers().workers if worker.n_running)
        return bool(found)

    wait_until(is_one_busy)
    return found[0].split("-")[1]


@pytest.mark.slow
def test_jobs_come_with_a_study_survive_preemption_and_go_after_it(tmp_path: Path) -> None:
    environment = batch.install(tmp_path)
    log = tmp_path / "serve.log"
    with dask_scheduler(tmp_path) as (_, address):
        serve = [*GREENSHIFT, "serve", "--port", "0", "--scheduler", address, "--out", str(tmp_path / "out")]
        with started(*serve, log=log, PYTHONUNBUFFERED="1"):
            wait_until(lambda: re.search(r"Serving at (\S+);", log.read_text()))
            url = re.findall(r"Serving at (\S+);", log.read_text())[0]
            with Client(url) as client, scaled(tmp_path, address, url, environment) as scaling:
                wait_until(lambda: client.workers().is_current)
                assert batch.jobs(tmp_path) == {}  # nothing to do holds no machine

                study = client.submit(QUICK, n_trials=20)
                wait_until(lambda: n_of(tmp_path, "RUNNING", environment) == 2)
                wait_until(lambda: any(study.epochs(t.trial_id) for t in study.trials()))
                job = job_of_one_busy(client)
                subprocess.run(["preempt", job], env=os.environ | environment, check=True)
                wait_until(lambda: batch.jobs(tmp_path)[job]["n_starts"] == 2)

                assert study.wait(timeout=240) == "COMPLETED"
                found = study.trials()
                assert [t.state for t in found] == ["COMPLETED"] * 20
                wait_until(lambda: n_of(tmp_path, "RUNNING", environment) == 0)
                wait_until(lambda: not client.workers().workers)
                assert n_of(tmp_path, "PENDING", environment) == 0

                scaling.send_signal(signal.SIGTERM)
                assert scaling.wait(timeout=120) == 0
