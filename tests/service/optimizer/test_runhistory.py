from __future__ import annotations

from typing import Any

import pytest
from ConfigSpace import Configuration
from hypothesis import given, settings
from hypothesis import strategies as st
from smac.runhistory import StatusType, TrialInfo
from smac.runhistory.runhistory import RunHistory

from service.optimizer.runhistory import QuickRunHistory, SettledConfiguration
from tests.service.optimizer.toy import toy_space

N_CONFIGS = 4
SPACE = toy_space()
CONFIGS = SPACE.sample_configuration(N_CONFIGS)
cost = st.floats(-1e6, 1e6)
changes = st.lists(
    st.tuples(
        st.integers(0, N_CONFIGS - 1),
        st.sampled_from([1.0, 3.0, 9.0]),
        st.sampled_from([StatusType.RUNNING, StatusType.SUCCESS, StatusType.CRASHED]),
        st.tuples(cost, cost),
    ),
    max_size=25,
)


def answers(history: RunHistory) -> list[Any]:
    """All that the quick one answers in its own way."""
    running = [sorted((t.budget, t.config.config_id) for t in history.get_running_trials(c)) for c in CONFIGS]
    everything = sorted((t.config.config_id, t.budget) for t in history.get_running_trials())
    return [history.objective_bounds, running, everything, history.running, history.finished, history.submitted]


@settings(max_examples=150)
@given(changes)
def test_it_answers_what_smacs_own_answers(rows: list[tuple[int, float, StatusType, tuple[float, float]]]) -> None:
    quick, slow = QuickRunHistory(n_objectives=2), RunHistory(n_objectives=2)
    for i, budget, status, costs in rows:
        for history in (quick, slow):
            if status is StatusType.RUNNING:
                history.add_running_trial(TrialInfo(CONFIGS[i], seed=1, budget=budget))
            else:
                history.add(CONFIGS[i], list(costs), status=status, seed=1, budget=budget, force_update=True)
        assert answers(quick) == answers(slow)


def test_a_settled_config_is_equal_to_the_one_that_it_settles() -> None:
    config = CONFIGS[0]
    settled = SettledConfiguration.of(config)
    assert settled == config
    assert config == settled
    assert hash(settled) == hash(config)
    assert str(settled) == str(config)
    assert settled != CONFIGS[1]
    assert {config: 1}[settled] == 1
    assert SettledConfiguration.of(settled) is settled


def test_a_settled_config_holds_the_values_that_are_active() -> None:
    active = Configuration(SPACE, values={"x": 0.1, "n": 3, "kind": "a", "y": 0.5})
    inactive = Configuration(SPACE, values={"x": 0.1, "n": 3, "kind": "c"})
    for config in (active, inactive):
        settled = SettledConfiguration.of(config)
        assert dict(settled) == dict(config)
        assert ("y" in settled) == (config is active)
    with pytest.raises(KeyError):
        settled["y"]


def test_a_settled_config_is_not_changed() -> None:
    with pytest.raises(TypeError, match=r"x = 0\.5"):
        SettledConfiguration.of(CONFIGS[0])["x"] = 0.5


def test_a_settled_config_writes_its_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = SettledConfiguration.of(CONFIGS[0])
    expected = hash(settled)
    monkeypatch.setattr(Configuration, "__str__", lambda _config: pytest.fail("written again"))
    assert hash(settled) == expected
