"""A log and a snapshot rebuild an optimizer at the same rungs, with no model trained and in linear time."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from ConfigSpace import Configuration
from smac.main.config_selector import ConfigSelector

from service.optimizer import Optimizer, Suggestion, Told
from tests.service.optimizer.toy import make_optimizer, score

Log = list[Suggestion | Told]
# SMAC keeps up to ten incumbents and compares with each: by then it has them.
N_LONG = 220
either_way = pytest.mark.parametrize("kind", ["greenshift", pytest.param("smac-default", marks=pytest.mark.slow)])


def go_on(optimizer: Optimizer, waiting: list[Suggestion], n_asks: int, outstanding: int = 5, seed: int = 1) -> Log:
    """So many asks, telling in an order that depends on the number of trials alone."""
    log: Log = []
    for _ in range(n_asks):
        suggestion = optimizer.ask()
        if suggestion is None:
            break
        log.append(suggestion)
        waiting.append(suggestion)
        if len(waiting) >= outstanding:
            order = np.random.default_rng(seed + int(suggestion.trial_id))
            done = waiting.pop(int(order.integers(len(waiting))))
            optimizer.tell(done, score(done))
            log.append(Told(done.trial_id, score(done)))
    return log


def rungs(log: Log) -> Counter[float]:
    return Counter(entry.fidelity for entry in log if isinstance(entry, Suggestion))


@cache
def undisturbed(kind: str) -> Counter[float]:
    return rungs(go_on(make_optimizer(optimizer=kind, n_trials=44), [], 44))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(_selector: ConfigSelector) -> None:
        raise AssertionError("a model is being trained")

    monkeypatch.setattr(ConfigSelector, "_collect_data", collect)


@pytest.mark.parametrize(
    ("kind", "cut"),
    [
        *(("greenshift", cut) for cut in (1, 4, 12, 13, 17, 23)),
        *(pytest.param("smac-default", cut, marks=pytest.mark.slow) for cut in (4, 13)),
    ],
)
def test_a_rebuilt_study_ends_with_the_same_trials_at_each_rung(kind: str, cut: int) -> None:
    first, waiting = make_optimizer(optimizer=kind, n_trials=44), list[Suggestion]()
    log = go_on(first, waiting, cut)
    rebuilt = make_optimizer(optimizer=kind, n_trials=44)
    rebuilt.replay(log, first.snapshot())
    log += go_on(rebuilt, waiting, 44 - cut)
    assert rungs(log) == undisturbed(kind)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [3, 20])
def test_the_rest_of_a_rung_comes_from_the_snapshot_and_trains_no_model(
    cut: int, request: pytest.FixtureRequest
) -> None:
    kind = "smac-default"
    original, waiting = make_optimizer(optimizer=kind, n_trials=44), list[Suggestion]()
    log = go_on(original, waiting, cut)
    request.getfixturevalue("no_model")
    rebuilt = make_optimizer(optimizer=kind, n_trials=44)
    rebuilt.replay(log, original.snapshot())
    for _ in range(4):
        assert rebuilt.ask() == original.ask()


@either_way
def test_a_rebuilt_optimizer_suggests_what_the_original_does(kind: str) -> None:
    original, waiting = make_optimizer(optimizer=kind, n_trials=44), list[Suggestion]()
    log = go_on(original, waiting, 7)
    rebuilt = make_optimizer(optimizer=kind, n_trials=44)
    rebuilt.replay(log, original.snapshot())
    assert [rebuilt.ask() for _ in range(2)] == [original.ask() for _ in range(2)]


def test_the_models_of_a_rebuilt_study_are_those_of_the_original() -> None:
    original, waiting = make_optimizer(n_trials=80), list[Suggestion]()
    log = go_on(original, waiting, 45)
    rebuilt = make_optimizer(n_trials=80)
    rebuilt.replay(log)
    assert go_on(rebuilt, list(waiting), 12) == go_on(original, waiting, 12)


@pytest.mark.slow
def test_a_snapshot_older_than_the_log_gives_no_config_twice() -> None:
    original, waiting = make_optimizer(n_trials=44, optimizer="smac-default"), list[Suggestion]()
    log = go_on(original, waiting, 3)
    snapshot = original.snapshot()
    log += go_on(original, waiting, 3)
    rebuilt = make_optimizer(n_trials=44, optimizer="smac-default")
    rebuilt.replay(log, snapshot)
    assert [rebuilt.ask() for _ in range(3)] == [original.ask() for _ in range(3)]


def test_where_nothing_is_pending_there_is_no_snapshot() -> None:
    optimizer = make_optimizer(optimizer="random")
    optimizer.ask()
    assert optimizer.snapshot() is None


def test_rebuilding_compares_as_many_configs_for_each_trial_in_a_long_log_as_in_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: Counter[str] = Counter()
    as_text, equal = Configuration.__str__, Configuration.__eq__

    def counted_text(config: Configuration) -> str:
        counts["texts"] += 1
        return as_text(config)

    def counted_equal(config: Configuration, other: object) -> bool:
        counts["comparisons"] += 1
        return equal(config, other)

    def for_each_trial(entries: Log) -> dict[str, float]:
        rebuilt = make_optimizer(n_trials=N_LONG)
        counts.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Configuration, "__str__", counted_text)
            patched.setattr(Configuration, "__eq__", counted_equal)
            rebuilt.replay(entries)
        return {what: n / sum(rungs(entries).values()) for what, n in counts.items()}

    log = go_on(make_optimizer(n_trials=N_LONG), [], N_LONG, outstanding=4)
    half, long = for_each_trial(log[: len(log) // 2]), for_each_trial(log)
    assert long["texts"] <= 1.1 * half["texts"]
    assert long.get("comparisons", 0) <= 1.1 * half.get("comparisons", 0)
