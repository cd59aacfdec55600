from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from service.api import operation
from service.client import Client
from service.errors import InputError, ServiceError
from service.scaler import MAX_FAILURES, Scaler
from service.scaling import FRESH_SECONDS, SETTLED_SECONDS, Rules, WhenDirty
from service.schema import Study, StudyState
from service.store import Store, Workers, WorkerStatus, workers
from tests.service.fakes import study_spec, trial
from tests.service.served import serving


@dataclass
class FakeJobs:
    """A batch system that begins every job at once, or none."""

    begins: bool = True
    n: int = 0
    listed: dict[str, bool] = field(default_factory=dict)

    def submit(self) -> str:
        self.n += 1
        self.listed[str(self.n)] = not self.begins
        return str(self.n)

    def jobs(self) -> dict[str, bool]:
        return dict(self.listed)

    def cancel(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            del self.listed[job_id]


@dataclass
class Site:
    """A real service over a real store, whose workers and trials a test writes down, and a batch system."""

    store: Store
    client: Client
    study: Study
    jobs: FakeJobs = field(default_factory=FakeJobs)
    seconds: float = 0.0
    ahead: float = 0.0
    grams: float | None = None
    said: list[str] = field(default_factory=list)

    def scaler(self, rules: Rules) -> Scaler:
        return Scaler(
            self.jobs,
            self.client,
            "gs",
            rules,
            intensity=lambda: self.grams,
            say=self.said.append,
            clock=lambda: self.seconds + self.ahead,
        )

    def work(self, *running: str, idle: tuple[str, ...] = ()) -> None:
        """Workers of jobs are there."""
        n_running = dict.fromkeys(running, 1) | dict.fromkeys(idle, 0)
        Workers(self.store).record(
            [WorkerStatus(f"tcp://w{job}:1", f"gs-{job}-gpu0", "GPU", 1, n, "A100", ()) for job, n in n_running.items()]
        )

    def trials(self, n_running: int, n_waiting: int) -> None:
        """So many more trials run and wait."""
        known = len(self.store.trials(self.study.study_id))
        for i in range(known, known + n_running + n_waiting):
            self.store.add_trial(trial(f"{i:05}", study_id=self.study.study_id))
        waiting = [t for t in self.store.trials(self.study.study_id) if t.state == "WAITING"]
        self.store.start_attempts(waiting[:n_running])

    def drained(self) -> frozenset[str]:
        return Workers(self.store).drained()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Store(tmp_path / "studies.sqlite") as store:
        study = store.create_study(study_spec())
        with serving(store) as url, Client(url) as client:
            found = Site(store, client, study)

            class Ahead(datetime):
                """What clocks say on which the test has turned time on."""

                @classmethod
                def now(cls, tz: tzinfo | None = None) -> datetime:
                    return datetime.now(tz) + timedelta(seconds=found.ahead)

            monkeypatch.setattr(workers, "datetime", Ahead)
            monkeypatch.setattr(operation, "datetime", Ahead)
            Workers(store).record([])
            yield found


def test_a_study_that_waits_for_its_first_worker_gets_one(site: Site) -> None:
    site.scaler(Rules(4)).look()
    assert site.jobs.listed == {"1": False}


def test_a_paused_study_gets_none(site: Site) -> None:
    site.store.set_study_state(site.study.study_id, StudyState.PAUSED)
    site.trials(0, 3)
    site.scaler(Rules(4)).look()
    assert site.jobs.listed == {}


def test_a_worker_that_is_not_needed_finishes_before_its_job_ends(site: Site) -> None:
    scaler = site.scaler(Rules(4, cool_down_seconds=10))
    site.trials(1, 3)
    scaler.look()
    assert list(site.jobs.listed) == ["1", "2", "3", "4"]

    site.trials(0, 0)
    for waiting in [t for t in site.store.trials(site.study.study_id) if t.state == "WAITING"]:
        site.store.stop_trial(waiting, "for the test")
    site.work("2", idle=("1", "3", "4"))
    scaler.look()
    assert site.drained() == frozenset()  # not before the cool-down

    site.seconds = 11
    scaler.look()
    assert site.drained() == {"gs-1-gpu0", "gs-3-gpu0", "gs-4-gpu0"}
    assert list(site.jobs.listed) == ["1", "2", "3", "4"]

    # The roster is from before the drain: the one that it calls idle may have been given a trial meanwhile.
    scaler.look()
    assert list(site.jobs.listed) == ["1", "2", "3", "4"]
    site.ahead = SETTLED_SECONDS + 60
    site.work("2", "3", idle=("1", "4"))
    scaler.look()
    assert list(site.jobs.listed) == ["2", "3"]

    site.work("2", idle=("3",))
    scaler.look()
    assert list(site.jobs.listed) == ["2"]
    site.work("2")
    scaler.look()
    assert site.drained() == frozenset()


def test_nobody_goes_by_what_the_service_saw_some_time_ago(site: Site) -> None:
    site.jobs.listed, site.jobs.n = {"1": False, "2": False}, 2
    site.work(idle=("1",))
    site.store.set_study_state(site.study.study_id, StudyState.PAUSED)
    scaler = site.scaler(Rules(4, cool_down_seconds=0))
    site.ahead = FRESH_SECONDS + 2
    scaler.look()
    scaler.look()
    assert (site.drained(), list(site.jobs.listed)) == (frozenset(), ["1", "2"])
    assert [line.partition(":")[0] for line in site.said] == ["nobody goes"]

    site.work(idle=("1",))
    scaler.look()
    assert (site.drained(), list(site.jobs.listed)) == ({"gs-1-gpu0"}, ["1"])


def test_who_is_about_to_leave_is_taken_back_before_a_job_is_begun(site: Site) -> None:
    site.jobs.listed, site.jobs.n = {"1": False, "2": False}, 2
    site.work("1", "2")
    site.client.drain_worker("gs-2-gpu0")
    site.trials(2, 3)
    site.scaler(Rules(3)).look()
    assert site.drained() == frozenset()
    assert list(site.jobs.listed) == ["1", "2", "3"]


def test_jobs_that_wait_for_a_machine_go_first(site: Site) -> None:
    site.jobs.begins = False
    site.trials(0, 4)
    scaler = site.scaler(Rules(4, cool_down_seconds=0))
    scaler.look()
    for waiting in site.store.trials(site.study.study_id)[1:]:
        site.store.stop_trial(waiting, "for the test")
    scaler.look()
    assert list(site.jobs.listed) == ["1"]


def test_a_scaler_that_starts_again_finds_its_jobs(site: Site) -> None:
    site.trials(0, 3)
    site.scaler(Rules(3)).look()
    site.scaler(Rules(3)).look()
    assert list(site.jobs.listed) == ["1", "2", "3"]


def test_workers_that_others_have_started_do_their_part_first(site: Site) -> None:
    Workers(site.store).record([WorkerStatus("tcp://x:1", "mine-gpu0", "GPU", 4, 1, "A100", ())])
    site.trials(1, 3)
    site.scaler(Rules(4)).look()
    assert site.jobs.listed == {}


def test_dirty_electricity_lets_workers_finish_and_go(site: Site) -> None:
    site.jobs.listed, site.jobs.n, site.grams = {"1": False}, 1, 500.0
    site.work("1")
    site.trials(1, 3)
    scaler = site.scaler(Rules(4, cool_down_seconds=0, carbon_limit=400.0, when_dirty=WhenDirty.SHRINK))
    scaler.look()
    assert site.drained() == {"gs-1-gpu0"}
    assert site.said[0] == "carbon intensity 500.0 g/kWh: shrink"

    site.grams = 100.0
    scaler.look()
    assert site.drained() == frozenset()
    assert site.said[-2] == "carbon intensity 100.0 g/kWh: as usual"


def test_jobs_whose_workers_left_at_the_end_of_their_time_are_no_failures(site: Site) -> None:
    site.jobs.listed, site.jobs.n = {str(i): False for i in range(1, MAX_FAILURES + 1)}, MAX_FAILURES
    site.work(*site.jobs.listed)
    site.trials(1, 9)
    scaler = site.scaler(Rules(MAX_FAILURES))
    scaler.look()
    site.work()
    scaler.look()
    site.jobs.listed.clear()
    scaler.look()
    assert len(site.jobs.listed) > 0


def test_what_cannot_get_better_ends_the_scaling_and_says_that_jobs_may_be_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> dict[str, bool]:
        raise InputError("squeue is not here")

    monkeypatch.setattr(site.jobs, "jobs", missing)
    with pytest.raises(InputError, match="squeue is not here"):
        site.scaler(Rules(1)).run(0.01)
    assert site.said[-1] == "jobs called gs may be left: squeue is not here"


def test_job_after_job_that_ends_at_once_ends_the_scaling(site: Site) -> None:
    scaler = site.scaler(Rules(1))
    for _ in range(MAX_FAILURES):
        scaler.look()
        site.jobs.listed.clear()
    with pytest.raises(ServiceError, match="5 jobs in a row ended before their worker was there"):
        scaler.look()


def test_a_service_without_a_cluster_changes_nothing_and_the_end_ends_all_jobs(site: Site, tmp_path: Path) -> None:
    with Store(tmp_path / "other.sqlite") as store, serving(store) as url, Client(url) as client:
        site.client = client
        site.jobs.listed = {"1": False}
        scaler = site.scaler(Rules(4))
        with pytest.raises(ServiceError, match="no cluster"):
            scaler.look()
        assert site.jobs.listed == {"1": False}
        scaler.stop()
        scaler.run(0.01)
        assert site.jobs.listed == {}
