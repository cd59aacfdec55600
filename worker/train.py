"""Training and evaluation of one network: plain loops over tensors that lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from pytorch_optimizer import Ranger
from torch import Tensor, nn, optim

from shiftlayers import ShiftLayer
from worker.data import Split
from worker.data.augment import augment
from worker.errors import DivergedError, StoppedError
from worker.schema import AugmentationName, Recipe

Parameters = list[dict[str, object]]


def train(
    model: nn.Module,
    data: Split,
    recipe: Recipe,
    epochs: int,
    generator: torch.Generator,
    *,
    augmentation: tuple[AugmentationName, ...] = (),
    on_epoch: Callable[[int, float], None] = lambda _epoch, _loss: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[float, ...]:
    """Trains `model` in place and returns the mean loss of each epoch.

    The learning rate follows a cosine from `recipe.learning_rate` to zero over all steps.

    Args:
        model: any classifier of `data.images`.
        data: training split, on the model's device.
        recipe: optimizer, learning rate, momentum, weight decay, batch size and augmentation.
        epochs: passes over the data.
        generator: on the CPU; decides batch order and augmentation.
        augmentation: the data set's, for a recipe that names none.
        on_epoch: is given the number of each epoch, from 1, and its mean loss.
        should_stop: is asked after every batch.

    Raises:
        DivergedError: the loss of an epoch is not finite.
        StoppedError: `should_stop` said so.
    """
    optimizer = make_optimizer(model, recipe)
    n_steps = epochs * len(_batch_ends(len(data), recipe.batch_size))
    names = augmentation if recipe.augmentation is None else recipe.augmentation
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    losses = []
    model.train()
    for epoch in range(epochs):
        total = torch.zeros((), device=data.images.device)
        for images, labels in _batches(data, recipe.batch_size, generator, names):
            loss = train_step(model, images, labels, optimizer, recipe)
            schedule.step()
            total += loss * len(labels)
            if should_stop():
                raise StoppedError(f"stopped in epoch {epoch + 1} of {epochs}")
        losses.append(total.item() / len(data))
        if not torch.isfinite(total):
            raise DivergedError(f"the training loss of epoch {epoch + 1} is {losses[-1]}")
        on_epoch(epoch + 1, losses[-1])
    return tuple(losses)


def train_step(model: nn.Module, images: Tensor, labels: Tensor, optimizer: optim.Optimizer, recipe: Recipe) -> Tensor:
    """One step on one batch; returns the cross entropy, detached, without the decay term."""
    loss = F.cross_entropy(model(images), labels)
    objective = loss + recipe.weight_decay / 2 * latent_norm(model)
    optimizer.zero_grad(set_to_none=True)
    objective.backward()
    optimizer.step()
    return loss.detach()


def evaluate(model: nn.Module, data: Split, batch_size: int) -> float:
    """Share of the images that `model` classifies wrongly, 0..1."""
    model.eval()
    n_wrong = torch.zeros((), dtype=torch.int64, device=data.images.device)
    with torch.inference_mode():
        for start in range(0, len(data), batch_size):
            batch = slice(start, start + batch_size)
            n_wrong += (model(data.batch(batch)).argmax(dim=1) != data.labels[batch]).sum()
    return n_wrong.item() / len(data)


def latent_norm(model: nn.Module) -> Tensor:
    """Sum of squares of the effective weights of layers with separate shift and sign.

    Decaying an exponent towards zero would push weights towards one, so these layers decay what they compute with
    (a fresh draw of it, where rounding is stochastic); all other parameters decay inside the optimizer.
    """
    total = torch.zeros((), device=next(model.parameters()).device)
    for layer in model.modules():
        if isinstance(layer, ShiftLayer) and layer.config.quantizer == "deepshift-ps":
            total = total + layer.effective_weight().square().sum()
    return total


def make_optimizer(model: nn.Module, recipe: Recipe) -> optim.Optimizer:
    """The optimizer that `recipe` names, over all parameters; shift and sign latents have no decay of their own."""
    latents = {id(p) for n, p in model.named_parameters() if n.rpartition(".")[2] in ("shift", "sign")}
    plain = [p for p in model.parameters() if id(p) not in latents]
    groups: Parameters = [{"params": plain, "weight_decay": recipe.weight_decay}]
    if latents:
        separate = [p for p in model.parameters() if id(p) in latents]
        groups.append({"params": separate, "weight_decay": 0.0})
    return _OPTIMIZERS[recipe.optimizer](groups, recipe)


_OPTIMIZERS: dict[str, Callable[[Parameters, Recipe], optim.Optimizer]] = {
    "sgd": lambda groups, r: optim.SGD(groups, lr=r.learning_rate, momentum=r.momentum),
    "rmsprop": lambda groups, r: optim.RMSprop(groups, lr=r.learning_rate, momentum=r.momentum),
    "adam": lambda groups, r: optim.Adam(groups, lr=r.learning_rate),
    "adamw": lambda groups, r: optim.AdamW(groups, lr=r.learning_rate),
    "radam": lambda groups, r: optim.RAdam(groups, lr=r.learning_rate),
    "adagrad": lambda groups, r: optim.Adagrad(groups, lr=r.learning_rate),
    "adadelta": lambda groups, r: optim.Adadelta(groups, lr=r.learning_rate),
    "ranger": lambda groups, r: Ranger(groups, lr=r.learning_rate),
}


def _batches(
    data: Split, batch_size: int, generator: torch.Generator, names: tuple[AugmentationName, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images once, augmented and normalised, in a fresh random order."""
    order = torch.randperm(len(data), generator=generator).to(data.images.device)
    start = 0
    for end in _batch_ends(len(data), batch_size):
        chosen = order[start:end]
        images = augment(data.pick(chosen), names, generator)
        yield data.normalise(images), data.labels[chosen]
        start = end


def _batch_ends(n: int, batch_size: int) -> list[int]:
    """Where each batch ends; the last may be smaller.

    A single image left over goes with the batch before: batch normalisation cannot take the deviation of one.
    """
    ends = [*range(batch_size, n, batch_size), n]
    if batch_size > 1 and len(ends) > 1 and n - ends[-2] == 1:
        del ends[-2]
    return ends
