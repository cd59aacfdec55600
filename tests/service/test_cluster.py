from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from distributed import Client

from service import cluster, workers
from service.access import Access
from service.errors import InputError
from tests.service.clusters import workers_of
from tests.service.processes import have_ended, wait_until


@pytest.fixture
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "gpu_uuids", list)


@pytest.mark.slow
def test_a_dead_address_is_refused_in_one_line() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(InputError, match=f"^scheduler: no Dask scheduler answers at {address}$"):  # noqa: SIM117
        with cluster.remote_cluster(Access(address)):
            pass


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """Somebody who takes connections and is no scheduler."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH\r\n" * 20], ids=["silent", "of another protocol"])
def test_who_takes_connections_and_is_no_scheduler_is_given_up(
    monkeypatch: pytest.MonkeyPatch, stranger: socket.socket, words: bytes
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.5)
    accepted: list[socket.socket] = []

    def answer() -> None:
        connection, _ = stranger.accept()
        accepted.append(connection)
        connection.sendall(words)

    threading.Thread(target=answer, daemon=True).start()
    address = address_of(stranger)
    with pytest.raises(InputError, match=f"^scheduler: no Dask scheduler answers at {address}$"):  # noqa: SIM117
        with cluster.remote_cluster(Access(address)):
            pass
    accepted[0].close()


def test_who_waits_for_a_scheduler_can_be_interrupted(stranger: socket.socket) -> None:
    def interrupt() -> None:
        connection, _ = stranger.accept()
        with connection:
            os.kill(os.getpid(), signal.SIGINT)

    started = time.monotonic()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with cluster.remote_cluster(Access(address_of(stranger))):
            pass
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("no_gpus")
def test_a_local_cluster_has_workers_with_one_slot_and_an_equal_share_of_the_cores() -> None:
    with cluster.local_cluster(2) as client:
        found = workers_of(client)
        assert [w["resources"] for w in found.values()] == [{"CPU_SLOT": 1}] * 2
        assert all(address.startswith("tcp://127.0.0.1:") for address in found)
        share = str(max(1, (os.cpu_count() or 1) // 2))
        assert set(client.run(os.getenv, "OMP_NUM_THREADS").values()) == {share}
        assert set(client.run(os.getenv, "OMP_WAIT_POLICY").values()) == {"PASSIVE"}
        pids = list(client.run(os.getpid).values())
        with cluster.remote_cluster(Access(client.scheduler.address)) as other:
            assert len(workers_of(other)) == 2
    assert have_ended(pids)


@pytest.mark.usefixtures("no_gpus")
def test_a_local_worker_that_is_killed_is_started_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with cluster.local_cluster(1) as client:
        # Dask's nanny starts the worker again by itself; nobody of Dask's does so for the nanny.
        (nanny,), (before,) = client.run(os.getppid).values(), client.run(os.getpid).values()
        os.kill(nanny, signal.SIGKILL)
        assert have_ended([before])
        wait_until(lambda: set(client.run(os.getpid, on_error="ignore").values()) - {before})
        (worker,) = workers_of(client).values()
        assert worker["name"] == "local-0"
        pids = [*client.run(os.getpid).values(), *client.run(os.getppid).values()]
    said = [record.getMessage() for record in caplog.records if record.name == "service.cluster"]
    assert said == ["worker local-0: ended with code -9; starting again in 1 s"]
    assert have_ended(pids)


@pytest.mark.usefixtures("no_gpus")
def test_two_clusters_on_one_machine_do_not_quarrel_about_a_port(capfd: pytest.CaptureFixture[str]) -> None:
    with cluster.local_cluster(1), cluster.local_cluster(1) as second:
        assert len(workers_of(second)) == 1
    assert "8787" not in capfd.readouterr().err


def test_a_worker_sees_the_gpu_that_it_is_pinned_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "gpu_uuids", lambda: ["GPU-a"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with cluster.local_cluster(1) as client:
        (worker,) = workers_of(client).values()
        assert worker["resources"] == {"GPU": 1}
        assert list(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["GPU-a"]
        # What the user wants of threads is kept.
        assert list(client.run(os.getenv, "OMP_WAIT_POLICY").values()) == ["ACTIVE"]


@pytest.mark.usefixtures("no_gpus")
def test_a_client_that_does_not_close_in_time_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Client.close

    def closes_late(self: Client, timeout: float) -> None:
        close(self, timeout)
        raise TimeoutError("timed out after 1 s.")

    with monkeypatch.context() as patched, cluster.local_cluster(1) as client:
        patched.setattr(Client, "close", closes_late)
        pids = list(client.run(os.getpid).values())
    assert have_ended(pids)


def test_who_is_interrupted_while_a_client_is_made_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch, no_gpus: None
) -> None:
    made: list[Client] = []
    make = Client.__init__

    def interrupted(client: Client, *args: object, **kwargs: object) -> None:
        signal.raise_signal(signal.SIGINT)
        make(client, *args, **kwargs)
        made.append(client)

    monkeypatch.setattr(Client, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt), cluster.local_cluster(1):
        pytest.fail("the cluster stood")
    assert [client.status for client in made] == ["closed"]


def test_a_client_that_is_not_closed_in_time_is_not_waited_for_again(
    monkeypatch: pytest.MonkeyPatch, no_gpus: None
) -> None:
    close = Client.close

    def late(client: Client, **options: object) -> None:
        close(client, **options)
        client.status = "closing"
        raise TimeoutError

    with cluster.local_cluster(1) as client:
        monkeypatch.setattr(Client, "close", late)
    assert client.status == "closed"
