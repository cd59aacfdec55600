from __future__ import annotations

import copy
import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from shiftlayers import ShiftConfig, ShiftConv2d, ShiftLinear, convert_to_shift, deepshift
from shiftlayers.compat import clamp_after_step, clamp_latents
from tests.shiftlayers.reference import PublishedConv, PublishedLinear

N_STEPS = 50


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def published(model: nn.Sequential, bits: int, activation_bits: tuple[int, int]) -> nn.Sequential:
    """The same layers with the same latents, computed by the published formulas."""
    layers = []
    for layer in model:
        kind = {ShiftConv2d: PublishedConv, ShiftLinear: PublishedLinear}.get(type(layer))
        layers.append(copy.deepcopy(layer) if kind is None else kind(layer, bits, activation_bits))
    return nn.Sequential(*layers)


def losses_and_gradients(model: nn.Module, *, clamp: bool):
    """Loss and gradients of every step of a short training on digits."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    labels = torch.tensor(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    if clamp:
        clamp_after_step(optimizer, model)
    for step in range(N_STEPS):
        batch = slice(step * 32, step * 32 + 32)
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        yield loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}
        optimizer.step()


@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("activation_bits", [(16, 16), (3, 5)])
def test_fifty_training_steps_equal_the_published_formulas_bit_for_bit(quantizer, bits, activation_bits):
    config = ShiftConfig(quantizer, bits, activation_bits=activation_bits, compat="deepshift")
    ours = convert_to_shift(network(), config)
    theirs = published(ours, bits, activation_bits)

    pairs = zip(losses_and_gradients(ours, clamp=True), losses_and_gradients(theirs, clamp=False), strict=True)

    for (our_loss, our_gradients), (their_loss, their_gradients) in pairs:
        assert our_loss == their_loss
        assert all(torch.equal(our_gradients[name], their_gradients[name]) for name in their_gradients)


def test_a_checkpoint_of_deepshift_loads_by_its_own_names():
    q = convert_to_shift(network(), ShiftConfig("deepshift-q", activation_bits=(16, 16), compat="deepshift"))
    ps = convert_to_shift(network(), ShiftConfig("deepshift-ps", activation_bits=(16, 16), compat="deepshift"))

    assert {"0.weight", "0.bias", "7.weight", "7.bias"} <= set(q.state_dict())
    assert {"0.shift", "0.sign", "0.bias", "7.shift", "7.sign"} <= set(ps.state_dict())


@pytest.mark.parametrize(("value", "fixed"), [(7.9, 7.0), (-0.001, -0.0625), (-9.0, -8.0)])
def test_fixed_point_has_the_published_faults(value, fixed):
    assert deepshift.fixed_point(torch.tensor([value]), 4, 4).item() == fixed


def test_one_integer_bit_is_sign_minus_one_as_published():
    x = torch.tensor([-0.3, 0.0, 0.3])

    assert deepshift.fixed_point(x, 1, 4).tolist() == [-2.0, -1.0, 0.0]


def test_evaluation_is_random_with_stochastic_rounding_as_published():
    config = ShiftConfig("deepshift-q", 5, "stochastic-log", (16, 16), compat="deepshift")
    layer = ShiftLinear(64, 64, config=config).eval()
    clamp_latents(layer)

    with torch.no_grad():
        assert not torch.equal(layer.effective_weight(), layer.effective_weight())


def test_conversion_goes_by_registration():
    class Reordered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.second(self.first(x))

    config = ShiftConfig(activation_bits=(16, 16), compat="deepshift")
    model = convert_to_shift(Reordered(), config, 1, example_input=torch.zeros(1, 4))

    assert isinstance(model.first, ShiftLinear)
    assert not isinstance(model.second, ShiftLinear)


def test_clamping_leaves_zero_and_sign_alone():
    config = ShiftConfig("deepshift-q", 3, activation_bits=(16, 16), compat="deepshift")
    layer = ShiftLinear(4, 1, bias=False, config=config)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, -1e-9, 3.0, 0.3]]))

    clamp_latents(layer)

    assert layer.weight.tolist() == [[0.0, -0.125, 1.0, pytest.approx(0.3)]]


@pytest.mark.parametrize(
    "arguments",
    [
        {"compat": "bitnet"},
        {"compat": "deepshift"},
        {"compat": "deepshift", "activation_bits": (4, 4), "quantizer": "s3"},
        {"compat": "deepshift", "activation_bits": (4, 4), "per_channel_scale": True},
        {"compat": "deepshift", "activation_bits": (4, 4), "rounding": "stochastic-linear"},
        {"compat": "deepshift", "activation_bits": (4, 4), "unsigned_activations": True},
    ],
)
def test_what_deepshift_does_not_have_is_refused(arguments):
    with pytest.raises(ValueError, match="compat"):
        ShiftConfig(**arguments)


def test_conversion_starts_as_published():
    plain = network()
    q, ps = (
        convert_to_shift(copy.deepcopy(plain), ShiftConfig(name, 5, activation_bits=(3, 5), compat="deepshift"))
        for name in ("deepshift-q", "deepshift-ps")
    )

    rounded = torch.round(torch.log(plain[0].weight.abs()) / math.log(2)).clamp(-14, 0)
    assert torch.equal(ps[0].shift, rounded)
    assert torch.equal(ps[0].bias, plain[0].bias)
    assert torch.equal(q[0].weight, plain[0].weight)
    assert torch.equal(q[0].bias, deepshift.fixed_point(plain[0].bias, 3, 5))


@pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])
def test_latents_that_a_checkpoint_left_out_of_range_are_clamped(quantizer):
    config = ShiftConfig(quantizer, 3, activation_bits=(16, 16), compat="deepshift")
    saved, loaded = (ShiftLinear(4, 2, config=config) for _ in range(2))
    with torch.no_grad():
        for latent in saved.parameters():
            latent.mul_(100)

    loaded.load_state_dict(saved.state_dict())
    clamp_latents(saved)

    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), saved.parameters(), strict=True))
