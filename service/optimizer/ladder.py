"""Which fidelities there are, and what they really cost."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from service.optimizer.archive import Archive


class Ladder:
    """The rungs of a study: built down from the highest fidelity by `eta`, none below the lowest.

    Args:
        lowest: smallest fidelity that may be asked for.
        highest: full fidelity.
        eta: from rung to rung.
        expected_cost: of a trial by its fidelity, in any unit, until costs are measured; None is in proportion.

    Attributes:
        rungs: ascending; the last one is full fidelity.
        expected_shares: what each rung is expected to cost, as a share of full fidelity.
    """

    def __init__(
        self, lowest: float, highest: float, eta: int, expected_cost: Callable[[float], float] | None = None
    ) -> None:
        n_below = int(np.floor(np.log(highest / lowest) / np.log(eta) + 1e-9)) if lowest < highest else 0
        self.rungs: list[float] = [highest / eta**k for k in range(n_below, 0, -1)] + [highest]
        cost = expected_cost or (lambda fidelity: fidelity)
        self.expected_shares = {rung: cost(rung) / cost(highest) for rung in self.rungs}

    @property
    def full(self) -> float:
        return float(self.rungs[-1])

    def place(self, fidelity: np.ndarray) -> np.ndarray:
        """Where fidelities stand between the lowest rung (0) and full (1), by their logarithms."""
        if len(self.rungs) == 1:
            return np.ones_like(fidelity)
        return np.asarray(np.log(fidelity / self.rungs[0]) / np.log(self.full / self.rungs[0]))

    def shares(self, archive: Archive) -> dict[float, float]:
        """What a new config costs at each rung, as a share of a full evaluation.

        Measured where trials say what they took; else along the line through what is known, and in proportion to
        the fidelity where nothing is.
        """
        fresh: dict[float, list[float]] = {}
        for fidelity, price, promoted in zip(archive.fidelities, archive.prices, archive.promoted, strict=True):
            if math.isfinite(price) and not promoted:
                fresh.setdefault(fidelity, []).append(price)
        known = {f: float(np.median(prices)) for f, prices in fresh.items()}
        if len(known) < 2 or not known.get(max(known), 0) > 0:
            return {rung: rung / self.full for rung in self.rungs}
        slope, start = np.polyfit(list(known), list(known.values()), 1)
        prices_at = {rung: known.get(rung, max(float(start + slope * rung), 0.0)) for rung in self.rungs}
        whole = max(prices_at[self.full], 1e-12)
        return {rung: float(np.clip(p / whole, 1e-6, 1.0)) for rung, p in prices_at.items()}
