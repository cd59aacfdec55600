"""What proposes configs, behind one interface, and the simplest of them: random search."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from ConfigSpace import Configuration, ConfigurationSpace


def plain(config: Configuration) -> dict[str, Any]:
    """Values of the active hyperparameters as Python's own types, so that they survive JSON."""
    return {
        name: value.item() if isinstance(value, np.generic) else value for name, value in sorted(dict(config).items())
    }


def config_key(config: Configuration) -> str:
    """Tells configs apart by their values: an array made of values that ConfigSpace has rounded is another one."""
    return json.dumps(plain(config))


class ExhaustedError(Exception):
    """The space has no further config."""


@dataclass(frozen=True)
class Proposal:
    """One config at one fidelity, with what the engine needs to recognise it."""

    config: Configuration
    fidelity: float
    seed: int

    @cached_property
    def values(self) -> dict[str, Any]:
        """Of the config, plain."""
        return plain(self.config)

    @cached_property
    def key(self) -> str:
        """Of the config."""
        return json.dumps(self.values)


Asked = tuple[Configuration, float]


class Engine(Protocol):
    """Proposes configs and learns from costs, of which less is better.

    Attributes:
        fidelities: those that may be asked for, where a log must be matched with them.
    """

    fidelities: Sequence[float]

    def ask(self) -> Proposal:
        """The next evaluation.

        Raises:
            ExhaustedError: the space has no further config.
        """

    def tell(self, proposal: Proposal, costs: list[float], *, failed: bool, price: float | None = None) -> None:
        """What came of a proposal, and what it took.

        Args:
            proposal: as it was asked for.
            costs: finite, also those that stand in for a failure.
            failed: they do.
            price: seconds, or any other unit; None is unknown.
        """

    def begin_with(self, configs: Sequence[Configuration]) -> None:
        """These are asked for first; before anything else is called."""

    def repeat(self, asked: Sequence[Asked], pending: Sequence[Configuration]) -> None:
        """What another engine of the same arguments was asked for, in order, whatever this one would rather try.

        Args:
            asked: comes next, and begins with what `begin_with` was given.
            pending: of the other one.
        """

    def pending(self) -> list[Configuration]:
        """Configs that are chosen already and not asked for yet, in order, where the log would not tell."""


class RandomEngine:
    """Random search at full fidelity: the honest baseline."""

    def __init__(self, space: ConfigurationSpace, fidelity: float, seed: int) -> None:
        self._space, self._fidelity, self._seed = space, fidelity, seed
        self.fidelities: Sequence[float] = [fidelity]
        self._queue: deque[Configuration] = deque()
        space.seed(seed)

    def ask(self) -> Proposal:
        sampled = self._space.sample_configuration()
        config = self._queue.popleft() if self._queue else sampled
        return Proposal(config, self._fidelity, self._seed)

    def tell(self, proposal: Proposal, costs: list[float], *, failed: bool, price: float | None = None) -> None:
        pass

    def begin_with(self, configs: Sequence[Configuration]) -> None:
        self._queue.extend(configs)

    def repeat(self, asked: Sequence[Asked], pending: Sequence[Configuration]) -> None:
        self._queue.extend(config for config, _ in asked[len(self._queue) :])

    def pending(self) -> list[Configuration]:
        return []
