from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from shiftlayers import (
    ShiftBatchNorm1d,
    ShiftBatchNorm2d,
    ShiftBatchNorm3d,
    ShiftConfig,
    ShiftConv1d,
    ShiftConv2d,
    ShiftConv3d,
    ShiftConvTranspose2d,
    ShiftLinear,
    convert_batch_norm,
    convert_to_shift,
    fold,
    fold_batch_norm,
    load_packed,
    save_packed,
)
from shiftlayers.config import QUANTIZER_NAMES
from worker.models import build_network

# PyTorch's norm, ours, and a shape of inputs with three channels.
NORMS = [
    pytest.param(nn.BatchNorm1d, ShiftBatchNorm1d, (6, 3), id="features"),
    pytest.param(nn.BatchNorm1d, ShiftBatchNorm1d, (4, 3, 5), id="1d"),
    pytest.param(nn.BatchNorm2d, ShiftBatchNorm2d, (4, 3, 5, 2), id="2d"),
    pytest.param(nn.BatchNorm3d, ShiftBatchNorm3d, (2, 3, 2, 4, 3), id="3d"),
]
every_norm = pytest.mark.parametrize(("plain", "shift", "shape"), NORMS)
# A layer of four input and six output channels, the norm behind it, and a shape of inputs.
LAYERS = [
    pytest.param(lambda **o: ShiftConv1d(4, 6, 3, **o), ShiftBatchNorm1d, (2, 4, 7), id="conv1d"),
    pytest.param(lambda **o: ShiftConv2d(4, 6, 3, groups=2, **o), ShiftBatchNorm2d, (2, 4, 6, 5), id="conv2d"),
    pytest.param(lambda **o: ShiftConv3d(4, 6, 2, padding=1, **o), ShiftBatchNorm3d, (2, 4, 3, 3, 3), id="conv3d"),
    pytest.param(lambda **o: ShiftLinear(4, 6, **o), ShiftBatchNorm1d, (5, 4), id="linear"),
    pytest.param(lambda **o: ShiftConvTranspose2d(4, 6, 3, **o), ShiftBatchNorm2d, (2, 4, 3, 4), id="transposed"),
]
every_layer = pytest.mark.parametrize(("make_layer", "norm", "shape"), LAYERS)
every_quantizer = pytest.mark.parametrize("quantizer", QUANTIZER_NAMES)
FACTOR_ERROR = math.sqrt(2) * (1 + 1e-5)
IMAGES = torch.randn(2, 3, 6, 6)


def trained(norm: nn.Module) -> nn.Module:
    """`norm` with statistics and parameters of a network that has learned; every second gamma is negative."""
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 4)
        if norm.weight is not None:
            norm.weight.uniform_(0.3, 3)
            norm.weight[1::2] *= -1
            norm.bias.normal_()
    return norm.eval()


def conv_and_norm(norm: nn.Module | None = None, **config) -> nn.Module:
    """A shift convolution and the batch normalisation behind it, in evaluation."""
    norm = ShiftBatchNorm2d(4) if norm is None else norm
    return nn.Sequential(ShiftConv2d(3, 4, 3, config=ShiftConfig(**config)), trained(norm)).eval()


def n_bits(weight: Tensor) -> set[int]:
    """How many powers of two the magnitudes of `weight` are sums of."""
    mantissas = (torch.frexp(weight.detach().double().abs())[0] * 2.0**53).long()
    return {m.bit_count() for m in mantissas.flatten().tolist()}


# The factor


@given(st.floats(2.0**-20, 2.0**20, width=32), st.sampled_from([-1, 1]), st.floats(0, 2.0**20, width=32))
def test_the_factor_is_the_signed_power_of_two_nearest_in_the_log_domain(size, sign, var):
    norm = ShiftBatchNorm1d(1).eval()
    norm.weight.data.fill_(sign * size)
    norm.running_var.fill_(var)

    factor = norm(torch.ones(1, 1)).item()

    ratio = factor / (sign * size / math.sqrt(var + norm.eps))
    assert abs(math.frexp(factor)[0]) == 0.5
    assert 1 / FACTOR_ERROR <= ratio <= FACTOR_ERROR


def test_a_gamma_of_zero_gives_beta_alone():
    norm = trained(ShiftBatchNorm2d(3))
    norm.weight.data[1] = 0

    assert (norm(IMAGES)[:, 1] == norm.bias[1]).all()


