"""Thirteen parameters of every kind in the style of ZDT1 (Zitzler, Deb and Thiele, 2000): a front known exactly.

`price` is the parameter `trade` itself and `loss` = g (1 - sqrt(price / g)), where g is 1 plus a weighted distance of
the other twelve from their best values. They have units of a training: rates on log scales, whole numbers,
categories, a momentum that one category alone has, a dropout that is best at another value for every `trade`, and a
warm-up that depends on the learning rate. At a low fidelity differences are smaller, both objectives larger and the
best values moved: what is good at the lowest is not best at the highest.
"""

from __future__ import annotations

import math

from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer

from tests.benchmarks.optimizer.problem import Config, Problem, linear_cost

FIDELITY = (1.0, 27.0)
_REFERENCE = (1.1, 2.0)
# Parameter: lowest, highest, best value, whether its scale is a logarithm, weight of the squared distance in units of
# the range, how far the best value is moved at fidelity 0 in units of the range.
_NUMBERS: dict[str, tuple[float, float, float, bool, float, float]] = {
    "learning_rate": (1e-4, 1.0, 1e-2, True, 3.0, 0.15),
    "weight_decay": (1e-6, 1e-1, 1e-4, True, 0.7, -0.1),
    "smoothing": (0.0, 0.5, 0.1, False, 0.3, 0.0),
    "noise": (0.0, 1.0, 0.0, False, 0.3, 0.0),
    "layers": (1, 16, 7, False, 1.5, -0.2),
    "width": (8, 512, 128, True, 1.0, -0.2),
    "batch": (16, 1024, 64, True, 0.7, 0.15),
}
_WHOLE = ("layers", "width", "batch")
_CATEGORIES = {
    "optimizer": {"adam": 0.15, "sgd": 0.0, "rmsprop": 0.3},
    "activation": {"tanh": 0.3, "relu": 0.0, "gelu": 0.05, "swish": 0.1},
}
_MOMENTUM, _DROPOUT, _WARMUP = 0.9, (0.2, 0.4), (0.2, 0.6)
_MOMENTUM_WEIGHT, _DROPOUT_WEIGHT, _WARMUP_WEIGHT = 0.6, 1.5, 0.8


def _space(seed: int) -> ConfigurationSpace:
    space = ConfigurationSpace(seed=seed)
    for name, (low, high, _, log, _, _) in _NUMBERS.items():
        kind = Integer if name in _WHOLE else Float
        space.add(kind(name, (low, high), log=log))
    space.add([Categorical(name, list(penalties)) for name, penalties in _CATEGORIES.items()])
    space.add([Float(name, (0.0, 1.0)) for name in ("trade", "momentum", "dropout", "warmup")])
    space.add(EqualsCondition(space["momentum"], space["optimizer"], "sgd"))
    return space


def distance(config: Config, missing: float = 0.0) -> float:
    """How far the parameters are from their best values, 0 where all have them; `missing` is 1 - fidelity / highest."""
    total = sum(penalties[config[name]] for name, penalties in _CATEGORIES.items())
    for name, (_, _, best, _, weight, moved) in _NUMBERS.items():
        total += weight * (_unit(name, config[name]) - _unit(name, best) - moved * missing) ** 2
    if "momentum" in config:
        total += _MOMENTUM_WEIGHT * (config["momentum"] - _MOMENTUM) ** 2
    total += _DROPOUT_WEIGHT * (config["dropout"] - best_dropout(config["trade"])) ** 2
    total += _WARMUP_WEIGHT * (config["warmup"] - best_warmup(config["learning_rate"])) ** 2
    return total


def best_dropout(trade: float) -> float:
    """Of a network that trades so much."""
    return _DROPOUT[0] + _DROPOUT[1] * trade


def best_warmup(learning_rate: float) -> float:
    """Of a training at this learning rate."""
    return _WARMUP[0] + _WARMUP[1] * _unit("learning_rate", learning_rate)


def _unit(name: str, value: float) -> float:
    low, high, _, log, _, _ = _NUMBERS[name]
    return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)


def _evaluate(config: Config, fidelity: float) -> dict[str, float]:
    missing = 1 - fidelity / FIDELITY[1]
    g = 1 + (1 - 0.4 * missing) * distance(config, missing)
    price = config["trade"]
    return {"price": price + 0.1 * missing, "loss": g * (1 - math.sqrt(price / g)) + 0.4 * missing}


MIXED = Problem(
    name="mixed-zdt",
    space=_space,
    objectives={"price": "minimize", "loss": "minimize"},
    fidelity=FIDELITY,
    evaluate=_evaluate,
    cost=linear_cost(FIDELITY[1]),
    reference_point=_REFERENCE,
    # Of loss = 1 - sqrt(price): the whole rectangle but the integral of the front, 1/3.
    best_hypervolume=_REFERENCE[0] * _REFERENCE[1] - 1 / 3,
)
