"""The health check of a worker's image, against real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.workers import n_cores
from tests.service.processes import GREENSHIFT, dask_scheduler, started, wait_until

HEALTH = Path(__file__).parents[2] / "deploy" / "health.py"


def is_well(pid: int) -> bool:
    return subprocess.run([sys.executable, str(HEALTH), str(pid)], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_not_well_though_its_command_lives(tmp_path: Path) -> None:
    command = [*GREENSHIFT, "worker", "--cores-per-worker", str(n_cores()), "--local-directory", str(tmp_path / "dask")]
    with dask_scheduler(tmp_path) as (_, address), started(*command, address, log=tmp_path / "worker.log") as process:
        wait_until(lambda: is_well(process.pid))
        (nanny,) = psutil.Process(process.pid).children()
        below = [child for child in nanny.children(recursive=True) if child.net_connections("inet")]
        for child in below:
            os.kill(child.pid, signal.SIGSTOP)
        assert not is_well(process.pid)
        for child in below:
            os.kill(child.pid, signal.SIGCONT)
        wait_until(lambda: is_well(process.pid))


def test_a_command_without_a_worker_is_not_well() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert not is_well(process.pid)
        process.kill()
