from __future__ import annotations

import os
import socket

import pynvml
import pytest

from service import cluster
from service.errors import InputError
from tests.service.processes import have_ended


def no_driver() -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert cluster.gpu_uuids() == []


def test_more_workers_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "gpu_uuids", lambda: ["GPU-a", "GPU-b"])
    with (
        pytest.raises(InputError, match=r"^workers must be 1\.\.2, the GPUs of this machine, got 3$"),
        cluster.local_cluster(3),
    ):
        pass


def test_by_default_there_is_a_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "gpu_uuids", lambda: ["GPU-a", "GPU-b"])
    assert cluster.default_n_workers() == 2


def test_without_gpus_the_default_is_at_least_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "gpu_uuids", list)
    assert 1 <= cluster.default_n_workers() <= (os.cpu_count() or 1)


@pytest.mark.slow
def test_a_dead_address_is_refused_in_one_line() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(InputError, match=f"^scheduler: no Dask scheduler answers at {address}$"):  # noqa: SIM117
        with cluster.remote_cluster(address):
            pass


@pytest.mark.parametrize("address", ["nonsense://x", "tcp://", "tcp://127.0.0.1:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="scheduler"), cluster.remote_cluster(address):
        pass


def test_a_local_cluster_has_workers_with_one_slot_and_an_equal_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "gpu_uuids", list)
    with cluster.local_cluster(2) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert [w["resources"] for w in workers.values()] == [{"CPU_SLOT": 1}] * 2
        assert all(address.startswith("tcp://127.0.0.1:") for address in workers)
        share = str(max(1, (os.cpu_count() or 1) // 2))
        assert set(client.run(os.getenv, "OMP_NUM_THREADS").values()) == {share}
        pids = list(client.run(os.getpid).values())
        with cluster.remote_cluster(client.scheduler.address) as other:
            assert len(other.scheduler_info(n_workers=-1)["workers"]) == 2
    assert have_ended(pids, seconds=5)


def test_two_clusters_on_one_machine_do_not_quarrel_about_a_port(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "gpu_uuids", list)
    with cluster.local_cluster(1), cluster.local_cluster(1) as second:
        assert len(second.scheduler_info(n_workers=-1)["workers"]) == 1
    assert "8787" not in capfd.readouterr().err


def test_a_worker_sees_the_gpu_that_it_is_pinned_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "gpu_uuids", lambda: ["GPU-a"])
    with cluster.local_cluster(1) as client:
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
        assert worker["resources"] == {"GPU": 1}
        assert list(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["GPU-a"]
