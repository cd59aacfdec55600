from __future__ import annotations

from pathlib import Path

import pytest

from service.batch import SystemName
from service.settings import Settings
from tests.service.cli.commands import Call, assert_refused

DEPLOY = Path(__file__).parents[3] / "deploy"
SHARED = (
    "--scheduler", "tls://head:8786", "--tls", "/shared/greenshift/tls", "--log-dir", "/shared/greenshift/logs",
    "--data-dir", "/shared/greenshift/data", "--setup", "source /shared/greenshift/venv/bin/activate", "--print-script",
)  # fmt: skip
LOCAL = ("--scheduler", "tcp://127.0.0.1:8786")
SCRIPTS = {"slurm": "worker.sbatch", "pbs": "worker.pbs", "lsf": "worker.bsub", "sge": "worker.sge"}


@pytest.mark.parametrize("system", SystemName)
def test_the_script_of_a_job_is_the_file_in_deploy(call: Call, system: str) -> None:
    done = call("cluster", system, *SHARED)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (DEPLOY / system / SCRIPTS[system]).read_text()


def test_a_job_asks_for_what_the_options_say(call: Call) -> None:
    done = call(
        "cluster", "slurm", *LOCAL, "--print-script", "--without-gpu", "--time", "01:30:00", "--cores", "8",
        "--memory-gb", "32", "--queue", "short", "--extra=--account=physics", "--extra=--qos=low", "--name", "mine",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    said = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert {"--job-name=mine", "--cpus-per-task=8", "--mem=32G", "--time=01:30:00", "--partition=short"} <= set(said)
    assert said[-2:] == ["--account=physics", "--qos=low"]
    assert "--gres=gpu:1" not in said
    assert "export CUDA_VISIBLE_DEVICES=" in lines
    assert "--cores-per-worker 8" in lines[-1]


def test_workers_find_the_data_sets_where_this_command_does(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["cluster", "pbs", *LOCAL, "--print-script"]
    assert "GREENSHIFT_DATA_DIR" not in call(*command).stdout
    assert "export GREENSHIFT_DATA_DIR=/other" in call(*command, "--data-dir", "/other").stdout.splitlines()
    # The environment that `call` leaves as it is.
    found = Settings(data_dir="/data")
    monkeypatch.setattr(Settings, "from_environment", classmethod(lambda _cls: found))
    assert "export GREENSHIFT_DATA_DIR=/data" in call(*command).stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--log-dir", "my logs"), "log_dir must be letters, digits"),
        (("--time", "1 day"), "time must be HH:MM:SS, got '1 day'"),
        (("--time", "00:02:00"), "time must be more than 120 s"),
        (("--minimum", "9"), "minimum must be 0..8, the maximum, got 9"),
        (("--carbon-limit", "300"), "carbon-limit and carbon-series: each needs the other"),
        (("--carbon-limit", "300", "--carbon-series", "nowhere.csv"), "carbon_series: nowhere.csv cannot be read"),
        (("--name", "a b"), "name must be"),
    ],
)
def test_what_cannot_be_is_refused_before_any_job(call: Call, arguments: tuple[str, ...], said: str) -> None:
    assert_refused(call("cluster", "slurm", *LOCAL, *arguments), said)


def test_a_service_that_does_not_answer_begins_no_job(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENSHIFT_URL", "http://127.0.0.1:9")
    done = call("cluster", "slurm", *LOCAL)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1


def test_the_job_of_the_head_is_shell() -> None:
    script = (DEPLOY / "slurm" / "head.sbatch").read_text()
    assert script.startswith("#!/bin/bash\n")
    assert "greenshift cluster slurm" in script
