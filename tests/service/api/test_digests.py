from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from service.analysis.attempts import attempt_rows
from service.analysis.growth import finished, growth
from service.analysis.history import Progress, history
from service.analysis.importance import importance
from service.analysis.payback import payback
from service.analysis.rungs import rungs
from service.analysis.timeline import timeline
from service.api.digests import Digests
from service.ledger import Ledger
from service.ranking import front, volume
from service.schema import Study
from service.store import Store
from tests.service.fakes import completed, failed
from tests.service.served import finish, recorded

NOW = datetime(2100, 1, 1, tzinfo=UTC)


def assert_is_as_from_the_beginning(digests: Digests, store: Store, study: Study) -> None:
    trials = store.trials(study.study_id)
    assert digests.volume(study) == volume(study.spec, trials)
    assert digests.front(study) == front(study.spec, trials)
    log = store.events(study.study_id)
    assert digests.ledger(study) == Ledger.from_events(log)
    assert digests.rungs(study) == rungs(study.spec, trials)
    fidelities = {trial.trial_id: trial.fidelity for trial in trials}
    assert digests.timeline(study) == timeline(attempt_rows(log), fidelities).model_dump_json().encode()
    progress = Progress()
    progress.add(log)
    expected = history(growth(study.spec, trials), finished(trials), progress, study.state, NOW)
    assert digests.history(study, NOW) == expected
    assert digests.importance(study) == importance(study.spec, trials)
    assert digests.payback(study) == payback(front(study.spec, trials), trials, digests.ledger(study))


def test_what_is_kept_up_to_date_is_what_the_whole_log_says(
    store: Store, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.reading._BATCH", 3)
    digests = Digests(store)
    assert_is_as_from_the_beginning(digests, store, study)
    finish(store, study, completed("00007", error=0.05, deployment_energy=3.0))
    finish(store, study, failed("00008"))
    assert_is_as_from_the_beginning(digests, store, study)
    finish(store, study, completed("00009", error=0.01, deployment_energy=1.0), is_full=False)
    finish(store, study, completed("00010", error=0.5, deployment_energy=9.0, joules=None))
    assert_is_as_from_the_beginning(digests, store, study)


def test_another_spec_counts_at_once(store: Store, study: Study) -> None:
    digests = Digests(store)
    assert [t.trial_id for t in digests.front(study)] == ["00001", "00002"]
    objectives = {"error": "maximize", "deployment_energy": "minimize"}
    study = store.change_spec(study, study.spec.model_copy(update={"objectives": objectives}))
    assert [t.trial_id for t in digests.front(study)] == ["00003", "00002"]


def test_asking_again_reads_only_what_is_new(store: Store, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, read = Digests(store), []
    digests.ledger(study)
    real = store.events

    def events(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        read.extend(found)
        return found

    monkeypatch.setattr(store, "events", events)
    digests.ledger(study)
    assert read == []
    finish(store, study, failed("00007"))
    digests.ledger(study)
    assert [event.kind for event in read] == ["trial_added", "attempt_started", "attempt_finished"]


def test_a_front_is_worked_out_again_only_where_a_trial_may_be_part_of_it(store: Store, study: Study) -> None:
    digests = Digests(store)
    before = digests.front(study), digests.volume(study)
    finish(store, study, failed("00007"))
    assert digests.front(study) is before[0] and digests.volume(study) is before[1]
    finish(store, study, completed("00008", error=0.9, deployment_energy=9.0))
    assert digests.front(study) is not before[0] and digests.volume(study) != before[1]


def test_analyses_are_worked_out_again_only_where_something_is_new(store: Store, study: Study) -> None:
    digests = Digests(store)

    def asked() -> tuple[object, ...]:
        digests.history(study, NOW)
        _, grown = digests._of(study)._kept["growth"]
        return digests.timeline(study), digests.rungs(study), digests.importance(study), grown

    before, again = asked(), asked()
    assert all(old is new for old, new in zip(before, again, strict=True))
    finish(store, study, completed("00007", error=0.05, deployment_energy=3.0))
    assert all(old is not new for old, new in zip(before, asked(), strict=True))


def test_what_one_caller_does_with_a_ledger_is_not_what_the_next_one_gets(store: Store, study: Study) -> None:
    digests = Digests(store)
    digests.ledger(study).entries[0].joules = -1.0
    assert digests.ledger(study).joules == 20.0


def test_only_so_many_studies_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.digests._MAX_STUDIES", 2)
    digests = Digests(store)
    studies = [recorded(store) for _ in range(3)]
    for study in [*studies, *studies]:
        assert digests.ledger(study).joules == 20.0
    assert list(digests._studies) == [study.study_id for study in studies[1:]]
