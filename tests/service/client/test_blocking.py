from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.client import Client
from service.errors import InputError, NotFoundError, RefusedError, UnreachableError
from service.schema import Study, StudySpec, StudyState, TrialState
from service.store import Store, Tokens, Workers, WorkerStatus
from service.wire import Drain, StudySummary
from tests.service.fakes import completed, study_document, study_spec
from tests.service.served import begin, finish, recorded, serving


def test_a_preset_a_file_a_dict_and_a_spec_can_be_submitted(client: Client, store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(str(study_document(name="from a file")))
    handles = [
        client.submit("digits", n_trials=7, seed=3, name="from a preset"),
        client.submit(tmp_path / "mine.yaml"),
        client.submit(study_document(name="from a dict")),
        client.submit(study_spec(name="from a spec")),
    ]
    assert [handle.name for handle in handles] == ["from a preset", "from a file", "from a dict", "from a spec"]
    preset = store.study(handles[0].study_id).spec
    assert (preset.budget.n_trials, preset.seed, preset.network) == (7, 3, StudySpec.load("digits").network)
    assert store.study(handles[3].study_id).spec == handles[3].spec == study_spec(name="from a spec")


def test_what_cannot_be_is_said_before_anything_is_sent_or_as_the_service_says_it(client: Client) -> None:
    with pytest.raises(InputError, match=r"^study must be a YAML file or a preset"):
        client.submit("nonsense")
    with pytest.raises(InputError, match=r"^colour: unknown key"):
        client.submit("digits", colour="red")
    with pytest.raises(InputError, match=r"^data_dir: must be left out over HTTP.*got '/data'"):
        client.submit("digits", data_dir="/data")
    assert client.studies() == []


def test_a_study_is_found_by_its_id_and_by_a_name_that_only_one_has(client: Client, store: Store) -> None:
    one, other = (store.create_study(study_spec(name=name)) for name in ("one", "the other"))
    assert client.study(one.study_id).study_id == client.study("one").study_id == one.study_id
    assert client.study("the other").study_id == other.study_id
    with pytest.raises(NotFoundError, match=r"^study: there is none with the id or the name 'a third'"):
        client.study("a third")
    again = store.create_study(study_spec(name="one"))
    with pytest.raises(InputError, match=f"several have the name 'one'.*{again.study_id}, {one.study_id}"):
        client.study("one")


def test_all_studies_are_listed_the_newest_first(client: Client, study: Study, store: Store) -> None:
    newer = store.create_study(study_spec(name="newer"))
    listed = client.studies()
    assert [(s.study_id, s.name, s.state) for s in listed] == [
        (newer.study_id, "newer", StudyState.WAITING),
        (study.study_id, "toy", StudyState.RUNNING),
    ]
    assert listed[1].n_trials.model_dump() == {"waiting": 1, "running": 1, "completed": 4, "failed": 1, "stopped": 0}


def test_a_handle_reads_what_the_store_holds(client: Client, study: Study, store: Store) -> None:
    handle = client.study(study.study_id)
    assert handle.state is StudyState.RUNNING
    assert [t.trial_id for t in handle.front()] == ["00001", "00002"]
    assert handle.trial("00001") == store.trial(study.study_id, "00001")
    assert sorted(handle.trials(), key=lambda t: t.seq) == store.trials_changed(study.study_id, 0)
    assert [t.trial_id for t in handle.trials(TrialState.FAILED)] == ["00004"]
    assert [(e.epoch, e.training_loss) for e in handle.epochs("00005")] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert handle.ledger().joules == 20.0
    status = handle.status()
    assert status["energy_joules"] == 20.0 and status["n_trials"]["completed"] == 4


def test_more_trials_than_a_page_holds_come_all(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.calls._PAGE", 3)
    study = recorded(store)
    assert len(client.study(study.study_id).trials()) == 7


def test_what_is_asked_for_stands_in_the_store(client: Client, study: Study, store: Store) -> None:
    handle = client.study(study.study_id)
    asked = [handle.pause(), handle.resume(), handle.retry("00004"), handle.cancel_trial("00005"), handle.stop()]
    found = [(r.seq, r.kind, r.trial_id) for r in store.requests(study.study_id)]
    assert found == [(a.seq, a.kind, a.trial_id) for a in asked]
    assert [kind for _, kind, _ in found] == ["pause", "resume", "retry", "cancel", "stop"]


def test_what_is_refused_says_why(client: Client, study: Study) -> None:
    handle = client.study(study.study_id)
    with pytest.raises(NotFoundError, match="has no trial '00099'"):
        handle.trial("00099")
    with pytest.raises(RefusedError, match="trial 00001 must be FAILED or STOPPED, it is COMPLETED") as refused:
        handle.retry("00001")
    assert refused.value.exit_code == 3


def test_presets_workers_and_health_are_told(client: Client) -> None:
    assert StudySpec.load("digits") in [preset.spec for preset in client.presets()]
    assert client.workers().seen_at is None
    assert client.health().status == "ok"


def test_a_worker_is_drained_and_taken_back(client: Client, store: Store) -> None:
    name = "tcp://10.0.0.1:4000"
    Workers(store).record([WorkerStatus(name, name, "GPU", 1, 0)])
    assert client.drain_worker(name) == Drain(name=name, is_drained=True)
    assert [worker.state for worker in client.workers().workers] == ["drained"]
    assert client.undrain_worker(name) == Drain(name=name, is_drained=False)
    assert [worker.state for worker in client.workers().workers] == ["active"]
    with pytest.raises(NotFoundError, match="name: there is no worker 'nobody'"):
        client.drain_worker("nobody")


def test_a_token_is_taken_from_the_environment_and_a_missing_one_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GREENSHIFT_TOKEN", raising=False)
    secret = Tokens(store).create_token("test")
    with serving(store, require_token=True) as url:
        monkeypatch.setenv("GREENSHIFT_URL", url)
        with Client() as client, pytest.raises(RefusedError, match=r"^Authorization: must be `Bearer TOKEN`"):
            client.studies()
        monkeypatch.setenv("GREENSHIFT_TOKEN", secret)
        with Client() as client:
            assert client.studies() == []


def test_waiting_ends_with_the_study_and_tells_what_changed(client: Client, study: Study, store: Store) -> None:
    seen: list[StudySummary] = []

    def see(summary: StudySummary) -> None:
        seen.append(summary)
        store.set_study_state(study.study_id, StudyState.COMPLETED)

    assert client.study(study.study_id).wait(progress=see, timeout=60) is StudyState.COMPLETED
    assert [s.state for s in seen] == [StudyState.RUNNING, StudyState.COMPLETED]


def test_waiting_ends_when_the_time_is_over(client: Client, study: Study) -> None:
    assert client.study(study.study_id).wait(timeout=0) is StudyState.RUNNING


def test_progress_is_written_to_standard_error(
    client: Client, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    client.study(study.study_id).wait(progress=True, timeout=0)
    assert capsys.readouterr().err == "toy RUNNING: 1 waiting, 1 running, 4 completed, 1 failed\n"


def test_where_nobody_listens_it_is_said_at_once(free_port: int) -> None:
    with Client(f"http://127.0.0.1:{free_port}") as client, pytest.raises(UnreachableError) as error:
        client.studies()
    assert error.value.exit_code == 4
    assert str(error.value).startswith("no service answers at http://127.0.0.1:")
    assert "\n" not in str(error.value)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The URL of a server that knows one answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(timeout=60)


def test_another_kind_of_server_is_no_service() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>"
    with answering(page) as url, Client(url) as client, pytest.raises(UnreachableError, match="is no greenshift"):
        client.health()


def test_a_service_that_says_nothing_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, timeout=0.2) as client, pytest.raises(UnreachableError, match="timed out"):
            client.studies()


@pytest.mark.parametrize("url", ["localhost:8765", "ftp://localhost", "http://", "http://a:b"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"^url: must be http://HOST:PORT"):
        Client(url)


def test_a_submission_whose_answer_is_lost_creates_one_study(store: Store, url: str) -> None:
    with forgetful(url) as proxy, Client(proxy) as client:
        handle = client.submit(study_document())
    assert [s.study_id for s in store.studies()] == [handle.study_id]
    assert len(store.events(handle.study_id)) == 1


@contextmanager
def forgetful(url: str) -> Iterator[str]:
    """The URL of a proxy that gives a first request on and loses its answer; later ones it leaves whole."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay() -> None:
            for n in range(2):
                connection, _ = listener.accept()
                with connection, socket.create_connection((host, int(port))) as behind:
                    behind.sendall(_message(connection))
                    answer = _message(behind)
                    if n:
                        connection.sendall(answer)

        thread = threading.Thread(target=relay)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(timeout=60)
        assert not thread.is_alive()


def _message(connection: socket.socket) -> bytes:
    """A whole request or response, of which the length is known."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    head, _, body = head.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def test_events_that_are_there_come_once_and_the_stream_ends(client: Client, study: Study, store: Store) -> None:
    handle = client.study(study.study_id)
    expected = [(e.seq, e.kind, e.trial_id, e.at) for e in store.events(study.study_id)]
    assert [(e.seq, e.kind, e.trial_id, e.at) for e in handle.iter_events()] == expected
    assert [e.seq for e in handle.iter_events(after=expected[-2][0])] == [expected[-1][0]]


def test_following_events_ends_with_the_study(client: Client, study: Study, store: Store) -> None:
    threading.Timer(0.2, store.set_study_state, (study.study_id, StudyState.STOPPED, "asked for")).start()
    events = list(client.study(study.study_id).iter_events(follow=True))
    assert [e.seq for e in events] == [e.seq for e in store.events(study.study_id)]
    assert (events[-1].kind, events[-1].payload) == ("study_stopped", {"reason": "asked for"})


def test_a_service_that_starts_again_loses_and_repeats_no_event(store: Store, study: Study, free_port: int) -> None:
    read = threading.Event()
    found: list[int] = []

    def follow() -> None:
        with Client(f"http://127.0.0.1:{free_port}") as client:
            for event in client.study(study.study_id).iter_events(follow=True):
                found.append(event.seq)
                read.set()

    reader = threading.Thread(target=follow)
    with serving(store, free_port):
        reader.start()
        assert read.wait(60)
    finish(store, study, completed("00007", error=0.5, deployment_energy=1.0))
    with serving(store, free_port):
        begin(store, study, "00008")
        store.set_study_state(study.study_id, StudyState.COMPLETED)
        reader.join(timeout=60)
    assert not reader.is_alive()
    assert found == [e.seq for e in store.events(study.study_id)]


def test_events_of_no_study_are_refused(client: Client, study: Study) -> None:
    handle = client.study(study.study_id)
    handle.study_id = "gone"
    with pytest.raises(NotFoundError, match="there is no study 'gone'"):
        next(handle.iter_events())


def test_importing_the_client_loads_nothing_of_the_service_behind() -> None:
    heavy = ("torch", "smac", "dask", "distributed", "sqlalchemy", "fastapi", "numpy", "service.store")
    code = f"import sys, service.client; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    assert out.stdout.strip() == "[]"


def test_why_a_study_failed_is_known_by_every_way_to_ask(
    client: Client, store: Store, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = client.study(study.study_id)
    assert (handle.reason, handle.status()["reason"], handle.document().reason) == (None, None, None)
    store.set_study_state(study.study_id, StudyState.FAILED, "the disk is full")
    assert (handle.reason, handle.status()["reason"], handle.document().reason) == ("the disk is full",) * 3
    assert handle.wait(progress=True) is StudyState.FAILED
    assert capsys.readouterr().err.startswith("toy FAILED (the disk is full): ")
    store.set_study_state(study.study_id, StudyState.RUNNING)
    assert handle.reason is None
