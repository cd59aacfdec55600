"""How much is tried before there is a model, and how much at low fidelities once there is one."""

from __future__ import annotations

import numpy as np
import pytest

from service.optimizer import Suggestion
from service.optimizer.front_search import FrontEngine
from service.optimizer.halving import AsynchronousHalving
from tests.service.optimizer.toy import make_optimizer, toy_space

LOW, FULL = 1.0, 9.0


def halving_with(n_low: int, n_full: int, monkeypatch: pytest.MonkeyPatch) -> AsynchronousHalving:
    """So many trials told at the lowest fidelity, which says all, and asked for at full, which gains nothing."""
    options = {"known": {}, "expected_cost": None, "eta": 3, "n_trials": 500, "n_workers": 40, "seed": 0}
    engine = FrontEngine(toy_space(), ["error", "energy"], (LOW, FULL), **options)
    halving = engine._halving
    monkeypatch.setattr(halving._acquisition, "probability", lambda _: 0.0)
    monkeypatch.setattr(halving._model, "correlation", lambda *_: 1.0)
    vectors = halving._encoding.sample(n_low + n_full, np.random.RandomState(0))
    for vector in vectors[:n_low]:
        engine.archive.begin(vector, LOW)
        engine.archive.end(vector, LOW, [0.5, 0.5], None)
    for vector in vectors[n_low:]:
        engine.archive.begin(vector, FULL)
    halving._gate.rungs(engine.archive)
    return halving


def test_full_trials_that_still_run_pay_for_no_low_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    halving = halving_with(58, 40, monkeypatch)
    archive, running = halving._archive, list(halving._archive.pending.values())
    untried = halving._encoding.sample(1, np.random.RandomState(1))[0]
    assert halving._fidelity(untried, [LOW]) == FULL
    # 58 ninths are less than a quarter of themselves and of 8 full ones, and 3 more, but not of 7.
    for vector in running[:7]:
        archive.end(vector, FULL, [0.4, 0.4], None)
    assert halving._fidelity(untried, [LOW]) == FULL
    archive.end(running[7], FULL, [0.4, 0.4], None)
    assert halving._fidelity(untried, [LOW]) == LOW


def test_without_low_fidelities_all_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    halving = halving_with(0, 5, monkeypatch)
    assert halving._fidelity(halving._encoding.sample(1, np.random.RandomState(1))[0], []) == FULL


def test_a_config_that_was_tried_below_goes_on_to_full(monkeypatch: pytest.MonkeyPatch) -> None:
    halving = halving_with(5, 0, monkeypatch)
    told, untried = halving._archive.good()[0][0], halving._encoding.sample(1, np.random.RandomState(1))[0]
    assert (halving._fidelity(told, [LOW]), halving._fidelity(untried, [LOW])) == (FULL, LOW)


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_the_more_objectives_the_more_configs_come_first_whatever_they_give(n_objectives: int) -> None:
    """Of the toy's four hyperparameters one for each, and one for each objective."""
    names = [f"objective{i}" for i in range(n_objectives)]

    def study(seed: int) -> list[Suggestion]:
        generator, asked = np.random.default_rng(seed), []
        optimizer = make_optimizer(objectives=dict.fromkeys(names, "minimize"), fidelity=None, n_workers=1)
        for _ in range(4 + n_objectives + 1):
            suggestion = optimizer.ask()
            assert suggestion is not None
            asked.append(suggestion)
            optimizer.tell(suggestion, {name: float(generator.random()) for name in names})
        return asked

    one, other = study(1), study(2)
    assert [s.config for s in one[:-1]] == [s.config for s in other[:-1]]
    assert one[-1].config != other[-1].config
