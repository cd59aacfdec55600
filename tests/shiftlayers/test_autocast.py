from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from shiftlayers import (
    ShiftConfig,
    ShiftConv1d,
    ShiftConv2d,
    ShiftConv3d,
    ShiftConvTranspose2d,
    ShiftLayer,
    ShiftLinear,
    convert_to_shift,
)
from shiftlayers.config import QUANTIZER_NAMES

FIXED = (4, 4)
LAYERS = [
    (nn.Conv1d, ShiftConv1d, (4, 6, 3), (2, 4, 9)),
    (nn.Conv2d, ShiftConv2d, (4, 6, 3), (2, 4, 8, 7)),
    (nn.Conv3d, ShiftConv3d, (4, 6, 2), (2, 4, 5, 4, 3)),
    (nn.ConvTranspose2d, ShiftConvTranspose2d, (4, 6, 3), (2, 4, 5, 6)),
    (nn.Linear, ShiftLinear, (9, 6), (2, 9)),
]
SHAPE = (3, 8, 8)
every_dtype = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
every_quantizer = pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
every_scale = pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
every_layer = pytest.mark.parametrize(
    ("float_class", "shift_class", "sizes", "shape"), LAYERS, ids=[kind.__name__ for kind, *_ in LAYERS]
)
flat_quantizers = pytest.mark.parametrize("quantizer", ["deepshift-q", "deepshift-ps"])


class ReceivedOperands(TorchDispatchMode):
    """Keeps input, weight and bias of every convolution and linear layer as the kernel gets them."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        match function.overloadpacket.__name__:
            case "convolution":
                self._keep(*args[:3])
            case "addmm":
                self._keep(args[1], args[2].t(), args[0])
        return function(*args, **(kwargs or {}))

    def _keep(self, x: Tensor, weight: Tensor, bias: Tensor) -> None:
        self.inputs.append(x)
        self.weights.append(weight)
        self.biases.append(bias)


def received(model: nn.Module, x: Tensor, dtype: torch.dtype) -> ReceivedOperands:
    with torch.autocast("cpu", dtype), ReceivedOperands() as operands:
        model(x)
    return operands


def small_network(config: ShiftConfig) -> nn.Sequential:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(5 * 16, 4),
    )  # fmt: skip
    return convert_to_shift(network, config)


def shift_layers(model: nn.Module) -> list[ShiftLayer]:
    return [module for module in model.modules() if isinstance(module, ShiftLayer)]


def loss_under_autocast(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Of a batch of four classes in turn."""
    with torch.autocast("cpu", dtype):
        return F.cross_entropy(model(x), torch.arange(len(x)) % 4)


# Values


@every_layer
@every_scale
@every_quantizer
@every_dtype
def test_the_kernel_receives_the_float32_weight_exactly(
    float_class, shift_class, sizes, shape, scaled, quantizer, dtype
):
    layer = shift_class(*sizes, config=ShiftConfig(quantizer, 4, per_channel_scale=scaled))

    (weight,) = received(layer, torch.randn(shape), dtype).weights

    assert weight.dtype == dtype
    assert torch.equal(weight.float(), layer.effective_weight())


@every_layer
@every_quantizer
@every_dtype
def test_a_layer_equals_the_layer_of_that_type_that_has_its_effective_weight(
    float_class, shift_class, sizes, shape, quantizer, dtype
):
    reference = float_class(*sizes)
    layer = shift_class.from_float(reference, ShiftConfig(quantizer, 4))
    x = torch.randn(shape)

    with torch.autocast("cpu", dtype), torch.no_grad():
        output = layer(x)

    with torch.no_grad():
        reference.weight.copy_(layer.effective_weight())
        expected = reference.to(dtype)(x.to(dtype))
    assert output.dtype == dtype
    assert torch.equal(output, expected)


@every_scale
@every_quantizer
@every_dtype
def test_the_kernels_of_a_network_receive_levels_of_their_config(scaled, quantizer, dtype):
    model = small_network(ShiftConfig(quantizer, 4, per_channel_scale=scaled))

    weights = received(model, torch.randn(4, *SHAPE), dtype).weights

    for layer, weight in zip(shift_layers(model), weights, strict=True):
        unscaled = weight.float() if layer.scale is None else weight.float() / layer.scale
        assert set(unscaled.abs().unique().tolist()) <= set(layer.config.levels)


@pytest.mark.parametrize("training", [True, False])
@every_quantizer
@every_dtype
def test_fixed_point_inputs_and_biases_are_whole_multiples_of_their_step(quantizer, training, dtype):
    model = small_network(ShiftConfig(quantizer, 4, activation_bits=FIXED)).train(training)

    operands = received(model, 4 * torch.randn(4, *SHAPE), dtype)

    for value in (*operands.inputs, *operands.biases):
        steps = value.float() * 16
        assert value.dtype == dtype
        assert torch.equal(steps, steps.round())
        assert -128 <= steps.min() <= steps.max() <= 127


