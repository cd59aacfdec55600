"""What proposes configs: SMAC3's Hyperband with ParEGO, tamed, as it comes, or random search."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ConfigSpace import Configuration, ConfigurationSpace
from smac import MultiFidelityFacade, Scenario
from smac.acquisition.maximizer import LocalAndSortedRandomSearch
from smac.intensifier import Hyperband
from smac.main.config_selector import ConfigSelector
from smac.main.exceptions import ConfigurationSpaceExhaustedException
from smac.main.smbo import SMBO
from smac.model.random_forest import RandomForest
from smac.multi_objective.parego import ParEGO
from smac.runhistory import StatusType, TrialInfo, TrialValue

from service.optimizer.promotion import pick_spread
from service.optimizer.runhistory import QuickRunHistory, SettledConfiguration

# So many repetitions in a row mean that a space has no further config.
_MAX_REPEATED = 1000


def plain(config: Configuration) -> dict[str, Any]:
    """Values of the active hyperparameters as Python's own types, so that they survive JSON."""
    return {
        name: value.item() if isinstance(value, np.generic) else value for name, value in sorted(dict(config).items())
    }


def config_key(config: Configuration) -> str:
    """Tells configs apart by their values: an array made of values that ConfigSpace has rounded is another one."""
    return json.dumps(plain(config))


class ExhaustedError(Exception):
    """The space has no further config."""


@dataclass(frozen=True)
class Proposal:
    """One config at one fidelity, with what the engine needs to recognise it."""

    config: Configuration
    fidelity: float
    seed: int


class Engine(Protocol):
    """Proposes configs and learns from costs, of which less is better."""

    def ask(self) -> Proposal:
        """The next evaluation.

        Raises:
            ExhaustedError: the space has no further config.
        """

    def tell(self, proposal: Proposal, costs: list[float], *, failed: bool) -> None:
        """What came of a proposal; costs are finite, also those that stand in for a failure."""

    def replay(self, configs: list[Configuration]) -> None:
        """The next new configs are these, in this order, whatever the engine would rather try."""

    def pending(self) -> list[Configuration]:
        """Configs that are chosen already and not asked for yet, in order."""


class RandomEngine:
    """Random search at full fidelity: the honest baseline."""

    def __init__(self, space: ConfigurationSpace, fidelity: float, seed: int) -> None:
        self._space, self._fidelity, self._seed = space, fidelity, seed
        self._replayed: deque[Configuration] = deque()
        space.seed(seed)

    def ask(self) -> Proposal:
        sampled = self._space.sample_configuration()
        config = self._replayed.popleft() if self._replayed else sampled
        return Proposal(config, self._fidelity, self._seed)

    def tell(self, proposal: Proposal, costs: list[float], *, failed: bool) -> None:
        pass

    def replay(self, configs: list[Configuration]) -> None:
        self._replayed.extend(configs)

    def pending(self) -> list[Configuration]:
        return list(self._replayed)


class SmacEngine:
    """SMAC3's Hyperband and ParEGO, asked and told by us.

    Args:
        space: what is searched.
        objectives: their names, in the order of the costs.
        fidelity: (lowest, highest); equal for a study at full fidelity only.
        eta: one config in `eta` is promoted.
        n_trials: sizes the initial design.
        seed: of everything random.
        tamed: with our repairs; False is SMAC's own combination, changed only as far as it takes not to crash.
    """

    def __init__(
        self,
        space: ConfigurationSpace,
        objectives: list[str],
        fidelity: tuple[float, float],
        *,
        eta: int,
        n_trials: int,
        seed: int,
        tamed: bool,
    ) -> None:
        scenario = _SilentScenario(
            space,
            objectives=objectives,
            min_budget=fidelity[0],
            max_budget=fidelity[1],
            n_trials=n_trials,
            seed=seed,
            output_directory=Path("unused"),
        )
        # SMAC's default incumbent selection asserts with more than one objective; the front is computed by us.
        hyperband = _FrontHyperband if tamed else Hyperband
        self._highest, self._seed = fidelity[1], seed
        self._asked: set[str] = set()
        self._asked_in_full: set[str] = set()
        self._selector = _Selector(scenario, **_selector_options(space, n_trials, tamed=tamed))
        parts: dict[str, Any] = _light_parts(scenario) if tamed else {}
        self._smac = _SilentFacade(
            scenario,
            None,
            intensifier=hyperband(scenario, eta=eta, incumbent_selection="highest_budget"),
            # Without it the facade would average the objectives.
            multi_objective_algorithm=ParEGO(scenario),
            config_selector=self._selector,
            # None or a number would replace the root logger's handlers.
            logging_level=False,
            overwrite=True,
            **parts,
        )
        self._selector.always_retrain = tamed

    def ask(self) -> Proposal:
        try:
            info = self._smac.ask()
        except (ConfigurationSpaceExhaustedException, StopIteration) as error:
            proposal = self._leftover()
            if proposal is None:
                raise ExhaustedError from error
        else:
            assert info.budget is not None and info.seed is not None
            proposal = Proposal(info.config, info.budget, info.seed)
        key = config_key(proposal.config)
        self._asked.add(key)
        if proposal.fidelity == self._highest:
            self._asked_in_full.add(key)
        return proposal

    def _leftover(self) -> Proposal | None:
        """A config that SMAC sampled for a bracket which it could not fill, at full fidelity."""
        for key, config in self._selector.given.items():
            if key not in self._asked_in_full:
                return Proposal(config, self._highest, self._seed)
        return None

    def tell(self, proposal: Proposal, costs: list[float], *, failed: bool) -> None:
        if failed and isinstance(self._smac.intensifier, _FrontHyperband):
            self._smac.intensifier.failed.add((config_key(proposal.config), proposal.fidelity))
        # Seed and fidelity go back exactly as they came: a rounded one would be another trial to SMAC.
        info = TrialInfo(proposal.config, seed=proposal.seed, budget=proposal.fidelity)
        status = StatusType.CRASHED if failed else StatusType.SUCCESS
        self._smac.tell(info, TrialValue(cost=costs, status=status), save=False)

    def replay(self, configs: list[Configuration]) -> None:
        self._selector.replayed.extend(configs)

    def pending(self) -> list[Configuration]:
        given = [config for key, config in self._selector.given.items() if key not in self._asked]
        return [*given, *self._selector.replayed]


