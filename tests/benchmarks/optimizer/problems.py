"""All problems by name."""

from __future__ import annotations

from tests.benchmarks.optimizer.digits import DIGITS_DEPTH, DIGITS_EPOCHS
from tests.benchmarks.optimizer.misleading import OPPOSITE, UNRELATED
from tests.benchmarks.optimizer.mixed import MIXED
from tests.benchmarks.optimizer.momf import BRANIN_CURRIN, PARK
from tests.benchmarks.optimizer.problem import Problem
from tests.benchmarks.optimizer.three import THREE

_COMPARED = (BRANIN_CURRIN, PARK, MIXED, THREE, DIGITS_EPOCHS, DIGITS_DEPTH)
# On which optimizers are compared.
PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in _COMPARED}
# And those that are run by name alone.
EVERY_PROBLEM = PROBLEMS | {problem.name: problem for problem in (OPPOSITE, UNRELATED)}
