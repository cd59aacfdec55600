from __future__ import annotations

from typing import Any

import pytest

from service.errors import ServiceError
from service.limits import Limits
from tests.service.fakes import completed, energy_report, failed, full_trial, study_spec, trial


def limits_of(budget: dict[str, Any], now: list[float] | None = None) -> Limits:
    return Limits(study_spec(budget=budget), lambda: now[0] if now else 0.0)


def test_the_last_trial_of_a_budget_is_begun_and_none_is_asked_for_after_it() -> None:
    limits = limits_of({"n_trials": 2})
    spent = []
    for _ in range(2):
        limits.add()
        spent.append((limits.is_spent, limits.is_overrun, limits.has_room))
    assert spent == [(False, False, True), (True, False, False)]


def test_no_more_is_asked_for_than_the_budget_has_room_for() -> None:
    limits = limits_of({"n_trials": 5})
    limits.add()
    assert (limits.n_more(3), limits.n_more(9), limits.n_more(-1)) == (3, 4, -1)
    for _ in range(4):
        limits.add()
    assert limits.n_more(3) == 0
    now = [0.0]
    timed = limits_of({"wall_seconds": 5}, now)
    assert timed.n_more(9) == 9
    now[0] = 5.0
    assert timed.n_more(9) == 0


def test_time_runs_from_where_the_limits_are_made() -> None:
    now = [100.0]
    limits = limits_of({"wall_seconds": 5}, now)
    now[0] = 104.9
    assert (limits.is_spent, limits.is_overrun) == (False, False)
    now[0] = 105.0
    assert (limits.is_spent, limits.is_overrun) == (True, True)
    # A baseline is added all the same: what had been spent before leaves room.
    assert limits.has_room


def test_what_a_failed_attempt_spent_counts() -> None:
    limits = limits_of({"energy_joules": 10})
    limits.spend(completed("1", joules=9.9))
    assert not limits.is_overrun
    limits.spend(completed("1", attempt=2, joules=0.1))
    assert limits.is_overrun


def test_rungs_without_a_gain_end_the_asking() -> None:
    limits = limits_of({"stalled_rungs": 1})
    limits.see(full_trial("1", 0.1, 1.0))
    for i in range(3):
        assert not limits.is_spent
        limits.see(full_trial(f"worse {i}", 0.2, 2.0))
    assert (limits.is_spent, limits.is_overrun) == (True, False)


def test_a_budget_of_energy_alone_needs_known_energies() -> None:
    unknown = trial("7", completed("7").model_copy(update={"energy": energy_report(None)}))
    limits_of({"energy_joules": 10, "n_trials": 3}).check(unknown)
    limits_of({"energy_joules": 10}).check(trial("7", completed("7")))
    limits_of({"energy_joules": 10}).check(trial("7", failed("7")))
    with pytest.raises(ServiceError, match=r"budget: the energy of trial 7 is unknown \(nothing could be read\)"):
        limits_of({"energy_joules": 10}).check(unknown)
