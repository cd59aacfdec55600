"""Whatever happens to a study, in whatever order: its rows are what its log says, and what a plain model expects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select, update

from service.errors import ServiceError
from service.schema import Budget, StudyState, TrialState
from service.store import Store
from service.store.projection import Rows, replay
from service.store.tables import studies, trials
from tests.service.fakes import completed, study_spec, trial
from worker.schema import TrialResult

WAITING, RUNNING, COMPLETED, FAILED, STOPPED = TrialState
index = st.integers(0, 99)


@dataclass(frozen=True)
class Expected:
    """A trial as the model knows it."""

    state: TrialState = WAITING
    attempt: int = 0
    result: TrialResult | None = None


def rows_of(store: Store, study_id: str) -> Rows:
    """The rows as they lie in the database."""
    query = select(trials).where(trials.c.study_id == study_id).order_by(trials.c.added)
    study = select(studies).where(studies.c.study_id == study_id)
    return store.database.read(
        lambda c: Rows(
            dict(c.execute(study).mappings().one()),
            {row["trial_id"]: dict(row) for row in c.execute(query).mappings()},
        )
    )


class StudyMachine(RuleBasedStateMachine):
    """One study in a store that it may share with others."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.expected: dict[str, Expected] = {}
        self.accepted: list[TrialResult] = []
        self.told: list[str] = []
        self.finals: dict[tuple[str, int], TrialResult] = {}
        self.state, self.budget, self.n_results = StudyState.WAITING, 10, 0

    @initialize()
    def create(self) -> None:
        self.study = self.store.create_study(study_spec())
        self.study_id = self.study.study_id

    # Few trials, so that much happens to each.
    @precondition(lambda self: len(self.expected) < 2)
    @rule()
    def add(self) -> None:
        name = str(len(self.expected))
        self.store.add_trial(trial(name, study_id=self.study_id))
        self.expected[name] = Expected()

    @precondition(lambda self: self.expected)
    @rule(i=index)
    def start(self, i: int) -> None:
        name = self.name(i)
        attempt = self.expected[name].attempt + 1
        self.change(name, self.store.start_attempt, {WAITING}, state=RUNNING, attempt=attempt)

    @precondition(lambda self: self.expected)
    @rule(i=index, state=st.sampled_from([COMPLETED, FAILED, STOPPED, WAITING]), age=st.integers(0, 1))
    def finish(self, i: int, state: TrialState, age: int) -> None:
        name = self.name(i)
        before = self.expected[name]
        self.n_results += 1
        attempt = max(1, before.attempt - age)
        result = completed(name, attempt, study_id=self.study_id, error=float(self.n_results))
        is_awaited = before.state is RUNNING and attempt == before.attempt
        assert self.store.finish_attempt(result, state) is is_awaited
        if is_awaited:
            self.expected[name] = replace(before, state=state, result=result)
            self.accepted.append(result)

    @precondition(lambda self: self.accepted)
    @rule(i=index)
    def finish_again(self, i: int) -> None:
        assert self.store.finish_attempt(self.accepted[i % len(self.accepted)], COMPLETED) is False

    @precondition(lambda self: self.expected)
    @rule(i=index)
    def give_back(self, i: int) -> None:
        self.change(self.name(i), lambda t: self.store.give_back(t, "lost"), {RUNNING}, state=WAITING)

    @precondition(lambda self: self.expected)
    @rule(i=index)
    def stop(self, i: int) -> None:
        self.change(self.name(i), lambda t: self.store.stop_trial(t, "asked"), {WAITING, RUNNING}, state=STOPPED)

    @precondition(lambda self: self.expected)
    @rule(i=index)
    def retry(self, i: int) -> None:
        self.change(self.name(i), lambda t: self.store.retry_trial(t, "asked"), {FAILED, STOPPED}, state=WAITING)

    @precondition(lambda self: self.expected)
    @rule(i=index, what=st.sampled_from(["told", "final", "state", "budget", "request", "added again"]))
    def note(self, i: int, what: str) -> None:
        """What changes no trial."""
        name = self.name(i)
        if what == "told":
            self.store.record_told(self.study_id, name)
            self.told.append(name)
        elif what == "final":
            self.finals[name, i] = completed(name, study_id=self.study_id)
            self.store.record_final(self.study_id, name, i, self.finals[name, i])
        elif what == "state":
            self.state = list(StudyState)[i % len(StudyState)]
            self.store.set_study_state(self.study_id, self.state, "because")
        elif what == "budget":
            self.budget = i + 1
            spec = self.study.spec.model_copy(update={"budget": Budget(n_trials=self.budget)})
            assert self.store.change_spec(self.study, spec).spec == spec
        elif what == "request":
            request = self.store.request(self.study_id, "cancel", name)
            assert self.store.requests(self.study_id, self.store.answered(self.study_id)) == [request]
            self.store.answer(request, "no")
        else:
            with pytest.raises(ServiceError):
                self.store.add_trial(trial(name, study_id=self.study_id))

    @invariant()
    def the_trials_are_as_expected(self) -> None:
        found = self.store.trials(self.study_id)
        assert {t.trial_id: Expected(t.state, t.attempt, t.result) for t in found} == self.expected
        assert [t.trial_id for t in found] == list(self.expected)
        counts = {s.lower(): sum(e.state is s for e in self.expected.values()) for s in TrialState}
        assert self.store.n_trials(self.study_id) == counts

    @invariant()
    def the_study_is_as_expected(self) -> None:
        study = self.store.study(self.study_id)
        assert (study.state, study.spec.budget.n_trials) == (self.state, self.budget)
        assert self.store.final_results(self.study_id) == self.finals

    @invariant()
    def the_log_says_everything_once_and_in_order_and_the_rows_follow(self) -> None:
        events = self.store.events(self.study_id)
        assert rows_of(self.store, self.study_id) == replay(self.study_id, events)
        numbers = [e.seq for e in events]
        assert numbers == sorted(set(numbers))
        finished = [TrialResult.model_validate(e.payload["result"]) for e in events if e.kind == "attempt_finished"]
        assert finished == self.accepted
        assert len({(r.trial_id, r.attempt) for r in finished}) == len(finished)
        assert [e.trial_id for e in events if e.kind == "trial_told"] == self.told

    def teardown(self) -> None:
        """At the end all rows are lost, and made anew from the log."""
        before = rows_of(self.store, self.study_id)

        def lose(connection) -> None:
            connection.execute(delete(trials).where(trials.c.study_id == self.study_id))
            lost = studies.c.study_id == self.study_id
            if len(self.expected) % 2:
                connection.execute(delete(studies).where(lost))
            else:
                connection.execute(update(studies).where(lost).values(state="LOST", spec={}, name=""))

        self.store.database.write(lose)
        self.store.rebuild(self.study_id)
        assert rows_of(self.store, self.study_id) == before

    def name(self, i: int) -> str:
        return str(i % len(self.expected))

    def change(self, name: str, change: Callable, states: set[TrialState], **changes: object) -> None:
        """A change that is to succeed in `states`, and to be refused in all others."""
        before = self.expected[name]
        current = self.store.trial(self.study_id, name)
        if before.state in states:
            change(current)
            self.expected[name] = replace(before, **changes)
        else:
            with pytest.raises(ServiceError):
                change(current)


def run(store: Store, n_runs: int, n_steps: int) -> None:
    """Runs the machine; a run that fails is short enough as it is, and shrinking it takes minutes."""
    options = settings(max_examples=n_runs, stateful_step_count=n_steps, phases=[Phase.generate])
    run_state_machine_as_test(lambda: StudyMachine(store), settings=options)


def test_rows_follow_from_the_log_whatever_happens() -> None:
    with Store(None) as store:
        run(store, n_runs=8, n_steps=25)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "postgresql"])
def test_rows_follow_from_the_log_whatever_happens_for_long(kind: str, request: pytest.FixtureRequest) -> None:
    with Store(None if kind == "memory" else request.getfixturevalue("postgresql_url")) as store:
        run(store, n_runs=30, n_steps=40)


def test_rows_of_a_study_that_the_log_does_not_know_cannot_be_made(store: Store) -> None:
    with pytest.raises(KeyError, match="no study 'x'"):
        store.rebuild("x")
