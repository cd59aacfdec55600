from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from shiftlayers import (
    Int8Conv,
    Int8Linear,
    ShiftConfig,
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
    convert_batch_norm,
    convert_to_shift,
    fold_batch_norm,
    to_int8,
)
from shiftlayers.modules import SHIFT_TYPES
from tests.shiftlayers.integers import PS, UNSIGNED, inputs, integer_conv, integer_linear, spread
from worker.models import build_network

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")

QUANTIZERS = [
    *(("deepshift-q", bits) for bits in (2, 3)),
    *(("deepshift-ps", bits) for bits in (2, 3, 4)),
    *(("s3", bits) for bits in (2, 3, 4)),
    *(("denseshift", bits) for bits in (2, 3)),
    *(("apot", bits) for bits in (2, 3, 4)),
]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


# Bit for bit


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bits", [(4, 4), (2, 6), (3, 3), (8, 0)], ids=str)
@pytest.mark.parametrize("per_channel_scale", [False, True])
@pytest.mark.parametrize(("quantizer", "weight_bits"), QUANTIZERS)
def test_layers_compute_what_integer_arithmetic_does(quantizer, weight_bits, per_channel_scale, bits, unsigned):
    options = {"activation_bits": bits, "per_channel_scale": per_channel_scale, "unsigned_activations": unsigned}
    config = ShiftConfig(quantizer, weight_bits, **options)
    linear, conv = spread(nn.Linear(19, 5), config), spread(nn.Conv2d(3, 5, 3, padding=1), config)
    x, image = inputs(4, 19, reach=2.0 ** bits[0]), inputs(2, 3, 5, 4, reach=2.0 ** bits[0])

    outputs = to_int8(linear)(x), to_int8(conv)(image)

    assert torch.equal(outputs[0], integer_linear(linear, x))
    assert torch.equal(outputs[1], integer_conv(conv, image))
    assert torch.equal(outputs[0], linear(x))
    assert torch.equal(outputs[1], conv(image))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 7), (2, 3, 7), (2, 1, 3, 7)])
def test_linear_layers_take_inputs_of_any_rank(shape, bias):
    linear, x = spread(nn.Linear(7, 5, bias=bias), PS), inputs(*shape)

    output = to_int8(linear)(x)

    assert output.shape == (*shape[:-1], 5)
    assert torch.equal(output, integer_linear(linear, x))


@pytest.mark.parametrize("arguments", [{}, {"padding": 1, "padding_mode": "circular"}], ids=str)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_convolutions_take_one_input_without_a_batch(kind, arguments):
    conv = spread(kind(2, 3, 2, **arguments), PS)
    x = inputs(2, *(5, 4, 3)[: len(conv.kernel_size)])

    output = to_int8(conv)(x)

    assert torch.equal(output, conv(x))
    assert torch.equal(output, integer_conv(conv, x.unsqueeze(0))[0])


@pytest.mark.parametrize(("kind", "shape"), [(nn.Linear, (4,)), (nn.Linear, (2, 4)), (nn.Conv2d, (4, 3, 3))])
def test_no_inputs_give_no_outputs(kind, shape):
    layer = spread(kind(4, 5, *([1] if kind is nn.Conv2d else [])), PS)
    x = torch.empty(0, *shape)

    assert torch.equal(to_int8(layer)(x), layer(x))


# Saturation


def largest_weights(layer: nn.Module, sign: float) -> nn.Module:
    """`layer` with weights that are all 64 but one, which is one, in the integers of the kernel."""
    weight = layer.weight.fill_(sign).flatten(1)
    weight[:, -1] = sign / 64
    layer.weight.copy_(weight.view_as(layer.weight))
    return layer


