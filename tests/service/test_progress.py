from __future__ import annotations

from typing import Any

import pytest

from service.progress import Progress
from tests.service.fakes import failed, full_trial, study_spec, trial


def progress(n_rungs: int | None = 2, **changes: Any) -> Progress:
    return Progress(study_spec(budget={"n_trials": 100, "stalled_rungs": n_rungs}, **changes))


def see_worse(seen: Progress, n: int) -> None:
    for i in range(n):
        seen.see(full_trial(f"worse{i}", 0.9, 9e-7))


@pytest.mark.parametrize(("fidelity", "rung"), [({"min_fidelity": 1, "max_fidelity": 10, "eta": 4}, 4), (None, 3)])
def test_a_study_stalls_after_so_many_rungs_without_a_gain(fidelity: dict[str, float] | None, rung: int) -> None:
    seen = progress(fidelity=fidelity)
    seen.see(full_trial("best", 0.1, 1e-7))
    see_worse(seen, 2 * rung - 1)
    assert not seen.has_stalled
    see_worse(seen, 1)
    assert seen.has_stalled


def test_any_gain_begins_the_count_anew() -> None:
    seen = progress()
    seen.see(full_trial("best", 0.1, 5e-7))
    see_worse(seen, 5)
    seen.see(full_trial("cheaper", 0.2, 1e-7))
    see_worse(seen, 5)
    assert not seen.has_stalled


def test_lower_fidelities_and_the_default_do_not_count() -> None:
    seen = progress()
    seen.see(full_trial("best", 0.1, 1e-7))
    for i in range(9):
        seen.see(full_trial(f"low{i}", 0.9, 9e-7, is_full=False))
        seen.see(full_trial("default", 0.9, 9e-7, is_default=True))
    assert not seen.has_stalled


def test_what_fails_breaks_a_constraint_or_equals_the_best_brings_nothing() -> None:
    for nothing in (trial("x", failed("x")), full_trial("x", 0.05, 1e-8), full_trial("x", 0.3, 1e-7)):
        seen = progress(constraints=["error >= 0.2"])
        seen.see(full_trial("best", 0.3, 1e-7))
        for i in range(6):
            assert not seen.has_stalled
            seen.see(nothing.model_copy(update={"trial_id": f"x{i}"}))
        assert seen.has_stalled


def test_a_study_whose_constraints_nothing_keeps_ends() -> None:
    seen = progress(constraints=["error <= 0.000001"])
    see_worse(seen, 6)
    assert seen.has_stalled


def test_a_study_without_that_limit_never_stalls() -> None:
    seen = progress(None)
    see_worse(seen, 50)
    assert not seen.has_stalled
