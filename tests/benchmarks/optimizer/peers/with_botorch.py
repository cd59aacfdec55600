"""BoTorch's qLogNEHVI at full fidelity, an upper mark for models: one GP an objective, pending trials known to it.

Hyperparameters lie in the unit cube, categories as one axis each, and are rounded to the nearest value; one without
a meaning stays in the middle. Ten random configs come first.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from botorch import fit_gpytorch_mll
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf
from gpytorch.mlls import SumMarginalLogLikelihood
from torch import Tensor

from tests.benchmarks.optimizer.peers.parameters import Parameter, active, is_active, parameters
from tests.benchmarks.optimizer.problem import Config, Problem, Values
from tests.benchmarks.optimizer.searcher import Ask

_N_RANDOM = 10


class NehviSearcher:
    """Fits anew at every ask; the reference point is the problem's."""

    def __init__(self, problem: Problem, *, seed: int, **_unused: Any) -> None:
        torch.manual_seed(seed)
        self._problem, self._space = problem, problem.space(seed)
        self._parameters = parameters(self._space)
        self._generator = torch.Generator().manual_seed(seed)
        self._points: list[Tensor] = []
        self._costs: dict[int, list[float]] = {}

    def ask(self) -> Ask:
        point = self._random() if len(self._points) < _N_RANDOM or len(self._costs) < 2 else self._best()
        config = self._config(point)
        self._points.append(self._rounded(config))
        return Ask(len(self._points) - 1, config, self._problem.fidelity[1])

    def tell(self, trial_id: int, values: Values, cost: float) -> None:
        self._costs[trial_id] = self._problem.costs(values)

    def _random(self) -> Tensor:
        return torch.rand(len(self._parameters), generator=self._generator, dtype=torch.double)

    def _best(self) -> Tensor:
        """The point that qLogNEHVI is highest at."""
        told = sorted(self._costs)
        x = torch.stack([self._points[i] for i in told])
        y = -torch.tensor([self._costs[i] for i in told], dtype=torch.double)
        pending = [point for i, point in enumerate(self._points) if i not in self._costs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            models = [SingleTaskGP(x, column[:, None], outcome_transform=Standardize(1)) for column in y.T]
            model = ModelListGP(*models)
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                model,
                ref_point=[-cost for cost in self._problem.reference_point],
                X_baseline=x,
                X_pending=torch.stack(pending) if pending else None,
                prune_baseline=True,
            )
            bounds = torch.stack([torch.zeros_like(x[0]), torch.ones_like(x[0])])
            point, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=4, raw_samples=128)
        return point[0].detach()

    def _config(self, point: Tensor) -> Config:
        pairs = zip(self._parameters, point.tolist(), strict=True)
        return active(self._space, {parameter.name: _value(parameter, at) for parameter, at in pairs})

    def _rounded(self, config: Config) -> Tensor:
        """Where a config lies in the cube."""
        places = [
            _place(parameter, config[parameter.name]) if is_active(self._space, parameter.name, config) else 0.5
            for parameter in self._parameters
        ]
        return torch.tensor(places, dtype=torch.double)


def _value(parameter: Parameter, at: float) -> Any:
    """What stands at a place of 0..1."""
    if not parameter.is_number:
        return parameter.choices[min(int(at * len(parameter.choices)), len(parameter.choices) - 1)]
    low, high = parameter.low, parameter.high
    value = low * (high / low) ** at if parameter.log else low + (high - low) * at
    return int(np.clip(round(value), low, high)) if parameter.kind == "integer" else float(np.clip(value, low, high))


def _place(parameter: Parameter, value: Any) -> float:
    """The inverse of `_value`; of choices the middle of their part."""
    if not parameter.is_number:
        return (parameter.choices.index(value) + 0.5) / len(parameter.choices)
    low, high = parameter.low, parameter.high
    return math.log(value / low) / math.log(high / low) if parameter.log else (value - low) / (high - low)
