"""Training and evaluation of one network: plain loops over tensors that lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from worker.data import Split
from worker.data.augment import augment
from worker.errors import DivergedError, StoppedError
from worker.optimizers import latent_norm, make_optimizer, make_schedule
from worker.schema import AugmentationName, Precision, Recipe


@dataclass(frozen=True)
class Position:
    """How far a training is, between two batches.

    Attributes:
        epochs: that are whole, those of earlier trials included.
        batches: of the epoch after them.
        order: state of the generator at that epoch's beginning, from which the order of its images follows; None where
            it has not begun.
        loss: sum over its images so far.
        losses: mean loss of each whole epoch that this trial trained.
    """

    epochs: int = 0
    batches: int = 0
    order: Tensor | None = None
    loss: float = 0.0
    losses: tuple[float, ...] = ()


BEGINNING = Position()


def train(
    model: nn.Module,
    data: Split,
    recipe: Recipe,
    epochs: int,
    generator: torch.Generator,
    *,
    augmentation: tuple[AugmentationName, ...] = (),
    optimizer: optim.Optimizer | None = None,
    start: Position = BEGINNING,
    on_epoch: Callable[[int, float], None] = lambda _epoch, _loss: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_stop: Callable[[Position], None] = lambda _: None,
) -> tuple[float, ...]:
    """Trains `model` in place and returns the mean loss of each epoch, with those of `start`.

    Args:
        model: any classifier of `data.images`.
        data: training split, on the model's device.
        recipe: optimizer, learning rates and their schedule, decay, batch size, augmentation and number formats.
        epochs: passes over the data, those of before included.
        generator: on the CPU; decides batch order and augmentation.
        augmentation: the data set's, for a recipe that names none.
        optimizer: one that `make_optimizer` made of this model, with what it remembers; None makes a fresh one.
        start: what is behind this network, optimizer and generator; the schedule goes on from there.
        on_epoch: is given the number of each epoch, from 1, and its mean loss.
        should_stop: is asked after every batch.
        on_stop: is told where training was then, which is where it can go on.

    Raises:
        DivergedError: the loss of an epoch is not finite.
        StoppedError: `should_stop` said so.
    """
    optimizer = make_optimizer(model, recipe) if optimizer is None else optimizer
    n_batches = len(_batch_ends(len(data), recipe.batch_size))
    names = augmentation if recipe.augmentation is None else recipe.augmentation
    n_done = start.epochs * n_batches + start.batches
    schedule = make_schedule(optimizer, recipe.schedule, epochs * n_batches, n_done)
    losses = list(start.losses)
    model.train()
    for epoch in range(start.epochs, epochs):
        # The first one may have begun already.
        begun = start if epoch == start.epochs else BEGINNING
        state = generator.get_state() if begun.order is None else begun.order
        total = torch.full((), begun.loss, device=data.images.device)
        order = _order(len(data), generator, begun)
        batches = _batches(data, order, recipe.batch_size, generator, names, begun.batches)
        for n_batch, (images, labels) in enumerate(batches, begun.batches + 1):
            loss = train_step(model, images, labels, optimizer, recipe)
            schedule.step()
            total += loss * len(labels)
            if should_stop():
                on_stop(Position(epoch, n_batch, state, total.item(), tuple(losses)))
                raise StoppedError(f"stopped in epoch {epoch + 1} of {epochs}")
        losses.append(total.item() / len(data))
        if not torch.isfinite(total):
            raise DivergedError(f"the training loss of epoch {epoch + 1} is {losses[-1]}")
        on_epoch(epoch + 1, losses[-1])
    return tuple(losses)


def train_step(model: nn.Module, images: Tensor, labels: Tensor, optimizer: optim.Optimizer, recipe: Recipe) -> Tensor:
    """One step on one batch; returns the cross entropy, detached, without the decay term."""
    logits = predict(model, images, recipe.precision, channels_last=recipe.channels_last)
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    objective = loss + recipe.weight_decay / 2 * latent_norm(model) if recipe.weight_decay else loss
    optimizer.zero_grad(set_to_none=True)
    objective.backward()
    if recipe.gradient_clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip_norm)
    optimizer.step()
    return loss.detach()


def predict(model: nn.Module, images: Tensor, precision: Precision, *, channels_last: bool) -> Tensor:
    """Logits (batch, classes) in float32, computed in `precision`.

    Networks with auxiliary classifiers give those in training as well; theirs are left aside.
    """
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output = model(images)
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits.float()


def evaluate(
    model: nn.Module,
    data: Split,
    batch_size: int,
    precision: Precision = "float32",
    *,
    channels_last: bool = False,
) -> float:
    """Share of the images that `model` classifies wrongly, 0..1."""
    model.eval()
    n_wrong = torch.zeros((), dtype=torch.int64, device=data.images.device)
    with torch.inference_mode():
        for start in range(0, len(data), batch_size):
            batch = slice(start, start + batch_size)
            logits = predict(model, data.batch(batch), precision, channels_last=channels_last)
            n_wrong += (logits.argmax(dim=1) != data.labels[batch]).sum()
    return n_wrong.item() / len(data)


def _order(n: int, generator: torch.Generator, begun: Position) -> Tensor:
    """A fresh random order of `n` images, or that of an epoch that has begun, which `generator` has left behind."""
    if begun.order is None:
        return torch.randperm(n, generator=generator)
    earlier = torch.Generator()
    earlier.set_state(begun.order)
    return torch.randperm(n, generator=earlier)


def _batches(
    data: Split,
    order: Tensor,
    batch_size: int,
    generator: torch.Generator,
    names: tuple[AugmentationName, ...],
    n_done: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in this order, augmented and normalised, but those of the batches that are done."""
    order = order.to(data.images.device)
    ends = _batch_ends(len(data), batch_size)
    for start, end in list(pairwise([0, *ends]))[n_done:]:
        chosen = order[start:end]
        images = augment(data.pick(chosen), names, generator)
        yield data.normalise(images), data.labels[chosen]


def _batch_ends(n: int, batch_size: int) -> list[int]:
    """Where each batch ends; the last may be smaller.

    A single image left over goes with the batch before: batch normalisation cannot take the deviation of one.
    """
    ends = [*range(batch_size, n, batch_size), n]
    if batch_size > 1 and len(ends) > 1 and n - ends[-2] == 1:
        del ends[-2]
    return ends
