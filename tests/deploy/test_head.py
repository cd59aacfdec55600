"""The job that holds scheduler, service and scaling: it lets in who has its token, and ends with any of its parts."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from tests.fakes import batch
from tests.service.processes import GREENSHIFT, descendants, have_ended, started, wait_until

HEAD = Path(__file__).parents[2] / "deploy" / "slurm" / "head.sbatch"


@contextmanager
def head(folder: Path, *studies: str) -> Iterator[subprocess.Popen[bytes]]:
    """The job, in a folder of its own, with commands of this checkout."""
    environment = batch.install(folder)
    for name, command in (("dask", f"{sys.executable} -m dask"), ("python", sys.executable)):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "bin" / "activate").touch()
    subprocess.run([*GREENSHIFT, "certs", str(folder / "tls")], check=True, capture_output=True)
    others = {"GREENSHIFT_HOME": str(folder), "SLURM_JOB_ID": "7", "PYTHONUNBUFFERED": "1"}
    with started("bash", str(HEAD), *studies, log=folder / "job.log", **environment, **others) as process:
        yield process


def variables(folder: Path) -> dict[str, str]:
    words = shlex.split((folder / "head.env").read_text())
    return dict(word.split("=", 1) for word in words[1:])


def test_the_job_is_never_run_a_second_time_by_itself() -> None:
    directives = re.findall(r"^#SBATCH (\S+)", HEAD.read_text(), re.MULTILINE)
    assert "--no-requeue" in directives
    assert not re.search(r"\b(8765|8786)\b", HEAD.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["scheduler", None])
def test_the_job_has_a_token_and_ends_with_its_parts(tmp_path: Path, part: str | None) -> None:
    log = tmp_path / "job.log"
    with head(tmp_path) as job:
        wait_until(lambda: "serving at" in log.read_text() or job.poll() is not None)
        assert (tmp_path / "head.env").stat().st_mode & 0o777 == 0o600
        found = variables(tmp_path)
        assert f"serving at {found['GREENSHIFT_URL']}" in log.read_text()
        assert found["GREENSHIFT_TOKEN"] not in log.read_text()
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{found['GREENSHIFT_URL']}/api/v1/studies", timeout=60)
        asked = [*GREENSHIFT, "studies", "--json"]
        assert subprocess.run(asked, env=os.environ | found, check=True, capture_output=True).stdout.strip() == b"[]"

        everybody = descendants(job.pid)
        if part is None:
            job.send_signal(signal.SIGTERM)
        else:
            (pid,) = (pid for pid in everybody if part in psutil.Process(pid).cmdline())
            os.kill(pid, signal.SIGKILL)
        assert job.wait(timeout=120) == (0 if part is None else 137)
    said = [line for line in log.read_text().splitlines() if re.match("greenshift-head: .* ended", line)]
    assert said == ([] if part is None else [f"greenshift-head: {part} ended with code 137"])
    assert have_ended(everybody)
    assert not (tmp_path / "head.env").exists()


@pytest.mark.slow
def test_a_study_that_is_refused_does_not_end_the_job(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    with head(tmp_path, "nowhere", "neither") as job:
        wait_until(lambda: "neither was not" in log.read_text() or job.poll() is not None)
        assert job.poll() is None
        said = re.findall("^greenshift-head: (.* submitted)$", log.read_text(), re.MULTILINE)
        assert said == ["nowhere was not submitted", "neither was not submitted"]
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=120) == 0