class _SilentScenario(Scenario):
    """A scenario that writes no file: the store is the truth."""

    def save(self) -> None:
        pass


class _SilentOptimizer(SMBO):
    """A SMAC loop that writes no file."""

    def save(self) -> None:
        pass


class _SilentFacade(MultiFidelityFacade):
    """The multi-fidelity facade around `_SilentOptimizer` and a quicker run history."""

    def _update_dependencies(self) -> None:
        self._runhistory = QuickRunHistory(
            multi_objective_algorithm=self._multi_objective_algorithm, n_objectives=self._scenario.count_objectives()
        )
        super()._update_dependencies()

    def _get_optimizer(self) -> SMBO:
        return _SilentOptimizer(
            scenario=self._scenario,
            runner=self._runner,
            runhistory=self._runhistory,
            intensifier=self._intensifier,
            overwrite=self._overwrite,
        )


class _Selector(ConfigSelector):
    """SMAC's config selector that can be made to repeat logged configs first.

    Attributes:
        replayed: configs to give out before any of its own; no model is trained while there are some.
        given: all configs given out, in order.
        always_retrain: SMAC redraws ParEGO's weights every cycle but trains its forest only when the number of
            rows changed, so that the new weights would have no effect.
    """

    replayed: deque[Configuration]
    given: dict[str, Configuration]
    always_retrain = False

    def __init__(self, scenario: Scenario, **options: Any) -> None:
        super().__init__(scenario, **options)
        self.replayed, self.given = deque(), {}

    def __iter__(self) -> Iterator[Configuration]:
        """Logged configs first, then SMAC's own; none twice, else a rung would have fewer configs than it counts."""
        live = super().__iter__()
        n_repeated = 0
        while n_repeated < _MAX_REPEATED:
            is_logged = bool(self.replayed)
            config = self.replayed.popleft() if is_logged else next(live)
            key = config_key(config)
            if key in self.given:
                n_repeated += 1
                continue
            n_repeated = 0
            settled = SettledConfiguration.of(config)
            self.given[key] = settled
            yield settled
        raise ConfigurationSpaceExhaustedException

    def _collect_data(self) -> tuple[Any, Any, Any]:
        if self.always_retrain:
            self._previous_entries = -1
        return super()._collect_data()

    def _get_x_best(self, X: Any) -> tuple[Any, float]:  # noqa: N803 - SMAC's name
        """All rows in one prediction; SMAC predicts row by row."""
        assert self._model is not None
        means = self._model.predict_marginalized(X)[0][:, 0]
        best = int(np.argmin(means))
        return X[best], float(means[best])


class _FrontHyperband(Hyperband):
    """Hyperband that promotes whole fronts, the best first, and thins out only the last one.

    SMAC sorts all that it selected by crowding distance, which drops non-dominated configs for dominated ones.

    Attributes:
        failed: configs that failed, with the fidelity; whatever cost stands in for them, they go on last.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failed: set[tuple[str, float]] = set()

    def _get_best_configs(
        self, configs: list[Configuration], bracket: int, stage: int, from_keys: list[Any]
    ) -> list[Configuration]:
        # Checks that every config has been evaluated.
        best: list[Configuration] = super()._get_best_configs(configs, bracket, stage, from_keys)
        if not best:
            return best
        costs = np.array([self.runhistory.average_cost(c, from_keys) for c in configs])
        fidelity = from_keys[0].budget
        costs[[(config_key(c), fidelity) in self.failed for c in configs]] = 2 * np.abs(costs).max() + 1
        return [configs[i] for i in pick_spread(costs, len(best))]


def _selector_options(space: ConfigurationSpace, n_trials: int, *, tamed: bool) -> dict[str, int]:
    """With one row enough, a single result at the top would make the forest forget all others."""
    if not tamed:
        return {}
    return {"min_trials": max(2, min(len(space) + 2, n_trials // 8))}


def _light_parts(scenario: Scenario) -> dict[str, Any]:
    """SMAC's model and maximiser at a tenth of the processor time.

    SMAC limits leaves to 2**20, for which scikit-learn sets memory aside, and searches 10,000 random configs.
    """
    forest = RandomForest(
        configspace=scenario.configspace,
        log_y=True,
        ratio_features=1.0,
        min_samples_split=2,
        min_samples_leaf=1,
        max_leaf_nodes=None,  # type: ignore[arg-type]
        n_jobs=None,
        seed=scenario.seed,
    )
    maximizer = LocalAndSortedRandomSearch(
        scenario.configspace,
        challengers=1000,
        max_steps=10,
        local_search_iterations=8,
        seed=scenario.seed,
    )
    return {"model": forest, "acquisition_maximizer": maximizer}
