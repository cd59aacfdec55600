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


def test_what_cannot_be_compared_does_not_count() -> None:
    seen = progress()
    seen.see(full_trial("best", 0.1, 1e-7))
    for i in range(9):
        seen.see(full_trial(f"low{i}", 0.9, 9e-7, is_full=False))
        seen.see(full_trial("default", 0.9, 9e-7, is_default=True))
        seen.see(trial(f"failed{i}", failed(f"failed{i}")))
    assert not seen.has_stalled


def test_a_study_without_that_limit_never_stalls() -> None:
    seen = progress(None)
    see_worse(seen, 50)
    assert not seen.has_stalled
