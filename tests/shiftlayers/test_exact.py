from __future__ import annotations

import pytest
import torch
from torch import nn

from shiftlayers import ShiftConfig, ShiftConvTranspose2d, ShiftLinear, convert_to_shift, exactness_report

FLOATS = {"fp32", "tf32", "bf16", "fp16"}


def linear(quantizer: str, bits: int, n_inputs: int, **options) -> ShiftLinear:
    torch.manual_seed(0)
    return ShiftLinear.from_float(nn.Linear(n_inputs, 8, bias=False), ShiftConfig(quantizer, bits, **options))


def guaranteed(quantizer: str, bits: int, n_inputs: int) -> frozenset[str]:
    return exactness_report(linear(quantizer, bits, n_inputs), 8)[0].guaranteed


@pytest.mark.parametrize(
    ("quantizer", "bits", "largest"),
    [("deepshift-q", 4, 1024), ("deepshift-ps", 4, 2048), ("deepshift-q", 3, 16384), ("deepshift-q", 5, 4)],
)
def test_float_accumulators_are_exact_up_to_the_published_fan_in(quantizer, bits, largest):
    assert guaranteed(quantizer, bits, largest) >= FLOATS
    assert not FLOATS & guaranteed(quantizer, bits, largest + 1)


@pytest.mark.parametrize(
    ("quantizer", "bits", "fits"),
    [("deepshift-q", 3, True), ("deepshift-q", 4, False), ("deepshift-ps", 4, True), ("deepshift-ps", 5, False)],
)
def test_eight_bit_integers_hold_spans_up_to_six(quantizer, bits, fits):
    assert ("int8" in guaranteed(quantizer, bits, 16)) is fits


def test_sixteen_bit_activations_fit_fp32_only():
    report = exactness_report(linear("deepshift-q", 2, 16), (8, 8))[0]

    assert report.guaranteed == {"fp32"}


@pytest.mark.parametrize(("quantizer", "largest"), [("deepshift-q", 512), ("deepshift-ps", 1024)])
def test_an_unsigned_input_has_a_bit_of_magnitude_more(quantizer, largest):
    def report(n_inputs: int) -> frozenset[str]:
        layer = linear(quantizer, 4, n_inputs, activation_bits=(4, 4), unsigned_activations=True)
        return exactness_report(layer, 8)[0].guaranteed

    assert report(largest) >= FLOATS
    assert not FLOATS & report(largest + 1)
    assert ("int8" in report(largest)) is (quantizer == "deepshift-ps")


def test_what_is_guaranteed_holds_for_the_trained_weights_too():
    for quantizer in ("deepshift-q", "deepshift-ps", "s3", "denseshift", "apot"):
        report = exactness_report(linear(quantizer, 3, 64, per_channel_scale=True), 8)[0]
        assert report.guaranteed <= report.as_trained
        assert report.used_span <= report.span


def test_the_weights_as_they_are_can_be_exact_where_any_weights_are_not():
    layer = linear("deepshift-q", 5, 64)
    with torch.no_grad():
        layer.weight.fill_(0.5)

    report = exactness_report(layer, 8)[0]

    assert not report.guaranteed & FLOATS
    assert report.as_trained >= FLOATS
    assert report.used_span == 0


def test_channels_are_judged_one_by_one():
    layer = ShiftConvTranspose2d(1, 2, 1, bias=False, config=ShiftConfig("deepshift-q", 5))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0**-15]).view(1, 2, 1, 1))

    assert exactness_report(layer, 8)[0].used_span == 0


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16"), (torch.float32, "fp32")]
)
@pytest.mark.parametrize(("quantizer", "bits"), [("deepshift-q", 4), ("deepshift-ps", 4), ("apot", 4)])
def test_a_format_called_exact_gives_what_int64_gives(quantizer, bits, dtype, name):
    layer = linear(quantizer, bits, 576, per_channel_scale=True).eval()
    assert name in exactness_report(layer, 8)[0].as_trained
    weight = layer.effective_weight().detach()
    smallest = weight.abs()[weight != 0].min() / 16
    whole = (weight / smallest).long()
    inputs = torch.randint(-128, 128, (16, 576))

    # Products and sums as a tensor core has them: operands in the format, accumulated in fp32.
    scaled = (weight / smallest).to(dtype).float()
    computed = inputs.to(dtype).float() @ scaled.t()

    assert torch.equal(scaled.long(), whole)
    assert torch.equal(computed.long(), inputs @ whole.t())


def test_a_network_is_reported_layer_by_layer():
    model = convert_to_shift(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)), ShiftConfig(), 2)

    reports = exactness_report(model, 8)

    assert [(r.name, r.fan_in) for r in reports] == [("0", 27), ("2", 16)]


def test_no_bits_are_refused():
    with pytest.raises(ValueError, match="at least 1 bit, got 0"):
        exactness_report(nn.Linear(1, 1), 0)


@pytest.mark.parametrize(("bias", "fits"), [(0.5, True), (5.0, False)])
def test_a_bias_counts_in_the_sums(bias, fits):
    layer = ShiftLinear(4, 1, config=ShiftConfig("deepshift-ps", 2, per_channel_scale=True, activation_bits=(4, 4)))
    layer = ShiftLinear.from_weights(
        nn.Linear(4, 1), layer.config, torch.full((1, 4), 2.0**-19), torch.tensor([[2.0**-19]])
    )
    torch.nn.init.constant_(layer.bias, bias)

    assert ("fp32" in exactness_report(layer, (4, 4))[0].as_trained) is fits


def test_the_largest_bias_counts_in_what_is_guaranteed():
    layer = ShiftLinear(1024, 4, config=ShiftConfig("deepshift-q", 4))

    assert "fp32" not in exactness_report(layer, (4, 4))[0].guaranteed
    assert "fp32" in exactness_report(linear("deepshift-q", 4, 1024), (4, 4))[0].guaranteed
