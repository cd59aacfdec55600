"""What another optimizer found: configs with their costs, and which of them are the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service import pareto


@dataclass(frozen=True)
class Found:
    """One config that was evaluated in full.

    Attributes:
        costs: of which less is better, one or several.
    """

    config: dict[str, Any]
    costs: tuple[float, ...]


def best(found: Sequence[Found], most: int) -> list[Found]:
    """The front, and where that is smaller than `most` what comes next when it is taken away, and so on."""
    chosen: list[Found] = []
    for layer in _layers(found):
        if chosen and len(chosen) + len(layer) > most:
            return [*chosen, *layer[: max(0, most - len(chosen))]]
        chosen += layer
    return chosen


def _layers(found: Sequence[Found]) -> Iterator[list[Found]]:
    """Fronts behind fronts, each by its first cost."""
    rest = list(found)
    while rest:
        on_front = pareto.front(np.array([each.costs for each in rest]))
        yield sorted((each for each, keep in zip(rest, on_front, strict=True) if keep), key=lambda each: each.costs)
        rest = [each for each, keep in zip(rest, on_front, strict=True) if not keep]
