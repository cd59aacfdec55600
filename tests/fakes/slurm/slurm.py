"""A batch system of one folder: `sbatch`, `squeue` and `scancel` of Slurm, whose jobs are processes of this machine.

The folder is FAKE_SLURM; FAKE_SLURM_NODES jobs run at a time (2), and the others wait. `preempt` does what Slurm does
with PreemptMode=REQUEUE. Of the options that squeue has, those that greenshift uses.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FAKE_SLURM"])
N_NODES = int(os.environ.get("FAKE_SLURM_NODES", "2"))
# Slurm's KillWait.
KILL_SECONDS = 30.0


@contextmanager
def jobs() -> Iterator[dict[str, dict[str, Any]]]:
    """All jobs by number, brought up to date, for this process alone."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = FOLDER / "jobs.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        _notice_ends(found)
        yield found
        _start(found)
        written = FOLDER / "jobs.new"
        written.write_text(json.dumps(found))
        written.replace(path)


def _notice_ends(found: dict[str, dict[str, Any]]) -> None:
    for job in found.values():
        if job["state"] in ("RUNNING", "COMPLETING"):
            if not _lives(job["pid"]):
                job["state"] = "PENDING" if job.pop("requeue", False) else "COMPLETED"
            elif job["state"] == "COMPLETING" and time.time() > job["killed_at"] + KILL_SECONDS:
                with suppress(ProcessLookupError):
                    os.killpg(job["pid"], signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _start(found: dict[str, dict[str, Any]]) -> None:
    n_free = N_NODES - sum(job["state"] in ("RUNNING", "COMPLETING") for job in found.values())
    waiting = [(job_id, job) for job_id, job in found.items() if job["state"] == "PENDING"]
    for job_id, job in waiting[: max(0, n_free)]:
        with (FOLDER / f"{job_id}.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", str(FOLDER / f"{job_id}.sh")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"SLURM_JOB_ID": job_id},
                start_new_session=True,
            )
        job.update(state="RUNNING", pid=process.pid, n_starts=job["n_starts"] + 1)


def _end(job: dict[str, Any]) -> None:
    if job["state"] == "PENDING":
        job["state"] = "CANCELLED"
    elif job["state"] == "RUNNING":
        job.update(state="COMPLETING", killed_at=time.time())
        with suppress(ProcessLookupError):
            os.kill(job["pid"], signal.SIGTERM)


def sbatch(_arguments: list[str]) -> None:
    script = sys.stdin.read()
    name = re.search(r"^#SBATCH --job-name=(\S+)$", script, re.MULTILINE)
    assert name is not None, "a job without a name"
    with jobs() as found:
        job_id = str(1000 + len(found))
        (FOLDER / f"{job_id}.sh").write_text(script)
        found[job_id] = {"name": name[1], "state": "PENDING", "n_starts": 0}
    sys.stdout.write(f"{job_id}\n")


def squeue(arguments: list[str]) -> None:
    name = next(argument.partition("=")[2] for argument in arguments if argument.startswith("--name="))
    assert "--format=%i %T" in arguments
    with jobs() as found:
        listed = dict(found)
    for job_id, job in listed.items():
        if job["name"] == name and job["state"] in ("PENDING", "RUNNING", "COMPLETING"):
            sys.stdout.write(f"{job_id} {job['state']}\n")


def scancel(arguments: list[str]) -> None:
    with jobs() as found:
        for job_id in arguments:
            if job_id not in found:
                sys.exit("scancel: error: Invalid job id specified")
            _end(found[job_id])


def preempt(arguments: list[str]) -> None:
    with jobs() as found:
        for job_id in arguments:
            found[job_id]["requeue"] = True
            _end(found[job_id])


if __name__ == "__main__":
    command = Path(sys.argv[0]).name
    {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "preempt": preempt}[command](sys.argv[1:])
