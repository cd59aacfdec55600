"""Spaces, objectives and a loop for tests of the optimizer."""

from __future__ import annotations

from typing import Any

from ConfigSpace import Categorical, ConfigurationSpace, Float, InCondition, Integer

from service.optimizer import Optimizer, Suggestion

# SMAC as it comes takes seconds to train its forest: its studies are shorter.
N_TRIALS = {"greenshift": 30, "smac-default": 12, "random": 30}
# Of the toy space.
FIRST = [{"x": 0.25, "y": 0.5, "n": 7, "kind": "a"}, {"x": 0.5, "n": 9, "kind": "c"}]


def toy_space(seed: int = 0) -> ConfigurationSpace:
    """Of every kind of hyperparameter one, and one that is not always active."""
    space = ConfigurationSpace(seed=seed)
    space.add(
        Float("x", (0.001, 1.0), log=True),
        Float("y", (0.0, 1.0)),
        Integer("n", (2, 50)),
        Categorical("kind", ["a", "b", "c"]),
    )
    space.add(InCondition(space["y"], space["kind"], ["a", "b"]))
    return space


def six_configs(seed: int = 0) -> ConfigurationSpace:
    """A space that is soon exhausted."""
    space = ConfigurationSpace(seed=seed)
    space.add(Categorical("kind", ["a", "b", "c"]), Categorical("flag", [True, False]))
    return space


def score(suggestion: Suggestion) -> dict[str, float]:
    """Two objectives in conflict, a pure function of config and fidelity."""
    config, noise = suggestion.config, 0.1 / suggestion.fidelity
    penalty = {"a": 0.0, "b": 0.1, "c": 0.3}[config.get("kind", "a")]
    x, n = config.get("x", 0.5), config.get("n", 10) / 50
    return {"error": x + penalty + noise, "energy": 1 - x + n + config.get("y", 0.5)}


def make_optimizer(**changes: Any) -> Optimizer:
    """An optimizer over the toy space."""
    options: dict[str, Any] = {
        "space": toy_space(),
        "objectives": {"error": "minimize", "energy": "minimize"},
        "fidelity": (1.0, 9.0),
        "n_trials": 40,
        "n_workers": 4,
        "seed": 0,
    }
    return Optimizer(**(options | changes))


def drive(optimizer: Optimizer, *, outstanding: int = 1, n: int = 10_000) -> list[Suggestion]:
    """Asks and tells, the oldest first, with so many outstanding, until `n` asks or None; tells all in the end."""
    asked: list[Suggestion] = []
    told = 0
    while len(asked) < n and (suggestion := optimizer.ask()) is not None:
        asked.append(suggestion)
        if len(asked) - told >= outstanding:
            optimizer.tell(asked[told], score(asked[told]))
            told += 1
    for suggestion in asked[told:]:
        optimizer.tell(suggestion, score(suggestion))
    return asked


def rounded(config: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A config to compare with others: floats to nine digits."""
    return tuple(sorted((k, f"{v:.9g}" if isinstance(v, float) else v) for k, v in config.items()))
