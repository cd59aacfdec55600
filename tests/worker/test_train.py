from __future__ import annotations

import math
from typing import NamedTuple, get_args

import pytest
import torch
from torch import Tensor, nn

from shiftlayers import ShiftConv2d, ShiftLinear, convert_to_shift
from worker.data import Split, load_dataset
from worker.errors import DivergedError
from worker.families import shift_config
from worker.optimizers import latent_norm, make_optimizer, make_schedule
from worker.schema import OptimizerName, Recipe
from worker.train import Position, evaluate, predict, train, train_step

OPTIMIZERS = get_args(OptimizerName)
BASE = Recipe(learning_rate=0.02, weight_decay=1e-3, batch_size=16, weight_bits=4)
# What each hyperparameter is changed to, from BASE unless a base is given under which it has a say.
CHANGES: dict[str, dict[str, object]] = {
    "quantizer": {"quantizer": "deepshift-q"},
    "weight_bits": {"weight_bits": 3},
    "activation_integer_bits": {"activation_integer_bits": 1},
    "activation_fraction_bits": {"activation_fraction_bits": 1},
    "rounding": {"rounding": "stochastic-log"},
    "optimizer": {"optimizer": "adam"},
    "learning_rate": {"learning_rate": 0.03},
    "momentum": {"momentum": 0.5},
    "weight_decay": {"weight_decay": 1e-2},
    "batch_size": {"batch_size": 8},
    "latent_learning_rate": {"latent_learning_rate": 0.2},
    "nesterov": {"nesterov": True},
    "schedule": {"schedule": "step"},
    "label_smoothing": {"label_smoothing": 0.1},
    "gradient_clip_norm": {"gradient_clip_norm": 0.01},
    "precision": {"precision": "bfloat16"},
    "augmentation": {"augmentation": ("flip",)},
}


def digits(n: int = 64) -> Split:
    return load_dataset("digits").train.subset(slice(n))


def make_model(recipe: Recipe, depth: int = 2) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    return convert_to_shift(model, shift_config(recipe), depth)


def train_one(recipe: Recipe, *, depth: int = 2, seed: int = 0, augmentation: tuple[str, ...] = (), epochs: int = 2):
    """Losses and model of a short training that always starts from the same float weights."""
    model = make_model(recipe, depth)
    generator = torch.Generator().manual_seed(seed)
    return train(model, digits(), recipe, epochs, generator, augmentation=augmentation), model


