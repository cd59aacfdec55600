"""What every optimizer looks like to the simulated clock, and where each one is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from tests.benchmarks.optimizer.problem import Config, Problem, Values

_HERE = "tests.benchmarks.optimizer"
# Where each is made: a function of (problem, n_workers, seed, budget). Modules of peers import what is optional.
SEARCHERS = {
    "greenshift": f"{_HERE}.ours:greenshift",
    "greenshift-full": f"{_HERE}.ours:greenshift_full",
    "smac-default": f"{_HERE}.ours:smac_default",
    "random": f"{_HERE}.ours:random",
    "optuna-tpe": f"{_HERE}.peers.with_optuna:tpe",
    "optuna-nsga2": f"{_HERE}.peers.with_optuna:nsga2",
    "optuna-gp": f"{_HERE}.peers.with_optuna:gp",
    "syne-tune-moasha": f"{_HERE}.peers.with_syne_tune:MoashaSearcher",
    "neps-primo": f"{_HERE}.peers.with_neps:PrimoSearcher",
    "botorch-qlognehvi": f"{_HERE}.peers.with_botorch:NehviSearcher",
}
OURS = "greenshift"
# Ours, and the same at full fidelity alone: what low fidelities bring.
OF_OUR_CODE = (OURS, "greenshift-full")


@dataclass(frozen=True)
class Ask:
    """An evaluation to make.

    Attributes:
        continued_from: fidelity of the trial that it was promoted from, or None.
    """

    trial_id: Any
    config: Config
    fidelity: float
    continued_from: float | None = None


class Searcher(Protocol):
    """An optimizer that is asked while others of its trials run."""

    def ask(self) -> Ask | None:
        """The next evaluation; None is nothing to do until a tell, or never again."""

    def tell(self, trial_id: Any, values: Values, cost: float) -> None:
        """What came of it."""


def make_searcher(name: str, problem: Problem, n_workers: int, seed: int, budget: float) -> Searcher:
    """The optimizer `name`, fresh.

    Raises:
        ImportError: it needs a package that is not installed.
    """
    module, _, function = SEARCHERS[name].partition(":")
    make: Callable[..., Searcher] = getattr(import_module(module), function)
    return make(problem, n_workers=n_workers, seed=seed, budget=budget)