@pytest.mark.parametrize("config", [PS, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("value", [1e9, -1e9])
@pytest.mark.parametrize(
    ("make_layer", "shape"),
    [
        (lambda: nn.Linear(1029, 4, bias=False), (3, 1029)),
        (lambda: nn.Conv2d(114, 16, 3, bias=False), (2, 114, 5, 5)),
        (lambda: nn.Conv2d(1029, 16, 1, bias=False), (2, 1029, 4, 4)),
        (lambda: nn.Conv2d(16, 16, 3, groups=16, padding=1, bias=False), (2, 16, 5, 5)),
        (lambda: nn.Conv1d(343, 16, 3, bias=False), (2, 343, 9)),
        (lambda: nn.Conv3d(38, 16, 3, bias=False), (1, 38, 4, 4, 4)),
    ],
    ids=["linear", "conv2d", "pointwise", "depthwise", "conv1d", "conv3d"],
)
def test_the_largest_sums_do_not_saturate(make_layer, shape, value, sign, config):
    plain = largest_weights(make_layer(), sign)
    layer = SHIFT_TYPES[type(plain)].from_float(plain, config)
    x = torch.full(shape, value)
    reference = integer_linear if isinstance(layer, ShiftLinear) else integer_conv

    converted = to_int8(layer)

    assert converted.weight.abs().max() == 64
    assert torch.equal(converted(x), reference(layer, x))


@pytest.mark.parametrize(
    ("config", "expected"),
    [(PS, [-8, -8, -8, 7.9375, 7.9375, 7.9375]), (UNSIGNED, [0, 0, 0, 15.9375, 15.9375, 15.9375])],
)
def test_values_beyond_the_range_and_infinities_saturate(config, expected):
    linear = ShiftLinear(1, 1, bias=False, config=config)
    linear.shift.zero_()
    linear.sign.fill_(1)
    x = torch.tensor([-math.inf, -3e38, -100, 100, 3e38, math.inf]).unsqueeze(1)

    assert to_int8(linear)(x).flatten().tolist() == expected


# Networks


def small_network(config: ShiftConfig = PS, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.Flatten(), nn.Linear(96, 3)
    )
    return convert_to_shift(model, config).eval()


IMAGES = torch.randn(2, 3, 6, 6) * 4


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(
    "config",
    [PS, UNSIGNED, ShiftConfig("s3", 3, activation_bits=(4, 4), per_channel_scale=True)],
    ids=["ps", "u", "s3"],
)
def test_a_resnet_computes_the_same_from_end_to_end(config, folded):
    model = convert_to_shift(build_network("resnet20", (3, 16, 16), 10), config)
    model.train()(torch.randn(8, 3, 16, 16))
    model = fold_batch_norm(convert_batch_norm(model)) if folded else model
    x = torch.randn(3, 3, 16, 16)

    assert torch.equal(to_int8(model)(x), model.eval()(x))


def test_what_follows_a_convolution_computes_the_same_too():
    model = nn.Sequential(ShiftConv2d(3, 8, 3, config=PS), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1)).eval()
    model[1].running_mean.normal_()
    model[1].weight.uniform_(0.1, 3)
    x = torch.randn(8, 3, 9, 9)

    assert torch.equal(to_int8(model)(x), model(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_lie_in_memory_as_those_of_the_model(layout):
    model, x = ShiftConv2d(3, 4, 3, config=PS).eval(), IMAGES.contiguous(memory_format=layout)

    output = to_int8(model)(x)

    assert torch.equal(output, model(x))
    assert output.is_contiguous(memory_format=layout)


def test_inputs_of_any_layout_are_taken():
    model, wide = small_network(), torch.randn(2, 6, 6, 6)
    converted = to_int8(model)

    for x in (IMAGES.contiguous(memory_format=torch.channels_last), wide[:, ::2], IMAGES[:1].expand(3, -1, -1, -1)):
        assert torch.equal(converted(x), model(x))


def test_plain_layers_stay():
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), ShiftConv2d(3, 2, 3, config=PS), nn.Flatten(), nn.Linear(32, 2)
    )

    converted = to_int8(model)

    assert [type(m) for m in converted] == [nn.Conv2d, nn.BatchNorm2d, Int8Conv, nn.Flatten, nn.Linear]
    assert torch.equal(converted[0].weight, model[0].weight)
    assert torch.equal(converted(IMAGES), model.eval()(IMAGES))


def test_one_layer_alone_is_converted():
    assert type(to_int8(ShiftLinear(3, 2, config=PS))) is Int8Linear


def test_a_shared_layer_is_converted_under_every_name():
    shared = ShiftConv2d(3, 3, 1, config=PS)
    model = nn.Sequential(shared, nn.ReLU(), shared)

    converted = to_int8(model)

    assert converted[2] is converted[0]
    assert torch.equal(converted(IMAGES), model.eval()(IMAGES))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(training):
    model, x = small_network().train(training), IMAGES.clone()
    before, types = copy.deepcopy(model.state_dict()), [type(m) for m in model]

    to_int8(model)(x)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [type(m) for m in model] == types
    assert {m.training for m in model.modules()} == {training}
    assert torch.equal(x, IMAGES)


def test_a_converted_network_is_in_evaluation():
    assert not any(m.training for m in to_int8(small_network().train()).modules())


def test_a_converted_network_runs_where_gradients_are_recorded():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), ShiftConv2d(3, 2, 3, config=PS)).eval()

    with torch.enable_grad():
        assert torch.equal(to_int8(model)(IMAGES), model(IMAGES))


