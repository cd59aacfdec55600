"""SMAC3 with an intensifier, model, acquisition function and maximiser of our own: the optimizer `greenshift`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ConfigSpace import Configuration, ConfigurationSpace
from smac.runhistory import StatusType, TrialInfo, TrialValue

from service.optimizer.acquisition import HypervolumeImprovement
from service.optimizer.archive import Archive
from service.optimizer.encoding import Encoding
from service.optimizer.engine import Asked, ExhaustedError, Proposal
from service.optimizer.gate import Gate
from service.optimizer.halving import AsynchronousHalving
from service.optimizer.known import Known
from service.optimizer.ladder import Ladder
from service.optimizer.maximizer import FrontSearch
from service.optimizer.runhistory import QuickRunHistory, SettledConfiguration
from service.optimizer.selector import FrontSelector
from service.optimizer.silence import SilentOptimizer, SilentScenario
from service.optimizer.surrogate import Surrogate
from service.optimizer.threads import one_thread


class FrontEngine:
    """Proposes what the front is expected to gain most from, at the fidelity that tells most for its price.

    Args:
        space: what is searched.
        objectives: their names, in the order of the costs.
        fidelity: (lowest, highest); equal for a study at full fidelity only.
        known: by the column of the costs, functions of a config's values that give its cost at full fidelity.
        expected_cost: of a trial by its fidelity, until costs are told; None is in proportion.
        eta: from rung to rung.
        n_trials: SMAC's.
        n_workers: how many trials run at once.
        seed: of everything random.

    Attributes:
        fidelities: that are asked for, ascending.
        gate: which of them pay.
    """

    def __init__(
        self,
        space: ConfigurationSpace,
        objectives: list[str],
        fidelity: tuple[float, float],
        *,
        known: Mapping[int, Callable[[dict[str, Any]], float]],
        expected_cost: Callable[[float], float] | None,
        eta: int,
        n_trials: int,
        n_workers: int,
        seed: int,
    ) -> None:
        scenario = SilentScenario.of(space, objectives, fidelity, n_trials, seed)
        space.seed(seed)
        encoding, ladder = Encoding(space), Ladder(*fidelity, eta, expected_cost)
        self.fidelities: Sequence[float] = ladder.rungs
        modelled = [j for j in range(len(objectives)) if j not in known]
        self.archive, self.gate = Archive(), Gate(ladder, modelled)
        model = Surrogate(space, encoding, ladder, modelled, seed)
        acquisition = HypervolumeImprovement(ladder.full, Known(encoding, known))
        search = FrontSearch(space, encoding, self.archive, ladder.full, acquisition, seed)
        self._halving = AsynchronousHalving(
            scenario, encoding, ladder, self.archive, self.gate, model, acquisition, n_workers
        )
        history = QuickRunHistory(n_objectives=len(objectives))
        self._halving.runhistory = history
        self._halving.config_selector = FrontSelector(scenario, self.archive, model, acquisition, search, ladder.full)
        self._smac = SilentOptimizer(scenario, None, history, self._halving, overwrite=True)

    def ask(self) -> Proposal:
        try:
            with one_thread():
                info = self._smac.ask()
        except StopIteration as error:
            raise ExhaustedError from error
        assert info.budget is not None and info.seed is not None
        return Proposal(info.config, info.budget, info.seed)

    def tell(self, proposal: Proposal, costs: list[float], *, failed: bool, price: float | None = None) -> None:
        info = TrialInfo(proposal.config, seed=proposal.seed, budget=proposal.fidelity)
        status = StatusType.CRASHED if failed else StatusType.SUCCESS
        self._smac.tell(info, TrialValue(cost=costs, time=price or 0.0, status=status), save=False)
        self.archive.end(proposal.config.get_array(), proposal.fidelity, None if failed else costs, price)

    def begin_with(self, configs: Sequence[Configuration]) -> None:
        """At full fidelity: whoever names configs believes in them."""
        self._queue(configs, [self.fidelities[-1]] * len(configs))

    def repeat(self, asked: Sequence[Asked], pending: Sequence[Configuration]) -> None:
        rest = asked[len(self._halving.queue) :]
        self._queue([config for config, _ in rest], [fidelity for _, fidelity in rest])

    def _queue(self, configs: Sequence[Configuration], fidelities: Sequence[float]) -> None:
        settled = (SettledConfiguration.of(config) for config in configs)
        self._halving.queue.extend(zip(settled, fidelities, strict=True))

    def pending(self) -> list[Configuration]:
        return []
