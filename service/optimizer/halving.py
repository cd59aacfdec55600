"""Asynchronous multi-objective successive halving: low fidelities while they pay, promotion by what the front gains."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import moocore
import numpy as np
from ConfigSpace import Configuration
from numpy.typing import NDArray
from smac.intensifier.abstract_intensifier import AbstractIntensifier
from smac.runhistory import TrialInfo
from smac.scenario import Scenario

from service.optimizer.acquisition import HypervolumeImprovement
from service.optimizer.archive import Archive
from service.optimizer.encoding import Encoding
from service.optimizer.gate import MAX_SHARE, MIN_PAIRS, Gate
from service.optimizer.ladder import Ladder
from service.optimizer.selector import MIN_ROWS
from service.optimizer.surrogate import Surrogate

Array = NDArray[np.float64]
# After the design: low trials, finished or not, may cost so much of what finished trials cost, and so many full
# evaluations more.
LOW_SHARE, LOW_START = 0.25, 3.0
# Of many workers the first are free again before much was told: until so many low trials a worker were asked for, they
# go on with the design, for what the model proposes from a handful of results is no better and costs a full evaluation.
_DESIGN_PER_WORKER = 1.5
# A correlation below which a rung says nothing about the front at full fidelity.
MIN_CORRELATION = 0.5
_N_DESIGN = 512
# A study of fewer trials has none to spare for low fidelities.
_MIN_TRIALS = 4


class AsynchronousHalving(AbstractIntensifier):
    """Decides at which fidelity to try a config that the selector proposes; no rung ever waits for another trial.

    A design spread over the space comes first, at the lowest rung that pays. Then the selector says which config
    promises most at full fidelity. It is tried at a lower rung first where that saves more than it costs: with
    probability 1 - p the full evaluation would gain nothing, and the rung would tell so as far as the model expects its
    result to correlate with that at full fidelity. A config that was tried below and still promises most is promoted.

    Args:
        scenario: SMAC's.
        encoding: of the space.
        ladder: of the fidelities.
        archive: is kept up to date here.
        gate: which rungs pay.
        model: of the study.
        acquisition: of the model.
        n_workers: how many trials run at once.
    """

    def __init__(
        self,
        scenario: Scenario,
        encoding: Encoding,
        ladder: Ladder,
        archive: Archive,
        gate: Gate,
        model: Surrogate,
        acquisition: HypervolumeImprovement,
        n_workers: int,
    ) -> None:
        super().__init__(scenario, n_seeds=1, max_config_calls=None, max_incumbents=1, seed=scenario.seed)
        self._encoding, self._ladder, self._archive, self._gate = encoding, ladder, archive, gate
        self._model, self._acquisition, self._n_workers = model, acquisition, n_workers
        # The more objectives, the more of the first results are on the front, and the less one says of the rest.
        self._n_first = min(10, max(4, len(set(encoding.groups)) + scenario.count_objectives()))
        self._design = encoding.spread(_N_DESIGN, scenario.seed)
        self._listed = encoding.listed()
        self._n_designed = 0
        # What is to be asked for, whatever else would be.
        self.queue: deque[tuple[Configuration, float]] = deque()

    def __iter__(self) -> Iterator[TrialInfo]:
        while (chosen := self._choose()) is not None:
            config, fidelity = chosen
            self._archive.begin(config.get_array(), fidelity)
            yield TrialInfo(config, seed=self._seed, budget=fidelity)

    def update_incumbents(self, config: Configuration) -> None:
        """The front is computed from the log."""

    def _choose(self) -> tuple[Configuration, float] | None:
        if self.queue:
            return self.queue.popleft()
        low = self._gate.rungs(self._archive) if self._scenario.n_trials >= _MIN_TRIALS else []
        fidelity = self._design_fidelity(low)
        if fidelity is not None and (config := self._designed(fidelity)) is not None:
            return config, fidelity
        if low and (config := self._promoted(low[0])) is not None:
            return config, self._ladder.full
        if self._archive.n_good < MIN_ROWS:
            config = self._designed(self._ladder.full)
            return None if config is None else (config, self._ladder.full)
        config = next(self.config_generator, None)
        if config is None:
            return None
        return config, self._fidelity(config.get_array(), low)

    def _design_fidelity(self, low: list[float]) -> float | None:
        """Where the next config of the design is tried; None once there is enough to model."""
        full, n_asked = self._ladder.full, self._archive.n_asked_at
        if not low:
            blind = self._n_workers if self._archive.n == 0 else 0
            return full if n_asked(full) < max(self._n_first, blind) or self._archive.n_good < MIN_ROWS else None
        # What a rung costs is known from two of them.
        if self._archive.n_asked == 1:
            return self._ladder.rungs[1]
        # Many workers ask before that is known.
        if self._archive.n == 0 and self._ladder.expected_shares[low[0]] > MAX_SHARE:
            return full if self._archive.n_asked > 1 else low[0]
        wanted = min(2 * self._n_first, max(3.0, LOW_START / self._gate.shares[low[0]]))
        if self._n_workers > 1:
            wanted = max(_DESIGN_PER_WORKER * self._n_workers, wanted)
        # Of a short study most is left for full fidelity.
        wanted = min(wanted, self._scenario.n_trials // 4)
        is_enough = n_asked(low[0]) >= wanted or n_asked(full) >= self._n_first
        return None if is_enough else low[0]

    def _designed(self, fidelity: float) -> Configuration | None:
        while self._n_designed < len(self._design):
            row = self._design[self._n_designed]
            self._n_designed += 1
            if not self._archive.fidelities_of(row):
                return self._encoding.configuration(row)
        random = np.random.RandomState([self._seed, self._archive.n_asked])
        listed = self._listed
        rows = self._archive.untried(self._encoding.sample(200, random) if listed is None else listed, fidelity)
        if not len(rows):
            rows = self._archive.untried(self._encoding.any(200, random), fidelity)
        return self._encoding.configuration(rows[random.randint(len(rows))]) if len(rows) else None

    def _promoted(self, rung: float) -> Configuration | None:
        """The next of the design that goes on to full fidelity, the best front at the rung first.

        So the gate has pairs to judge the rung by, and the model has results at full fidelity to begin with.
        """
        full, wanted = self._ladder.full, min(MIN_PAIRS, self._archive.n_asked_at(rung) // 3)
        if self._archive.n_asked_at(full) > _N_DESIGN or self._archive.n_asked_at_both(rung, full) >= wanted:
            return None
        vectors, fidelities, costs = self._archive.good()
        at_rung = fidelities == rung
        if not at_rung.any():
            return None
        vectors, costs = vectors[at_rung], costs[at_rung]
        best = np.argsort(moocore.pareto_rank(costs), kind="stable")
        untried = self._archive.untried(vectors[best], full)
        return self._encoding.configuration(untried[0]) if len(untried) else None

    def _fidelity(self, vector: Array, low: list[float]) -> float:
        full, shares = self._ladder.full, self._gate.shares
        # Of trials that still run only low ones count: full ones that have told nothing yet pay for no more low ones.
        spent = sum(shares[rung] * self._archive.n_told_at(rung) for rung in self._ladder.rungs)
        spent_low = sum(shares[rung] * self._archive.n_asked_at(rung) for rung in self._ladder.rungs[:-1])
        if spent_low > LOW_SHARE * spent + LOW_START:
            return full
        highest = max(self._archive.fidelities_of(vector), default=0.0)
        untried = [rung for rung in low if rung > highest]
        if not untried:
            return full
        p = self._acquisition.probability(vector)
        saved = {full: 0.0} | {rung: self._saved(vector, rung, p) for rung in untried}
        best = max(saved, key=lambda rung: saved[rung])
        self._gate.hear(pays=best != full)
        return best

    def _saved(self, vector: Array, rung: float, p: float) -> float:
        """Full evaluations that trying the config at `rung` first saves; one at full gains something with chance p."""
        correlation = self._model.correlation(vector, rung)
        return correlation**2 * (1 - p) - self._gate.shares[rung] if correlation >= MIN_CORRELATION else 0.0

    @property
    def uses_seeds(self) -> bool:
        return True

    @property
    def uses_budgets(self) -> bool:
        return True

    @property
    def uses_instances(self) -> bool:
        return False

    @property
    def uses_cutoffs(self) -> bool:
        return False