def same_state(ours: nn.Module, theirs: nn.Module) -> bool:
    a, b = ours.state_dict(), theirs.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Stub(nn.Module):
    """Predicts the class that the first pixel names, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.n_calls += 1
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 10).float()


def stub_data(n: int, n_wrong: int) -> Split:
    labels = torch.arange(n) % 10
    named = torch.where(torch.arange(n) < n_wrong, (labels + 1) % 10, labels)
    return Split(named.float()[:, None, None, None], labels)


# Hyperparameters


@pytest.mark.parametrize("name", CHANGES)
def test_every_hyperparameter_has_a_say(name):
    recipe = BASE.model_copy(update=CHANGES[name])
    assert getattr(recipe, name) != getattr(BASE, name)

    # The last bias starts equal under every recipe, so it can differ by training only.
    start = make_model(BASE)[-1].bias
    biases = [train_one(one)[1][-1].bias for one in (BASE, recipe)]
    assert torch.equal(make_model(recipe)[-1].bias, start)
    assert (biases[0] - biases[1]).abs().max() > 1e-5


def test_every_hyperparameter_is_tested():
    elsewhere = {"test_batch_size", "channels_last", "compile"}

    assert CHANGES.keys() | elsewhere == Recipe.model_fields.keys()


@pytest.mark.parametrize(("batch_size", "n_calls"), [(1000, 1), (20, 5)])
def test_images_are_evaluated_in_batches_of_the_size_asked_for(batch_size, n_calls):
    stub = Stub()

    evaluate(stub, stub_data(100, 0), batch_size)

    assert stub.n_calls == n_calls


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_lie_in_memory_as_asked_for(channels_last):
    seen = []
    model = make_model(BASE)
    model.register_forward_pre_hook(lambda _model, inputs: seen.append(inputs[0]))
    images = torch.randn(4, 3, 8, 8)
    model[0] = nn.Conv2d(3, 4, 3, padding=1)

    predict(model, images, "float32", channels_last=channels_last)

    assert seen[0].is_contiguous(memory_format=torch.channels_last) is channels_last


def test_a_network_with_auxiliary_classifiers_is_judged_by_its_own():
    class Output(NamedTuple):
        logits: Tensor
        aux_logits: Tensor

    class WithAuxiliary(nn.Module):
        def forward(self, images: Tensor) -> Output:
            return Output(images.flatten(1), images.flatten(1) + 1)

    images = torch.randn(2, 1, 2, 2)

    assert torch.equal(predict(WithAuxiliary(), images, "float32", channels_last=False), images.flatten(1))


@pytest.mark.parametrize(
    ("name", "shares", "factors"),
    [
        ("constant", (0, 0.5, 1), (1, 1, 1)),
        ("cosine", (0, 0.5, 1), (1, 0.5, 0)),
        ("step", (0, 0.49, 0.5, 0.75, 1), (1, 1, 0.1, 0.01, 0.01)),
        ("one-cycle", (0, 0.15, 0.3, 0.65, 1), (0.04, 0.52, 1, 0.5, 0)),
    ],
)
def test_a_schedule_is_as_described(name, shares, factors):
    for share, factor in zip(shares, factors, strict=True):
        optimizer = make_optimizer(make_model(BASE), BASE)
        make_schedule(optimizer, name, 100, round(100 * share))
        assert [g["lr"] for g in optimizer.param_groups] == [pytest.approx(BASE.learning_rate * factor)] * 2


@pytest.mark.parametrize("quantizer", ["deepshift-ps", "s3", "denseshift"])
def test_latents_that_are_no_weights_have_a_learning_rate_of_their_own(quantizer):
    recipe = BASE.model_copy(update={"quantizer": quantizer, "latent_learning_rate": 0.5})

    others, latents = make_optimizer(make_model(recipe), recipe).param_groups

    assert (others["lr"], latents["lr"]) == (BASE.learning_rate, 0.5)
    assert latents["weight_decay"] == 0
    assert {p.shape for p in latents["params"]} >= {(10, 256)}


def test_training_in_two_parts_equals_training_at_once():
    parted = make_model(BASE)
    optimizer, generator = make_optimizer(parted, BASE), torch.Generator().manual_seed(0)

    constant = BASE.model_copy(update={"schedule": "constant"})
    whole, model = train_one(constant, epochs=3)
    first = train(parted, digits(), constant, 1, generator, optimizer=optimizer)
    rest = train(parted, digits(), constant, 3, generator, optimizer=optimizer, start=Position(epochs=1))

    assert (*first, *rest) == whole
    assert same_state(parted, model)


@pytest.mark.parametrize("name", ["momentum", "learning_rate", "weight_decay", "rounding"])
@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
def test_a_hyperparameter_of_training_moves_every_latent(quantizer, name):
    base = BASE.model_copy(update={"quantizer": quantizer})

    _, ours = train_one(base)
    _, theirs = train_one(base.model_copy(update=CHANGES[name]))

    for (key, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert not torch.equal(a, b), key


@pytest.mark.parametrize("rounding", ["nearest", "stochastic-log", "stochastic-linear"])
@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
def test_every_way_of_rounding_trains_with_finite_losses(quantizer, rounding):
    losses, _ = train_one(BASE.model_copy(update={"quantizer": quantizer, "rounding": rounding}))

    assert len(losses) == 2
    assert all(map(math.isfinite, losses))


@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains(optimizer, quantizer):
    recipe = BASE.model_copy(update={"optimizer": optimizer, "quantizer": quantizer, "learning_rate": 0.01})

    losses, model = train_one(recipe)

    assert all(map(math.isfinite, losses))
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), make_model(recipe).parameters(), strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weight_decay_has_a_say_under_every_optimizer(optimizer):
    recipe = BASE.model_copy(update={"optimizer": optimizer, "learning_rate": 0.01})

    _, weak = train_one(recipe)
    _, strong = train_one(recipe.model_copy(update={"weight_decay": 0.1}))

    assert not torch.equal(weak[-1].bias, strong[-1].bias)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_momentum_has_a_say_where_the_optimizer_has_one(optimizer):
    recipe = BASE.model_copy(update={"optimizer": optimizer, "learning_rate": 0.001})

    _, ours = train_one(recipe)
    _, theirs = train_one(recipe.model_copy(update={"momentum": 0.1}))

    assert not torch.equal(ours[-1].bias, theirs[-1].bias)


def test_augmentation_has_a_say():
    plain, _ = train_one(BASE)
    augmented, _ = train_one(BASE, augmentation=("flip", "translate"))

    assert plain != augmented


def test_the_augmentation_of_a_recipe_outranks_that_of_the_data_set():
    plain, _ = train_one(BASE)
    none, _ = train_one(BASE.model_copy(update={"augmentation": ()}), augmentation=("flip",))
    flipped, _ = train_one(BASE.model_copy(update={"augmentation": ("flip",)}))
    default, _ = train_one(BASE, augmentation=("flip",))

    assert none == plain
    assert flipped == default


# Training


@pytest.mark.parametrize("rounding", ["nearest", "stochastic-linear"])
def test_the_same_seed_gives_the_same_training(rounding):
    recipe = BASE.model_copy(update={"rounding": rounding})

    losses, model = train_one(recipe, augmentation=("flip", "translate"))
    again, twin = train_one(recipe, augmentation=("flip", "translate"))

    assert losses == again
    assert same_state(model, twin)


def test_another_seed_gives_another_order():
    assert train_one(BASE)[0] != train_one(BASE, seed=1)[0]


@pytest.mark.parametrize(("quantizer", "learning_rate"), [("deepshift-q", 0.02), ("deepshift-ps", 0.1)])
def test_training_learns_digits(quantizer, learning_rate):
    recipe = Recipe(quantizer=quantizer, batch_size=16, learning_rate=learning_rate)

    losses, model = train_one(recipe, epochs=20)

    assert losses[-1] < losses[0] / 3
    assert evaluate(model, digits(), 64) < 0.2


def test_the_loss_of_an_epoch_is_the_mean_over_its_images():
    torch.manual_seed(0)
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    data = digits(50)
    expected = nn.functional.cross_entropy(frozen(data.batch(slice(None))), data.labels).item()
    recipe = Recipe(learning_rate=1e-12, momentum=0, weight_decay=0, batch_size=16)

    losses = train(frozen, data, recipe, 2, torch.Generator().manual_seed(0))

    assert losses == pytest.approx([expected, expected], rel=1e-5)


def test_the_reported_loss_leaves_the_decay_out():
    model, data = make_model(BASE), digits(16)
    expected = nn.functional.cross_entropy(model(data.batch(slice(None))), data.labels).item()

    loss = train_step(model, data.batch(slice(None)), data.labels, make_optimizer(model, BASE), BASE)

    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert not loss.requires_grad


def test_one_step_of_plain_sgd_is_as_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    data = digits(16)
    recipe = Recipe(learning_rate=0.1, momentum=0, weight_decay=0.05)
    before = model[1].weight.detach().clone()
    (gradient,) = torch.autograd.grad(
        nn.functional.cross_entropy(model(data.batch(slice(None))), data.labels), [model[1].weight]
    )

    train_step(model, data.batch(slice(None)), data.labels, make_optimizer(model, recipe), recipe)

    torch.testing.assert_close(model[1].weight.detach(), before - 0.1 * (gradient + 0.05 * before))


def test_the_learning_rate_follows_a_cosine_to_zero(monkeypatch):
    rates: list[float] = []

    def spy(model, images, labels, optimizer, recipe):
        rates.append(optimizer.param_groups[0]["lr"])
        return train_step(model, images, labels, optimizer, recipe)

    monkeypatch.setattr("worker.train.train_step", spy)
    train_one(BASE)

    # 64 images in batches of 16 over two epochs.
    assert rates == pytest.approx([0.02 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)])


def test_every_image_is_seen_once_an_epoch(monkeypatch):
    seen: list[Tensor] = []

    def spy(_model, images, _labels, optimizer, _recipe):
        seen.append(images.detach().clone())
        optimizer.step()
        return torch.zeros(())

    monkeypatch.setattr("worker.train.train_step", spy)
    data = Split(torch.arange(50.0)[:, None, None, None], torch.zeros(50, dtype=torch.int64))
    train(make_model(BASE), data, BASE, 2, torch.Generator().manual_seed(0))

    assert [len(batch) for batch in seen] == [16, 16, 16, 2] * 2
    first, second = (torch.cat(seen[4 * epoch : 4 * epoch + 4]).flatten().tolist() for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(33, 16, [16, 17]), (1, 16, [1]), (17, 16, [17]), (3, 1, [1, 1, 1]), (32, 16, [16] * 2)],
)
def test_no_batch_holds_a_single_image_beside_larger_ones(monkeypatch, n, batch_size, sizes):
    seen = []

    def spy(_model, images, _labels, optimizer, _recipe):
        seen.append(len(images))
        optimizer.step()
        return torch.zeros(())

    monkeypatch.setattr("worker.train.train_step", spy)
    recipe = BASE.model_copy(update={"batch_size": batch_size})
    train(make_model(BASE), digits(n), recipe, 1, torch.Generator().manual_seed(0))

    assert seen == sizes


def test_a_huge_learning_rate_diverges():
    with pytest.raises(DivergedError, match=r"the training loss of epoch 1 is (nan|inf)"):
        train_one(BASE.model_copy(update={"learning_rate": 1e30}), depth=0)


def test_images_that_are_not_numbers_diverge():
    data = digits()
    broken = Split(torch.full(data.images.shape, math.nan), data.labels)

    with pytest.raises(DivergedError, match="the training loss of epoch 1 is nan"):
        train(make_model(BASE, depth=0), broken, BASE, 3, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
def test_training_ends_with_finite_parameters_or_diverges(quantizer, optimizer):
    recipe = BASE.model_copy(update={"quantizer": quantizer, "optimizer": optimizer, "learning_rate": 1e30})

    try:
        _, model = train_one(recipe)
    except DivergedError:
        return

    assert all(p.isfinite().all() for p in model.parameters())


# Weight decay


def test_the_latent_norm_sums_the_squares_of_effective_weights_of_ps():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2, 2))
    convert_to_shift(model, shift_config(BASE), 2)
    with torch.no_grad():
        model[0].shift.copy_(torch.tensor([-1.0, -2.2]).reshape(2, 1, 1, 1))
        model[0].sign.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
        model[2].shift.copy_(torch.tensor([[0.0, -3.0], [-1.0, 0.0]]))
        model[2].sign.copy_(torch.tensor([[1.0, 1.0], [0.2, -0.8]]))

    assert latent_norm(model).item() == 0.25 + 0.0625 + 1 + 1 / 64 + 0 + 1


def test_the_latent_norm_leaves_float_and_q_layers_out():
    q = BASE.model_copy(update={"quantizer": "deepshift-q"})

    assert latent_norm(make_model(BASE, depth=0)).item() == 0
    assert latent_norm(make_model(q)).item() == 0


def test_decay_pulls_effective_weights_of_ps_towards_zero():
    model = make_model(BASE)
    latent_norm(model).backward()

    for layer in model:
        if isinstance(layer, ShiftConv2d | ShiftLinear):
            weight = layer.effective_weight().detach()
            torch.testing.assert_close(layer.shift.grad, 2 * weight.square() * math.log(2))
            torch.testing.assert_close(layer.sign.grad, 2 * weight)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_latents_of_ps_have_no_decay_in_the_optimizer(optimizer):
    recipe = BASE.model_copy(update={"optimizer": optimizer})
    model = make_model(recipe, depth=1)

    groups = make_optimizer(model, recipe).param_groups

    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 1e-3,
        "1.weight": 1e-3,
        "1.bias": 1e-3,
        "4.shift": 0.0,
        "4.sign": 0.0,
        "4.bias": 1e-3,
    }


def test_latents_of_q_decay_in_the_optimizer():
    recipe = BASE.model_copy(update={"quantizer": "deepshift-q"})

    (group,) = make_optimizer(make_model(recipe), recipe).param_groups

    assert group["weight_decay"] == 1e-3
    assert len(group["params"]) == 5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_optimizer_takes_the_learning_rate_of_the_recipe(optimizer):
    recipe = BASE.model_copy(update={"optimizer": optimizer})

    assert {group["lr"] for group in make_optimizer(make_model(recipe), recipe).param_groups} == {0.02}


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
def test_the_optimizer_takes_the_momentum_of_the_recipe(optimizer):
    recipe = BASE.model_copy(update={"optimizer": optimizer, "momentum": 0.3})

    assert {group["momentum"] for group in make_optimizer(make_model(recipe), recipe).param_groups} == {0.3}


# Evaluation


@pytest.mark.parametrize("batch_size", [1, 7, 64, 100, 1000])
def test_the_error_is_the_exact_share_of_wrong_images(batch_size):
    assert evaluate(Stub(), stub_data(100, 13), batch_size) == 0.13


@pytest.mark.parametrize(("n_wrong", "error"), [(0, 0.0), (10, 1.0)])
def test_the_error_reaches_both_ends(n_wrong, error):
    assert evaluate(Stub(), stub_data(10, n_wrong), 4) == error


@pytest.mark.parametrize("rounding", ["nearest", "stochastic-log"])
def test_the_error_of_a_network_depends_on_no_batch_size(rounding):
    model = make_model(BASE.model_copy(update={"rounding": rounding}))

    assert len({evaluate(model, digits(), batch_size) for batch_size in (3, 16, 64)}) == 1


def test_evaluation_changes_nothing():
    model, twin = make_model(BASE), make_model(BASE)

    evaluate(model.train(), digits(), 16)

    assert same_state(model, twin)
