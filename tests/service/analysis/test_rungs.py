from __future__ import annotations

from typing import Any

import pytest

from service.analysis.rungs import rungs, spearman
from service.findings import Rung, RungsDocument
from service.schema import Trial, TrialState
from tests.service.fakes import completed, failed, measurement, study_spec, trial

SPEC = study_spec()


def at_rung(trial_id: str, fidelity: float, number: int, error: float | None = None, **changes: Any) -> Trial:
    """A trial of config `number`, COMPLETED where it has an error."""
    result = None if error is None else completed(trial_id, error=error)
    values = {"fidelity": fidelity, "is_full": fidelity == 9.0, "config": {"weight_bits": 2, "batch_size": number}}
    return trial(trial_id, result, **values | changes)


def test_trials_are_counted_by_fidelity_and_state_and_the_default_is_not() -> None:
    found = rungs(
        SPEC,
        [
            trial("default", completed("default", error=0.5), is_default=True, fidelity=9.0),
            at_rung("1", 1.0, 1, 0.1),
            at_rung("2", 1.0, 2, 0.2),
            at_rung("3", 1.0, 3).model_copy(update={"state": TrialState.RUNNING}),
            trial("4", failed("4"), fidelity=1.0),
            *(at_rung(i, 1.0, 4).model_copy(update={"state": TrialState.STOPPED}) for i in ("7", "8")),
            at_rung("5", 3.0, 1, 0.1, promoted_from="1"),
            at_rung("6", 9.0, 1, promoted_from="5"),
        ],
    )
    counts = [
        (r.fidelity, r.n_waiting, r.n_running, r.n_completed, r.n_failed, r.n_stopped, r.n_promoted)
        for r in found.rungs
    ]
    assert counts == [(1.0, 0, 1, 2, 1, 2, 1), (3.0, 0, 0, 1, 0, 0, 1), (9.0, 1, 0, 0, 0, 0, 0)]


def test_two_fidelities_are_compared_by_the_configs_that_both_have() -> None:
    low = [at_rung(f"l{i}", 1.0, i, error) for i, error in enumerate([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])]
    high = [at_rung(f"h{i}", 9.0, i, error) for i, error in enumerate([0.1, 0.2, 0.3, 0.5, 0.4])]

    (found,) = rungs(SPEC, [*low, *high]).correlations

    assert (found.objective, found.low, found.high, found.n) == ("error", 1.0, 9.0, 5)
    # Ranks 1 2 3 4 5 and 1 2 3 5 4: 1 - 6 * 2 / (5 * 24).
    assert found.spearman == pytest.approx(0.9)


def energy(trial_id: str, fidelity: float, number: int, joules: float, how: str) -> Trial:
    found = {"energy": measurement(joules, how, "measured" if how == "rapl" else "estimated")}
    return at_rung(trial_id, fidelity, number).model_copy(
        update={"state": TrialState.COMPLETED, "result": completed(trial_id, objectives=found)}
    )


OF_ENERGY = study_spec(objectives={"error": "minimize", "energy": "minimize"})


def test_values_that_were_obtained_in_two_ways_are_not_compared() -> None:
    low = [energy(f"l{i}", 1.0, i, float(i), "rapl" if i else "codecarbon") for i in range(6)]
    high = [energy(f"h{i}", 9.0, i, float(i), "rapl") for i in range(6)]
    (found,) = rungs(OF_ENERGY, [*low, *high]).correlations
    assert (found.n, found.spearman) == (5, pytest.approx(1.0))


def test_an_estimate_at_one_fidelity_is_no_pair_with_a_measurement_at_the_other() -> None:
    low = [energy(f"l{i}", 1.0, i, float(i), "codecarbon") for i in range(6)]
    high = [energy(f"h{i}", 9.0, i, float(i), "rapl") for i in range(6)]
    assert rungs(OF_ENERGY, [*low, *high]).correlations == []


def test_of_pairs_of_two_ways_those_of_the_more_trusted_one_count() -> None:
    ways = ["rapl"] * 5 + ["codecarbon"] * 6
    low = [energy(f"l{i}", 1.0, i, float(i), how) for i, how in enumerate(ways)]
    high = [energy(f"h{i}", 9.0, i, float(-i), how) for i, how in enumerate(ways)]
    (found,) = rungs(OF_ENERGY, [*low, *high]).correlations
    assert (found.n, found.spearman) == (5, pytest.approx(-1.0))


def test_of_a_config_that_was_tried_twice_the_later_trial_counts() -> None:
    low = [energy(f"l{i}", 1.0, i, float(i), "rapl") for i in range(5)]
    high = [energy(f"h{i}", 9.0, i, float(i), "rapl") for i in range(5)]
    (found,) = rungs(OF_ENERGY, [*low, *high, energy("again", 9.0, 4, -1.0, "rapl")]).correlations
    # Ranks 1 2 3 4 5 and 2 3 4 5 1: 1 - 6 * 20 / (5 * 24).
    assert (found.n, found.spearman) == (5, pytest.approx(0.0))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], None),
        ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [7, 7, 7, 7, 7], None),
        # Tied values share their rank: 1.5 1.5 3 4 5 against 1 .. 5.
        ([1, 1, 3, 4, 5], [1, 2, 3, 4, 5], 9.5 / (9.5 * 10) ** 0.5),
    ],
)
def test_a_rank_correlation_is_as_by_hand(low: list[float], high: list[float], expected: float | None) -> None:
    assert spearman(low, high) == (expected if expected is None else pytest.approx(expected))


def test_a_study_without_fidelity_has_no_rungs() -> None:
    full = trial("1", completed("1", error=0.1), fidelity=None)
    assert rungs(SPEC, [full]) == RungsDocument(rungs=[], correlations=[])


def test_a_rung_without_promotions_says_zero() -> None:
    assert rungs(SPEC, [at_rung("1", 1.0, 1)]).rungs == [
        Rung(fidelity=1.0, n_waiting=1, n_running=0, n_completed=0, n_failed=0, n_stopped=0, n_promoted=0)
    ]
