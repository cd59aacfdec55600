from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.access import Access
from service.batch import SYSTEMS, Batch, JobRequest, SystemName
from service.errors import InputError, ServiceError
from tests.fakes import batch as batch_systems
from tests.service.processes import wait_until

REQUEST = JobRequest("gs", Access("tcp://127.0.0.1:8786"), 3600, n_cores=2, has_gpu=False)


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Puts a command where it is found, which does what a line of shell says."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def answer(command: str, shell: str) -> None:
        path = tmp_path / command
        path.write_text(f"#!/bin/sh\n{shell}\n")
        path.chmod(0o755)

    yield answer


@pytest.mark.parametrize(
    ("system", "command", "said", "job_id"),
    [
        ("slurm", "sbatch", "71;cluster", "71"),
        ("pbs", "qsub", "72.server.example", "72"),
        ("lsf", "bsub", "Job <73> is submitted to default queue <normal>.", "73"),
        ("sge", "qsub", "74", "74"),
    ],
)
def test_a_job_is_submitted_on_standard_input(
    answer: object, tmp_path: Path, system: SystemName, command: str, said: str, job_id: str
) -> None:
    answer(command, f"cat > {tmp_path}/given; echo '{said}'")  # type: ignore[operator]
    batch = Batch(SystemName(system), REQUEST)
    assert batch.submit() == job_id
    assert (tmp_path / "given").read_text() == SYSTEMS[SystemName(system)].script(REQUEST)


@pytest.mark.parametrize("said", ["No unfinished job found", "Job <gs> is not found"])
def test_no_job_at_all_is_no_error_of_lsf(answer: object, said: str) -> None:
    answer("bjobs", f"echo '{said}' >&2; exit 255")  # type: ignore[operator]
    assert Batch(SystemName.LSF, REQUEST).jobs() == {}


def test_a_listing_that_fails_is_an_error(answer: object) -> None:
    answer("bjobs", "echo 'LSF is down' >&2; exit 255")  # type: ignore[operator]
    with pytest.raises(ServiceError, match="LSF is down"):
        Batch(SystemName.LSF, REQUEST).jobs()


@pytest.mark.parametrize(
    ("system", "command", "shell"),
    [
        ("slurm", "squeue", "printf '1 PENDING\\n2 RUNNING\\n3 COMPLETING\\n'"),
        ("pbs", "qselect", 'case "$*" in *QHW*) echo 1.server;; *) echo 2.server;; esac'),
        ("lsf", "bjobs", "printf '1 PEND\\n2 RUN\\n3 EXIT\\n'"),
        (
            "sge",
            "qstat",
            "cat <<E\n<job_info><queue_info><job_list state='running'><JB_job_number>2</JB_job_number>"
            "<JB_name>gs</JB_name><state>r</state></job_list></queue_info><job_info><job_list>"
            "<JB_job_number>1</JB_job_number><JB_name>gs</JB_name><state>qw</state></job_list><job_list>"
            "<JB_job_number>9</JB_job_number><JB_name>other</JB_name><state>qw</state></job_list></job_info>"
            "</job_info>\nE",
        ),
    ],
)
def test_jobs_are_listed_with_whether_they_wait(answer: object, system: SystemName, command: str, shell: str) -> None:
    answer(command, shell)  # type: ignore[operator]
    assert Batch(SystemName(system), REQUEST).jobs() == {"1": True, "2": False}


@pytest.mark.parametrize("system", SystemName)
def test_jobs_run_wait_and_end_as_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: SystemName
) -> None:
    for name, value in batch_systems.install(tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "bin" / "greenshift").write_text(f'#!/bin/sh\ntouch "{tmp_path}/$6"\nexec sleep 600\n')
    here, other = Batch(system, REQUEST), Batch(system, replace(REQUEST, name="other"))
    assert here.jobs() == {}
    first, second, third = (here.submit() for _ in range(3))
    assert here.jobs() == {first: False, second: False, third: True}
    assert other.jobs() == {}
    here.cancel([first, third])
    wait_until(lambda: here.jobs() == {second: False})
    here.cancel([first])
    wait_until((tmp_path / f"gs-{second}").exists)
    here.cancel([second])
    wait_until(lambda: here.jobs() == {})


def test_a_job_that_has_ended_meanwhile_is_cancelled_already(answer: object) -> None:
    answer("scancel", "echo 'Invalid job id specified' >&2; exit 1")  # type: ignore[operator]
    answer("squeue", "echo 2 RUNNING")  # type: ignore[operator]
    batch = Batch(SystemName.SLURM, REQUEST)
    batch.cancel(["1"])
    with pytest.raises(ServiceError, match="scancel 2: Invalid job id"):
        batch.cancel(["2"])


def test_a_machine_without_the_batch_system_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch is not here"):
        Batch(SystemName.SLURM, REQUEST).submit()


@pytest.mark.parametrize("system", SystemName)
def test_a_script_is_shell_that_runs_the_worker(
    answer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: SystemName
) -> None:
    answer("greenshift", f'printf "%s\\n" "$@" > {tmp_path}/told')  # type: ignore[operator]
    script = tmp_path / "job.sh"
    script.write_text(SYSTEMS[system].script(REQUEST))
    for variable in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"):
        monkeypatch.setenv(variable, "12.server" if variable == "PBS_JOBID" else "12")
    monkeypatch.setenv("TMPDIR", "/scratch/my jobs")
    subprocess.run(["bash", str(script)], check=True)
    assert (tmp_path / "told").read_text().splitlines() == [
        "worker", "tcp://127.0.0.1:8786", "--cores-per-worker", "2",
        "--name", "gs-12", "--local-directory", "/scratch/my jobs/gs-12",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "9lives", "a b", "a" * 16])
def test_a_name_that_a_batch_system_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="name must be"):
        JobRequest(name, Access("tcp://127.0.0.1:8786"), 3600)


def test_an_option_of_two_lines_is_refused() -> None:
    with pytest.raises(InputError, match="extra must be one line"):
        JobRequest("gs", Access("tcp://127.0.0.1:8786"), 3600, extra=["--a\nrm -r /"])


@pytest.mark.parametrize(
    "log_dir", ["/my logs", "/logs\n#SBATCH --uid=0", "/logs;ls", "$(ls)", "/a`b`", "host:/logs", "%u", "'x'", ""]
)
def test_a_folder_that_would_be_read_as_more_than_a_folder_is_refused(log_dir: str) -> None:
    with pytest.raises(InputError, match="log_dir must be letters, digits and any of"):
        JobRequest("gs", Access("tcp://127.0.0.1:8786"), 3600, log_dir=log_dir)


def test_a_folder_of_data_is_quoted_for_the_shell(answer: object, tmp_path: Path) -> None:
    folder = "/data; touch 'x'"
    answer("greenshift", f'printf "%s" "$GREENSHIFT_DATA_DIR" > {tmp_path}/told')  # type: ignore[operator]
    script = SYSTEMS[SystemName.SLURM].script(replace(REQUEST, data_dir=folder))
    subprocess.run(["bash", "-c", script], check=True)
    assert (tmp_path / "told").read_text() == folder
