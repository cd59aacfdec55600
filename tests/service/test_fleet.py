from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import metadata
from typing import Any
from urllib.request import urlopen

import dask
import pytest
from distributed import Client, Scheduler, get_worker
from distributed.versions import get_versions

from service import fleet as fleet_module
from service.errors import InputError
from service.fleet import Fleet, want
from tests.service.clusters import client_of_threads, workers_of
from tests.service.fakes import FACTS
from tests.service.processes import wait_until
from worker.schema import FailureKind, TaskFacts


def test_a_worker_that_does_not_know_the_study_gets_none_of_its_trials(caplog: pytest.LogCaptureFixture) -> None:
    with client_of_threads(2) as client:
        (poor, rich) = sorted(workers_of(client))
        fleet = Fleet(client)
        facts = fleet.inspect(partial(knows_only, rich))
        assert facts.device == rich
        assert fleet.n_slots() == 1
        assert fleet.addresses() == [rich]
        wait_until(lambda: f"worker {poor} gets no trial of this study: dataset must be" in caplog.text)


def test_names_that_no_worker_knows_are_refused_once(caplog: pytest.LogCaptureFixture) -> None:
    with client_of_threads(2) as client, pytest.raises(InputError, match="dataset must be something else"):
        Fleet(client).inspect(partial(knows_only, "nobody"))
    assert "gets no trial" not in caplog.text


def test_nobody_waits_for_an_answer_that_is_only_expected_and_a_refusal_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with client_of_threads(2) as client:
        Fleet(client).expect(partial(knows_only, "nobody"))
        while caplog.text.count("gets no trial of this study") < 2:
            time.sleep(0.01)


def test_a_study_that_ends_before_all_have_answered_says_nothing_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with client_of_threads(2) as client:
        addresses = sorted(workers_of(client))
        Fleet(client).inspect(partial(answers_at_once, addresses[0]))
    assert "gets no trial" not in caplog.text


def test_a_pinned_study_runs_on_one_model_of_device_only() -> None:
    with client_of_threads(2) as client:
        fleet = Fleet(client)
        fleet.inspect(device_of_worker)
        addresses = sorted(workers_of(client))
        while fleet.n_slots() < 2:
            time.sleep(0.01)
        for address in addresses:
            fleet.pin(address)
            assert (fleet.n_slots(), fleet.addresses()) == (1, [address])
        fleet.pin("no such device")
        assert (fleet.n_slots(), fleet.addresses()) == (0, [])


def test_a_newcomer_is_asked_before_it_gets_a_trial() -> None:
    with client_of_threads(1) as client:
        fleet = Fleet(client)
        fleet.inspect(device_of_worker)
        assert fleet.n_slots() == 1
        client.cluster.scale(2)
        while fleet.n_slots() < 2:
            time.sleep(0.01)


def test_a_worker_is_set_aside_after_three_failures_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    with client_of_threads(2) as client:
        fleet = Fleet(client)
        fleet.inspect(device_of_worker)
        while fleet.n_slots() < 2:
            time.sleep(0.01)
        (good, bad) = sorted(workers_of(client))
        kinds = [FailureKind.CRASHED, FailureKind.CRASHED, None, FailureKind.CRASHED, FailureKind.OUT_OF_MEMORY]
        for kind in [*kinds, FailureKind.DIVERGED]:
            fleet.heed(bad, kind)
        assert fleet.n_slots() == 2
        fleet.heed(bad, FailureKind.CRASHED)
        assert fleet.addresses() == [good]
    assert f"worker {bad} is set aside after 3 failed trials in a row" in caplog.text


def test_a_drained_worker_gets_no_trial_and_is_not_even_asked_until_it_is_taken_back() -> None:
    with client_of_threads(2) as client:
        names = {address: str(w["name"]) for address, w in workers_of(client).items()}
        one, other = names
        drained = {names[one]}
        fleet = Fleet(client, drained.__contains__)
        assert fleet.inspect(device_of_worker).device == other
        assert (fleet.n_slots(), fleet.addresses(), fleet.standings().keys()) == (1, [other], {other})
        drained.clear()
        wait_until(lambda: fleet.n_slots() == 2)
        drained.add(names[one])
        assert (fleet.n_slots(), fleet.addresses()) == (1, [other])
        assert not fleet.standings()[one].is_set_aside


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


@pytest.mark.parametrize(
    ("package", "theirs", "ours"),
    [
        ("python", "2.7.18.final.0", "{}.{}".format(*sys.version_info)),
        # A worker that has not been upgraded with the service.
        ("greenshift", "0.0.9", minor(metadata.version("greenshift"))),
    ],
)
def test_a_worker_of_another_version_gets_no_trial(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, package: str, theirs: str, ours: str
) -> None:
    with client_of_threads(2) as client:
        (good, bad) = sorted(workers_of(client))
        claim(monkeypatch, bad, **{package: theirs})
        fleet = Fleet(client)
        assert fleet.inspect(device_of_worker).device == good
        difference = f"it has {package} {minor(theirs)}, and here is {ours}; both must be the same"
        said = f"worker {bad} gets no trial of this study: {difference}"
        wait_until(lambda: said in caplog.text)
        assert (fleet.n_slots(), fleet.addresses()) == (1, [good])


@pytest.mark.parametrize(
    ("package", "version"), [("greenshift", "9.8.7"), ("python", "2.7.18.final.0"), ("distributed", "2000.1.1")]
)
def test_a_scheduler_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, package: str, version: str) -> None:
    with client_of_threads(1) as client:
        claim(monkeypatch, None, **{package: version})
        with pytest.raises(InputError, match=rf"^scheduler: inproc://\S+ has {package} .*; both must be the same$"):
            Fleet(client)


