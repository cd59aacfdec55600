"""Objectives that are functions of the config: computed, not guessed."""

from __future__ import annotations

import zlib
from typing import Any

from ConfigSpace import ConfigurationSpace, Integer

from tests.service.optimizer.toy import make_optimizer

Config = dict[str, Any]


def test_a_known_objective_need_not_be_told() -> None:
    known = {"energy": lambda config, fidelity: config["n"] * fidelity}
    optimizer = make_optimizer(fidelity=None, known=known, n_trials=5)
    suggestion = optimizer.ask()
    assert suggestion is not None
    optimizer.tell(suggestion, {"error": 0.25})
    assert optimizer.front()[0]["objectives"] == {"error": 0.25, "energy": float(suggestion.config["n"])}


def unforeseen(config: Config, _fidelity: float = 1.0) -> float:
    """A number between 0 and 1 that says nothing about that of any other config."""
    return zlib.crc32(str(config["n"]).encode()) / 2**32


def test_a_known_objective_is_computed_and_not_guessed() -> None:
    space = ConfigurationSpace()
    space.add(Integer("n", (1, 1000)))
    optimizer = make_optimizer(space=space, fidelity=None, known={"energy": unforeseen}, n_trials=20)
    suggestions = []
    while (suggestion := optimizer.ask()) is not None:
        suggestions.append(suggestion)
        optimizer.tell(suggestion, {"error": suggestion.config["n"] / 1000})
    # Four are spread over the space; of eight at random seven would be so low once in 12,000 studies. One looks for the
    # ends of the front.
    assert sum(unforeseen(s.config) < 0.2 for s in suggestions[4:12]) >= 7
