from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service import workers
from service.access import Access
from service.cli import worker as command
from service.errors import ServiceError
from service.workers import WorkerPlan
from tests.service.cli.commands import Call, assert_refused
from tests.service.processes import GREENSHIFT, dask_scheduler, started, wait_until

LOCAL = "tcp://127.0.0.1:8786"


@pytest.fixture(autouse=True)
def four_cores_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_all_gpu_uuids", list)
    for module in (workers, command):
        monkeypatch.setattr(module, "n_cores", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """What workers would be started with; a signal comes as soon as the second is there."""
    started: list[Any] = []

    def start(plan: WorkerPlan, access: Access, host: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append((plan, access, host, options))
        if len(started) == 2:
            os.kill(os.getpid(), request.param)
        return subprocess.Popen(["sleep", "1000"], start_new_session=True)

    monkeypatch.setattr(command, "start_worker", start)
    monkeypatch.setattr(command, "address_towards", lambda _access: "127.0.0.1")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield started
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("starts", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], indirect=["starts"])
def test_workers_run_until_a_signal_comes(call: Call, starts: list[Any], code: int) -> None:
    done = call("worker", LOCAL, "--cores-per-worker", "2", "--name", "n1", "--local-directory", "scratch")
    assert done.returncode == code
    options = {"death_seconds": 60, "directory": Path("scratch")}
    assert starts == [
        (WorkerPlan("n1-0", None, 2), Access(LOCAL), "127.0.0.1", options),
        (WorkerPlan("n1-1", None, 2), Access(LOCAL), "127.0.0.1", options),
    ]
    said = done.stderr.splitlines()
    assert [line.partition(", process")[0] for line in said[:2]] == ["n1-0: started", "n1-1: started"]
    assert said[2:] == ["telling 2 workers to end; a second signal kills them", *(["Interrupted."] if code else [])]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "scheduler: missing; name one such as tcp://host:8786, or ask for --self-test"),
        ([LOCAL, "--cores-per-worker", "5"], "cores-per-worker must be 1..4, the cores of this machine, got 5"),
        ([LOCAL, "--host", "192.0.2.77"], "host must be an address of this machine, got '192.0.2.77'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(call: Call, arguments: list[str], said: str) -> None:
    done = call("worker", *arguments)
    assert_refused(done, said)
    assert len(done.stderr.splitlines()) == 1


def test_a_gpu_that_is_not_there_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert_refused(call("worker", LOCAL), "CUDA_VISIBLE_DEVICES must name GPUs of this machine", "got '3'")


def test_cores_are_not_what_workers_with_gpus_are_counted_by(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_all_gpu_uuids", lambda: ["GPU-a"])
    assert_refused(call("worker", LOCAL, "--cores-per-worker", "2"), "this machine has GPUs", "CUDA_VISIBLE_DEVICES")


def test_workers_that_are_due_together_ask_together(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    asked: list[Access] = []

    def silent(access: Access) -> str:
        asked.append(access)
        os.kill(os.getpid(), signal.SIGTERM)
        raise ServiceError("nobody answers")

    monkeypatch.setattr(command, "address_towards", silent)
    monkeypatch.setattr(command, "_ASK_SECONDS", 60)
    done = call("worker", LOCAL, "--name", "n1")
    assert done.returncode == 0
    lines = [f"n1-{i}: cannot be started: nobody answers; starting again in 1 s" for i in range(4)]
    assert done.stderr.splitlines() == [*lines, "telling 0 workers to end; a second signal kills them"]
    assert asked == [Access(LOCAL)]


@pytest.mark.slow
def test_workers_wait_for_a_scheduler_that_comes_later(tmp_path: Path, free_port: int) -> None:
    address, log = f"tcp://127.0.0.1:{free_port}", tmp_path / "log"
    with started(*GREENSHIFT, "worker", address, "--name", "n1", log=log, CUDA_VISIBLE_DEVICES="") as process:
        wait_until(lambda: f"n1-0: cannot be started: nobody answers at {address}" in log.read_text())
        assert "Traceback" not in log.read_text()
        with dask_scheduler(tmp_path, port=free_port):
            wait_until(lambda: "n1-0: started" in log.read_text())
            process.terminate()
            assert process.wait(120) == 0
