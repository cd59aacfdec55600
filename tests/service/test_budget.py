from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.budget import Spent
from service.schema import Budget
from service.store import Event
from tests.service.fakes import completed, failed
from worker.schema import TrialResult

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def log(*lines: tuple[float, str] | tuple[float, str, TrialResult]) -> list[Event]:
    """Events from (seconds since the beginning, kind, result)."""
    events = []
    for seq, (seconds, kind, *results) in enumerate(lines, start=1):
        payload: dict[str, Any] = {"result": results[0].model_dump(mode="json")} if results else {}
        events.append(Event(seq, kind, None, BEGIN + timedelta(seconds=seconds), payload))
    return events


def test_an_empty_log_has_spent_nothing() -> None:
    assert Spent.from_events([]) == Spent(0, 0.0, 0.0, 0.0)


def test_trials_are_counted_when_they_are_added() -> None:
    assert Spent.from_events(log((0, "trial_added"), (1, "trial_added"), (2, "trial_told"))).n_trials == 2


def test_energy_of_every_attempt_counts_also_of_failed_and_late_ones() -> None:
    lost = failed("a").model_copy(update={"energy": completed("a", joules=7.0).energy})
    spent = Spent.from_events(
        log(
            (0, "attempt_finished", completed("a", joules=10.0)),
            (0, "attempt_finished", lost),
            (0, "late_result", completed("a", joules=3.0)),
        )
    )
    assert spent.energy_joules == 20.0
    assert spent.emissions_grams == pytest.approx(2.0)


def test_unknown_energy_counts_as_nothing() -> None:
    spent = Spent.from_events(
        log((0, "attempt_finished", failed("a")), (0, "attempt_finished", completed("b", joules=None)))
    )
    assert (spent.energy_joules, spent.emissions_grams) == (0.0, 0.0)


def test_time_between_two_runs_is_not_counted() -> None:
    spent = Spent.from_events(
        log(
            (0, "study_created"),
            (100, "study_running"),
            (110, "trial_added"),
            (125, "trial_told"),
            # Cut off here; begun again an hour later.
            (3600, "study_running"),
            (3605, "trial_added"),
            (3607, "study_completed"),
        )
    )
    assert spent.wall_seconds == 25 + 7


def test_the_default_trial_added_before_the_study_runs_costs_no_time() -> None:
    spent = Spent.from_events(log((0, "study_created"), (0.5, "trial_added"), (1, "study_running")))
    assert spent.wall_seconds == 0


def test_trials_given_back_at_the_start_of_the_next_run_do_not_count_the_pause() -> None:
    spent = Spent.from_events(
        log(
            (0, "study_running"),
            (10, "attempt_started"),
            # Cut off here; the next run first gives back what was running.
            (3600, "study_running"),
            (3600, "attempt_abandoned"),
            (3605, "study_completed"),
        )
    )
    assert spent.wall_seconds == 15


def test_a_budget_changed_after_a_pause_does_not_count_the_pause() -> None:
    spent = Spent.from_events(
        log(
            (0, "study_running"),
            (10, "study_completed"),
            (3600, "budget_changed"),
            (3600, "study_waiting"),
            (3601, "study_running"),
        )
    )
    assert spent.wall_seconds <= 11


@pytest.mark.parametrize(
    ("spent", "budget"),
    [
        (Spent(n_trials=3), {"n_trials": 3}),
        (Spent(wall_seconds=3), {"wall_seconds": 3}),
        (Spent(energy_joules=3), {"energy_joules": 3}),
        (Spent(emissions_grams=3), {"emissions_grams": 3}),
    ],
)
def test_each_limit_is_reached_exactly_at_its_value(spent: Spent, budget: dict[str, int]) -> None:
    assert spent.reaches(Budget(**budget))
    assert not spent.reaches(Budget(**{name: 3.5 if name != "n_trials" else 4 for name in budget}))


def test_whichever_limit_comes_first_counts() -> None:
    assert Spent(n_trials=1, energy_joules=5).reaches(Budget(n_trials=10, energy_joules=5))


def test_the_time_since_the_totals_were_taken_counts() -> None:
    assert Spent(wall_seconds=6).reaches(Budget(wall_seconds=10), running_seconds=4)
    assert not Spent(wall_seconds=6).reaches(Budget(wall_seconds=10), running_seconds=3.9)
