"""Optuna's TPE, GP and NSGA-II samplers with their defaults, at full fidelity: none of them knows fidelities."""

from __future__ import annotations

from functools import partial
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler

from tests.benchmarks.optimizer.peers.parameters import Parameter, is_active, parameters
from tests.benchmarks.optimizer.problem import Config, Problem, Values
from tests.benchmarks.optimizer.searcher import Ask


class OptunaSearcher:
    """A study in memory; hyperparameters without a meaning are not suggested."""

    def __init__(self, problem: Problem, *, sampler: type[BaseSampler], seed: int, **_unused: Any) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._problem, self._space = problem, problem.space(seed)
        self._parameters = parameters(self._space)
        options = {"deterministic_objective": True} if sampler is GPSampler else {}
        ways = ["minimize"] * len(problem.objectives)
        self._study = optuna.create_study(directions=ways, sampler=sampler(seed=seed, **options))

    def ask(self) -> Ask:
        trial = self._study.ask()
        config: Config = {}
        for parameter in self._parameters:
            if is_active(self._space, parameter.name, config):
                config[parameter.name] = _suggest(trial, parameter)
        return Ask(trial.number, config, self._problem.fidelity[1])

    def tell(self, trial_id: int, values: Values, cost: float) -> None:
        self._study.tell(trial_id, self._problem.costs(values))


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    name = parameter.name
    if parameter.kind == "float":
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
    if parameter.kind == "integer":
        return trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
    if parameter.kind == "ordinal":
        return parameter.choices[trial.suggest_int(name, 0, len(parameter.choices) - 1)]
    return trial.suggest_categorical(name, parameter.choices)


tpe = partial(OptunaSearcher, sampler=TPESampler)
gp = partial(OptunaSearcher, sampler=GPSampler)
nsga2 = partial(OptunaSearcher, sampler=NSGAIISampler)
