from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.analysis.growth import finished, growth
from service.analysis.history import Progress, history
from service.api.digests import Digests
from service.findings import HistoryDocument
from service.ranking import volume
from service.report.growth import curve
from service.schema import Study, StudyState, Trial, TrialState
from service.store import Store
from service.wire import Event
from tests.service.analysis.lines import at, line, started
from tests.service.analysis.lines import finished as finishing
from tests.service.fakes import completed, energy_report, failed, full_trial, study_spec, trial
from tests.service.served import files, finish, store, study

__all__ = ["files", "store", "study"]  # fixtures

SPEC = study_spec()


def history_of(trials: list[Trial], log: list[Event], state: str = "RUNNING", now: float = 100.0) -> HistoryDocument:
    """Of trials whose last events are those of the log."""
    last = {event.trial_id: seq for seq, event in enumerate(log, 1)}
    known = [trial.model_copy(update={"seq": last[trial.trial_id]}) for trial in trials]
    progress = Progress()
    progress.add(log)
    return history(growth(SPEC, known), finished(known), progress, StudyState(state), at(now))


def ends(trial: Trial, seconds: float, **changes: object) -> Event:
    assert trial.result is not None
    return finishing(seconds, trial.result.model_copy(update=changes))


def test_each_change_of_the_front_is_a_point_and_the_last_one_is_now() -> None:
    default = full_trial("default", 0.9, 9.0, is_default=True)
    first, worse, second, third = (
        full_trial("1", 2.0, 2.0),
        full_trial("2", 3.0, 3.0),
        full_trial("3", 1.0, 3.0),
        full_trial("4", 1.0, 1.0),
    )
    log = [
        line(0, "study_created", spec={}),
        line(10, "study_running"),
        ends(default, 15),
        ends(first, 20),
        ends(worse, 30),
        finishing(35, failed("9").model_copy(update={"energy": energy_report(1.0)}), "FAILED"),
        ends(second, 40),
        ends(third, 50),
    ]

    found = history_of([default, third, second, worse, first, trial("9", failed("9"))], log)

    # The worst values are 3 and 3 and the ranges 2: the point is (3.2, 3.2).
    assert found.reference_point == pytest.approx({"error": 3.2, "deployment_energy": 3.2})
    rows = [(p.n_trials, p.seconds, p.joules, p.hypervolume) for p in found.points]
    assert rows == [
        (1, 10.0, 10.0, pytest.approx(1.2 * 1.2)),
        (4, 30.0, 21.0, pytest.approx(1.2 * 1.2 + 1.0 * 0.2)),
        (5, 40.0, 26.0, pytest.approx(2.2 * 2.2)),
        (5, 90.0, 26.0, pytest.approx(2.2 * 2.2)),
    ]


def test_of_a_study_that_has_ended_the_last_point_is_its_end() -> None:
    first = full_trial("1", 1.0, 1.0)
    log = [line(0, "study_running"), ends(first, 5), line(7, "study_completed")]
    assert [p.seconds for p in history_of([first], log, "COMPLETED").points] == [5.0, 7.0]


def test_joules_are_unknown_from_the_first_attempt_on_of_which_nothing_is_known() -> None:
    first, second = full_trial("1", 2.0, 2.0), full_trial("2", 1.0, 1.0)
    log = [
        line(0, "study_running"),
        ends(first, 5),
        line(6, "attempt_abandoned", "2", attempt=1, reason="a restart"),
        ends(second, 7),
    ]
    points = history_of([first, second], log).points
    assert [p.joules for p in points] == [5.0, None, None]
    assert [p.joules_by_quality for p in points] == [{"estimated": 5.0}, {}, {}]


def test_joules_of_several_qualities_are_told_apart() -> None:
    first, second = full_trial("1", 2.0, 2.0), full_trial("2", 1.0, 1.0)
    assert first.result is not None and first.result.energy is not None
    read = first.result.energy.model_copy(update={"method": "nvml_energy_delta", "quality": "measured"})
    log = [line(0, "study_running"), ends(first, 5, energy=read), ends(second, 7)]
    points = history_of([first, second], log).points
    assert [p.joules_by_quality for p in points[:2]] == [{"measured": 5.0}, {"measured": 5.0, "estimated": 5.0}]
    assert [p.joules for p in points[:2]] == [5.0, 10.0]


def test_an_attempt_that_is_given_back_ends_no_trial_and_one_that_is_stopped_does() -> None:
    first = full_trial("1", 1.0, 1.0)
    log = [
        line(0, "study_running"),
        finishing(1, failed("1"), "WAITING"),
        line(2, "trial_stopped", "2", reason="cancel"),
        ends(first, 3),
    ]
    stopped = trial("2").model_copy(update={"state": TrialState.STOPPED})
    assert [p.n_trials for p in history_of([first, stopped], log).points] == [2, 2]


def test_trials_are_counted_as_the_report_counts_them(store: Store, study: Study) -> None:
    finish(store, study, failed("00007"))
    finish(store, study, completed("00008", error=0.05, deployment_energy=1.0))
    finish(store, study, completed("recommended", error=0.01, deployment_energy=0.5), is_default=True)
    trials = store.trials(study.study_id)
    drawn = curve(study.spec, trials)
    assert drawn is not None
    points = Digests(store).history(study, at(0)).points
    assert [(p.n_trials, p.hypervolume) for p in points] == [
        (n, drawn.hypervolumes[n - 1]) for n in (1, 2, 6, len(drawn.hypervolumes))
    ]


def test_a_study_without_a_front_has_no_history() -> None:
    low = trial("1", completed("1", error=0.1, deployment_energy=1.0), is_full=False)
    assert history_of([low], [started(1, "1"), ends(low, 2)]) == HistoryDocument(reference_point=None, points=[])


pairs = st.tuples(st.integers(0, 5), st.integers(0, 5))


@given(st.lists(pairs, min_size=1, max_size=15))
def test_the_volume_only_grows_and_ends_at_that_of_the_front(values: list[tuple[int, int]]) -> None:
    trials = [full_trial(str(i), float(a), float(b)) for i, (a, b) in enumerate(values)]
    found = history_of(trials, [ends(t, i) for i, t in enumerate(trials)])
    volumes = [p.hypervolume for p in found.points]
    whole = volume(SPEC, trials)
    assert whole is not None and volumes[-1] == whole.hypervolume and found.reference_point == whole.reference_point
    assert volumes[-2] == pytest.approx(volumes[-1])
    assert all(a < b for a, b in pairwise(volumes[:-1]))
