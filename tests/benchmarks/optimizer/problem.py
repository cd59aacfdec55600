"""A problem to search: a space, objectives at a fidelity, what an evaluation costs, and the best that can be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ConfigSpace import ConfigurationSpace

Config = dict[str, Any]
Values = Mapping[str, float]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Problem:
    """What an optimizer is told, and what judges it.

    Attributes:
        space: of a seed.
        objectives: name to direction, in the order of the reference point.
        fidelity: (lowest, highest).
        evaluate: the objectives of an active config at a fidelity; a pure function.
        cost: of the evaluation, where one at the highest fidelity costs 1 (on average).
        reference_point: of the hypervolume, as costs: values of maximised objectives are negated.
        best_hypervolume: of the best known front at the highest fidelity; hypervolumes are divided by it.
        integer_fidelity: whole fidelities only.
        known: objectives that need no evaluation, as functions of config and fidelity.
        expected_cost: of a fidelity, what a user expects who has measured nothing; None is in proportion.
        continues: a promoted trial goes on from the one below and pays the difference only.
    """

    name: str
    space: Callable[[int], ConfigurationSpace]
    objectives: Mapping[str, Direction]
    fidelity: tuple[float, float]
    evaluate: Callable[[Config, float], dict[str, float]]
    cost: Callable[[Config, float], float]
    reference_point: tuple[float, ...]
    best_hypervolume: float
    integer_fidelity: bool = False
    known: Mapping[str, Callable[[Config, float], float]] = field(default_factory=dict)
    expected_cost: Callable[[float], float] | None = None
    continues: bool = False

    def costs(self, values: Values) -> list[float]:
        """The objectives in order, such that less is better."""
        return [values[name] if way == "minimize" else -values[name] for name, way in self.objectives.items()]

    def price(self, config: Config, fidelity: float, continued_from: float | None) -> float:
        """What is paid for an evaluation; `continued_from` is the fidelity of the trial that it was promoted from."""
        whole = self.cost(config, fidelity)
        return whole - self.cost(config, continued_from) if self.continues and continued_from is not None else whole


def linear_cost(highest: float) -> Callable[[Config, float], float]:
    """Costs proportional to the fidelity."""
    return lambda _config, fidelity: fidelity / highest
