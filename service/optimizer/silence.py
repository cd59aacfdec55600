"""SMAC without its files: the store is the truth."""

from __future__ import annotations

from pathlib import Path

from ConfigSpace import ConfigurationSpace
from smac import MultiFidelityFacade, Scenario
from smac.main.smbo import SMBO

from service.optimizer.runhistory import QuickRunHistory


class SilentScenario(Scenario):
    """A scenario that writes no file."""

    @classmethod
    def of(
        cls,
        space: ConfigurationSpace,
        objectives: list[str],
        fidelity: tuple[float, float],
        n_trials: int,
        seed: int,
    ) -> SilentScenario:
        """The scenario of a study."""
        return cls(
            space,
            objectives=objectives,
            min_budget=fidelity[0],
            max_budget=fidelity[1],
            n_trials=n_trials,
            seed=seed,
            output_directory=Path("unused"),
        )

    def save(self) -> None:
        pass


class SilentOptimizer(SMBO):
    """A SMAC loop that writes no file."""

    def save(self) -> None:
        pass


class SilentFacade(MultiFidelityFacade):
    """The multi-fidelity facade around `SilentOptimizer` and a quicker run history."""

    def _update_dependencies(self) -> None:
        self._runhistory = QuickRunHistory(
            multi_objective_algorithm=self._multi_objective_algorithm, n_objectives=self._scenario.count_objectives()
        )
        super()._update_dependencies()

    def _get_optimizer(self) -> SMBO:
        return SilentOptimizer(
            scenario=self._scenario,
            runner=self._runner,
            runhistory=self._runhistory,
            intensifier=self._intensifier,
            overwrite=self._overwrite,
        )
