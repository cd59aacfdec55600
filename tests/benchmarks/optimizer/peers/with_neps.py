"""NePS' PriMO without expert priors: MOASHA at first, then Bayesian optimisation of one random weighting.

It numbers new trials as if none were running, so that numbers are given anew here, and where MOASHA has nothing but
running trials to choose from it fails: then nothing is asked until a tell.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import torch
from neps.optimizers.algorithms import primo as make_primo
from neps.space import HPOCategorical, HPOFloat, HPOInteger, SearchSpace
from neps.state import Trial

from tests.benchmarks.optimizer.peers.parameters import Parameter, active, parameters
from tests.benchmarks.optimizer.problem import Problem, Values
from tests.benchmarks.optimizer.searcher import Ask

_FIDELITY = "fidelity"
# In evaluations at full fidelity. As many as there are hyperparameters, the default, may bring none of them to the top.
_INITIAL = 10


class PrimoSearcher:
    """The optimizer with its defaults but for the initial design; what has an order is a whole number to it."""

    def __init__(self, problem: Problem, *, seed: int, **_unused: Any) -> None:
        np.random.seed(seed)
        torch.manual_seed(seed)
        logging.getLogger("neps").setLevel(logging.ERROR)
        self._problem, self._space = problem, problem.space(seed)
        self._parameters = parameters(self._space)
        elements = {parameter.name: _element(parameter) for parameter in self._parameters}
        lowest, highest = map(int, problem.fidelity)
        elements[_FIDELITY] = HPOInteger(lowest, highest, is_fidelity=True)
        self._primo = make_primo(SearchSpace(elements), prior_centers={}, initial_design_size=_INITIAL)
        self._trials: dict[str, Trial] = {}

    def ask(self) -> Ask | None:
        try:
            sampled = self._primo(self._trials, None, None)
        except ValueError:
            if all(trial.report is not None for trial in self._trials.values()):
                raise
            return None
        trial_id = sampled.id
        if trial_id in self._trials:
            trial_id = str(1 + max(int(number.split("_")[0]) for number in self._trials))
        trial = Trial.new(
            trial_id=trial_id,
            location="",
            config=sampled.config,
            previous_trial=sampled.previous_config_id,
            previous_trial_location="",
            time_sampled=time.time(),
            worker_id="0",
        )
        trial.set_evaluating(time_started=time.time(), worker_id="0")
        self._trials[trial_id] = trial
        values = {p.name: _value(p, sampled.config[p.name]) for p in self._parameters}
        return Ask(trial_id, active(self._space, values), float(sampled.config[_FIDELITY]))

    def tell(self, trial_id: str, values: Values, cost: float) -> None:
        trial = self._trials[trial_id]
        trial.report = trial.set_complete(
            report_as="success",
            objective_to_minimize=self._problem.costs(values),
            cost=cost,
            learning_curve=None,
            extra={},
            time_end=time.time(),
            evaluation_duration=cost,
            err=None,
            tb=None,
        )


def _element(parameter: Parameter) -> Any:
    if parameter.kind == "float":
        return HPOFloat(parameter.low, parameter.high, log=parameter.log)
    if parameter.kind == "integer":
        return HPOInteger(int(parameter.low), int(parameter.high), log=parameter.log)
    if parameter.kind == "ordinal":
        return HPOInteger(0, len(parameter.choices) - 1)
    return HPOCategorical(list(parameter.choices))


def _value(parameter: Parameter, value: Any) -> Any:
    return parameter.choices[int(value)] if parameter.kind == "ordinal" else value
