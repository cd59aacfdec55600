"""Batch systems of clusters: the script of a job that holds one worker, and how jobs are begun, listed and ended.

dask-jobqueue is not used: its workers are Dask's own, not pinned to a GPU by its UUID and not started again; its
scheduler ends with the process that submits; and it has had no release since August 2024.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from getpass import getuser
from xml.etree import ElementTree

from service.access import Access
from service.errors import InputError, ServiceError

_TIMEOUT_SECONDS = 60
# One GPU that nobody computes on and no other job of any user has chosen: whoever may read a file may lock it. The lock
# lasts as long as the worker that the shell becomes.
_CHOOSE_GPU = """\
if [ -z "${CUDA_VISIBLE_DEVICES+set}" ]; then
    for gpu in $(nvidia-smi --query-gpu=uuid --format=csv,noheader); do
        [ -z "$(nvidia-smi --id="$gpu" --query-compute-apps=pid --format=csv,noheader)" ] || continue
        lock="/tmp/greenshift-$gpu.lock"
        (umask 222; set -o noclobber; : >"$lock") 2>/dev/null || true
        if exec 9<"$lock" && flock --nonblock 9; then export CUDA_VISIBLE_DEVICES=$gpu; break; fi
    done
    [ -n "${CUDA_VISIBLE_DEVICES+set}" ] || { echo "no GPU of $(hostname) is free" >&2; exit 1; }
