"""Runs an optimizer on simulated workers: an event-driven clock on which an evaluation takes what it costs."""

from __future__ import annotations

import heapq
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from service.pareto import front, hypervolume
from tests.benchmarks.optimizer.problem import Problem
from tests.benchmarks.optimizer.searcher import Ask, Searcher

_Value = TypeVar("_Value")
# Sums of costs such as 1/20 are off by rounding.
_TOLERANCE = 1e-9


@dataclass
class Trace:
    """What a run came to.

    Attributes:
        spent, hypervolume: cost of all evaluations that were finished, and the hypervolume of the front at full
            fidelity by then as a share of the best, whenever it grew.
        clock: when the last evaluation was finished, in the time of one at full fidelity.
        idle_share: of the workers' time until the budget was given out, how much nobody had anything to do.
        ask_seconds, tell_seconds: processor time of each call; on a busy machine wall time says nothing.
    """

    spent: list[float] = field(default_factory=lambda: [0.0])
    hypervolume: list[float] = field(default_factory=lambda: [0.0])
    n_trials: int = 0
    n_full: int = 0
    clock: float = 0.0
    idle_share: float = 0.0
    ask_seconds: list[float] = field(default_factory=list)
    tell_seconds: list[float] = field(default_factory=list)

    def at(self, spent: float) -> float:
        """The hypervolume once so much was spent on finished evaluations."""
        return self.hypervolume[bisect_right(self.spent, spent + _TOLERANCE) - 1]


def simulate(problem: Problem, searcher: Searcher, *, n_workers: int, budget: float) -> Trace:
    """Asks until evaluations worth `budget` were started, or there are no more, and finishes them.

    Of evaluations that end at the same time the one that was started first is told first, and its worker asks before
    the next one is told.
    """
    trace, found = Trace(), _Front(problem)
    running: list[tuple[float, int, Ask, float]] = []
    started = finished = idle = busy_until = 0.0
    while True:
        while len(running) < n_workers and started < budget - _TOLERANCE:
            busy_until = trace.clock
            ask = _timed(searcher.ask, trace.ask_seconds)
            if ask is None:
                break
            price = problem.price(ask.config, ask.fidelity, ask.continued_from)
            heapq.heappush(running, (trace.clock + price, trace.n_trials, ask, price))
            started += price
            trace.n_trials += 1
        if not running:
            break
        is_open = started < budget - _TOLERANCE
        n_free = n_workers - len(running)
        end, _, ask, price = heapq.heappop(running)
        idle += n_free * (end - trace.clock) if is_open else 0.0
        trace.clock, finished = end, finished + price
        values = problem.evaluate(ask.config, ask.fidelity)
        _timed(partial(searcher.tell, ask.trial_id, values, price), trace.tell_seconds)
        if abs(ask.fidelity - problem.fidelity[1]) < _TOLERANCE:
            trace.n_full += 1
            if found.add(problem.costs(values)):
                trace.spent.append(finished)
                trace.hypervolume.append(found.share)
    trace.idle_share = idle / (n_workers * busy_until) if busy_until else 0.0
    return trace


class _Front:
    """The front found so far; `share` is its hypervolume divided by the best."""

    def __init__(self, problem: Problem) -> None:
        self._reference = np.array(problem.reference_point)
        self._best = problem.best_hypervolume
        self._costs = np.empty((0, len(self._reference)))
        self.share = 0.0

    def add(self, costs: list[float]) -> bool:
        """Whether `share` grew."""
        before = self.share
        every = np.vstack([self._costs, costs])
        self._costs = every[front(every)]
        self.share = hypervolume(self._costs, self._reference) / self._best
        return self.share > before


def _timed(call: Callable[[], _Value], seconds: list[float]) -> _Value:
    began = time.process_time()
    value = call()
    seconds.append(time.process_time() - began)
    return value
