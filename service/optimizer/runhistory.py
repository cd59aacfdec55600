"""SMAC's run history and its configs, with what is looked up at every ask and tell found at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from ConfigSpace import Configuration
from smac.runhistory import StatusType, TrialInfo, TrialKey, TrialValue
from smac.runhistory.runhistory import RunHistory

Key = tuple[str | None, int | None, float | None]


class SettledConfiguration(Configuration):
    """A config that is not changed any more: values, text and hash are computed once, not at each look into a dict."""

    @classmethod
    def of(cls, config: Configuration) -> SettledConfiguration:
        """An equal one, or the same where it is one."""
        if isinstance(config, cls):
            return config
        return cls(config.config_space, vector=config.get_array(), origin=config.origin)

    def __getitem__(self, key: str) -> Any:
        return self._active[key]

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError(f"a settled config is not changed any more, got {key} = {value!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._active)

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _active(self) -> dict[str, Any]:
        return {key: Configuration.__getitem__(self, key) for key in super().__iter__()}

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    @cached_property
    def _text(self) -> str:
        return super().__str__()

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


class QuickRunHistory(RunHistory):
    """A run history whose asks and tells take the same time however many trials it holds.

    SMAC compares every running config with every config of a rung at each ask, encodes each value as JSON to see
    whether it could be saved, and looks through all costs for their bounds at each change. What it answers is the same.
    """

    def reset(self) -> None:
        super().reset()
        self._running_trials: _RunningTrials = _RunningTrials()  # type: ignore[assignment]

    def get_running_trials(self, config: Configuration | None = None) -> list[TrialInfo]:
        """Those of `config`, or all."""
        if config is None:
            return list(self._running_trials)
        config_id = self._config_ids.get(config)
        return [] if config_id is None else self._running_trials.of(config_id)

    def _add(self, k: TrialKey, v: TrialValue, status: StatusType) -> None:
        before = self._data.get(k)
        self._is_replaced = before is not None and before.status == StatusType.SUCCESS
        self._latest = v
        super()._add(k, v, status)

    def _update_objective_bounds(self) -> None:
        """Widens the bounds by the costs that have just come."""
        if self._is_replaced or not self._objective_bounds:
            super()._update_objective_bounds()
        elif self._latest.status == StatusType.SUCCESS:
            costs = self._latest.cost if isinstance(self._latest.cost, list) else [self._latest.cost]
            self._objective_bounds = [
                (min(low, cost), max(high, cost))
                for (low, high), cost in zip(self._objective_bounds, costs, strict=True)
            ]

    def _check_json_serializable(self, key: str, obj: Any, trial_key: TrialKey, trial_value: TrialValue) -> None:
        """Nothing is checked, as nothing is written."""


class _RunningTrials:
    """What SMAC does with its list of running trials, by the config's number."""

    def __init__(self) -> None:
        self._by_config: dict[int | None, dict[Key, TrialInfo]] = {}

    def of(self, config_id: int) -> list[TrialInfo]:
        return list(self._by_config.get(config_id, {}).values())

    def append(self, trial: TrialInfo) -> None:
        self._by_config.setdefault(trial.config.config_id, {})[_key(trial)] = trial

    def remove(self, trial: TrialInfo) -> None:
        trials = self._by_config[trial.config.config_id]
        del trials[_key(trial)]
        if not trials:
            del self._by_config[trial.config.config_id]

    def __contains__(self, trial: TrialInfo) -> bool:
        return _key(trial) in self._by_config.get(trial.config.config_id, {})

    def __iter__(self) -> Iterator[TrialInfo]:
        return (trial for trials in self._by_config.values() for trial in trials.values())

    def __len__(self) -> int:
        return sum(map(len, self._by_config.values()))


def _key(trial: TrialInfo) -> Key:
    return trial.instance, trial.seed, trial.budget