def test_a_patch_of_python_or_of_ours_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    with client_of_threads(1) as client:
        claim(monkeypatch, None, python="{}.{}.99.final.0".format(*sys.version_info), greenshift=patched("greenshift"))
        assert Fleet(client).n_slots() == 1


def test_every_scheduler_is_told_to_leave_lost_trials_to_us_also_one_that_comes_after_another() -> None:
    with ExitStack() as first, ExitStack() as second:
        client = first.enter_context(client_of_threads(1, protocol="tcp"))
        port = int(client.scheduler.address.rpartition(":")[2])
        with Client(client.scheduler.address, set_as_default=False, timeout=30) as ours:
            assert ours.run_on_scheduler(allowed_failures) == 3
            fleet = Fleet(ours)
            assert ours.run_on_scheduler(allowed_failures) == 0
            first.close()
            second.enter_context(client_of_threads(1, protocol="tcp", scheduler_port=port))
            wait_until(lambda: ours.status == "running")
            assert ours.run_on_scheduler(allowed_failures) == 3
            assert fleet.n_slots() == 1
            assert ours.run_on_scheduler(allowed_failures) == 0


def answers_at_once(address: str) -> TaskFacts:
    if get_worker().address != address:
        time.sleep(1)
    return FACTS


def device_of_worker() -> TaskFacts:
    """Runs on the worker; every worker has a model of device of its own."""
    return FACTS.model_copy(update={"device": get_worker().address})


def knows_only(address: str) -> TaskFacts:
    """Runs on the worker; only one has the data set."""
    if get_worker().address != address:
        raise ValueError("dataset must be something else")
    return device_of_worker()


def claim(monkeypatch: pytest.MonkeyPatch, address: str | None, **packages: str) -> None:
    """Makes one worker, or where there is none this process alone, say that it has these versions."""

    def claimed(names: Iterable[str]) -> dict[str, dict[str, Any]]:
        found = get_versions(names)
        return found | {"packages": found["packages"] | (packages if here() == address else {})}

    monkeypatch.setattr(fleet_module, "get_versions", claimed)


def here() -> str | None:
    """Address of the worker whose thread this is; None outside of any."""
    try:
        return str(get_worker().address)
    except ValueError:
        return None


def patched(package: str) -> str:
    """The version here with another last part."""
    return ".".join([*metadata.version(package).split(".")[:2], "99"])


def allowed_failures(dask_scheduler: Scheduler) -> int:
    """Runs on the scheduler."""
    return int(dask_scheduler.allowed_failures)


def test_one_round_of_a_coordinator_asks_the_scheduler_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_FRESH_SECONDS", 60.0)
    with client_of_threads(2) as client:
        fleet = Fleet(client)
        asked = fleet_module.identity_of
        calls = []
        monkeypatch.setattr(fleet_module, "identity_of", lambda client: calls.append(1) or asked(client))
        assert (fleet.n_slots(), fleet.addresses(), len(fleet.alive())) == (2, None, 2)
        assert calls == []
        monkeypatch.setattr(fleet, "_known_until", 0.0)
        assert (fleet.n_slots(), len(fleet.alive())) == (2, 2)
        assert calls == [1]


def test_after_a_worker_was_lost_with_a_trial_the_scheduler_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_FRESH_SECONDS", 60.0)
    with client_of_threads(2) as client:
        fleet = Fleet(client)
        gone, left = sorted(fleet.alive())
        client.retire_workers([gone])
        assert fleet.alive() == {gone, left}
        fleet.heed("", FailureKind.WORKER_LOST)
        assert fleet.alive() == {left}


def test_workers_that_are_there_are_seen_whatever_dask_asks_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_FRESH_SECONDS", 0.0)
    # Dask asks for no worker, and so often that its answer comes between ours and our looking at it.
    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}), client_of_threads(2) as client:
        assert {len(Fleet(client).alive()) for _ in range(50)} == {2}


# By which the Dask operator asks.
ROUTES = ["distributed.http.scheduler.api"]


@contextmanager
def asked_cluster(n_workers: int = 1) -> Iterator[tuple[Client, Scheduler]]:
    """A scheduler that answers over HTTP as one of the Dask operator does."""
    with dask.config.set({"distributed.scheduler.http.routes": ROUTES}), client_of_threads(n_workers) as client:
        yield client, client.cluster.scheduler


def told(scheduler: Scheduler) -> int:
    """What the scheduler answers who asks it over HTTP."""
    with urlopen(f"http://127.0.0.1:{scheduler.http_server.port}/api/v1/adaptive_target", timeout=60) as answer:
        return int(json.load(answer)["workers"])


def test_a_scheduler_wants_what_it_was_told_and_never_less_than_it_does_itself() -> None:
    with asked_cluster(2) as (client, scheduler):
        assert told(scheduler) == 0
        want(client, 5)
        assert told(scheduler) == 5
        assert client.sync(client.scheduler.adaptive_target) == 5
        want(client, 0)
        assert told(scheduler) == 0


def test_what_a_service_wanted_that_is_gone_is_forgotten() -> None:
    with asked_cluster() as (client, scheduler):
        want(client, 5, 0.0)
        assert told(scheduler) == 0


def test_a_scheduler_of_other_versions_or_that_does_not_answer_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with asked_cluster() as (client, scheduler):
        with monkeypatch.context() as patch:
            patch.setattr(fleet_module, "_versions", lambda found=None: {"python": "3.9" if found else "3.11"})
            want(client, 5)
        assert told(scheduler) == 0
    want(client, 5)
    assert client.status == "closed"
