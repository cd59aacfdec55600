from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pynvml
import pytest
from distributed.cli.dask_worker import main as dask_worker

from service import workers
from service.access import Access
from service.certificates import make_certificates
from service.errors import InputError, RefusedError, ServiceError
from service.workers import WorkerPlan, address_towards, default_n_workers, gpu_uuids, plan_workers, worker_arguments

A, B = "GPU-aaaa0000-1", "GPU-aaaa0001-2"
LOCAL = Access("tcp://127.0.0.1:8786")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_all_gpu_uuids", lambda: [A, B])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_all_gpu_uuids", list)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert gpu_uuids() == []


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("1", [B]),
        ("1,0", [B, A]),
        (f"{B}, 0", [B, A]),
        ("GPU-aaaa0001", [B]),
        ("MIG-5e0d,1", ["MIG-5e0d", B]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [A]),
        ("NoDevFiles", []),
    ],
)
@pytest.mark.usefixtures("two_gpus")
def test_the_visible_gpus_are_those_that_cuda_would_show(
    monkeypatch: pytest.MonkeyPatch, visible: str, found: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_uuids() == found


@pytest.mark.parametrize(("visible", "wrong"), [("2", "2"), ("0,GPU-b", "GPU-b"), ("GPU-aaaa", "GPU-aaaa")])
@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_the_machine_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, visible: str, wrong: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InputError) as caught:
        gpu_uuids()
    said = f"CUDA_VISIBLE_DEVICES must name GPUs of this machine (0..1, {A}, {B}), got {wrong!r}"
    assert str(caught.value) == said


@pytest.mark.usefixtures("no_gpus")
@pytest.mark.parametrize("visible", ["0", "GPU-a", "MIG-a"])
def test_a_gpu_without_a_driver_is_refused(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InputError, match=r"\(none, as NVML finds no GPU\)"):
        gpu_uuids()


@pytest.mark.usefixtures("two_gpus")
def test_two_workers_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"1,{B}")
    with pytest.raises(InputError, match="names a GPU twice"):
        gpu_uuids()


@pytest.mark.usefixtures("two_gpus")
def test_each_gpu_has_a_worker_and_an_equal_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "n_cores", lambda: 9)
    assert default_n_workers() == 2
    plans = plan_workers(2, "n1")
    assert plans == [WorkerPlan("n1-gpu0", A, 4), WorkerPlan("n1-gpu1", B, 4)]
    assert {plan.resource for plan in plans} == {"GPU"}
    for n_workers in (0, 3):
        with pytest.raises(InputError, match=rf"^workers must be 1\.\.2, the GPUs of this machine, got {n_workers}$"):
            plan_workers(n_workers, "n1")


@pytest.mark.parametrize("n_workers", [-1, 0, 97, 10**12])
@pytest.mark.usefixtures("no_gpus")
def test_cores_have_time_for_so_many_workers(monkeypatch: pytest.MonkeyPatch, n_workers: int) -> None:
    monkeypatch.setattr(workers, "n_cores", lambda: 3)
    with pytest.raises(
        InputError, match=rf"^workers must be 1\.\.96, 32 for each core of this machine, got {n_workers}$"
    ):
        plan_workers(n_workers, "n1")


@pytest.mark.usefixtures("no_gpus")
@pytest.mark.parametrize(("cores_per_worker", "n_workers", "n_threads"), [(1, 9, 1), (2, 4, 2), (4, 2, 4), (99, 1, 9)])
def test_without_gpus_the_cores_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, cores_per_worker: int, n_workers: int, n_threads: int
) -> None:
    monkeypatch.setattr(workers, "n_cores", lambda: 9)
    assert default_n_workers(cores_per_worker) == n_workers
    plans = plan_workers(n_workers, "n1")
    assert plans == [WorkerPlan(f"n1-{i}", None, n_threads) for i in range(n_workers)]
    assert {plan.resource for plan in plans} == {"CPU_SLOT"}


def test_dask_understands_the_command_line(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    access = Access("tls://gpu7:8786", tmp_path)
    arguments = worker_arguments(WorkerPlan("n1-gpu0", A, 4), access, "10.0.0.2", death_seconds=60, directory=tmp_path)
    understood = dask_worker.make_context("dask worker", arguments).params
    expected = {
        "scheduler": "tls://gpu7:8786",
        "name": "n1-gpu0",
        "resources": "GPU=1",
        "n_workers": "1",
        "nthreads": 1,
        "memory_limit": "0",
        "death_timeout": "60",
        "host": "10.0.0.2",
        "dashboard_address": "127.0.0.1:0",
        "local_directory": str(tmp_path),
        "tls_ca_file": str(tmp_path / "ca.pem"),
        "tls_cert": str(tmp_path / "worker.pem"),
        "tls_key": str(tmp_path / "worker.key"),
        "nanny": True,
    }
    assert {name: understood[name] for name in expected} == expected


def test_without_tls_and_a_folder_nothing_is_said_of_them() -> None:
    arguments = worker_arguments(WorkerPlan("n1-0", None, 1), LOCAL, "127.0.0.1", death_seconds=60)
    assert not [a for a in arguments if a.startswith(("--tls", "--local"))]


def test_a_worker_listens_on_the_interface_towards_its_scheduler() -> None:
    with socket.create_server(("127.0.0.1", 0)) as scheduler:
        assert address_towards(Access(f"tcp://127.0.0.1:{scheduler.getsockname()[1]}")) == "127.0.0.1"


def test_a_scheduler_with_tls_sees_a_handshake_and_not_a_failed_one(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls", days=1)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls" / "scheduler.pem", tmp_path / "tls" / "scheduler.key")
    server.load_verify_locations(tmp_path / "tls" / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(60)

        def answer() -> object:
            with server.wrap_socket(listener.accept()[0], server_side=True) as connection:
                return connection.getpeercert()

        taken = pool.submit(answer)
        address = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        assert address_towards(Access(address, tmp_path / "tls")) == "127.0.0.1"
        assert taken.result(60)


def test_a_scheduler_that_is_too_busy_for_a_handshake_is_left_to_dask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_REACH_SECONDS", 0.2)
    make_certificates(tmp_path / "tls", days=1)
    with socket.create_server(("127.0.0.1", 0)) as scheduler:
        access = Access(f"tls://127.0.0.1:{scheduler.getsockname()[1]}", tmp_path / "tls")
        assert address_towards(access) == "127.0.0.1"


def test_a_scheduler_of_another_authority_does_not_let_us_in(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        make_certificates(tmp_path / name, days=1)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "theirs" / "scheduler.pem", tmp_path / "theirs" / "scheduler.key")
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(60)

        def answer() -> None:
            with suppress(OSError):
                server.wrap_socket(listener.accept()[0], server_side=True).close()

        pool.submit(answer)
        address = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RefusedError, match=f"^{address} does not let us in: .*CERTIFICATE_VERIFY_FAILED"):
            address_towards(Access(address, tmp_path / "ours"))


def test_an_address_of_ipv6_is_in_brackets() -> None:
    arguments = worker_arguments(WorkerPlan("n1-0", None, 1), LOCAL, "::1", death_seconds=60)
    assert arguments[arguments.index("--host") + 1] == "[::1]"


def test_a_scheduler_that_is_not_there_is_named(free_port: int) -> None:
    with pytest.raises(ServiceError, match=f"^nobody answers at tcp://127.0.0.1:{free_port}: Connection refused$"):
        address_towards(Access(f"tcp://127.0.0.1:{free_port}"))
