"""Whether low fidelities pay: what they really cost, and whether they rank configs as full fidelity does."""

from __future__ import annotations

import logging

import numpy as np
from scipy.stats import spearmanr

from service.optimizer.archive import Archive
from service.optimizer.ladder import Ladder

logger = logging.getLogger(__name__)
# A rung that costs more than so much of a full evaluation tells too little for its price.
MAX_SHARE = 0.5
# Of ranks at a rung with those at full fidelity, over configs that were tried at both.
MIN_RANK_CORRELATION = 0.3
MIN_PAIRS = 6
# Trials of a rung that fail, and none that does not.
MIN_LOST = 5
# Proposals in a row for which no low fidelity would have paid.
MIN_USELESS = 20


class Gate:
    """Says which rungs below full fidelity are worth asking for, anew as results come.

    Args:
        ladder: of the study.
        modelled: columns of the costs that are not known without training.

    Attributes:
        shares: what each rung costs, of a full evaluation.
        said: what was found about rungs that do not pay, in words, in order.
    """

    def __init__(self, ladder: Ladder, modelled: list[int]) -> None:
        self._ladder, self._modelled = ladder, modelled
        self.shares = {rung: rung / ladder.full for rung in ladder.rungs}
        self.said: list[str] = []
        self._n_seen = -1
        self._open: list[float] = []
        self._n_useless = 0

    def rungs(self, archive: Archive) -> list[float]:
        """Those that pay, ascending, without full fidelity."""
        if archive.n != self._n_seen:
            self._n_seen = archive.n
            self.shares = self._ladder.shares(archive)
            self._open = [rung for rung in self._ladder.rungs[:-1] if not self._is_closed(rung, archive)]
        return self._open

    def hear(self, *, pays: bool) -> None:
        """Whether a low fidelity pays for a proposal, said of each for which there is one to ask for.

        Low ones that mislead do not from early on, honest ones where the front is well known.
        """
        self._n_useless = 0 if pays else self._n_useless + 1
        said = (
            f"only full fidelity is asked for now: for {MIN_USELESS} proposals in a row a lower one would not have paid"
        )
        if self._n_useless == MIN_USELESS and said not in self.said:
            self._note(said)

    def _is_closed(self, rung: float, archive: Archive) -> bool:
        if self.shares[rung] > MAX_SHARE:
            return self._say(rung, f"costs {self.shares[rung]:.0%} of a full evaluation")
        n_lost = archive.n_failed_at(rung)
        if n_lost >= MIN_LOST and n_lost == archive.n_told_at(rung):
            return self._say(rung, "fails whatever the config")
        low, high = archive.pairs(rung, self._ladder.full)
        if len(low) < MIN_PAIRS:
            return False
        correlation = min((_rank_correlation(low[:, j], high[:, j]) for j in self._modelled), default=1.0)
        if correlation < MIN_RANK_CORRELATION:
            return self._say(rung, f"ranks configs unlike full fidelity does (correlation {correlation:.2f})")
        return False

    def _say(self, rung: float, what: str) -> bool:
        if rung in self._open or self._n_seen == 0 or not any(f"fidelity {rung:g} " in said for said in self.said):
            self._note(f"fidelity {rung:g} is not asked for any more: it {what}")
        return True

    def _note(self, said: str) -> None:
        self.said.append(said)
        logger.info(said)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; one where there is nothing to rank."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 1.0
    return float(spearmanr(a, b).statistic)
