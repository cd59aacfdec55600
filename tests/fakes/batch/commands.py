"""A batch system of one folder: commands of SLURM, PBS, SGE and LSF, whose jobs are processes of this machine.

The folder is FAKE_BATCH; FAKE_BATCH_NODES jobs run at a time (2), and the others wait. `preempt` does what SLURM does
with PreemptMode=REQUEUE. Of the options that the commands have, those that greenshift uses.
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

FOLDER = Path(os.environ["FAKE_BATCH"])
N_NODES = int(os.environ.get("FAKE_BATCH_NODES", "2"))
# SLURM's KillWait.
KILL_SECONDS = 30.0
# By which jobs of SGE and LSF know their number.
IDS = ("JOB_ID", "LSB_JOBID")


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
                env=os.environ | {"SLURM_JOB_ID": job_id, "PBS_JOBID": f"{job_id}.server"} | dict.fromkeys(IDS, job_id),
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


def _submit(option: str) -> str:
    """Takes the job on standard input, whose name is behind an option; its number."""
    script = sys.stdin.read()
    name = re.search(rf"^{re.escape(option)}(\S+)$", script, re.MULTILINE)
    assert name is not None, "a job without a name"
    with jobs() as found:
        job_id = str(1000 + len(found))
        (FOLDER / f"{job_id}.sh").write_text(script)
        found[job_id] = {"name": name[1], "state": "PENDING", "n_starts": 0}
    return job_id


def _listed(states: dict[str, str], name: str | None = None) -> list[tuple[str, str, str]]:
    """Number, name and state of the jobs of these states, as their batch system calls those."""
    with jobs() as found:
        listed = [(job_id, str(job["name"]), states.get(job["state"])) for job_id, job in found.items()]
    return [(job_id, called, state) for job_id, called, state in listed if state and name in (None, called)]


def sbatch(_arguments: list[str]) -> None:
    sys.stdout.write(f"{_submit('#SBATCH --job-name=')}\n")


def squeue(arguments: list[str]) -> None:
    name = next(argument.partition("=")[2] for argument in arguments if argument.startswith("--name="))
    assert "--format=%i %T" in arguments
    states = {state: state for state in ("PENDING", "RUNNING", "COMPLETING")}
    sys.stdout.writelines(f"{job_id} {state}\n" for job_id, _, state in _listed(states, name))


def cancel(arguments: list[str]) -> None:
    """Ends jobs; those that have ended are unknown."""
    with jobs() as found:
        for job_id in arguments:
            if job_id not in found or found[job_id]["state"] in ("CANCELLED", "COMPLETED"):
                sys.exit(f"error: unknown job {job_id}")
            _end(found[job_id])


def qsub(arguments: list[str]) -> None:
    """SGE's where it is asked to be terse, else PBS'."""
    sys.stdout.write(f"{_submit('#$ -N ')}\n" if "-terse" in arguments else f"{_submit('#PBS -N ')}.server\n")


def qselect(arguments: list[str]) -> None:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    states = {"PENDING": "Q", "RUNNING": "R", "COMPLETING": "E"}
    for job_id, _, state in _listed(states, options["-N"]):
        if state in options["-s"]:
            sys.stdout.write(f"{job_id}.server\n")


def qstat(arguments: list[str]) -> None:
    assert arguments[-1] == "-xml"
    parts: dict[bool, list[str]] = {True: [], False: []}
    for job_id, name, state in _listed({"PENDING": "qw", "RUNNING": "r", "COMPLETING": "dr"}):
        fields = {"JB_job_number": job_id, "JB_name": name, "state": state}
        job = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
        parts[state == "qw"].append(f"<job_list>{job}</job_list>")
    waiting, running = ("".join(parts[key]) for key in (True, False))
    sys.stdout.write(f"<job_info><queue_info>{running}</queue_info><job_info>{waiting}</job_info></job_info>\n")


def bsub(_arguments: list[str]) -> None:
    sys.stdout.write(f"Job <{_submit('#BSUB -J ')}> is submitted to default queue <normal>.\n")


def bjobs(arguments: list[str]) -> None:
    name = arguments[arguments.index("-J") + 1]
    assert arguments[-3:] == ["-noheader", "-o", "jobid stat"]
    found = _listed({"PENDING": "PEND", "RUNNING": "RUN", "COMPLETING": "RUN"}, name)
    if not found:
        sys.exit(f"Job <{name}> is not found")
    sys.stdout.writelines(f"{job_id} {state}\n" for job_id, _, state in found)


def preempt(arguments: list[str]) -> None:
    with jobs() as found:
        for job_id in arguments:
            found[job_id]["requeue"] = True
            _end(found[job_id])


if __name__ == "__main__":
    command = Path(sys.argv[0]).name
    ends = dict.fromkeys(("scancel", "qdel", "bkill"), cancel)
    begins = {"sbatch": sbatch, "qsub": qsub, "bsub": bsub}
    lists = {"squeue": squeue, "qselect": qselect, "qstat": qstat, "bjobs": bjobs}
    (begins | lists | ends | {"preempt": preempt})[command](sys.argv[1:])
