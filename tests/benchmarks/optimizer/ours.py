"""The project's optimizer, SMAC's defaults and random search, through the package's one public class."""

from __future__ import annotations

import math
from functools import partial

from service.optimizer import Optimizer
from tests.benchmarks.optimizer.problem import Problem, Values
from tests.benchmarks.optimizer.searcher import Ask


class OurSearcher:
    """An `Optimizer` that is told what each trial cost and which objectives it need not measure.

    With `is_full` it knows of no fidelity but the full one. Its limit of trials is as many as the budget pays for at
    the lowest fidelity, so that only the budget ends a run.
    """

    def __init__(
        self, problem: Problem, *, optimizer: str, n_workers: int, seed: int, budget: float, is_full: bool = False
    ) -> None:
        space = problem.space(seed)
        cheapest = problem.cost(dict(space.get_default_configuration()), problem.fidelity[0])
        self._known = problem.known
        self._optimizer = Optimizer(
            space,
            objectives=problem.objectives,
            fidelity=(problem.fidelity[1],) * 2 if is_full else problem.fidelity,
            integer_fidelity=problem.integer_fidelity,
            n_trials=math.ceil(2 * budget / cheapest),
            n_workers=n_workers,
            seed=seed,
            known=problem.known,
            expected_cost=problem.expected_cost,
            optimizer=optimizer,
        )
        self._fidelities: dict[str, float] = {}

    def ask(self) -> Ask | None:
        suggestion = self._optimizer.ask()
        if suggestion is None:
            return None
        self._fidelities[suggestion.trial_id] = suggestion.fidelity
        before = self._fidelities[suggestion.promoted_from] if suggestion.promoted_from is not None else None
        return Ask(suggestion.trial_id, suggestion.config, suggestion.fidelity, before)

    def tell(self, trial_id: str, values: Values, cost: float) -> None:
        measured = {name: value for name, value in values.items() if name not in self._known}
        self._optimizer.tell(trial_id, measured, cost=cost)


greenshift = partial(OurSearcher, optimizer="greenshift")
greenshift_full = partial(OurSearcher, optimizer="greenshift", is_full=True)
smac_default = partial(OurSearcher, optimizer="smac-default")
random = partial(OurSearcher, optimizer="random")