@every_dtype
def test_unsigned_fixed_point_inputs_are_whole_multiples_of_their_step(dtype):
    layer = ShiftLinear(64, 3, config=ShiftConfig(activation_bits=FIXED, unsigned_activations=True))
    x = torch.linspace(-20, 20, 64 * 8).view(8, 64)

    (given,) = received(layer, x, dtype).inputs

    assert torch.equal(given.float() * 16, (x * 16).round().clamp(0, 255))


@every_quantizer
@every_dtype
def test_evaluation_under_autocast_leaves_evaluation_without_it_as_it_was(quantizer, dtype):
    model = small_network(ShiftConfig(quantizer, 4)).eval()
    x = torch.randn(4, *SHAPE)

    with torch.no_grad():
        before = model(x)
        with torch.autocast("cpu", dtype):
            assert model(x).dtype == dtype
        after = model(x)

    assert torch.equal(after, before)


# Training


@pytest.mark.parametrize("activation_bits", [None, FIXED])
@every_quantizer
@every_dtype
def test_latents_and_their_gradients_are_float32(quantizer, activation_bits, dtype):
    model = small_network(ShiftConfig(quantizer, 4, activation_bits=activation_bits))

    loss_under_autocast(model, torch.randn(4, *SHAPE), dtype).backward()

    for parameter in model.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


@every_quantizer
@every_dtype
def test_gradients_are_the_same_whether_backward_runs_under_autocast_or_not(quantizer, dtype):
    inside = small_network(ShiftConfig(quantizer, 4, activation_bits=FIXED))
    outside = copy.deepcopy(inside)
    x = torch.randn(4, *SHAPE)

    with torch.autocast("cpu", dtype):
        loss_under_autocast(inside, x, dtype).backward()
    loss_under_autocast(outside, x, dtype).backward()

    assert_all_equal(gradients(inside), gradients(outside))


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters()]


def assert_all_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def patterns(n: int) -> Tensor:
    """One fixed pattern for each of four classes in turn, and noise: images of shape (n, *SHAPE)."""
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(4, *SHAPE, generator=generator)
    return means.repeat(n // 4, 1, 1, 1) + torch.randn(n, *SHAPE, generator=generator)


@pytest.mark.parametrize("activation_bits", [None, FIXED])
@every_quantizer
@every_dtype
def test_a_network_learns(quantizer, activation_bits, dtype):
    model = small_network(ShiftConfig(quantizer, 4, activation_bits=activation_bits))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    x, losses = patterns(32), []

    for _ in range(40):
        optimizer.zero_grad()
        loss = loss_under_autocast(model, x, dtype)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[0] > 1.0
    assert losses[-1] < 0.25


@every_quantizer
def test_a_scaled_loss_of_half_precision_gives_the_step_of_the_plain_one(quantizer):
    scaled = small_network(ShiftConfig(quantizer, 4))
    plain = copy.deepcopy(scaled)
    x = torch.randn(4, *SHAPE)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    optimizer = torch.optim.SGD(scaled.parameters(), lr=0.1)

    scaler.scale(loss_under_autocast(scaled, x, torch.float16)).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    loss_under_autocast(plain, x, torch.float16).backward()
    torch.optim.SGD(plain.parameters(), lr=0.1).step()

    assert scaler.get_scale() == 2.0**8
    for ours, theirs in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


# All weights in one pass


def layer_by_layer(model: nn.Module) -> nn.Module:
    """A copy of a converted model that does without the pass over all layers."""
    alone = copy.deepcopy(model)
    alone._forward_pre_hooks.clear()
    alone._forward_hooks.clear()
    return alone


@pytest.mark.parametrize("activation_bits", [None, FIXED])
@flat_quantizers
@every_dtype
def test_one_pass_gives_the_steps_of_the_layers_one_by_one(quantizer, activation_bits, dtype):
    together = small_network(ShiftConfig(quantizer, 4, activation_bits=activation_bits))
    alone = layer_by_layer(together)
    seen = []

    for model in (together, alone):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        steps = []
        for x in patterns(12).split(4):
            optimizer.zero_grad()
            loss = loss_under_autocast(model, x, dtype)
            loss.backward()
            steps += [loss.detach(), *gradients(model)]
            optimizer.step()
        seen.append(steps)

    assert_all_equal(*seen)


@flat_quantizers
@every_dtype
def test_the_one_pass_makes_float32_weights_that_the_layers_compute_with(quantizer, dtype):
    model = small_network(ShiftConfig(quantizer, 4))
    first = shift_layers(model)[0]
    seen = []
    for _ in range(2):
        first.register_forward_pre_hook(lambda layer, _inputs: seen.append(layer.effective_weight()))

    weights = received(model, torch.randn(4, *SHAPE), dtype).weights

    assert seen[0] is seen[1]
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0], weights[0].float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
def test_a_network_cast_to_another_dtype_computes_in_it(quantizer, dtype):
    model = convert_to_shift(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), ShiftConfig(quantizer)).to(dtype)

    output = model(torch.ones(1, 4, dtype=dtype))
    output.sum().backward()

    assert output.dtype == dtype
    assert all(p.grad.dtype == dtype for p in model.parameters())
    assert model.eval()(torch.ones(1, 4, dtype=dtype)).dtype == dtype
