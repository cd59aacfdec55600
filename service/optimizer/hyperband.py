"""SMAC3's own combination, Hyperband and ParEGO, as it comes: a baseline to be ahead of."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from ConfigSpace import Configuration, ConfigurationSpace
from smac.intensifier import Hyperband
from smac.main.config_selector import ConfigSelector
from smac.main.exceptions import ConfigurationSpaceExhaustedException
from smac.multi_objective.parego import ParEGO
from smac.runhistory import StatusType, TrialInfo, TrialValue

from service.optimizer.engine import Asked, ExhaustedError, Proposal, config_key
from service.optimizer.runhistory import SettledConfiguration
from service.optimizer.silence import SilentFacade, SilentScenario

# So many repetitions in a row mean that a space has no further config.
_MAX_REPEATED = 1000


class HyperbandEngine:
    """SMAC3's Hyperband and ParEGO, asked and told by us; changed only as far as it takes not to crash or to hang.

    Args:
        space: what is searched.
        objectives: their names, in the order of the costs.
        fidelity: (lowest, highest); equal for a study at full fidelity only.
        eta: one config in `eta` is promoted.
        n_trials: sizes the initial design.
        seed: of everything random.
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
    ) -> None:
        scenario = SilentScenario.of(space, objectives, fidelity, n_trials, seed)
        self._highest, self._seed = fidelity[1], seed
        # It promotes by itself.
        self.fidelities: Sequence[float] = []
        self._asked: set[str] = set()
        self._asked_in_full: set[str] = set()
        self._selector = _Selector(scenario)
        self._smac = SilentFacade(
            scenario,
            None,
            # SMAC's default incumbent selection asserts with more than one objective; the front is computed by us.
            intensifier=Hyperband(scenario, eta=eta, incumbent_selection="highest_budget"),
            # Without it the facade would average the objectives.
            multi_objective_algorithm=ParEGO(scenario),
            config_selector=self._selector,
            # None or a number would replace the root logger's handlers.
            logging_level=False,
            overwrite=True,
        )

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
        self._asked.add(proposal.key)
        if proposal.fidelity == self._highest:
            self._asked_in_full.add(proposal.key)
        return proposal

    def _leftover(self) -> Proposal | None:
        """A config that SMAC sampled for a bracket which it could not fill, at full fidelity."""
        for key, config in self._selector.given.items():
            if key not in self._asked_in_full:
                return Proposal(config, self._highest, self._seed)
        return None

    def tell(self, proposal: Proposal, costs: list[float], *, failed: bool, price: float | None = None) -> None:
        # Seed and fidelity go back exactly as they came: a rounded one would be another trial to SMAC.
        info = TrialInfo(proposal.config, seed=proposal.seed, budget=proposal.fidelity)
        status = StatusType.CRASHED if failed else StatusType.SUCCESS
        self._smac.tell(info, TrialValue(cost=costs, time=price or 0.0, status=status), save=False)

    def begin_with(self, configs: Sequence[Configuration]) -> None:
        self._selector.queue.extend(configs)

    def repeat(self, asked: Sequence[Asked], pending: Sequence[Configuration]) -> None:
        # Hyperband promotes by itself; what it is given twice it leaves out.
        self._selector.queue.extend({config_key(c): c for c in (*(c for c, _ in asked), *pending)}.values())

    def pending(self) -> list[Configuration]:
        given = [config for key, config in self._selector.given.items() if key not in self._asked]
        return [*given, *self._selector.queue]


class _Selector(ConfigSelector):
    """SMAC's config selector that can be made to give certain configs first.

    Attributes:
        queue: configs to give out before any of its own; no model is trained while there are some.
        given: all configs given out, in order.
    """

    queue: deque[Configuration]
    given: dict[str, Configuration]

    def __init__(self, scenario: SilentScenario) -> None:
        super().__init__(scenario)
        self.queue, self.given = deque(), {}

    def __iter__(self) -> Iterator[Configuration]:
        """Queued configs first, then SMAC's own; none twice, else a rung would have fewer configs than it counts."""
        live = super().__iter__()
        n_repeated = 0
        while n_repeated < _MAX_REPEATED:
            config = self.queue.popleft() if self.queue else next(live)
            key = config_key(config)
            if key in self.given:
                n_repeated += 1
                continue
            n_repeated = 0
            settled = SettledConfiguration.of(config)
            self.given[key] = settled
            yield settled
        raise ConfigurationSpaceExhaustedException
