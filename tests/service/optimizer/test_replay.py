"""An optimizer that is rebuilt from its log goes on as the one before it would have."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from ConfigSpace import Configuration, ConfigurationSpace, Float

from service.optimizer import Optimizer, Suggestion
from service.optimizer.front_search import FrontEngine
from service.optimizer.gaussian_process import Kernel
from service.optimizer.optimizer import Told
from service.optimizer.selector import FrontSelector
from service.pareto import dominates
from service.space import build_space
from tests.service.fakes import N_LAYERS, study_spec
from tests.service.optimizer.toy import FIRST, N_TRIALS, drive, make_optimizer, rounded, score

Log = list[Suggestion | Told]


def through_json(log: Log) -> Log:
    """The log as a store gives it back."""
    lines = json.loads(json.dumps([(type(e).__name__, e.__dict__) for e in log]))
    return [Suggestion(**values) if name == "Suggestion" else Told(**values) for name, values in lines]


def record(optimizer: Optimizer, outstanding: int, seed: int = 0) -> Log:
    """Runs to the end, telling in random order, some as failures, and keeps the log; some stay outstanding."""
    generator = np.random.default_rng(seed)
    log: Log = []
    waiting: list[Suggestion] = []
    while (suggestion := optimizer.ask()) is not None:
        log.append(suggestion)
        waiting.append(suggestion)
        if len(waiting) >= outstanding:
            done = waiting.pop(int(generator.integers(len(waiting))))
            is_failed = generator.random() < 0.15
            told = Told(done.trial_id, None, "diverged") if is_failed else Told(done.trial_id, score(done))
            optimizer.tell(done, told.objectives, failure=told.failure)
            log.append(told)
    return log


def front_told(log: Log) -> list[tuple[float, float]]:
    """The non-dominated results at full fidelity that the log tells, by brute force."""
    full = {e.trial_id for e in log if isinstance(e, Suggestion) and e.fidelity == 9.0}
    rows = [
        (e.objectives["error"], e.objectives["energy"])
        for e in log
        if isinstance(e, Told) and e.objectives is not None and e.trial_id in full
    ]
    return sorted(r for r in rows if not any(dominates(np.array(other), np.array(r)) for other in rows))


def front_of(optimizer: Optimizer) -> list[tuple[float, float]]:
    return sorted((row["objectives"]["error"], row["objectives"]["energy"]) for row in optimizer.front())


def outstanding_in(log: Log) -> list[str]:
    told = {e.trial_id for e in log if isinstance(e, Told)}
    return [e.trial_id for e in log if isinstance(e, Suggestion) and e.trial_id not in told]


@pytest.mark.parametrize("kind", ["greenshift", "random"])
@pytest.mark.parametrize("n_asked", [0, 1, 2, 7])
def test_a_study_with_initial_configs_goes_on_as_if_it_had_never_ended(kind: str, n_asked: int) -> None:
    options = {"optimizer": kind, "n_trials": 12, "initial": FIRST}
    whole = drive(make_optimizer(**options))
    log: Log = []
    for suggestion in whole[:n_asked]:
        log += [suggestion, Told(suggestion.trial_id, score(suggestion))]
    rebuilt = make_optimizer(**options)
    rebuilt.replay(log)
    rest = drive(rebuilt)
    assert len(rest) == 12 - n_asked
    n_left = max(0, len(FIRST) - n_asked)
    assert [s.config for s in rest[:n_left]] == [s.config for s in whole[n_asked : n_asked + n_left]]


@pytest.mark.parametrize(
    ("kind", "share"),
    [(kind, share) for kind in ("greenshift", "random") for share in (0.0, 0.2, 0.55, 0.9, 1.0)]
    + [pytest.param("smac-default", cut, marks=pytest.mark.slow) for cut in (0.2, 0.9)],
)
def test_a_log_cut_anywhere_replays_and_the_study_completes(kind: str, share: float) -> None:
    n_trials = N_TRIALS[kind]
    original = make_optimizer(optimizer=kind, n_trials=n_trials)
    whole = record(original, outstanding=4)
    log = through_json(whole)[: round(share * len(whole))]
    rebuilt = make_optimizer(optimizer=kind, n_trials=n_trials)
    rebuilt.replay(log)
    assert front_of(rebuilt) == front_told(log)
    assert list(rebuilt._open) == outstanding_in(log)
    for trial_id in outstanding_in(log):
        rebuilt.tell(trial_id, {"error": 0.5, "energy": 0.5})
    rest = drive(rebuilt, outstanding=3)
    ids = [e.trial_id for e in log if isinstance(e, Suggestion)] + [s.trial_id for s in rest]
    assert ids == [f"{i:05d}" for i in range(1, n_trials + 1)]


def studies_rebuilt_after(cut: int, kind: str) -> list[Suggestion]:
    """All suggestions of a study over the DSNN space that was cut off after so many events."""

    def make() -> Optimizer:
        return make_optimizer(space=build_space(study_spec(), N_LAYERS), optimizer=kind, n_trials=N_TRIALS[kind])

    log = through_json(record(make(), outstanding=2)[:cut])
    rebuilt = make()
    rebuilt.replay(log)
    for trial_id in outstanding_in(log):
        rebuilt.tell(trial_id, failure="lost")
    return [*(s for s in log if isinstance(s, Suggestion)), *drive(rebuilt)]


@pytest.mark.parametrize(
    ("kind", "cut"),
    [
        ("greenshift", 3),
        ("greenshift", 12),
        ("greenshift", 30),
        pytest.param("smac-default", 12, marks=pytest.mark.slow),
        ("random", 12),
    ],
)
def test_a_rebuilt_optimizer_samples_no_config_twice(kind: str, cut: int) -> None:
    sampled = [rounded(s.config) for s in studies_rebuilt_after(cut, kind) if s.promoted_from is None]
    assert len(set(sampled)) == len(sampled)


def test_a_rebuilt_optimizer_that_knows_of_little_but_failures_goes_on_as_the_first_would() -> None:
    """Kernels must not depend on how many trials were outstanding when they were fitted."""
    space = ConfigurationSpace(seed=0)
    space.add(Float("x", (0.0, 1.0)), Float("y", (0.0, 1.0)))
    options: dict[str, Any] = {"space": space, "fidelity": None, "n_trials": 200, "seed": 2}
    optimizer = make_optimizer(**options)
    log: list[Suggestion | Told] = []

    def ask() -> Suggestion:
        suggestion = optimizer.ask()
        assert suggestion is not None
        log.append(suggestion)
        return suggestion

    open_trials = [ask() for _ in range(3)]
    for number in range(1, 44):
        open_trials.append(ask())
        done = open_trials.pop(0)
        x, y = done.config["x"], done.config["y"]
        told = Told(done.trial_id, {"error": x + y, "energy": 1 - x}) if number in (5, 20, 43) else Told(
            done.trial_id, None, "lost")  # fmt: skip
        optimizer.tell(told.trial_id, told.objectives, failure=told.failure)
        log.append(told)
    ask()
    rebuilt = make_optimizer(**options)
    rebuilt.replay(log)
    assert rebuilt.ask() == optimizer.ask()
    for mine, others in zip(kernels_of(rebuilt), kernels_of(optimizer), strict=True):
        assert mine.logs.tolist() == others.logs.tolist()


def kernels_of(optimizer: Optimizer) -> list[Kernel]:
    engine = optimizer._engine
    assert isinstance(engine, FrontEngine)
    selector = engine._halving.config_selector
    assert isinstance(selector, FrontSelector)
    return selector._surrogate._kernels


def test_to_replay_a_trial_few_configs_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    original = make_optimizer(n_trials=40)
    log: list[Suggestion | Told] = []
    for suggestion in drive(original):
        log += [suggestion, Told(suggestion.trial_id, score(suggestion))]
    made = 0
    make = Configuration.__init__

    def count(*args: Any, **options: Any) -> None:
        nonlocal made
        made += 1
        make(*args, **options)

    monkeypatch.setattr(Configuration, "__init__", count)
    rebuilt = make_optimizer(n_trials=40)
    before = made
    rebuilt.replay(log)
    # One of the log's values and one of its array.
    assert made - before == 2 * 40


def test_a_study_may_grow_when_it_is_replayed() -> None:
    log = through_json(record(make_optimizer(n_trials=12), outstanding=2))
    grown = make_optimizer(n_trials=30)
    grown.replay(log)
    for trial_id in outstanding_in(log):
        grown.tell(trial_id, {"error": 0.5, "energy": 0.5})
    fresh = [s for s in [*(e for e in log if isinstance(e, Suggestion)), *drive(grown)] if s.promoted_from is None]
    assert len({rounded(s.config) for s in fresh}) == len(fresh)
    assert grown.ask() is None


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Suggestion("00001", {"x": 0.5, "n": 5, "kind": "c"}, 5.0), "does not replay"),
        (Suggestion("00007", {"x": 0.5, "n": 5, "kind": "c"}, 1.0), "does not replay"),
        (Suggestion("00001", {"z": 1}, 1.0), "z"),
    ],
    ids=["other fidelity", "other id", "other space"],
)
def test_a_foreign_log_is_a_value_error(event: Suggestion, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_optimizer().replay([event])


def test_a_log_longer_than_the_study_is_a_value_error() -> None:
    log = record(make_optimizer(n_trials=10), outstanding=1)
    with pytest.raises(ValueError, match="does not replay"):
        make_optimizer(n_trials=5).replay(log)


@pytest.mark.slow
def test_a_log_that_promotes_another_config_than_hyperband_would_is_a_value_error() -> None:
    optimizer = make_optimizer(n_trials=200, optimizer="smac-default")
    log = record(make_optimizer(n_trials=12, optimizer="smac-default"), outstanding=1)
    promoted = next(i for i, e in enumerate(log) if isinstance(e, Suggestion) and e.promoted_from)
    event = log[promoted]
    assert isinstance(event, Suggestion)
    other = next(e for e in log if isinstance(e, Suggestion) and e.trial_id != event.promoted_from)
    wrong = Suggestion(event.trial_id, other.config, event.fidelity, other.trial_id)
    with pytest.raises(ValueError, match="does not replay"):
        optimizer.replay([*log[:promoted], wrong])