@every_norm
def test_a_norm_whose_factors_are_powers_of_two_computes_what_pytorchs_does(plain, shift, shape):
    theirs = trained(plain(3, eps=0))
    with torch.no_grad():
        theirs.running_var.copy_(torch.tensor([0.25, 1.0, 16.0]))
        theirs.weight.copy_(torch.tensor([4.0, -0.5, 0.0]))
    ours = convert_batch_norm(copy.deepcopy(theirs))
    x = torch.randn(shape)

    assert type(ours) is shift
    assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


# Statistics


OPTIONS = [{}, {"momentum": 0.3, "eps": 1e-2}, {"momentum": 0.0}, {"momentum": None}, {"affine": False}]


@pytest.mark.parametrize("options", [*OPTIONS, {"track_running_stats": False}], ids=str)
@every_norm
def test_statistics_are_those_of_pytorchs(plain, shift, shape, options):
    theirs, ours = plain(3, **options), shift(3, **options)

    for step in range(4):
        x = torch.randn(shape) * (step + 1) + step
        theirs(x), ours(x)
        assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-6, atol=1e-6)


@every_norm
def test_without_running_statistics_evaluation_goes_by_the_batch(plain, shift, shape):
    norm, x = shift(3, track_running_stats=False), torch.randn(shape)

    assert torch.equal(norm.eval()(x), norm.train()(x))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
def test_one_value_a_channel_is_refused_in_training_only(shape):
    norm = ShiftBatchNorm1d(3)

    with pytest.raises(ValueError, match="more than one value a channel"):
        norm(torch.randn(shape))
    assert norm.num_batches_tracked == 0
    assert norm.eval()(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_channels", [1, 2, 4])
def test_inputs_of_another_number_of_channels_are_refused(n_channels, training):
    with pytest.raises((ValueError, RuntimeError)):
        ShiftBatchNorm2d(n_channels).train(training)(IMAGES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_norm
def test_half_precision_is_computed_in_float32(plain, shift, shape, dtype):
    theirs, ours, x = plain(3), shift(3), torch.randn(shape).to(dtype)

    output = ours(x)

    theirs(x)
    assert output.dtype == dtype
    assert torch.equal(output, shift(3)(x.float()).to(dtype))
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-5)


# Gradients


@every_norm
def test_gradients_of_gamma_and_beta_are_those_of_pytorchs(plain, shift, shape):
    theirs, x, towards = trained(plain(3)).train(), torch.randn(shape), torch.randn(shape)
    ours = convert_batch_norm(copy.deepcopy(theirs))

    for norm in (theirs, ours):
        (norm(x) * towards).sum().backward()

    assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-5, atol=1e-5)
    assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_the_input_is_pytorchs_where_the_factor_is_a_power_of_two():
    # Each channel has mean 0 and variance 1, so with epsilon a deviation of 2.
    x = torch.tensor([-1.0, 1.0, 1.0, -1.0]).view(4, 1).repeat(1, 3)
    theirs, towards, gradients = nn.BatchNorm1d(3, eps=3), torch.randn(4, 3), []
    theirs.weight.data.copy_(torch.tensor([2.0, -0.25, 1.0]))

    for norm in (theirs, convert_batch_norm(copy.deepcopy(theirs))):
        leaf = x.clone().requires_grad_()
        (norm(leaf) * towards).sum().backward()
        gradients.append(leaf.grad)

    assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-6)


def test_a_network_with_it_learns():
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2), nn.BatchNorm1d(2)]
    model = convert_batch_norm(nn.Sequential(*layers))
    x = torch.randn(64, 1, 6, 6)
    labels = (x.mean((1, 2, 3)) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < losses[0] / 4


# In the place of PyTorch's


@every_norm
def test_it_is_a_norm_of_pytorch_with_the_same_state(plain, shift, shape):
    theirs, ours = trained(plain(3)), shift(3)

    ours.load_state_dict(theirs.state_dict())

    assert isinstance(ours, plain)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_conversion_keeps_parameters_statistics_arguments_and_mode():
    norm = trained(nn.BatchNorm2d(3, eps=0.5, momentum=0.25))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm)

    converted = convert_batch_norm(model)

    assert converted is model
    assert type(model[1]) is ShiftBatchNorm2d
    assert (model[1].eps, model[1].momentum, model[1].training) == (0.5, 0.25, False)
    assert all(ours is theirs for ours, theirs in zip(model[1].parameters(), norm.parameters(), strict=True))
    assert all(ours is theirs for ours, theirs in zip(model[1].buffers(), norm.buffers(), strict=True))


