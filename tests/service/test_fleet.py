from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from distributed import Client, LocalCluster, get_worker

from service.errors import InputError
from service.fleet import Fleet
from tests.service.fakes import FACTS
from worker.schema import FailureKind, TaskFacts


def test_a_worker_that_does_not_know_the_study_gets_none_of_its_trials(caplog: pytest.LogCaptureFixture) -> None:
    with two_workers() as client:
        (poor, rich) = sorted(client.scheduler_info(n_workers=-1)["workers"])
        fleet = Fleet(client)
        facts = fleet.inspect(partial(knows_only, rich))
        assert facts.device == rich
        assert fleet.n_slots() == 1
        assert fleet.addresses() == [rich]
        # The other one may answer later.
        while f"worker {poor} gets no trial of this study: dataset must be" not in caplog.text:
            time.sleep(0.01)


def test_names_that_no_worker_knows_are_refused_once(caplog: pytest.LogCaptureFixture) -> None:
    with two_workers() as client, pytest.raises(InputError, match="dataset must be something else"):
        Fleet(client).inspect(partial(knows_only, "nobody"))
    assert "gets no trial" not in caplog.text


def test_a_pinned_study_runs_on_one_model_of_device_only() -> None:
    with two_workers() as client:
        fleet = Fleet(client)
        fleet.inspect(device_of_worker)
        addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
        while fleet.n_slots() < 2:
            time.sleep(0.01)
        for address in addresses:
            fleet.pin(address)
            assert (fleet.n_slots(), fleet.addresses()) == (1, [address])
        fleet.pin("no such device")
        assert (fleet.n_slots(), fleet.addresses()) == (0, [])


def test_a_newcomer_is_asked_before_it_gets_a_trial() -> None:
    with two_workers(n_workers=1) as client:
        fleet = Fleet(client)
        fleet.inspect(device_of_worker)
        assert fleet.n_slots() == 1
        client.cluster.scale(2)
        while fleet.n_slots() < 2:
            time.sleep(0.01)


def test_a_worker_is_set_aside_after_three_failures_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    with two_workers() as client:
        fleet = Fleet(client)
        fleet.inspect(device_of_worker)
        while fleet.n_slots() < 2:
            time.sleep(0.01)
        (good, bad) = sorted(client.scheduler_info(n_workers=-1)["workers"])
        kinds = [FailureKind.CRASHED, FailureKind.CRASHED, None, FailureKind.CRASHED, FailureKind.OUT_OF_MEMORY]
        for kind in [*kinds, FailureKind.DIVERGED]:
            fleet.heed(bad, kind)
        assert fleet.n_slots() == 2
        fleet.heed(bad, FailureKind.CRASHED)
        assert fleet.addresses() == [good]
    assert f"worker {bad} is set aside after 3 failed trials in a row" in caplog.text


@contextmanager
def two_workers(n_workers: int = 2) -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=n_workers,
            processes=False,
            threads_per_worker=1,
            resources={"CPU_SLOT": 1},
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def device_of_worker() -> TaskFacts:
    """Runs on the worker; every worker has a model of device of its own."""
    return FACTS.model_copy(update={"device": get_worker().address})


def knows_only(address: str) -> TaskFacts:
    """Runs on the worker; only one has the data set."""
    if get_worker().address != address:
        raise ValueError("dataset must be something else")
    return device_of_worker()
