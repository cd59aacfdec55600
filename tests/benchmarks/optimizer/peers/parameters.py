"""A ConfigSpace in plain terms, so that each peer can say it in its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, OrdinalHyperparameter
from ConfigSpace.hyperparameters import UniformIntegerHyperparameter

from tests.benchmarks.optimizer.problem import Config


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter.

    Attributes:
        kind: an `ordinal` one has choices in an order.
        low, high, log: of numbers.
        choices: of the others.
    """

    name: str
    kind: Literal["float", "integer", "categorical", "ordinal"]
    low: Any = None
    high: Any = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def is_number(self) -> bool:
        return self.kind in ("float", "integer")


def parameters(space: ConfigurationSpace) -> list[Parameter]:
    """All hyperparameters, those that others depend on first."""
    return [_parameter(hyperparameter) for hyperparameter in space.values()]


def is_active(space: ConfigurationSpace, name: str, config: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter has a meaning beside those of `config`, which has all that it depends on."""
    return all(condition.satisfied_by_value(config) for condition in space.parent_conditions_of[name])


def active(space: ConfigurationSpace, values: Mapping[str, Any]) -> Config:
    """`values` in Python's own types, without those that have no meaning beside the others."""
    config: Config = {}
    for name in space:
        if is_active(space, name, config):
            value = values[name]
            config[name] = value.item() if hasattr(value, "item") else value
    return config


def _parameter(hyperparameter: Any) -> Parameter:
    name = hyperparameter.name
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return Parameter(name, "categorical", choices=tuple(hyperparameter.choices))
    if isinstance(hyperparameter, OrdinalHyperparameter):
        return Parameter(name, "ordinal", choices=tuple(hyperparameter.sequence))
    kind = "integer" if isinstance(hyperparameter, UniformIntegerHyperparameter) else "float"
    return Parameter(name, kind, hyperparameter.lower, hyperparameter.upper, hyperparameter.log)