def test_subclasses_and_other_norms_are_not_converted():
    class Special(nn.BatchNorm2d):
        pass

    model = nn.Sequential(Special(3), nn.GroupNorm(1, 3), nn.InstanceNorm2d(3), ShiftBatchNorm2d(3))
    before = list(model)

    assert list(convert_batch_norm(model)) == before


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_compiled_there_is_no_graph_break(momentum, training):
    model = conv_and_norm(ShiftBatchNorm2d(4, momentum=momentum)).train(training)
    eager = copy.deepcopy(model)

    compiled = torch.compile(model, backend="aot_eager")

    assert torch._dynamo.explain(copy.deepcopy(model))(IMAGES).graph_break_count == 0
    assert_close(compiled(IMAGES), eager(IMAGES), rtol=1e-5, atol=1e-5)
    assert_close(model.state_dict(), eager.state_dict(), rtol=1e-5, atol=1e-5)


def test_it_is_exported():
    model = conv_and_norm()

    assert torch.equal(torch.export.export(model, (IMAGES,)).module()(IMAGES), model(IMAGES))


# Folding


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("per_channel_scale", [True, False])
@every_quantizer
@every_layer
def test_a_folded_network_computes_the_same(make_layer, norm, shape, quantizer, per_channel_scale, bias):
    config = ShiftConfig(quantizer, per_channel_scale=per_channel_scale)
    model = nn.Sequential(make_layer(bias=bias, config=config), trained(norm(6)), nn.ReLU()).eval()
    x = torch.randn(shape)

    folded = fold_batch_norm(model, x)

    assert [type(m) for m in folded] == [type(model[0]), nn.Identity, nn.ReLU]
    assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@every_quantizer
@every_layer
def test_folding_into_fixed_point_rounds_the_bias_and_nothing_else(make_layer, norm, shape, quantizer, bias, unsigned):
    config = ShiftConfig(quantizer, activation_bits=(6, 4), unsigned_activations=unsigned)
    model = nn.Sequential(make_layer(bias=bias, config=config), trained(norm(6))).eval()
    x = torch.randn(shape) * 3

    error = (fold_batch_norm(model, x)(x) - model(x)).abs().max()

    assert error <= 2.0**-5 + 1e-5