fi"""
# Before the end of a job's time, for its worker to give back its trial.
WARNING_SECONDS = 60


class SystemName(StrEnum):
    """The batch systems that are known."""

    SLURM = "slurm"
    PBS = "pbs"
    LSF = "lsf"
    SGE = "sge"


@dataclass(frozen=True)
class JobRequest:
    """What a job asks for: one worker, on one GPU or on cores alone.

    Attributes:
        name: of all jobs of a cluster, and by which they are found again; letters, digits, `.`, `_` and `-`.
        access: the scheduler of its worker.
        seconds: that it may run.
        n_cores: 1 or more.
        memory_gb: 1 or more.
        has_gpu: it gets a GPU.
        queue: that it waits in, a partition for SLURM; None is the system's default.
        log_dir: folder, seen by all machines, of what jobs print; no blank and no sign that a shell or a batch system
            would read as more than itself.
        data_dir: folder of the data sets, as all machines see it; None leaves that to the machines.
        extra: options of the batch system, such as `--account=physics`.
        setup: lines of shell that make the command `greenshift` known.
    """

    name: str
    access: Access
    seconds: int
    n_cores: int = 4
    memory_gb: int = 16
    has_gpu: bool = True
    queue: str | None = None
    log_dir: str = "."
    data_dir: str | None = None
    extra: Sequence[str] = ()
    setup: Sequence[str] = ()

    def __post_init__(self) -> None:
        # Jobs and workers are told apart by it.
        if not re.fullmatch(r"[A-Za-z][\w.-]{0,14}", self.name):
            raise InputError(f"name must be 1..15 letters, digits, '.', '_' or '-', a letter first, got {self.name!r}")
        for key, values in (("extra", self.extra), ("setup", self.setup), ("queue", [self.queue or ""])):
            if any("\n" in value for value in values):
                raise InputError(f"{key} must be one line each")
        # Directives are read by many programs, each with rules of its own for what is quoted.
        if not re.fullmatch(r"[\w./+@-]+", self.log_dir):
            raise InputError(f"log_dir must be letters, digits and any of './_+@-', got {self.log_dir!r}")

    @property
    def clock(self) -> str:
        """The time it may run as `HH:MM:SS`."""
        minutes, seconds = divmod(self.seconds, 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


@dataclass(frozen=True)
class BatchSystem:
    """One batch system.

    Attributes:
        job_id: shell for the job's number within the job.
        directive: that lines of options begin with.
        options: of a job.
        submit: a command that reads the script and says the job's number.
        number: where in its answer that is, as a pattern with one group.
        lists: a command for each answer of jobs; `{name}` and `{user}` stand for those.
        read: jobs by number and whether they wait, from those answers and the jobs' name.
        cancel: a command, to which a number is added.
        none: what a listing that fails says where there simply is no job, as a pattern; empty where none fails so.
        starter: a command that starts the worker; `{seconds}` stands for how long it may run.
        shows_all_gpus: jobs may see each other's GPUs, so that each must choose one.
    """

    job_id: str
    directive: str
    options: Callable[[JobRequest], list[str]]
    submit: tuple[str, ...]
    number: str
    lists: tuple[tuple[str, ...], ...]
    read: Callable[[list[str], str], dict[str, bool]]
    cancel: tuple[str, ...]
    none: str = ""
    starter: str = ""
    shows_all_gpus: bool = False

    def script(self, request: JobRequest) -> str:
        """A job: its shell becomes `greenshift worker`, so that signals reach that."""
        access = request.access
        options = ["--insecure"] if access.insecure else []
        if access.tls is not None:
            options = ["--tls", str(access.tls)]
        if not request.has_gpu:
            options += ["--cores-per-worker", str(request.n_cores)]
        starter = self.starter.format(seconds=max(1, request.seconds - WARNING_SECONDS))
        return "\n".join(
            [
                "#!/bin/bash",
                *(f"{self.directive} {option}" for option in [*self.options(request), *request.extra]),
                *([f"export GREENSHIFT_DATA_DIR={shlex.quote(request.data_dir)}"] if request.data_dir else []),
                *(() if request.has_gpu else ["export CUDA_VISIBLE_DEVICES="]),
                *request.setup,
                *([_CHOOSE_GPU] if request.has_gpu and self.shows_all_gpus else []),
                f'name="{request.name}-{self.job_id}"',
                f"exec {starter}greenshift worker {shlex.join([access.address, *options])}"
                ' --name "$name" --local-directory "${TMPDIR:-/tmp}/$name"',
                "",
            ]
        )


def worker_names(request_name: str, job_id: str) -> str:
    """What names of the workers of a job begin with."""
    return f"{request_name}-{job_id}-"


class Batch:
    """The jobs of one cluster.

    Args:
        system: the batch system.
        request: what each job asks for.

    All methods may raise:
        ServiceError: the batch system does not answer, or says no.
    """

    def __init__(self, system: SystemName, request: JobRequest) -> None:
        self._system, self.request = SYSTEMS[system], request

    def submit(self) -> str:
        """Begins a job; returns its number."""
        said = _run(self._system.submit, self._system.script(self.request))
        found = re.search(self._system.number, said)
        if found is None:
            raise ServiceError(f"{self._system.submit[0]} said no number of a job: {said.strip()!r}")
        return found[1]

    def jobs(self) -> dict[str, bool]:
        """Jobs that have not ended, by number, and whether they wait for a machine."""
        places = {"name": self.request.name, "user": getuser()}
        commands = [[part.format(**places) for part in command] for command in self._system.lists]
        answers = [_run(command, none=self._system.none) for command in commands]
        return self._system.read(answers, self.request.name)

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Ends jobs; one that has ended meanwhile is no error."""
        for job_id in job_ids:
            try:
                _run([*self._system.cancel, job_id])
            except ServiceError:
                if job_id in self.jobs():
                    raise


