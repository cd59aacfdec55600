"""Syne Tune's MOASHA: random configs, each stopped at a rung unless it is among the best third there.

Its trials run on from rung to rung. Like those of all others they are evaluated, and paid for, at each rung.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, lograndint, loguniform, ordinal, randint, uniform
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

from tests.benchmarks.optimizer.peers.parameters import Parameter, active, parameters
from tests.benchmarks.optimizer.problem import Problem, Values
from tests.benchmarks.optimizer.searcher import Ask

_TIME = "fidelity"


class MoashaSearcher:
    """The scheduler with one bracket, whose lowest rung is the lowest fidelity."""

    def __init__(self, problem: Problem, *, seed: int, **_unused: Any) -> None:
        # It draws from the global generators.
        random.seed(seed)
        np.random.seed(seed)
        self._problem, self._space = problem, problem.space(seed)
        lowest, highest = map(int, problem.fidelity)
        self._scheduler = MOASHA(
            {parameter.name: _domain(parameter) for parameter in parameters(self._space)},
            metrics=list(problem.objectives),
            time_attr=_TIME,
            max_t=highest,
            grace_period=lowest,
            reduction_factor=3,
            random_seed=seed,
        )
        rungs = [level for bracket in self._scheduler.brackets for level, _ in bracket.rungs]
        self._rungs = sorted({level for level in rungs if level < highest} | {highest})
        self._trials: list[Trial] = []
        self._going_on: deque[Ask] = deque()

    def ask(self) -> Ask:
        if self._going_on:
            return self._going_on.popleft()
        suggestion = self._scheduler.suggest()
        trial = Trial(trial_id=len(self._trials), config=suggestion.config, creation_time=None)
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return Ask((trial.trial_id, 0), active(self._space, suggestion.config), float(self._rungs[0]))

    def tell(self, trial_id: tuple[int, int], values: Values, cost: float) -> None:
        number, rung = trial_id
        trial, costs = self._trials[number], self._problem.costs(values)
        result = dict(zip(self._problem.objectives, costs, strict=True)) | {_TIME: self._rungs[rung]}
        if self._scheduler.on_trial_result(trial, result) == SchedulerDecision.CONTINUE:
            config = active(self._space, trial.config)
            self._going_on.append(
                Ask((number, rung + 1), config, float(self._rungs[rung + 1]), float(self._rungs[rung]))
            )


def _domain(parameter: Parameter) -> Any:
    if parameter.kind == "float":
        return (loguniform if parameter.log else uniform)(parameter.low, parameter.high)
    if parameter.kind == "integer":
        return (lograndint if parameter.log else randint)(int(parameter.low), int(parameter.high))
    return (ordinal if parameter.kind == "ordinal" else choice)(list(parameter.choices))
