"""One test for each trap of SMAC3 2.4.1 in the role of an ask/tell coordinator, and for both ways of using it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import Configuration
from smac.model.random_forest import RandomForest

from service.optimizer import Optimizer, Suggestion
from service.optimizer.engine import ExhaustedError, RandomEngine
from service.optimizer.front_search import FrontEngine
from service.optimizer.hyperband import HyperbandEngine
from service.optimizer.optimizer import Told
from service.optimizer.surrogate import Surrogate
from service.pareto import dominates
from tests.service.optimizer.toy import drive, make_optimizer, score, six_configs, toy_space

EITHER_WAY = pytest.mark.parametrize("kind", ["greenshift", pytest.param("smac-default", marks=pytest.mark.slow)])
LOWEST, MIDDLE, HIGHEST = 1.0, 3.0, 9.0


def smac_engine(optimizer: Optimizer) -> HyperbandEngine | FrontEngine:
    engine = optimizer._engine
    assert isinstance(engine, HyperbandEngine | FrontEngine)
    return engine


def ask_many(optimizer: Optimizer, n: int) -> list[Suggestion]:
    asked = [optimizer.ask() for _ in range(n)]
    assert None not in asked
    return [s for s in asked if s is not None]


def asked_once(optimizer: Optimizer) -> Suggestion:
    (suggestion,) = ask_many(optimizer, 1)
    return suggestion


@EITHER_WAY
def test_two_objectives_and_many_outstanding_trials_do_not_raise(kind: str) -> None:
    asked = drive(make_optimizer(optimizer=kind, n_trials=22), outstanding=6)
    assert len(asked) == 22
    assert {s.fidelity for s in asked} == {LOWEST, MIDDLE, HIGHEST}


@EITHER_WAY
def test_configs_rebuilt_from_json_are_recognised(kind: str) -> None:
    original = make_optimizer(optimizer=kind, n_trials=48)
    log: list[Suggestion | Told] = []
    for suggestion in ask_many(original, 12):
        log.append(Suggestion(**json.loads(json.dumps(suggestion.__dict__))))
    rebuilt = make_optimizer(optimizer=kind, n_trials=48)
    rebuilt.replay(log)
    history = smac_engine(rebuilt)._smac.runhistory
    assert (len(history.get_configs()), len(history.get_running_trials())) == (12, 12)
    for suggestion in log[:9]:
        assert isinstance(suggestion, Suggestion)
        rebuilt.tell(suggestion, score(suggestion))
    assert len(history.get_configs()) == 12
    assert len(history.get_running_trials()) == 3


@EITHER_WAY
def test_a_failed_trial_tells_finite_costs_only(kind: str) -> None:
    optimizer = make_optimizer(optimizer=kind)
    first, second, third = ask_many(optimizer, 3)
    optimizer.tell(first, failure="diverged")
    optimizer.tell(second, {"error": 0.5, "energy": 20.0})
    optimizer.tell(third, failure="diverged")
    costs = [value.cost for _, value in smac_engine(optimizer)._smac.runhistory.items()]
    assert np.isfinite(costs).all()
    assert dominates(np.array([0.5, 20.0]), np.array(costs[2]))


@pytest.mark.parametrize(
    ("kind", "n_failures"),
    [("greenshift", 1), ("greenshift", 9), pytest.param("smac-default", 9, marks=pytest.mark.slow)],
)
def test_asks_go_on_when_the_first_trials_all_fail(kind: str, n_failures: int) -> None:
    optimizer = make_optimizer(optimizer=kind, n_trials=16)
    for suggestion in ask_many(optimizer, n_failures):
        optimizer.tell(suggestion, failure="diverged")
    assert len(drive(optimizer, outstanding=3)) == 16 - n_failures


@EITHER_WAY
def test_no_file_is_written(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drive(make_optimizer(optimizer=kind, n_trials=14), outstanding=2)
    assert list(tmp_path.iterdir()) == []


def test_the_root_logger_stays_as_it_is() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, root.disabled)
    drive(make_optimizer(n_trials=12))
    assert (list(root.handlers), root.level, root.disabled) == before


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_trials", [4, 9])
def test_no_config_is_sampled_twice_in_a_small_study(n_trials: int, seed: int) -> None:
    optimizer = make_optimizer(n_trials=n_trials, seed=seed, space=toy_space(seed))
    engine = smac_engine(optimizer)
    # Beyond the last ask too: a bracket is sampled whole.
    proposals = [engine.ask() for _ in range(9)]
    assert len({p.config for p in proposals}) == 9


@EITHER_WAY
def test_a_small_space_ends_in_exhaustion(kind: str) -> None:
    optimizer = make_optimizer(optimizer=kind, space=six_configs(), n_trials=100)
    engine = smac_engine(optimizer)
    with pytest.raises(ExhaustedError):
        for _ in range(100):
            engine.tell(proposal := engine.ask(), [float(len(proposal.config)), 1.0], failed=False)
    with pytest.raises(ExhaustedError):
        engine.ask()


@pytest.mark.parametrize(
    ("kind", "model", "n_trials"),
    [("greenshift", Surrogate, 40), pytest.param("smac-default", RandomForest, 40, marks=pytest.mark.slow)],
)
def test_no_model_is_trained_for_configs_that_the_log_has(
    kind: str, model: type, n_trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[Suggestion | Told] = []
    original = make_optimizer(optimizer=kind, n_trials=n_trials)
    for _ in range(30):
        original.tell(suggestion := asked_once(original), score(suggestion))
        log += [suggestion, Told(suggestion.trial_id, score(suggestion))]
    rebuilt = make_optimizer(optimizer=kind, n_trials=n_trials)
    monkeypatch.setattr(model, "train", lambda *_: pytest.fail("a model is trained"))
    rebuilt.replay(log, original.snapshot())


def test_random_search_repeats_logged_configs_and_goes_on_like_the_original() -> None:
    original, rebuilt = RandomEngine(toy_space(), 9.0, seed=3), RandomEngine(toy_space(), 9.0, seed=3)
    first = [original.ask() for _ in range(5)]
    rebuilt.repeat([(p.config, p.fidelity) for p in first], [])
    assert [rebuilt.ask() for _ in range(5)] == first
    assert rebuilt.ask() == original.ask()


def test_a_config_from_an_array_is_the_same_to_smac_as_the_one_asked() -> None:
    space = toy_space()
    for config in space.sample_configuration(50):
        array = json.loads(json.dumps([float(v) for v in config.get_array()]))
        assert hash(Configuration(space, vector=np.array(array))) == hash(config)