# Copies


@pytest.mark.parametrize("has_run", [False, True])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_copies_compute_the_same(duplicate, has_run):
    model = small_network()
    converted = to_int8(model)
    if has_run:
        converted(IMAGES)

    assert torch.equal(duplicate(converted)(IMAGES), model(IMAGES))


@pytest.mark.parametrize("has_run", [False, True])
def test_a_state_that_is_loaded_counts(has_run):
    model, other = small_network(), to_int8(small_network(seed=1))
    if has_run:
        other(IMAGES)

    other.load_state_dict(to_int8(model).state_dict())

    assert torch.equal(other(IMAGES), model(IMAGES))


# Layers that are not eligible


def with_weights(*values: float) -> ShiftLinear:
    layer = ShiftLinear(len(values), 1, config=ShiftConfig("deepshift-q", 4, activation_bits=(4, 4)))
    layer.weight.copy_(torch.tensor([values]))
    return layer


def largest(n_inputs: int) -> ShiftLinear:
    """A layer with the largest weights that a kernel takes."""
    return ShiftLinear.from_float(largest_weights(nn.Linear(n_inputs, 1, bias=False), 1.0), UNSIGNED)


@pytest.mark.parametrize(
    ("make_layer", "reason"),
    [
        (lambda: ShiftLinear(2, 2), "activation_bits must be 8 in sum at most"),
        (lambda: ShiftConv2d(2, 2, 1, config=ShiftConfig(activation_bits=(5, 4))), "activation_bits must be 8 in sum"),
        (lambda: ShiftLinear(2, 2, config=ShiftConfig(activation_bits=(4, 4), compat="deepshift")), "compat None"),
        (lambda: ShiftConvTranspose2d(2, 2, 1, config=PS), "no kernel for ShiftConvTranspose2d"),
        (lambda: with_weights(1.0, 2.0**-7), "multiples of their channel's smallest up to 64, got 128"),
        (lambda: largest(1030), "a sum may reach 2\\^24.0 steps, exact are 2\\^24"),
        (lambda: with_weights(math.nan, 1.0), ""),
    ],
    ids=["float", "nine bits", "compat", "transposed", "span", "sum", "nan"],
)
def test_a_layer_that_is_not_eligible_is_refused_by_name_and_reason(make_layer, reason):
    model = nn.ModuleDict({"fine": ShiftLinear(2, 2, config=PS), "head": nn.Sequential(make_layer())})

    with pytest.raises(ValueError, match=rf"layer 'head\.0' cannot run in int8: .*{reason}"):
        to_int8(model)


def test_a_span_of_seven_is_refused_only_within_one_channel():
    conv = ShiftConv2d(1, 2, 1, bias=False, config=ShiftConfig("deepshift-q", 4, activation_bits=(4, 4)))
    conv.weight.copy_(torch.tensor([1.0, 2.0**-7]).view(2, 1, 1, 1))
    x = inputs(1, 1, 4, 4)

    assert torch.equal(to_int8(conv)(x), integer_conv(conv, x))


def test_a_bias_counts_for_the_largest_sum():
    layer = largest(1029)
    layer.register_parameter("bias", nn.Parameter(torch.tensor([-7.0])))

    with pytest.raises(ValueError, match="a sum may reach"):
        to_int8(layer)


def test_a_bias_finer_than_all_products_counts_too():
    plain = nn.Linear(2, 1)
    plain.weight.fill_(2.0**20)
    layer = ShiftLinear.from_float(plain, ShiftConfig("s3", 4, activation_bits=(4, 4), per_channel_scale=True))

    with pytest.raises(ValueError, match="a sum may reach"):
        to_int8(layer)


def test_a_build_without_onednn_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)

    with pytest.raises(RuntimeError, match="oneDNN"):
        to_int8(small_network())


def test_a_state_that_takes_the_place_of_the_tensors_counts():
    a, b = (to_int8(spread(nn.Linear(6, 5), PS)) for _ in range(2))
    x = torch.randn(3, 6)
    a(x)

    a.load_state_dict(b.state_dict(), assign=True)

    assert torch.equal(a(x), b(x))


def test_networks_are_converted_and_run_in_inference_mode():
    layer = spread(nn.Conv2d(2, 3, 3), PS).eval()
    x = torch.randn(1, 2, 5, 5)

    with torch.inference_mode():
        assert torch.equal(to_int8(layer)(x), layer(x))