def _run(command: Sequence[str], given: str = "", none: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise InputError(f"{command[0]} is not here; this must run where jobs can be submitted") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{command[0]} has not answered within {_TIMEOUT_SECONDS} s") from error
    if done.returncode and none and re.search(none, done.stderr):
        return ""
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"it ended with code {done.returncode}"
        raise ServiceError(f"{shlex.join(command)}: {said}")
    return done.stdout


def _slurm(request: JobRequest) -> list[str]:
    return [
        f"--job-name={request.name}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={request.n_cores}",
        f"--mem={request.memory_gb}G",
        *(["--gres=gpu:1"] if request.has_gpu else []),
        f"--time={request.clock}",
        *([f"--partition={request.queue}"] if request.queue else []),
        # A job that was preempted waits again under its number, and its log goes on.
        "--requeue",
        "--open-mode=append",
        f"--signal=B:TERM@{WARNING_SECONDS}",
        f"--output={request.log_dir}/%x-%j.log",
    ]


def _pbs(request: JobRequest) -> list[str]:
    gpu = ":ngpus=1" if request.has_gpu else ""
    return [
        f"-N {request.name}",
        f"-l select=1:ncpus={request.n_cores}{gpu}:mem={request.memory_gb}gb",
        f"-l walltime={request.clock}",
        *([f"-q {request.queue}"] if request.queue else []),
        "-r y",
        "-j oe",
        f"-o {request.log_dir}/",
    ]


def _lsf(request: JobRequest) -> list[str]:
    return [
        f"-J {request.name}",
        f'-n {request.n_cores} -R "span[hosts=1] rusage[mem={request.memory_gb}GB]"',
        *(['-gpu "num=1:mode=shared"'] if request.has_gpu else []),
        f"-W {request.clock[:-3]}",
        *([f"-q {request.queue}"] if request.queue else []),
        "-r",
        f"-wa TERM -wt {WARNING_SECONDS // 60}",
        f"-o {request.log_dir}/%J.log",
    ]


def _sge(request: JobRequest) -> list[str]:
    return [
        f"-N {request.name}",
        "-S /bin/bash",
        f"-pe smp {request.n_cores}",
        f"-l h_rt={request.clock},mem_free={request.memory_gb}G",
        *(["-l gpu=1"] if request.has_gpu else []),
        *([f"-q {request.queue}"] if request.queue else []),
        "-r y",
        "-j y",
        f"-o {request.log_dir}/",
    ]


def _read_slurm(answers: list[str], _name: str) -> dict[str, bool]:
    return {job_id: state == "PENDING" for job_id, state in _pairs(answers[0]) if state != "COMPLETING"}


def _read_pbs(answers: list[str], _name: str) -> dict[str, bool]:
    waiting, running = ({line.partition(".")[0] for line in answer.split()} for answer in answers)
    return dict.fromkeys(sorted(waiting), True) | dict.fromkeys(sorted(running), False)


def _read_lsf(answers: list[str], _name: str) -> dict[str, bool]:
    return {job_id: state == "PEND" for job_id, state in _pairs(answers[0]) if state not in ("DONE", "EXIT")}


def _read_sge(answers: list[str], name: str) -> dict[str, bool]:
    jobs = ElementTree.fromstring(answers[0]).iter("job_list")
    return {
        str(job.findtext("JB_job_number")): "q" in str(job.findtext("state"))
        for job in jobs
        if job.findtext("JB_name") == name
    }


def _pairs(answer: str) -> list[list[str]]:
    return [words[:2] for line in answer.splitlines() if len(words := line.split()) > 1]


SYSTEMS = {
    SystemName.SLURM: BatchSystem(
        job_id="$SLURM_JOB_ID",
        directive="#SBATCH",
        options=_slurm,
        submit=("sbatch", "--parsable"),
        number=r"^(\d+)",
        lists=(("squeue", "--user={user}", "--name={name}", "--noheader", "--format=%i %T"),),
        read=_read_slurm,
        cancel=("scancel",),
    ),
    SystemName.PBS: BatchSystem(
        job_id="${PBS_JOBID%%.*}",
        directive="#PBS",
        options=_pbs,
        submit=("qsub",),
        number=r"^(\d+)",
        lists=(
            ("qselect", "-u", "{user}", "-N", "{name}", "-s", "QHW"),
            ("qselect", "-u", "{user}", "-N", "{name}", "-s", "RST"),
        ),
        read=_read_pbs,
        cancel=("qdel",),
        shows_all_gpus=True,
    ),
    SystemName.LSF: BatchSystem(
        job_id="$LSB_JOBID",
        directive="#BSUB",
        options=_lsf,
        submit=("bsub",),
        number=r"Job <(\d+)>",
        lists=(("bjobs", "-u", "{user}", "-J", "{name}", "-noheader", "-o", "jobid stat"),),
        read=_read_lsf,
        none=r"No (unfinished )?job found|is not found",
        cancel=("bkill",),
    ),
    SystemName.SGE: BatchSystem(
        job_id="$JOB_ID",
        directive="#$",
        options=_sge,
        submit=("qsub", "-terse"),
        number=r"^(\d+)",
        lists=(("qstat", "-u", "{user}", "-xml"),),
        read=_read_sge,
        cancel=("qdel",),
        # It warns by signals that nobody hears, and then kills.
        starter="timeout --signal=TERM {seconds} ",
        shows_all_gpus=True,
    ),
}
