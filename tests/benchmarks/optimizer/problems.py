"""All problems by name."""

from __future__ import annotations

from tests.benchmarks.optimizer.mixed import MIXED
from tests.benchmarks.optimizer.momf import BRANIN_CURRIN, PARK
from tests.benchmarks.optimizer.problem import Problem
from tests.benchmarks.optimizer.three import THREE

PROBLEMS: dict[str, Problem] = {problem.name: problem for problem in (BRANIN_CURRIN, PARK, MIXED, THREE)}