def test_a_bias_beyond_the_layers_fixed_point_is_refused():
    model = conv_and_norm(activation_bits=(4, 4))
    model[1].running_mean.fill_(100)

    with pytest.raises(ValueError, match="bias"):
        fold_batch_norm(model)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_norms_of_all_options_are_folded(options):
    model = conv_and_norm(ShiftBatchNorm2d(4, **options))

    assert_close(fold_batch_norm(model)(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("quantizer", [q for q in QUANTIZER_NAMES if q != "denseshift"])
def test_a_gamma_of_zero_folds_to_weights_of_zero(quantizer):
    model = conv_and_norm(quantizer=quantizer)
    model[1].weight.data[2] = 0

    folded = fold_batch_norm(model)

    assert not folded[0].effective_weight()[2].any()
    assert_close(folded(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-5)


def test_a_gamma_of_zero_is_refused_by_a_quantiser_without_zero():
    model = conv_and_norm(quantizer="denseshift")
    model[1].weight.data[2] = 0

    with pytest.raises(ValueError, match="a denseshift layer cannot represent its weights times those of"):
        fold_batch_norm(model)


def test_folding_pytorchs_own_norm_moves_each_channel_by_one_factor_up_to_the_root_of_two():
    model = conv_and_norm(nn.BatchNorm2d(4))
    beta = model[1].bias.detach().view(1, -1, 1, 1)

    ratio = (fold_batch_norm(model)(IMAGES) - beta) / (model(IMAGES) - beta)

    by_channel = ratio.detach().transpose(0, 1).flatten(1)
    assert_close(by_channel, by_channel.median(1, keepdim=True)[0].expand_as(by_channel), rtol=1e-2, atol=1e-3)
    assert (by_channel.median(1)[0].log2().abs() <= 0.5 + 1e-4).all()


@every_quantizer
def test_folded_weights_are_still_powers_of_two(quantizer):
    folded = fold_batch_norm(conv_and_norm(quantizer=quantizer))

    assert n_bits(folded[0].effective_weight()) <= ({0, 1, 2} if quantizer == "apot" else {0, 1})


@pytest.mark.parametrize("activation_bits", [None, (4, 4)])
@every_quantizer
def test_a_folded_network_is_packed_loaded_and_made_plain_bit_for_bit(quantizer, activation_bits, tmp_path):
    folded = fold_batch_norm(conv_and_norm(quantizer=quantizer, activation_bits=activation_bits))
    save_packed(folded, tmp_path / "model.safetensors")

    loaded = load_packed(tmp_path / "model.safetensors", nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity())).eval()

    assert torch.equal(loaded[0].effective_weight(), folded[0].effective_weight())
    assert torch.equal(loaded(IMAGES), folded(IMAGES))
    assert torch.equal(fold(folded)(IMAGES), folded(IMAGES))


@every_quantizer
def test_a_folded_network_goes_on_learning(quantizer):
    model = fold_batch_norm(conv_and_norm(quantizer=quantizer)).train()

    model(IMAGES).square().sum().backward()

    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_every_norm_of_a_resnet_is_folded():
    model = convert_batch_norm(convert_to_shift(build_network("resnet20", (3, 16, 16), 10), ShiftConfig()))
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        model.train()(x)

        folded = fold_batch_norm(model.eval())

        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        assert_close(folded(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_folding_leaves_the_model_as_it_was(training):
    model = conv_and_norm().train(training)
    before, types = copy.deepcopy(model.state_dict()), [type(m) for m in model]

    fold_batch_norm(model)

    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert [type(m) for m in model] == types
    assert {m.training for m in model.modules()} == {training}


@pytest.mark.parametrize("training", [True, False])
def test_folding_keeps_the_mode(training):
    model = conv_and_norm().train(training)

    assert {m.training for m in fold_batch_norm(model).modules()} == {training}


# What is left alone


class Wired(nn.Module):
    """Two shift convolutions and a norm of three channels, wired by `rule`."""

    def __init__(self, rule) -> None:
        super().__init__()
        self.conv, self.other, self.norm = ShiftConv2d(3, 3, 1), ShiftConv2d(3, 3, 1), trained(ShiftBatchNorm2d(3))
        self.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        return self.rule(self, x)


COMPAT = ShiftConfig(activation_bits=(8, 8), compat="deepshift")
LEFT_ALONE = {
    "grouped transposed": lambda: nn.Sequential(ShiftConvTranspose2d(3, 6, 1, groups=3), trained(ShiftBatchNorm2d(6))),
    "compat": lambda: nn.Sequential(ShiftConv2d(3, 4, 1, config=COMPAT), trained(ShiftBatchNorm2d(4))),
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), trained(ShiftBatchNorm2d(4))),
    "no statistics": lambda: nn.Sequential(ShiftConv2d(3, 4, 1), ShiftBatchNorm2d(4, track_running_stats=False)),
    "output used twice": lambda: Wired(lambda m, x: (y := m.conv(x)) + m.norm(y)),
    "layer runs twice": lambda: Wired(lambda m, x: m.norm(m.conv(m.conv(x)))),
    "norm runs twice": lambda: Wired(lambda m, x: m.norm(m.conv(x)) + m.norm(m.other(x))),
    "behind a sum": lambda: Wired(lambda m, x: m.norm(m.conv(x) + m.other(x))),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_a_norm_that_is_no_part_of_one_layer_is_left_alone(case):
    model = LEFT_ALONE[case]().eval()

    folded = fold_batch_norm(model)

    assert [type(m) for m in folded.modules()] == [type(m) for m in model.modules()]
    assert torch.equal(folded(IMAGES), model(IMAGES))


def test_a_norm_over_another_dimension_than_the_layers_outputs_is_left_alone():
    model = nn.Sequential(ShiftLinear(4, 6), trained(ShiftBatchNorm1d(5))).eval()
    x = torch.randn(2, 5, 4)

    folded = fold_batch_norm(model)

    assert type(folded[1]) is ShiftBatchNorm1d
    assert torch.equal(folded(x), model(x))


def test_a_network_that_cannot_be_traced_is_refused():
    model = Wired(lambda m, x: m.norm(m.conv(x)) if x.sum() > 0 else m.conv(x))

    with pytest.raises(ValueError, match=r"torch\.fx cannot trace the network"):
        fold_batch_norm(model)


def test_a_norm_behind_a_linear_layer_is_folded_where_it_is_known_to_be_over_its_outputs():
    rows = nn.Sequential(ShiftLinear(8, 4), trained(ShiftBatchNorm1d(4))).eval()
    sequences = nn.Sequential(ShiftLinear(8, 4), trained(ShiftBatchNorm1d(4))).eval()

    assert isinstance(fold_batch_norm(rows, torch.randn(3, 8))[1], nn.Identity)
    for left in (fold_batch_norm(rows), fold_batch_norm(sequences, torch.randn(3, 4, 8))):
        assert isinstance(left[1], ShiftBatchNorm1d)
