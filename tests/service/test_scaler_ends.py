"""No job is ended whose worker is at a trial, whatever the service has seen of it, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ServiceError
from service.scaler import Scaler
from service.scaling import FRESH_SECONDS, Rules
from service.schema import StudyState
from service.wire import Worker, WorkersDocument

JOBS = ("1", "2", "3")
# For so long a drained worker may still be given a trial.
_LATE_SECONDS = 2.0


@dataclass
class World:
    """Three jobs with a worker each, a service that writes down who works now and then, and a study."""

    now: float = 1_000.0
    written_at: float = 1_000.0
    roster: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(JOBS, False))
    busy: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(JOBS, False))
    drained: dict[str, float] = field(default_factory=dict)
    n_new: int = 0

    def write(self) -> None:
        self.written_at, self.roster = self.now, dict(self.busy)

    def begin(self, job: str) -> None:
        """A trial is sent to a worker, if it may be given one."""
        if job in self.busy and self.now - self.drained.get(job, self.now) <= _LATE_SECONDS:
            self.busy[job] = True

    def end(self, job: str) -> None:
        if job in self.busy:
            self.busy[job] = False

    # As a batch system.
    def submit(self) -> str:
        job = str(len(JOBS) + 1 + self.n_new)
        self.n_new += 1
        self.busy[job] = False
        self.write()  # a new worker is news
        return job

    def jobs(self) -> dict[str, bool]:
        return dict.fromkeys(self.busy, False)

    def cancel(self, job_ids: list[str]) -> None:
        for job in job_ids:
            assert not self.busy.pop(job), "its worker was at a trial"
            assert self.now - self.written_at <= FRESH_SECONDS

    # As a service.
    def studies(self) -> list[Any]:
        n_trials = SimpleNamespace(running=sum(self.busy.values()), waiting=0)
        return [SimpleNamespace(state=StudyState.RUNNING, n_trials=n_trials)] if n_trials.running else []

    def workers(self) -> WorkersDocument:
        found = [self._worker(job, is_busy) for job, is_busy in self.roster.items()]
        age = self.now - self.written_at
        # Its clock is a year behind ours.
        seen_at = datetime.fromtimestamp(self.written_at, UTC) - timedelta(days=365)
        return WorkersDocument(seen_at=seen_at, age_seconds=age, is_current=age < 30, workers=found if age < 30 else [])

    def _worker(self, job: str, is_busy: bool) -> Worker:
        state = ("draining" if is_busy else "drained") if job in self.drained else "active"
        return Worker.model_validate(
            {"address": job, "name": f"gs-{job}-gpu0", "resource": "GPU", "n_slots": 1, "n_running": int(is_busy)}
            | {"device": "A100", "set_aside_by": [], "state": state}
        )

    def drain_worker(self, name: str) -> Any:
        assert self.now - self.written_at <= FRESH_SECONDS
        self.drained[name.split("-")[1]] = self.now

    def undrain_worker(self, name: str) -> Any:
        self.drained.pop(name.split("-")[1], None)


ACTIONS = st.one_of(
    st.just(("write", "")),
    st.tuples(st.sampled_from(["begin", "end"]), st.sampled_from(JOBS)),
    st.tuples(st.just("wait"), st.sampled_from(["1", "5", "13", "25"])),
    st.just(("look", "")),
)


@given(st.lists(ACTIONS, max_size=40))
def test_no_worker_goes_by_an_old_roster_and_none_from_a_trial(actions: list[tuple[str, str]]) -> None:
    world = World()
    scaler = Scaler(world, world, "gs", Rules(3, cool_down_seconds=0), clock=lambda: world.now)
    for action, what in actions:
        if action == "look":
            try:
                scaler.look()
            except ServiceError:
                assert world.now - world.written_at >= 30
        elif action == "wait":
            world.now += float(what)
        elif action == "write":
            world.write()
        else:
            getattr(world, action)(what)


def test_a_worker_that_has_finished_goes() -> None:
    world = World()
    scaler = Scaler(world, world, "gs", Rules(3, cool_down_seconds=0), clock=lambda: world.now)
    for _ in range(3):
        scaler.look()
        world.now += 20
        world.write()
    assert world.busy == {}


@pytest.mark.parametrize("job", JOBS)
def test_a_worker_at_a_trial_that_is_not_seen_once_keeps_its_job(job: str) -> None:
    world = World()
    scaler = Scaler(world, world, "gs", Rules(3, cool_down_seconds=0), clock=lambda: world.now)
    for each in JOBS:
        world.begin(each)
    world.write()
    scaler.look()
    for each in set(JOBS) - {job}:
        world.end(each)
    world.roster = {}  # a scheduler that lost its connections for a moment
    for _ in range(3):
        scaler.look()
    assert job in world.busy
