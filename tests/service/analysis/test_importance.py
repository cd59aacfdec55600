from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.analysis.importance import importance
from service.findings import ObjectiveImportance
from service.schema import Trial
from tests.service.fakes import completed, failed, measurement, study_spec, trial

SPEC = study_spec()


def trial_of(number: int, config: dict[str, Any], error: float, **changes: Any) -> Trial:
    name = f"{number:05}"
    return trial(name, completed(name, error=error, deployment_energy=error**2), config=config, **changes)


def drawn(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"rate": float(rng.random()), "depth": int(rng.integers(1, 20)), "kind": "ab"[rng.integers(2)]}
        for _ in range(n)
    ]


def of_error(trials: list[Trial]) -> ObjectiveImportance:
    return importance(SPEC, trials).objectives["error"]


def test_what_alone_decides_has_all_the_importance() -> None:
    found = of_error([trial_of(i, c, 10 * c["rate"]) for i, c in enumerate(drawn(100))])
    assert (found.n_trials, found.reason) == (100, None)
    assert found.parameters[0].name == "rate" and found.parameters[0].importance > 0.98
    assert found.score is not None and found.score > 0.95
    assert sum(p.importance for p in found.parameters) == pytest.approx(1.0)


def test_shares_are_those_of_the_variance() -> None:
    """Uniform `rate` and `other` with weights 3 and 1: shuffling one adds twice its variance, 9 to 1."""
    configs = [c | {"other": float(r)} for c, r in zip(drawn(400), np.random.default_rng(1).random(400), strict=True)]
    found = of_error([trial_of(i, c, 3 * c["rate"] + c["other"]) for i, c in enumerate(configs)])
    shares = {p.name: p.importance for p in found.parameters}
    assert shares["rate"] == pytest.approx(0.9, abs=0.05) and shares["other"] == pytest.approx(0.1, abs=0.05)
    assert all(p.std < 0.1 for p in found.parameters)


def test_where_nothing_can_be_told_the_score_says_so() -> None:
    noise = np.random.default_rng(2).random(60)
    found = of_error([trial_of(i, c, float(e)) for i, (c, e) in enumerate(zip(drawn(60), noise, strict=True))])
    assert found.score is not None and found.score < 0.2


def test_a_hyperparameter_that_is_often_inactive_takes_nothing_from_the_one_that_decides_that() -> None:
    """`momentum` is there exactly where `kind` is b, which is what the error depends on."""
    configs = [c | ({"momentum": c["rate"] * 7 % 1} if c["kind"] == "b" else {}) for c in drawn(100)]
    found = of_error([trial_of(i, c, 1.0 + (c["kind"] == "b")) for i, c in enumerate(configs)])
    shares = {p.name: p.importance for p in found.parameters}
    assert shares["kind"] > 0.98 and shares["momentum"] < 0.01


def test_a_conditional_hyperparameter_counts_where_it_is_active() -> None:
    """With variance v: shuffling `momentum` costs 2 v in half of the trials, shuffling `kind` v in half of them."""
    configs = [c | ({"momentum": c["rate"] * 7 % 1} if c["kind"] == "b" else {}) for c in drawn(200)]
    found = of_error([trial_of(i, c, c.get("momentum", 0.5)) for i, c in enumerate(configs)])
    shares = {p.name: p.importance for p in found.parameters}
    assert shares["momentum"] == pytest.approx(2 / 3, abs=0.05) and shares["kind"] == pytest.approx(1 / 3, abs=0.05)


def test_equal_trials_give_equal_figures() -> None:
    trials = [trial_of(i, c, c["rate"] + c["depth"]) for i, c in enumerate(drawn(30))]
    assert importance(SPEC, trials) == importance(SPEC, list(trials))


def test_below_twenty_trials_there_is_a_reason_and_no_figure() -> None:
    configs = drawn(20)
    trials = [trial_of(i, c, c["rate"]) for i, c in enumerate(configs[:19])]
    others = [
        trial("default", completed("default", error=0.1), is_default=True),
        trial("f", failed("f")),
        trial_of(98, configs[19], 0.1, fidelity=1.0),
    ]
    found = of_error([*trials, *others])
    assert (found.n_trials, found.score, found.parameters) == (19, None, [])
    assert found.reason == "needs 20 completed trials of one fidelity, there are 19"
    assert of_error([*trials, trial_of(99, configs[19], 0.1)]).score is not None
    assert of_error([]).n_trials == 0


def test_only_the_highest_fidelity_with_enough_trials_counts() -> None:
    configs = drawn(60)
    low = [trial_of(i, c, c["rate"], fidelity=1.0) for i, c in enumerate(configs[:30])]
    middle = [trial_of(100 + i, c, c["depth"], fidelity=3.0) for i, c in enumerate(configs[30:55])]
    high = [trial_of(200 + i, c, c["rate"]) for i, c in enumerate(configs[55:])]
    found = of_error([*low, *middle, *high])
    assert found.n_trials == 25 and found.method.endswith("trials at fidelity 3")
    assert found.parameters[0].name == "depth"


def test_energies_of_two_methods_are_never_mixed() -> None:
    spec = study_spec(objectives={"error": "minimize", "energy": "minimize"})
    trials = []
    for i, config in enumerate(drawn(50)):
        how = ("rapl", "measured") if i % 2 else ("codecarbon", "estimated")
        result = completed(str(i), objectives={"energy": measurement(config["rate"], *how)})
        trials.append(trial(str(i), result, config=config))
    assert importance(spec, trials).objectives["energy"].n_trials == 25


def test_values_that_are_all_one_depend_on_nothing() -> None:
    found = of_error([trial_of(i, c, 0.5) for i, c in enumerate(drawn(20))])
    assert (found.score, found.parameters, found.reason) == (None, [], "all trials have one value")
    found = of_error([trial_of(i, {"rate": 1.0}, i / 20) for i in range(20)])
    assert found.reason == "no hyperparameter took several values"


def test_of_very_many_trials_some_are_enough_which_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.analysis.importance.MAX_TRIALS", 25)
    found = of_error([trial_of(i, c, c["rate"]) for i, c in enumerate(drawn(40))])
    assert found.n_trials == 25 and "25 of 40 trials drawn by chance" in found.method
