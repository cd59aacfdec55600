"""Optimizers and learning-rate schedules by name, and which parameters get which rate and decay."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn, optim

from shiftlayers import ShiftLayer
from worker.schema import Recipe, ScheduleName

Parameters = list[dict[str, object]]
# Latents that are no weights, by the last part of their names.
LATENTS = ("shift", "sign", "steps", "sparse")
_WARM_UP_SHARE, _FIRST_FACTOR = 0.3, 1 / 25


def make_optimizer(model: nn.Module, recipe: Recipe) -> optim.Optimizer:
    """The optimizer that `recipe` names, over all parameters.

    Latents such as shift and sign have a learning rate of their own, and no decay: see `latent_norm`.
    """
    named = list(model.named_parameters())
    latents = [p for name, p in named if name.rpartition(".")[2] in LATENTS]
    others = [p for name, p in named if name.rpartition(".")[2] not in LATENTS]
    groups: Parameters = [{"params": others, "weight_decay": recipe.weight_decay}]
    if latents:
        rate = recipe.latent_learning_rate or recipe.learning_rate
        groups.append({"params": latents, "weight_decay": 0.0, "lr": rate})
    return _OPTIMIZERS[recipe.optimizer](groups, recipe)


def latent_norm(model: nn.Module) -> Tensor:
    """Sum of squares of the effective weights of layers whose latents are no weights.

    Decaying an exponent towards zero would push weights towards one, so these layers decay what they compute with
    (a fresh draw of it, where rounding is stochastic); all other parameters decay inside the optimizer.
    """
    total = torch.zeros((), device=next(model.parameters()).device)
    for layer in model.modules():
        if isinstance(layer, ShiftLayer) and layer.weight is None:
            total = total + layer.effective_weight().square().sum()
    return total


def make_schedule(
    optimizer: optim.Optimizer, name: ScheduleName, n_steps: int, first_step: int = 0
) -> optim.lr_scheduler.LambdaLR:
    """The schedule `name` over `n_steps` steps in all, of which `first_step` have been taken before."""
    factor = _SCHEDULES[name]
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(min((first_step + step) / n_steps, 1.0)))


def _one_cycle(share: float) -> float:
    if share < _WARM_UP_SHARE:
        return _FIRST_FACTOR + (1 - _FIRST_FACTOR) * share / _WARM_UP_SHARE
    return _cosine((share - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE))


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def _ranger(groups: Parameters, recipe: Recipe) -> optim.Optimizer:
    from pytorch_optimizer import Ranger  # slow to import: as long as torch itself

    return Ranger(groups, lr=recipe.learning_rate)


# Each schedule as the factor of the learning rate at a share 0..1 of all steps.
_SCHEDULES: dict[ScheduleName, Callable[[float], float]] = {
    "cosine": _cosine,
    "step": lambda share: 1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01,
    "one-cycle": _one_cycle,
    "constant": lambda _share: 1.0,
}
_OPTIMIZERS: dict[str, Callable[[Parameters, Recipe], optim.Optimizer]] = {
    "sgd": lambda groups, r: optim.SGD(
        groups, lr=r.learning_rate, momentum=r.momentum, nesterov=r.nesterov and r.momentum > 0
    ),
    "rmsprop": lambda groups, r: optim.RMSprop(groups, lr=r.learning_rate, momentum=r.momentum),
    "adam": lambda groups, r: optim.Adam(groups, lr=r.learning_rate),
    "adamw": lambda groups, r: optim.AdamW(groups, lr=r.learning_rate),
    "radam": lambda groups, r: optim.RAdam(groups, lr=r.learning_rate),
    "adagrad": lambda groups, r: optim.Adagrad(groups, lr=r.learning_rate),
    "adadelta": lambda groups, r: optim.Adadelta(groups, lr=r.learning_rate),
    "ranger": _ranger,
}
