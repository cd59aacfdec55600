"""Low fidelities that say nothing of full fidelity, or the opposite: what a search that trusts them loses."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

from tests.benchmarks.optimizer.momf import PARK
from tests.benchmarks.optimizer.problem import Config, Problem

_N_OTHERS = 500


def opposite(problem: Problem) -> Problem:
    """The same, but every low fidelity gives the objectives at full fidelity with the other sign."""

    def evaluate(config: Config, fidelity: float) -> dict[str, float]:
        values = problem.evaluate(config, problem.fidelity[1])
        return values if fidelity == problem.fidelity[1] else {name: -value for name, value in values.items()}

    return replace(problem, name=f"{problem.name}-opposite", evaluate=evaluate)


def unrelated(problem: Problem) -> Problem:
    """The same, but every low fidelity gives the objectives of another config, always of the same one."""
    others = [dict(config) for config in problem.space(0).sample_configuration(_N_OTHERS)]

    def evaluate(config: Config, fidelity: float) -> dict[str, float]:
        other = others[crc32(repr(sorted(config.items())).encode()) % _N_OTHERS]
        return problem.evaluate(config if fidelity == problem.fidelity[1] else other, problem.fidelity[1])

    return replace(problem, name=f"{problem.name}-unrelated", evaluate=evaluate)


OPPOSITE, UNRELATED = opposite(PARK), unrelated(PARK)
